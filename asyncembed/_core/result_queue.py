"""The queue of finished results between the workers and the consumer, by index or in the order of arrival.

Results move in chunks: the results that one piece of a response completed; in an ordered queue, the part of them with
consecutive indices. A chunk costs about as much here as a single result.

The queue never blocks a worker. The memory budget bounds the results that wait, because the memory of a chunk is given
back when the consumer takes it. A worker that waited for room here would keep its request slot, and the consumer may
need that slot for another call before it takes the next result.

The consumer first waits and then takes synchronously, so no result is lost when its task is cancelled.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Final, TypeAlias

from asyncembed._core.memory import Reservation
from asyncembed._exceptions import AsyncEmbedError
from asyncembed._models import EmbedBlock, EmbedFailure, EmbedResult, Scalar, Withdrawal

if TYPE_CHECKING:
    from collections.abc import Iterator


EARLY_PER_READY: Final = 8
"""Early chunks that may wait for a missing one, per chunk that may be ready."""

Item: TypeAlias = EmbedResult[Scalar] | EmbedFailure | EmbedBlock[Scalar] | Withdrawal
"""What a stream yields. It has an `index`, and a `span`: the number of consecutive inputs that it covers."""

ResultChunk: TypeAlias = tuple[Sequence[Item], Reservation]
"""One or more results, and the reservation that holds their memory."""

_index_of = attrgetter("index")
_span_of = attrgetter("span")


class ResultQueue:
    """A queue of results for one consumer.

    Args:
        ordered: Whether results leave by index, or in the order of arrival.
        first: The lowest index of a result.
        max_ready: Maximum number of ready chunks before the queue has no room; eight times as many may wait for an
            earlier one. None if only memory limits them.
        max_unsettled: Maximum number of delivered inputs for which `settled` was not called yet, before the queue has
            no room. None if the consumer does not call it.
    """

    def __init__(
        self, *, ordered: bool, first: int = 0, max_ready: int | None = None, max_unsettled: int | None = None
    ) -> None:
        self._ordered = ordered
        self._ready: deque[ResultChunk] = deque()
        self._early: dict[int, ResultChunk | None] = {}  # by first index; None for a skipped index
        self._next = first
        self._busy = False  # a task is in `get`
        self._closed = False
        self.error: BaseException | None = None
        """What the queue was closed with."""
        self._waiter: asyncio.Future[None] | None = None
        self._max_ready = max_ready
        self._max_unsettled = max_unsettled
        self._unsettled = 0
        self._room = asyncio.Event()

    async def wait_for_room(self) -> None:
        """Wait until the queue has room for the results of another batch."""
        while not self._has_room():
            self._room.clear()
            await self._room.wait()

    def _has_room(self) -> bool:
        if self._max_unsettled is not None and self._unsettled >= self._max_unsettled:
            return False
        limit = self._max_ready
        return limit is None or (len(self._ready) <= limit and len(self._early) <= EARLY_PER_READY * limit)

    def put(self, items: Sequence[Item], reservation: Reservation) -> None:
        """Add one or more results that arrived at the same time."""
        if self._max_unsettled is not None:
            self._unsettled += sum(map(_span_of, items))
        if self._ordered:
            self._early.update((part[0].index, (part, reservation)) for part in _consecutive(items))
            self._release()
        else:
            self._ready.append((items, reservation))
        self._wake()

    def settled(self, inputs: int) -> None:
        """Record that the consumer has stored `inputs` of the delivered inputs safely."""
        self._unsettled -= inputs
        self._room.set()

    def skip(self, index: int) -> None:
        """Record that this index will have no result."""
        if self._ordered:
            self._early[index] = None
            self._release()
            self._wake()

    def close(self, error: BaseException | None = None) -> None:
        """End the queue: after the ready results, the consumer gets `error`, or the end. Later calls do nothing."""
        if not self._closed:
            self._closed, self.error = True, error
            self._early.clear()
            self._wake()

    async def get(self) -> deque[ResultChunk]:
        """Wait for results and take all that are ready; none if the queue has ended, see `error`."""
        if self._busy:
            raise AsyncEmbedError("a stream has one consumer at a time; another task is waiting for its results")
        self._busy = True
        try:
            await asyncio.sleep(0)  # a consumer that always finds results must still let other tasks run
            while not self._ready and not self._closed:
                await self._wait()
        finally:
            self._busy = False
        return self.take_ready()

    async def wait(self, deadline: float | None) -> None:
        """Wait until results are ready, the queue has ended, or the event loop's clock reaches `deadline`."""
        if self._ready or self._closed:
            await asyncio.sleep(0)  # a consumer that always finds results must still let other tasks run
            return
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        timer = loop.call_at(deadline, _end_wait, waiter) if deadline is not None else None
        try:
            await waiter
        finally:
            self._waiter = None
            if timer:
                timer.cancel()

    @property
    def has_ended(self) -> bool:
        """Whether all results were taken and no more will come."""
        return self._closed and not self._ready

    def take_ready(self) -> deque[ResultChunk]:
        """Take all results that are ready, without waiting."""
        ready, self._ready = self._ready, deque()
        self._room.set()
        return ready

    def clear(self) -> None:
        """Drop all results that were not taken."""
        self._ready.clear()
        self._early.clear()

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _release(self) -> None:
        while self._next in self._early:
            chunk = self._early.pop(self._next)
            if chunk:
                self._ready.append(chunk)
                last = chunk[0][-1]
                self._next = last.index + last.span
            else:
                self._next += 1

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done() and (self._ready or self._closed):
            self._waiter.set_result(None)


def _end_wait(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _consecutive(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Split results into parts with consecutive indices."""
    indices = list(map(_index_of, items))
    if indices == list(range(indices[0], indices[0] + len(indices))):  # nearly always
        yield items
        return
    start = 0
    for at, item in enumerate(items[:-1], 1):
        if item.index + item.span != indices[at]:
            yield items[start:at]
            start = at
    yield items[start:]
