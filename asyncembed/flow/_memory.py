"""Memory as the semaphore: requests start only while what they may need fits into a budget of bytes.

The budget is weighted and first come, first served: letting a small request pass a large one that waits would starve
the large one for ever. A request that is larger than the whole budget runs alone instead of never.

One thing goes before the queue: a stream that holds nothing never waits. It could be that of a consumer that calls the
client again before it takes its next result; if it waited for memory that other results hold, it would wait for its own
caller. So the budget may be exceeded by one batch for each stream after the first.

Grants are made synchronously by whoever releases, so a waiter that is cancelled in the same tick as it is granted
gives back what it got, and the head of the queue being cancelled wakes the one behind it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TypeAlias

Owner: TypeAlias = "set[Reservation]"
"""The open reservations of one stream."""


@dataclass(slots=True, eq=False)
class _Waiter:
    cost: int
    owner: Owner
    granted: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class MemoryBudget:
    """A weighted first-come-first-served semaphore over bytes; one per client, shared by its streams."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.reserved = 0
        self.peak = 0
        self._waiters: list[_Waiter] = []  # as many as there are streams that wait

    @property
    def waiting(self) -> int:
        """Requests that wait for memory."""
        return len(self._waiters)

    async def reserve(self, cost: int, owner: Owner) -> None:
        """Wait until `cost` bytes are free, or everything is, or `owner` holds nothing; and reserve them."""
        if not owner or (not self._waiters and self._fits(cost)):
            self._grant(cost)
        else:
            await self._wait(_Waiter(cost, owner))

    def release(self, cost: int, owner: Owner) -> None:
        """Give back bytes of `owner`, and start whoever may go on now."""
        self.reserved -= cost
        if not owner:
            for waiter in [waiter for waiter in self._waiters if waiter.owner is owner]:
                self._let_go(waiter)
        self._wake()

    def _fits(self, cost: int) -> bool:
        return self.reserved + cost <= self.total or self.reserved == 0

    def _grant(self, cost: int) -> None:
        self.reserved += cost
        self.peak = max(self.peak, self.reserved)

    def _let_go(self, waiter: _Waiter) -> None:
        self._waiters.remove(waiter)
        if not waiter.granted.done():
            self._grant(waiter.cost)
            waiter.granted.set_result(None)

    def _wake(self) -> None:
        while self._waiters and self._fits(self._waiters[0].cost):
            self._let_go(self._waiters[0])

    async def _wait(self, waiter: _Waiter) -> None:
        self._waiters.append(waiter)
        try:
            await waiter.granted
        except asyncio.CancelledError:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
                self._wake()
            elif not waiter.granted.cancelled():
                self.release(waiter.cost, waiter.owner)
            raise


class Reservation:
    """The bytes of one batch: a part for its requests, and a share for each result until that is taken.

    Args:
        budget: Where the bytes were reserved.
        working: Bytes that are free again when the last request of the batch has ended.
        waiting: Bytes that become free as its results are taken.
        results: How many results there will be.
        owner: The stream's open reservations; this one is a member until everything is given back.
    """

    __slots__ = ("_budget", "_held", "_left", "_owner", "_share", "_working")

    def __init__(self, budget: MemoryBudget, *, working: int, waiting: int, results: int, owner: Owner) -> None:
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
            self._budget.release(size, self._owner)
