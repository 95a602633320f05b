"""One batch: ask for it, as a whole or in parts, and ask again only for what did not arrive."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from asyncembed._decide.excess import read_excess
from asyncembed._errors import AsyncEmbedError, InvalidInputError
from asyncembed.flow._retry import Backoff, is_overload, is_retryable
from asyncembed.pipeline._endpoint import blames_encoding
from asyncembed.pipeline._excerpt import name_texts
from asyncembed.pipeline._exchange import Exchange
from asyncembed.pipeline._parts import Parts

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from asyncembed.flow._memory import Reservation
    from asyncembed.flow._outage import Probe
    from asyncembed.pipeline._admission import Permit
    from asyncembed.pipeline._chunker import Batch
    from asyncembed.pipeline._parts import Part
    from asyncembed.pipeline._run import Run
    from asyncembed.wire._transport import Transport


MOST_RENEWALS: Final = 3
"""Refusals of a key after which one batch asks with another one: keys may expire while a batch waits."""


class Worker:
    """Brings one batch to its end: every text of it gets its result, or a failure, or ends the run."""

    def __init__(self, run: Run, transport: Transport, batch: Batch, reservation: Reservation, permit: Permit) -> None:
        self._run = run
        self._endpoint = run.endpoint
        self._batch = batch
        self._reservation = reservation
        self._permit: Permit | None = permit  # for the next request
        self._probe: Probe | None = None  # if that is to find out whether the API is back
        self._parts = Parts(batch.inputs)
        self._refusal: InvalidInputError | None = None  # why parts were last asked for
        self._is_hopeless = False  # whether the API wants to be left alone for longer than the run may wait
        self._delivery = run.new_delivery(batch)
        self._transport = transport
        self._secrets = transport.secrets
        self._renewals = 0
        self._exchange = Exchange(run, transport, self._delivery, reservation, batch.request_bytes)

    async def complete(self) -> None:
        """Deliver the batch, unless the run is stopped before.

        Raises:
            AsyncEmbedError: if the whole run cannot go on; what had arrived was delivered before.
        """
        if self._batch.refused:
            await self._run.failures.give_up(self._batch.refused, self._reservation)
        self._run.in_flight += 1
        try:
            while part := self._parts.next():
                if part.is_refused:  # with its other half, and that was taken
                    assert self._refusal
                    self._split(part, self._refusal, self._parts.halve(part))
                    continue
                await self._complete(part)
                if self._run.stopping.is_on:
                    return
        finally:
            self._run.deliver(self._delivery.rest(), self._reservation)
            self._run.in_flight -= 1

    def withdraw(self) -> None:
        """Give back the leave to send a request that will not be sent."""
        permit, self._permit = self._permit, None
        if permit:
            permit.withdraw()
        if self._probe:  # another request may find out
            self._end_attempt(failed=None)

    async def _complete(self, part: Part) -> None:
        try:
            await self._attempts(part)
        except AsyncEmbedError as error:
            error.indices = self._delivery.missing or error.indices
            lost = self._delivery.give_up()
            if self._is_hopeless or ends_every_batch(error):
                raise
            if self._run.on_error == "raise" or not self._run.losses.may_go_on(error, self._run.done):
                name_texts(error, lost, self._secrets)
                raise
            await self._run.failures.give_up([(index, item, error) for index, item in lost], self._reservation)

    async def _attempts(self, part: Part) -> None:
        backoff = Backoff(self._endpoint.retry)
        last: AsyncEmbedError | None = None
        while texts := self._delivery.ask(part.indices):
            if not await self._may_ask(len(texts)):
                return
            if last and backoff.is_over:
                self.withdraw()
                raise _final(last, backoff)
            before = self._delivery.count_missing
            encoding = self._endpoint.wire_encoding(compact=self._run.compact)
            try:
                await self._watched(self._exchange.ask(texts, encoding, self._take_permit()))
            except AsyncEmbedError as error:
                last = error
                arrived = before - self._delivery.count_missing
                self._run.salvaged += arrived
                if arrived:
                    backoff.progressed()
                if self._endpoint.learns_from(error, encoding) or await self._has_newer_key(error):
                    self._run.observer.retry(error, 0.0, self._delivery)
                    continue
                if self._is_split(part, error):
                    return
                await self._back_off(backoff, error)
        self._parts.taken(part)

    async def _has_newer_key(self, error: AsyncEmbedError) -> bool:
        """Whether the key has expired, and there is another one to ask with."""
        has_one = self._renewals < MOST_RENEWALS and await self._transport.renew_key(error)
        self._renewals += has_one
        return has_one

    async def _watched(self, attempt: Awaitable[None]) -> None:
        """Make an attempt, and note what it says about the state of the API."""
        before, failed = self._delivery.count_missing, None
        try:
            await attempt
            failed = False
            self._endpoint.concurrency.succeeded()
        except AsyncEmbedError as error:
            failed = is_retryable(error) and self._delivery.count_missing == before
            raise
        finally:
            self._end_attempt(failed=failed)

    def _end_attempt(self, *, failed: bool | None) -> None:
        probe, self._probe = self._probe, None
        self._endpoint.learned.outage.end_attempt(probe, failed=failed)

    async def _may_ask(self, count: int) -> bool:
        """Wait until a request for so many texts may be sent; whether it may, or the run is stopping instead."""
        stopping, pause, outage = self._run.stopping, self._endpoint.learned.pause, self._endpoint.learned.outage
        while not stopping.is_on:
            if pause.is_on:
                await stopping.wait(pause.wait)
            if self._permit is None:
                await stopping.wait(partial(self._ask_for_leave, count))
            if not outage.lets_through(self._probe):
                await stopping.wait(self._wait_for_outage)
            if self._permit:  # the last thing to ask, as it counts from when the request is sent
                await stopping.wait(self._permit.begin)
            if outage.lets_through(self._probe) and not (pause.is_on or stopping.is_on):
                return True
        return False

    async def _wait_for_outage(self) -> None:
        with self._run.observer.outage_hold as hold:
            self._probe = await self._endpoint.learned.outage.wait(hold.begins)

    def _take_permit(self) -> Permit:
        permit, self._permit = self._permit, None
        assert permit
        return permit

    async def _ask_for_leave(self, count: int) -> None:
        self._permit = await self._run.admission.ask(count, self._bytes_of(count))

    def _bytes_of(self, count: int) -> int:
        """About how many bytes so many texts of the batch take in a request."""
        return self._batch.request_bytes * count // max(len(self._batch), 1)

    def _is_split(self, part: Part, error: AsyncEmbedError) -> bool:
        """Whether the API does not take a part as it is, so that smaller ones are to be asked for."""
        if not isinstance(error, InvalidInputError) or len(part) == 1 or blames_encoding(error):
            return False
        if (excess := read_excess(error)) and not excess.is_of_one_text:
            caps = self._endpoint.learned.caps[self._run.options.model]
            sizes = self._parts.cut(part, caps.learn(excess, len(part), self._bytes_of(len(part))))
        else:
            sizes = self._parts.halve(part)
        self._split(part, error, sizes)
        return True

    def _split(self, part: Part, error: InvalidInputError, sizes: list[int]) -> None:
        """Note that a part is asked for in parts of these sizes, because of `error`."""
        self._refusal = error.with_traceback(None)  # its frames hold what was sent and received
        self._run.observer.split(error, part.indices, sizes)

    async def _back_off(self, backoff: Backoff, error: AsyncEmbedError) -> None:
        """Wait until the next attempt may begin or the run ends; raise `error` if there is to be no attempt."""
        wait = backoff.wait_before_retry(error)
        if is_overload(error):
            self._endpoint.concurrency.overloaded()
        if wait is None:
            self._is_hopeless = backoff.is_hopeless
            raise _final(error, backoff)
        self._run.observer.retry(error, wait, self._delivery)
        if getattr(error, "retry_after", None) is not None:
            self._run.observer.paused(error, wait, again=self._endpoint.learned.pause.is_on)
            self._endpoint.learned.pause.extend(wait)
        await self._run.stopping.wait(partial(anyio.sleep, wait))


def _final(error: AsyncEmbedError, backoff: Backoff) -> AsyncEmbedError:
    """Return an error that ends a batch, and say in it what was tried."""
    error.args = (f"{error}{backoff.describe()}", *error.args[1:])
    return error


def ends_every_batch(error: BaseException) -> bool:
    """Whether an error concerns all batches: a wrong key does, and so does a server that mixes up its vectors."""
    one_batch = isinstance(error, InvalidInputError) or (isinstance(error, AsyncEmbedError) and is_retryable(error))
    return not one_batch
