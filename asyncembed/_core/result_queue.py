"""Finished results on their way to the consumer: in bursts, in order or as completed.

A burst is what one piece of a response completed, and in an ordered queue what follows each other in it. It is moved as
a whole, as most of what a single result would cost here is the same for many.

Nothing here blocks a producer. What waits is bounded by the memory budget, because a request's reservation is given
back burst by burst as the consumer takes them; a producer that waited for room here would keep a request slot from
the very call that a consumer may make before it takes the next result.

The consumer waits and then takes, so a result is never in the hands of a task that is being cancelled.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Final, TypeAlias

from asyncembed._core.memory import Reservation
from asyncembed._exceptions import AsyncEmbedError
from asyncembed._models import EmbedBlock, EmbedFailure, EmbedResult, Withdrawal

if TYPE_CHECKING:
    from collections.abc import Iterator


HELD_PER_READY: Final = 8
"""Bursts that may wait for an earlier one, for each that may be ready."""

Item: TypeAlias = EmbedResult | EmbedFailure | EmbedBlock | Withdrawal
"""What a stream gives: it has an `index`, and a `span` of inputs from there on that it stands for."""

ResultChunk: TypeAlias = tuple[Sequence[Item], Reservation]
"""Results, one at least, and the reservation that they are to be taken off."""

_index_of = attrgetter("index")
_index_at = itemgetter(0)
_span_of = attrgetter("span")


class ResultQueue:
    """A queue of results for one consumer.

    Args:
        ordered: Whether results leave by index, or as they come.
        first: The lowest index there will be.
        max_ready: Bursts that may be ready, and an eighth of those that may wait for an earlier one, before there is
            no room for more; None for as many as memory allows.
        most_unsettled: Inputs from which on there is no room for more until `settled` was called for some of them.
    """

    def __init__(
        self, *, ordered: bool, first: int = 0, max_ready: int | None = None, most_unsettled: int | None = None
    ) -> None:
        self._ordered = ordered
        self._ready: deque[ResultChunk] = deque()
        self._held: dict[int, ResultChunk | None] = {}  # came early, by the first index; None stands for one left out
        self._next = first
        self._busy = False  # somebody is in `get`
        self._closed = False
        self.error: BaseException | None = None
        """What the queue was closed with."""
        self._waiter: asyncio.Future[None] | None = None
        self._most_ready = max_ready
        self._most_unsettled = most_unsettled
        self._unsettled = 0
        self._room = asyncio.Event()

    async def wait_for_room(self) -> None:
        """Wait until few enough bursts are ready for new ones to be asked for."""
        while not self._has_room():
            self._room.clear()
            await self._room.wait()

    def _has_room(self) -> bool:
        if self._most_unsettled is not None and self._unsettled >= self._most_unsettled:
            return False
        most = self._most_ready
        return most is None or (len(self._ready) <= most and len(self._held) <= HELD_PER_READY * most)

    def put(self, items: Sequence[Item], reservation: Reservation) -> None:
        """Hand over results, one at least, that came at the same time."""
        if self._most_unsettled is not None:
            self._unsettled += sum(map(_span_of, items))
        if self._ordered:
            self._held.update((run[0].index, (run, reservation)) for run in _runs(items))
            self._release()
        else:
            self._ready.append((items, reservation))
        self._wake()

    def settled(self, inputs: int) -> None:
        """Say that so many inputs that came out of here are where they are safe."""
        self._unsettled -= inputs
        self._room.set()

    def skip(self, index: int) -> None:
        """Say that nothing will come for this index."""
        if self._ordered:
            self._held[index] = None
            self._release()
            self._wake()

    def close(self, error: BaseException | None = None, *, with_gaps: bool = False) -> None:
        """End the queue: after what is ready, the consumer gets `error`, or the end. The first call counts.

        With `with_gaps` it gets what came after a missing result, too, in order.
        """
        if not self._closed:
            self._closed, self.error = True, error
            if with_gaps:
                self._ready += (held for _, held in sorted(self._held.items(), key=_index_at) if held)
            self._held.clear()
            self._wake()

    async def get(self) -> deque[ResultChunk]:
        """Wait for results and take all that are ready; none means that the queue has ended, maybe with `error`."""
        if self._busy:
            raise AsyncEmbedError("a stream has one consumer at a time; another task is waiting for its results")
        self._busy = True
        try:
            # A consumer that keeps up would otherwise never let anything else run.
            await asyncio.sleep(0)
            while not self._ready and not self._closed:
                await self._wait()
        finally:
            self._busy = False
        return self.take_ready()

    async def wait(self, deadline: float | None) -> None:
        """Wait until results are ready or the queue has ended, but not beyond a time of the event loop's clock."""
        if self._ready or self._closed:
            await asyncio.sleep(0)  # or nothing else would ever run beside a consumer that keeps up
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
        """Whether nothing more will come, and nothing is ready."""
        return self._closed and not self._ready

    def take_ready(self) -> deque[ResultChunk]:
        """Take all results that are ready, without waiting; maybe none."""
        burst, self._ready = self._ready, deque()
        self._room.set()
        return burst

    def clear(self) -> None:
        """Drop everything that was not taken."""
        self._ready.clear()
        self._held.clear()

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _release(self) -> None:
        while self._next in self._held:
            burst = self._held.pop(self._next)
            if burst:
                self._ready.append(burst)
                last = burst[0][-1]
                self._next = last.index + last.span
            else:
                self._next += 1

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done() and (self._ready or self._closed):
            self._waiter.set_result(None)


def _end_wait(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _runs(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Split results into those that follow each other."""
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
