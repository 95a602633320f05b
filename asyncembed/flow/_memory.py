"""Memory as the semaphore: requests start only while what they may need fits into a budget of bytes.

The budget is weighted and strictly first come, first served: letting a small request pass a large one that waits
would starve the large one for ever. A request that is larger than the whole budget runs alone instead of never.

Grants are made synchronously by whoever releases, so a waiter that is cancelled in the same tick as it is granted
gives back what it got, and the head of the queue being cancelled wakes the one behind it.
"""

from __future__ import annotations

import asyncio
from collections import deque


class MemoryBudget:
    """A weighted first-come-first-served semaphore over bytes; one per client, shared by its streams."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.reserved = 0
        self.peak = 0
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def waiting(self) -> int:
        """Requests that wait for memory."""
        return len(self._waiters)

    async def reserve(self, cost: int, *, at_once: bool = False) -> None:
        """Wait until `cost` bytes are free, or everything is if that is more than the budget, and reserve them.

        Args:
            cost: Bytes.
            at_once: Take them without waiting. For a stream that holds nothing: if it had to wait for another one,
                a consumer that calls the client before it takes its next result would wait for itself.
        """
        if at_once or not (self._waiters or not self._fits(cost)):
            self._grant(cost)
        else:
            await self._wait(cost)

    def release(self, cost: int) -> None:
        """Give bytes back and start whoever fits now."""
        self.reserved -= cost
        self._wake()

    def _fits(self, cost: int) -> bool:
        return self.reserved + cost <= self.total or self.reserved == 0

    def _grant(self, cost: int) -> None:
        self.reserved += cost
        self.peak = max(self.peak, self.reserved)

    def _wake(self) -> None:
        while self._waiters and self._fits(self._waiters[0][0]):
            cost, waiter = self._waiters.popleft()
            if not waiter.done():
                self._grant(cost)
                waiter.set_result(None)

    async def _wait(self, cost: int) -> None:
        waiter = asyncio.get_running_loop().create_future()
        entry = (cost, waiter)
        self._waiters.append(entry)
        try:
            await waiter
        except asyncio.CancelledError:
            if entry in self._waiters:
                self._waiters.remove(entry)
                self._wake()
            elif not waiter.cancelled():
                self.release(cost)
            raise


class Reservation:
    """The bytes of one batch: a part for its requests, and a share for each result until that is taken.

    Args:
        budget: Where the bytes were reserved.
        working: Bytes that are free again when the last request of the batch has ended.
        waiting: Bytes that become free as its results are taken.
        results: How many results there will be.
        owner: The open reservations of a stream; this one is a member until everything is given back.
    """

    __slots__ = ("_budget", "_held", "_left", "_owner", "_share", "_working")

    def __init__(
        self, budget: MemoryBudget, *, working: int, waiting: int, results: int, owner: set[Reservation]
    ) -> None:
        self._budget = budget
        self._working = working
        self._held = working + waiting
        self._share = waiting // results
        self._left = results
        self._owner = owner
        owner.add(self)

    def end_work(self) -> None:
        """Give back the part for requests."""
        working, self._working = self._working, 0
        self._give_back(working)

    def take_result(self) -> None:
        """Give back the share of one result."""
        self._left -= 1
        self._give_back(self._share)

    def release(self) -> None:
        """Give everything back; a second call does nothing."""
        self._left = self._working = 0
        self._give_back(0)

    def _give_back(self, size: int) -> None:
        if self._left <= 0 and not self._working:
            size = self._held  # what rounding left over, too
            self._owner.discard(self)
        size = min(size, self._held)
        self._held -= size
        if size:
            self._budget.release(size)
