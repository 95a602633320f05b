"""The error that ends a run or stands for a text: built once, when it is known what is to blame.

One part of a batch: ask for it, ask again only for what did not arrive, and say what else is to be asked for.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

import anyio

from asyncembed._core.exchange import Exchange
from asyncembed._decide.blame import Step, is_refused_likewise
from asyncembed._decide.retry import Backoff, is_overload, is_retryable
from asyncembed._decide.splitting import apart, first_and_rest, fits, halves, smaller
from asyncembed._decide.too_large import read_too_large
from asyncembed._exceptions import (
    APIStatusError,
    AsyncEmbedError,
    AuthenticationError,
    EmbedTimeoutError,
    InvalidInputError,
    ModelNotFoundError,
    QuotaExceededError,
    ResponseError,
    TransportError,
    answer_of,
    of_answer,
    without_frames,
)
from asyncembed._preview import name_texts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from asyncembed._core.circuit_breaker import Probe as OutageProbe
    from asyncembed._core.exchange import Probe
    from asyncembed._core.memory import Reservation
    from asyncembed._core.rate_gate import RatePermit
    from asyncembed._core.run import Run
    from asyncembed._core.spending import Spending
    from asyncembed._decide.blame import Verdict
    from asyncembed._decide.signs import Meaning
    from asyncembed._decide.spending_cap import Grant
    from asyncembed._decide.splitting import SubBatch
    from asyncembed._http.transport import Transport
    from asyncembed._models import EmbedInput


_OF_REQUEST: Final[Mapping[Meaning | None, type[APIStatusError]]] = {
    "key": AuthenticationError,
    "model": ModelNotFoundError,
    "quota": QuotaExceededError,
}
_OK: Final = 200


def text_error(error: AsyncEmbedError, indices: tuple[int, ...], note: str = "") -> AsyncEmbedError:
    """Return the error that stands for texts which the API does not take, whatever status said so."""
    if isinstance(error, APIStatusError):
        return _status_error(InvalidInputError, error, indices, note)
    return attempts_error(error, indices, note)


def request_error(error: AsyncEmbedError, meaning: Meaning | None, indices: tuple[int, ...]) -> AsyncEmbedError:
    """Return the error of a request that the API does not take for what it means; no text is to blame."""
    if isinstance(error, APIStatusError):
        usual = APIStatusError if isinstance(error, InvalidInputError) or meaning else type(error)
        return _status_error(_OF_REQUEST.get(meaning, usual), error, indices, "")
    if isinstance(error, ResponseError) and meaning in _OF_REQUEST:
        kind = _OF_REQUEST[meaning]
        return kind(
            str(error),
            status=_OK,
            request_id=error.request_id,
            provider_message=error.provider_message,
            indices=indices,
        )
    return attempts_error(error, indices, "")


def attempts_error(error: AsyncEmbedError, indices: tuple[int, ...], note: str) -> AsyncEmbedError:
    """Return the error of texts that were asked for in vain; `note` says how often."""
    indices = indices or error.indices
    if isinstance(error, APIStatusError):
        return _status_error(type(error), error, indices, note)
    if isinstance(error, ResponseError):
        again: AsyncEmbedError = ResponseError(
            f"{error}{note}",
            missing=indices,
            retryable=error.retryable,
            provider_message=error.provider_message,
            is_empty=error.is_empty,
        )
        return of_answer(again, error.status, error.request_id)
    if isinstance(error, EmbedTimeoutError):
        again = EmbedTimeoutError(f"{error}{note}", phase=error.phase, retryable=error.retryable, indices=indices)
        return of_answer(again, error.status, error.request_id)
    if isinstance(error, TransportError):
        again = TransportError(f"{error}{note}", retryable=error.retryable, indices=indices)
        return of_answer(again, error.status, error.request_id)
    error.indices = indices
    return error


def _status_error(
    kind: type[APIStatusError], error: APIStatusError, indices: tuple[int, ...], note: str
) -> APIStatusError:
    return kind(
        f"{error}{note}",
        status=error.status,
        code=error.code,
        request_id=error.request_id,
        retry_after=error.retry_after,
        provider_message=error.provider_message,
        indices=indices or error.indices,
        answer=answer_of(error),
    )


MAX_RENEWALS: Final = 3
"""Refusals of a key after which one batch asks with another one: keys may expire while a batch waits."""


class Worker:
    """Brings one part of a batch to its end: each text gets a result or a failure, goes on in a part, or ends the run.

    Args:
        run: The run it belongs to.
        transport: The way to the API.
        probe: Asks for a harmless text where a refusal does not tell what is wrong.
        part: The texts.
        reservation: The memory of their results.
        permit: Leave to send the first request, if that was given already.
    """

    def __init__(
        self,
        run: Run,
        transport: Transport,
        probe: Probe,
        part: SubBatch,
        reservation: Reservation,
        *,
        permit: RatePermit | None = None,
    ) -> None:
        self._run = run
        self._endpoint = run.endpoint
        self._part = part
        self._batch = part.batch
        self._reservation = reservation
        self._permit = permit  # for the next request
        self._outage_probe: OutageProbe | None = None  # if that is to find out whether the API is back
        self._delivery = run.new_delivery(part.batch)
        self._transport = transport
        self._probe = probe
        self._renewals = 0
        self._funds: Grant | None = None  # what is set aside for the next request
        self._asked_at = 0.0
        self._exchange = Exchange(
            run, transport, self._delivery, reservation, part.batch.request_bytes, is_repeated=part.refusal is not None
        )

    async def complete(self) -> list[SubBatch]:
        """Ask for the texts until they have arrived; return the parts that are to be asked for instead, if any.

        Raises:
            AsyncEmbedError: if the run cannot go on; what had arrived was delivered before.
        """
        if self._batch.refused:
            await self._run.give_up(self._batch.refused, self._reservation)
        if self._part.is_guilty and len(self._part) > 1:
            assert self._part.refusal
            return self._into(halves(self._part, self._batch.inputs, self._part.refusal), self._part.refusal)
        self._run.in_flight += 1
        try:
            return await self._attempts()
        finally:
            self._part.is_settled = True
            self._run.deliver(self._delivery.flush(), self._reservation)
            self._run.in_flight -= 1
            self.withdraw()
            self._give_back()

    def withdraw(self) -> None:
        """Give back leave to send a request that will not be sent."""
        permit, self._permit = self._permit, None
        if permit:
            permit.withdraw()
        if self._outage_probe:  # another request may find out
            self._end_attempt(failed=None)

    async def _attempts(self) -> list[SubBatch]:
        self._part.backoff = self._part.backoff or Backoff(self._endpoint.retry)
        backoff = self._part.backoff
        last: AsyncEmbedError | None = None
        while texts := self._delivery.begin_attempt():
            if (cut := await self._get_leave(texts)) is not None:
                return cut
            if last and backoff.is_over:
                await self._lose(last, attempts_error(last, self._delivery.missing, backoff.describe()))
                return []
            limits = self._run.learned_limits
            if not fits(self._batch, limits):
                return self._into(smaller(self._part, self._missing(), limits, None), self._part.refusal)
            before = self._delivery.count_missing
            encoding = self._run.wire_encoding
            self._asked_at = time.monotonic()
            last = await self._attempt(texts, encoding)
            if last is None:
                continue
            # Both encodings were refused: numbers alone may be taken, and say more about what is wrong.
            if self._exchange.refused_both or await self._has_newer_key(last):
                self._run.observer.retry(last, 0.0, self._delivery)
                continue
            wants_base64 = encoding == "base64" and self._endpoint.encoding == "auto"
            parts = await self._after(last, texts, wants_base64=wants_base64)
            if parts is not None:
                return parts
            if self._delivery.count_missing < before:
                self._part.case.progressed()
        self._part.accepted()
        if self._part.suspects:
            await self._give_up_suspects()
        return []

    async def _attempt(self, texts: list[str], encoding: Literal["base64", "float"]) -> AsyncEmbedError | None:
        """Make an attempt and return its error: what is raised later is not raised while that is being handled."""
        before = self._delivery.count_missing
        try:
            await self._watched(self._exchange.ask(texts, encoding, self._take_permit()), len(texts))
        except AsyncEmbedError as error:
            arrived = before - self._delivery.count_missing
            self._run.salvaged += arrived
            if arrived and self._part.backoff:
                self._part.backoff.progressed()
            return error
        finally:
            self._give_back(self._exchange.billed)
        return None

    async def _get_leave(self, texts: Sequence[str]) -> list[SubBatch] | None:
        """Wait until a request may be sent; if it may not, return the parts to ask for instead, or none."""
        spending = self._run.spending
        cut = await self._afford(spending, texts) if spending else None
        return [] if cut is None and not await self._may_ask(len(texts)) else cut

    async def _afford(self, spending: Spending, texts: Sequence[str]) -> list[SubBatch] | None:
        """Set aside what a request may cost; None if there is enough, else the parts to ask for instead.

        Raises:
            BudgetExceededError: if there is nothing left for the first text.
        """
        self._funds, self._part.funds = self._part.funds, None
        if self._funds:
            return None
        granted: list[Grant] = []

        async def reserve() -> None:
            granted.append(await spending.reserve(texts))

        await self._run.stopping.wait(reserve)
        if not granted:
            return []
        grant = granted[0]
        if not grant.texts and self._run.stopping.is_on:  # another one has ended the run
            return []
        if grant.texts == len(texts):
            self._funds = grant
            return None
        if not grant.texts:
            raise spending.error(texts)
        return first_and_rest(self._part, self._missing(), grant)

    def _give_back(self, billed: int = 0) -> None:
        """Give back what was set aside for a request that has ended, or is not sent."""
        funds, self._funds = self._funds, None
        if funds and self._run.spending:
            self._run.spending.release(funds, billed)

    async def _after(
        self, error: AsyncEmbedError, texts: Sequence[str], *, wants_base64: bool
    ) -> list[SubBatch] | None:
        """Do what is to be done about a request that failed; None if the texts are to be asked for again."""
        run = self._run
        verdict = run.blame.decide(error, texts, self._part.case, wants_base64=wants_base64)
        if verdict.step is Step.PROBE:
            verdict = await self._probed(error, texts, verdict, wants_base64=wants_base64)
        if verdict.step is Step.AGAIN:
            return None if await self._back_off(error) else []
        if verdict.step in {Step.AT_ONCE, Step.FLOATS}:
            self._endpoint.learned.refuses_base64 |= verdict.step is Step.FLOATS
            run.observer.retry(error, 0.0, self._delivery)
            return None
        if verdict.step is Step.END:
            run.stopping.is_final = True
            raise self._known(error, request_error(error, verdict.meaning, self._delivery.missing))
        return await self._in_parts(error, verdict, len(texts))

    async def _in_parts(self, error: AsyncEmbedError, verdict: Verdict, count: int) -> list[SubBatch]:
        """Return the parts to ask for instead of texts that the API does not take together, or do without them."""
        part, missing = self._part, self._missing()
        if verdict.step is Step.SMALLER:
            if verdict.meaning == "time" and part.backoff and part.backoff.is_used_up(error):
                note = part.backoff.describe()
                await self._lose(error, attempts_error(error, self._delivery.missing, note))
                return []
            self._learn_size(error, count)
            return self._into(smaller(part, missing, self._run.learned_limits, error), error)
        if verdict.step is Step.APART:
            indices = self._delivery.missing
            named = [indices[position] for position in verdict.named]
            return self._into(apart(part, missing, named, error), error, len(named))
        if verdict.step is Step.HALVES or part.suspects:  # the rest is refused, too, so that suspects may be good
            return self._into(halves(part, missing, error), error)
        await self._lose(error, text_error(error, self._delivery.missing))
        return []

    async def _probed(
        self, error: AsyncEmbedError, texts: Sequence[str], verdict: Verdict, *, wants_base64: bool
    ) -> Verdict:
        """Ask for a harmless text, and decide again with the answer."""
        answer = await self._probe.ask(self._asked_at)
        case = self._part.case
        is_likewise = answer is not None and is_refused_likewise(error, answer)
        self._run.observer.probed(answer, "refused" if is_likewise else "unclear" if answer else "taken")
        if answer is None:
            case.is_proven = True
            case.failures -= 1  # it is looked at again
            return self._run.blame.decide(error, texts, case, wants_base64=wants_base64)
        return replace(verdict, step=Step.END if is_likewise else Step.AGAIN)

    def _missing(self) -> Mapping[int, EmbedInput]:
        """The texts that have not arrived."""
        return {index: self._batch.inputs[index] for index in self._delivery.missing}

    def _into(self, parts: list[SubBatch], refusal: AsyncEmbedError | None, apart: int = 0) -> list[SubBatch]:
        """Tell that texts are asked for in parts, because of `refusal`."""
        if refusal:
            without_frames(refusal)  # they hold what was sent and received
        if refusal and (len(parts) > 1 or apart):
            indices = sorted(index for part in parts for index in (*part.batch.inputs, *part.suspects))
            sizes = [len(part) for part in parts] + [apart] * bool(apart)
            self._run.observer.split(refusal, indices, sizes)
        return parts

    def _learn_size(self, error: AsyncEmbedError, count: int) -> None:
        """Take over that a request of so many texts was too large."""
        if isinstance(error, APIStatusError) and (excess := read_too_large(error)):
            caps = self._endpoint.learned.caps[self._run.options.model]
            caps.learn(excess, count, self._bytes_of(count))

    async def _give_up_suspects(self) -> None:
        """Do without the texts that were named, as the API takes the rest."""
        error, suspects = self._part.refusal, self._part.suspects
        assert error
        await self._give_up(list(suspects.items()), text_error(error, tuple(suspects)), error)

    async def _lose(self, cause: AsyncEmbedError, error: AsyncEmbedError) -> None:
        """Do without what is missing, or end the run with `error`."""
        await self._give_up(self._delivery.give_up(), error, cause)
        if self._part.suspects:
            await self._give_up_suspects()

    async def _give_up(
        self, lost: Sequence[tuple[int, EmbedInput]], error: AsyncEmbedError, cause: AsyncEmbedError
    ) -> None:
        run = self._run
        assert self._part.backoff
        if self._part.backoff.is_hopeless:
            run.stopping.is_final = True
            raise self._known(cause, error)
        if run.on_error == "raise" or not run.failure_budget.may_go_on(error, run.done):
            self._known(cause, error)
            name_texts(error, lost, self._transport.secrets)
            raise error
        self._known(cause, error)
        await run.give_up([(index, item, error) for index, item in lost], self._reservation)

    def _known(self, cause: AsyncEmbedError, error: AsyncEmbedError) -> AsyncEmbedError:
        """Let events treat `error` as they would treat what it was made of."""
        if error is not cause:
            self._run.observer.copy_note(cause, error)
        return error

    async def _has_newer_key(self, error: AsyncEmbedError) -> bool:
        """Whether the key has expired, and there is another one to ask with."""
        try:
            has_one = self._renewals < MAX_RENEWALS and await self._transport.renew_key(error)
        except AsyncEmbedError as failure:  # of the caller's function
            self._run.stopping.is_final = True
            failure.indices = self._delivery.missing
            raise
        self._renewals += has_one
        return has_one

    async def _watched(self, attempt: Awaitable[None], count: int) -> None:
        """Make an attempt, and note what it says about the state of the API."""
        before, failed = self._delivery.count_missing, None
        slots = self._run.slots
        with slots.begin(count) as flight:
            try:
                await attempt
                failed = False
                self._run.blame.succeeded(self._part.case)
                self._endpoint.learned.accepted.add(self._run.options.model)
                flight.answered(self._exchange.seconds_to_headers)
            except AsyncEmbedError as error:
                failed = is_retryable(error) and self._delivery.count_missing == before
                if is_overload(error):
                    flight.overloaded()
                elif _is_too_slow(error):
                    flight.timed_out()
                elif isinstance(error, APIStatusError) and (excess := read_too_large(error)) and excess.is_of_count:
                    flight.refused(excess.limit if excess.size in {None, count} else None)
                raise
            finally:
                self._end_attempt(failed=failed)
                slots.adapt()

    def _end_attempt(self, *, failed: bool | None) -> None:
        probe, self._outage_probe = self._outage_probe, None
        self._endpoint.learned.breaker.end_attempt(probe, failed=failed)

    async def _may_ask(self, count: int) -> bool:
        """Wait until a request for so many texts may be sent; whether it may, or the run is stopping instead."""
        stopping, pause, breaker = self._run.stopping, self._endpoint.learned.pause, self._endpoint.learned.breaker
        probe = self._probe
        while not stopping.is_on:
            if probe.is_asking:
                await stopping.wait(probe.wait)
            if pause.is_on:
                await stopping.wait(pause.wait)
            if self._permit is None:
                await stopping.wait(partial(self._ask_for_leave, count))
            if not breaker.lets_through(self._outage_probe):
                await stopping.wait(self._wait_for_outage)
            if self._permit:  # the last thing to ask, as it counts from when the request is sent
                await stopping.wait(self._permit.begin)
            if breaker.lets_through(self._outage_probe) and not (pause.is_on or stopping.is_on or probe.is_asking):
                return True
        return False

    async def _wait_for_outage(self) -> None:
        with self._run.observer.outage_hold as hold:
            self._outage_probe = await self._endpoint.learned.breaker.wait(hold.begins)

    def _take_permit(self) -> RatePermit:
        permit, self._permit = self._permit, None
        assert permit
        return permit

    async def _ask_for_leave(self, count: int) -> None:
        self._permit = await self._run.admission.ask(count, self._bytes_of(count))

    def _bytes_of(self, count: int) -> int:
        """About how many bytes so many texts of the batch take in a request."""
        return self._batch.request_bytes * count // max(len(self._batch), 1)

    async def _back_off(self, error: AsyncEmbedError) -> bool:
        """Wait until the next attempt may begin or the run ends; whether there is to be one."""
        backoff = self._part.backoff
        assert backoff
        wait = backoff.wait_before_retry(error)
        if wait is None:
            await self._lose(error, attempts_error(error, self._delivery.missing, backoff.describe()))
            return False
        self._run.observer.retry(error, wait, self._delivery)
        if getattr(error, "retry_after", None) is not None:
            self._run.observer.paused(error, wait, again=self._endpoint.learned.pause.is_on)
            self._endpoint.learned.pause.extend(wait)
        await self._run.stopping.wait(partial(anyio.sleep, wait))
        return True


def _is_too_slow(error: AsyncEmbedError) -> bool:
    """Whether the server, or a gateway before it, takes longer than a request may take."""
    is_gateway = isinstance(error, APIStatusError) and error.status in {504, 524, 598}
    return is_gateway or (isinstance(error, EmbedTimeoutError) and error.phase == "answer")
