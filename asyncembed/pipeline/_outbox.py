"""Finished results on their way to the consumer: in bursts, in order or as completed.

Nothing here blocks a producer. What waits is bounded by the memory budget, because a request's reservation is given
back result by result as the consumer takes them; a producer that waited for room here would keep a request slot from
the very call that a consumer may make before it takes the next result.

The consumer waits and then pops, so a result is never in the hands of a task that is being cancelled.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, TypeAlias

from asyncembed._errors import AsyncEmbedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asyncembed._models import EmbedBlock, EmbedFailure, EmbedResult
    from asyncembed.flow._memory import Reservation

HELD_PER_READY: Final = 8
"""Items that may wait for an earlier one, for each that may be ready."""

Item: TypeAlias = "EmbedResult | EmbedFailure | EmbedBlock"
"""What a stream gives: it has an `index`, and a `span` of inputs from there on that it stands for."""

Entry: TypeAlias = "tuple[Item, Reservation]"
"""A result and the reservation that it is to be taken off."""


class Outbox:
    """A queue of results for one consumer.

    Args:
        ordered: Whether results leave by index, or as they come.
        first: The lowest index there will be.
        most_ready: Items that may be ready, and an eighth of those that may wait for an earlier one, before there is no
            room for more; None for as many as memory allows.
    """

    def __init__(self, *, ordered: bool, first: int = 0, most_ready: int | None = None) -> None:
        self._ordered = ordered
        self._ready: deque[Entry] = deque()
        self._held: dict[int, Entry | None] = {}  # came early; None stands for an index that was left out
        self._next = first
        self._busy = False  # somebody is in `get`
        self._closed = False
        self.error: BaseException | None = None
        """What the queue was closed with."""
        self._waiter: asyncio.Future[None] | None = None
        self._most_ready = most_ready
        self._room = asyncio.Event()

    async def wait_for_room(self) -> None:
        """Wait until few enough items are ready for new ones to be asked for."""
        while not self._has_room():
            self._room.clear()
            await self._room.wait()

    def _has_room(self) -> bool:
        most = self._most_ready
        return most is None or (len(self._ready) <= most and len(self._held) <= HELD_PER_READY * most)

    def put(self, items: Iterable[Item], reservation: Reservation) -> None:
        """Hand over results of one burst."""
        entries = [(item, reservation) for item in items]
        if self._ordered:
            self._held.update((entry[0].index, entry) for entry in entries)
            self._release()
        else:
            self._ready.extend(entries)
        self._wake()

    def leave_out(self, index: int) -> None:
        """Say that nothing will come for this index."""
        if self._ordered:
            self._held[index] = None
            self._release()
            self._wake()

    def close(self, error: BaseException | None = None) -> None:
        """End the queue: after what is ready, the consumer gets `error`, or the end. The first call counts."""
        if not self._closed:
            self._closed, self.error = True, error
            self._held.clear()
            self._wake()

    async def get(self) -> deque[Entry]:
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

    def take_ready(self) -> deque[Entry]:
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
            entry = self._held.pop(self._next)
            if entry:
                self._ready.append(entry)
            self._next += entry[0].span if entry else 1

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done() and (self._ready or self._closed):
            self._waiter.set_result(None)
