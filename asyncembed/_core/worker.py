"""The worker for one part of a batch: request it, retry what did not arrive, and split or give up what is refused.

The functions before `Worker` build the error that the caller sees, once it is known what causes it.
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
    StreamClosedError,
    TransportError,
    answer_of,
    of_answer,
    without_frames,
)
from asyncembed._preview import name_texts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from asyncembed._core.circuit_breaker import ProbeToken
    from asyncembed._core.exchange import Probe
    from asyncembed._core.memory import Reservation
    from asyncembed._core.rate_gate import Billed, RatePermit
    from asyncembed._core.run import Run
    from asyncembed._core.spending import Spending
    from asyncembed._decide.blame import Verdict
    from asyncembed._decide.long_texts import LongTexts
    from asyncembed._decide.signs import Meaning
    from asyncembed._decide.spending_cap import Grant
    from asyncembed._decide.splitting import SubBatch
    from asyncembed._http.transport import Transport
    from asyncembed._models import EmbedInput


_REQUEST_ERRORS: Final[Mapping[Meaning | None, type[APIStatusError]]] = {
    "key": AuthenticationError,
    "model": ModelNotFoundError,
    "quota": QuotaExceededError,
}
_OK: Final = 200


def text_error(error: AsyncEmbedError, indices: tuple[int, ...], note: str = "") -> AsyncEmbedError:
    """Return the error for texts that the API refuses; every `APIStatusError` becomes an `InvalidInputError`."""
    if isinstance(error, APIStatusError):
        return _status_error(InvalidInputError, error, indices, note)
    return attempts_error(error, indices, note)


def request_error(error: AsyncEmbedError, meaning: Meaning | None, indices: tuple[int, ...]) -> AsyncEmbedError:
    """Return the error for a request that the API refuses because of the key, the model, the quota or an option."""
    if isinstance(error, APIStatusError):
        usual = APIStatusError if isinstance(error, InvalidInputError) or meaning else type(error)
        return _status_error(_REQUEST_ERRORS.get(meaning, usual), error, indices, "")
    if isinstance(error, ResponseError) and meaning in _REQUEST_ERRORS:
        kind = _REQUEST_ERRORS[meaning]
        return kind(
            str(error),
            status=_OK,
            request_id=error.request_id,
            provider_message=error.provider_message,
            indices=indices,
        )
    return attempts_error(error, indices, "")


def attempts_error(error: AsyncEmbedError, indices: tuple[int, ...], note: str) -> AsyncEmbedError:
    """Return the error for texts whose attempts all failed; `note` says how many there were."""
    indices = indices or error.indices
    if isinstance(error, APIStatusError):
        return _status_error(type(error), error, indices, note)
    if isinstance(error, ResponseError):
        built: AsyncEmbedError = ResponseError(
            f"{error}{note}",
            missing=indices,
            retryable=error.retryable,
            provider_message=error.provider_message,
            is_empty=error.is_empty,
            is_short=error.is_short,
        )
        return of_answer(built, error.status, error.request_id)
    if isinstance(error, EmbedTimeoutError):
        built = EmbedTimeoutError(f"{error}{note}", phase=error.phase, retryable=error.retryable, indices=indices)
        return of_answer(built, error.status, error.request_id)
    if isinstance(error, TransportError):
        built = TransportError(f"{error}{note}", retryable=error.retryable, indices=indices)
        return of_answer(built, error.status, error.request_id)
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
"""Times that one batch continues with a new key after its key was refused: keys may expire while a batch waits."""


class Worker:
    """Processes one part of a batch: each text gets a result or a failure, goes on in a smaller part, or ends the run.

    Args:
        run: The run that the part belongs to.
        transport: The connection to the API.
        probe: Sends a harmless text when a refusal does not say what is wrong.
        part: The texts.
        reservation: The memory of their results.
        permit: Permission of the rate limits for the first request, if it was granted already.
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
        self._outage_probe: ProbeToken | None = None  # if the next request probes whether the API is back
        self._delivery = run.new_delivery(part.batch)
        self._transport = transport
        self._probe = probe
        self._renewals = 0
        self._grant: Grant | None = None  # tokens reserved for the next request
        self._has_cut = False  # only the start of a text was sent
        self._asked_at = 0.0
        self._exchange = Exchange(
            run, transport, self._delivery, reservation, part.batch.request_bytes, is_repeated=part.refusal is not None
        )

    async def complete(self) -> list[SubBatch]:
        """Request the texts until all have a result or a failure.

        Returns:
            Smaller parts to process instead, if the API does not accept the texts together.

        Raises:
            AsyncEmbedError: if the run cannot go on; vectors that arrived have been delivered.
        """
        if self._batch.refused:
            await self._run.give_up(self._batch.refused, self._reservation)
        if self._part.is_guilty and len(self._part) > 1:
            assert self._part.refusal
            return self._report_split(halves(self._part, self._batch.inputs, self._part.refusal), self._part.refusal)
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
        """Give back the permit of a request that will not be sent."""
        permit, self._permit = self._permit, None
        if permit:
            permit.withdraw()
        if self._outage_probe:  # let another request probe
            self._end_attempt(failed=None)

    async def _attempts(self) -> list[SubBatch]:
        self._part.backoff = self._part.backoff or Backoff(self._endpoint.retry)
        backoff = self._part.backoff
        last: AsyncEmbedError | None = None
        while texts := self._begin_attempt():
            if (cut := await self._wait_until_allowed(texts)) is not None:
                return cut
            if last and backoff.is_over:
                await self._fail_missing(last, attempts_error(last, self._delivery.missing, backoff.describe()))
                return []
            limits = self._run.learned_limits
            if not fits(self._batch, limits):
                return self._report_split(smaller(self._part, self._missing(), limits, None), self._part.refusal)
            before = self._delivery.count_missing
            encoding = self._run.wire_encoding
            self._asked_at = time.monotonic()
            last = await self._attempt(texts, encoding)
            if last is None:
                continue
            # A request for both encodings was refused: one for numbers alone may succeed, or fail with a clearer error.
            if self._exchange.refused_both or await self._has_newer_key(last):
                self._run.observer.retry(last, 0.0, self._delivery)
                continue
            wants_base64 = encoding == "base64" and self._endpoint.encoding == "auto"
            parts = await self._handle_error(last, texts, wants_base64=wants_base64)
            if parts is not None:
                return parts
            if self._delivery.count_missing < before:
                self._part.case.progressed()
        await self._accepted()
        return []

    async def _accepted(self) -> None:
        """Note that the API took the texts."""
        self._part.accepted()
        caps = self._endpoint.learned.caps[self._run.options.model]
        caps.accepted(len(self._batch))
        if self._part.is_guilty and not self._has_cut:  # none of the texts that were refused together is bad
            caps.refused_together(self._part.refused_together)
        if self._batch.is_apart and self._run.long_texts:
            self._run.long_texts.accepted()
        if self._part.suspects:
            await self._give_up_suspects()

    def _begin_attempt(self) -> list[str]:
        """Begin an attempt, and return the texts to send."""
        texts, long_texts = self._delivery.begin_attempt(), self._run.long_texts
        if not long_texts:
            return texts
        sent = long_texts.as_sent(self._delivery, texts)
        self._has_cut |= sent != texts
        return sent

    async def _attempt(self, texts: list[str], encoding: Literal["base64", "float"]) -> AsyncEmbedError | None:
        """Make an attempt and return its error, so that later exceptions do not get it as their `__context__`."""
        before = self._delivery.count_missing
        try:
            await self._watched(self._exchange.send(texts, encoding, self._take_permit()), len(texts))
        except AsyncEmbedError as error:
            arrived = before - self._delivery.count_missing
            self._run.salvaged += arrived
            if arrived and self._part.backoff:
                self._part.backoff.progressed()
            return error
        finally:
            self._give_back(self._exchange.billed)
        return None

    async def _wait_until_allowed(self, texts: Sequence[str]) -> list[SubBatch] | None:
        """Wait until the request may be sent; return the parts to send instead, maybe none, or None to send it."""
        spending = self._run.spending
        cut = await self._afford(spending, texts) if spending else None
        return [] if cut is None and not await self._may_send(len(texts)) else cut

    async def _afford(self, spending: Spending, texts: Sequence[str]) -> list[SubBatch] | None:
        """Reserve tokens for a request; return None, or the parts to send instead if not all of its texts fit.

        Raises:
            BudgetExceededError: if not even the first text fits into the cap.
        """
        self._grant, self._part.grant = self._part.grant, None
        if self._grant:
            return None
        granted: list[Grant] = []

        async def reserve() -> None:
            granted.append(await spending.reserve(texts))

        await self._run.stopping.wait(reserve)
        if not granted:
            return []
        grant = granted[0]
        if not grant.texts and self._run.stopping.is_on:  # another worker has ended the run
            return []
        if grant.texts == len(texts):
            self._grant = grant
            return None
        if not grant.texts:
            raise spending.error(texts)
        return first_and_rest(self._part, self._missing(), grant)

    def _give_back(self, billed: Billed | None = None) -> None:
        """Release the tokens reserved for a request that has ended or is not sent."""
        grant, self._grant = self._grant, None
        if grant and self._run.spending:
            self._run.spending.release(grant, billed)

    async def _handle_error(
        self, error: AsyncEmbedError, texts: Sequence[str], *, wants_base64: bool
    ) -> list[SubBatch] | None:
        """Handle the error of a request.

        Returns:
            The parts to process instead; none if the texts have failed or the run stops; None to request the missing
            texts again.
        """
        run = self._run
        verdict = run.blame.decide(error, texts, self._part.case, wants_base64=wants_base64)
        if verdict.step is Step.PROBE:
            probed = await self._probed(error, texts, verdict, wants_base64=wants_base64)
            if probed is None:
                return []
            verdict = probed
        if verdict.step is Step.AGAIN:
            return None if await self._back_off(error) else []
        if verdict.step in {Step.AT_ONCE, Step.FLOATS}:
            self._endpoint.learned.refuses_base64 |= verdict.step is Step.FLOATS
            run.observer.retry(error, 0.0, self._delivery)
            return None
        if verdict.step is Step.END:
            run.stopping.is_final = True
            raise self._with_texts_of(error, request_error(error, verdict.meaning, self._delivery.missing))
        if run.long_texts and verdict.meaning == "text" and self._cut_long_texts(run.long_texts, error):
            run.observer.retry(error, 0.0, self._delivery)
            return None
        return await self._in_parts(error, verdict, len(texts))

    def _cut_long_texts(self, long_texts: LongTexts, error: AsyncEmbedError) -> bool:
        """Cut texts that the API refuses as too long, if the caller wants that, and return whether to send them."""
        missing, case, answer = self._missing(), self._part.case, answer_of(error)
        indices = list(missing)
        named = [indices[position] for position in answer.named(len(indices))] if answer else []
        if not long_texts.cut_again(error, missing, named, apart=self._batch.is_apart):
            return False
        case.named = ()  # the same positions may be named again
        case.progressed()
        return True

    async def _in_parts(self, error: AsyncEmbedError, verdict: Verdict, count: int) -> list[SubBatch]:
        """Return the parts to process instead of texts that the API does not accept together, or give them up."""
        part, missing = self._part, self._missing()
        if verdict.step is Step.SMALLER:
            # A smaller request needs no delay, but its attempts are counted.
            if verdict.meaning == "time" and part.backoff and part.backoff.next_delay(error) is None:
                note = part.backoff.describe()
                await self._fail_missing(error, attempts_error(error, self._delivery.missing, note))
                return []
            self._learn_size(error, count)
            return self._report_split(smaller(part, missing, self._run.learned_limits, error), error)
        if verdict.step is Step.APART:
            indices = self._delivery.missing
            named = [indices[position] for position in verdict.named]
            return self._report_split(apart(part, missing, named, error), error, len(named))
        if verdict.step is Step.HALVES or part.suspects:  # the rest is refused too, so the suspects may be good
            return self._report_split(halves(part, missing, error), error)
        await self._fail_missing(error, text_error(error, self._delivery.missing))
        return []

    async def _probed(
        self, error: AsyncEmbedError, texts: Sequence[str], verdict: Verdict, *, wants_base64: bool
    ) -> Verdict | None:
        """Send a probe, and decide again with its outcome; return None if the run stops and sends none."""
        try:
            answer = await self._probe.ask(self._asked_at)
        except StreamClosedError:
            return None
        case = self._part.case
        is_likewise = answer is not None and is_refused_likewise(error, answer)
        self._run.observer.probed(answer, "refused" if is_likewise else "unclear" if answer else "taken")
        if answer is None:
            case.is_proven = True
            case.failures -= 1  # the same error is decided again, and must not count twice
            return self._run.blame.decide(error, texts, case, wants_base64=wants_base64)
        return replace(verdict, step=Step.END if is_likewise else Step.AGAIN)

    def _missing(self) -> Mapping[int, EmbedInput]:
        """Return the texts whose vectors are missing."""
        return {index: self._batch.inputs[index] for index in self._delivery.missing}

    def _report_split(self, parts: list[SubBatch], refusal: AsyncEmbedError | None, apart: int = 0) -> list[SubBatch]:
        """Report that texts are split because of `refusal`, and return the parts."""
        if refusal:
            without_frames(refusal)  # the frames hold request and response
        if refusal and (len(parts) > 1 or apart):
            indices = sorted(index for part in parts for index in (*part.batch.inputs, *part.suspects))
            sizes = [len(part) for part in parts] + [apart] * bool(apart)
            self._run.observer.split(refusal, indices, sizes)
        return parts

    def _learn_size(self, error: AsyncEmbedError, count: int) -> None:
        """Learn the limit that a request of `count` texts has exceeded."""
        if isinstance(error, ResponseError) and error.is_short:  # the server answers no more texts at once
            self._endpoint.learned.caps[self._run.options.model].limit_inputs(count - len(error.missing))
        elif isinstance(error, APIStatusError) and (excess := read_too_large(error)):
            caps = self._endpoint.learned.caps[self._run.options.model]
            caps.learn(excess, count, self._bytes_of(count))

    async def _give_up_suspects(self) -> None:
        """Give up the texts that the API named, as it accepts the rest."""
        error, suspects = self._part.refusal, self._part.suspects
        assert error
        await self._give_up(list(suspects.items()), text_error(error, tuple(suspects)), error)

    async def _fail_missing(self, cause: AsyncEmbedError, error: AsyncEmbedError) -> None:
        """Give up the missing texts, or end the run with `error`."""
        await self._give_up(self._delivery.give_up(), error, cause)
        if self._part.suspects:
            await self._give_up_suspects()

    async def _give_up(
        self, lost: Sequence[tuple[int, EmbedInput]], error: AsyncEmbedError, cause: AsyncEmbedError
    ) -> None:
        run = self._run
        assert self._part.backoff
        self._with_texts_of(cause, error)
        if self._part.backoff.is_hopeless:
            run.stopping.is_final = True
            raise error
        run.failure_budget.record(error)
        if run.on_error == "raise" or not run.failure_budget.allows(error, run.done):
            name_texts(error, lost, self._transport.secrets)
            raise error
        await run.give_up([(index, item, error) for index, item in lost], self._reservation)

    def _with_texts_of(self, cause: AsyncEmbedError, error: AsyncEmbedError) -> AsyncEmbedError:
        """Let events redact the same texts in `error` as in `cause`, and return `error`."""
        if error is not cause:
            self._run.observer.copy_texts(cause, error)
        return error

    async def _has_newer_key(self, error: AsyncEmbedError) -> bool:
        """Return whether `error` refuses the key and there is a newer one; it may call the caller's function."""
        try:
            has_one = self._renewals < MAX_RENEWALS and await self._transport.renew_key(error)
        except AsyncEmbedError as failure:  # raised by the caller's key function
            self._run.stopping.is_final = True
            failure.indices = self._delivery.missing
            raise
        self._renewals += has_one
        return has_one

    async def _watched(self, attempt: Awaitable[None], count: int) -> None:
        """Make an attempt, and record what its outcome says about the state of the API."""
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

    async def _may_send(self, count: int) -> bool:
        """Wait until a request of `count` texts may be sent; return False if the run is stopping instead."""
        stopping, pause, breaker = self._run.stopping, self._endpoint.learned.pause, self._endpoint.learned.breaker
        probe = self._probe
        while not stopping.is_on:
            if probe.is_asking:
                await stopping.wait(probe.wait)
            if pause.is_on:
                await stopping.wait(pause.wait)
            if self._permit is None:
                await stopping.wait(partial(self._get_permit, count))
            if not breaker.allows(self._outage_probe):
                await stopping.wait(self._wait_for_outage)
            # The last gate, because the limits count the request from now on.
            if self._permit and not self._permit.try_begin():
                await stopping.wait(self._permit.begin)
            if breaker.allows(self._outage_probe) and not (pause.is_on or stopping.is_on or probe.is_asking):
                return True
        return False

    async def _wait_for_outage(self) -> None:
        with self._run.observer.outage_notice as notice:
            self._outage_probe = await self._endpoint.learned.breaker.wait(notice.starts, is_query=self._run.is_query)

    def _take_permit(self) -> RatePermit:
        permit, self._permit = self._permit, None
        assert permit
        return permit

    async def _get_permit(self, count: int) -> None:
        self._permit = await self._run.rate_gate.acquire(count, self._bytes_of(count))

    def _bytes_of(self, count: int) -> int:
        """Return the estimated size of a request of `count` texts of the batch."""
        return self._batch.request_bytes * count // max(len(self._batch), 1)

    async def _back_off(self, error: AsyncEmbedError) -> bool:
        """Wait before the next attempt, or until the run stops; return False if the texts failed instead."""
        backoff = self._part.backoff
        assert backoff
        wait = backoff.next_delay(error)
        if wait is None:
            await self._fail_missing(error, attempts_error(error, self._delivery.missing, backoff.describe()))
            return False
        self._run.observer.retry(error, wait, self._delivery)
        if getattr(error, "retry_after", None) is not None:
            self._run.observer.paused(error, wait, again=self._endpoint.learned.pause.is_on)
            self._endpoint.learned.pause.extend(wait)
        await self._run.stopping.wait(partial(anyio.sleep, wait))
        return True


def _is_too_slow(error: AsyncEmbedError) -> bool:
    """Return whether the server, or a gateway in front of it, did not respond in time."""
    is_gateway = isinstance(error, APIStatusError) and error.status in {504, 524, 598}
    return is_gateway or (isinstance(error, EmbedTimeoutError) and error.phase == "answer")
