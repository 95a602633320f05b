"""Memory as a semaphore: a batch starts only while the memory that it may need fits into a budget of bytes.

The budget is weighted and first come, first served: if small batches could pass a large one that waits, the large one
would starve. A batch that is larger than the whole budget runs alone.

One rule goes before the queue: a stream without reserved memory never waits. Otherwise one task that consumes two
streams would deadlock: the second would wait for memory held by the first one's unread results. So the budget may be
exceeded by one batch for each stream after the first.

A budget may have a guard, such as a `MemoryMonitor`, that knows how much memory the process has left. Results that the
consumer keeps count there, but not in the budget. With a guard, reservations of all budgets of the process together
must also fit into what the guard reports as free, because reserved memory may not be in use yet. No event tells when
the process uses less memory, so a waiting batch polls the guard.

`release` grants memory to waiters synchronously. A waiter that is cancelled in the same event loop iteration in which
its grant arrives gives the memory back, and a cancelled waiter at the head of the queue wakes the one behind it.
"""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias
from weakref import WeakSet

Owner: TypeAlias = "set[Reservation]"
"""The open reservations of one stream."""


POLL_SECONDS: Final = 0.05
"""Seconds between two polls of the guard by a waiting batch."""

BATCHES_AT_ONCE: Final = 8
"""Batches that should fit into the guard's free memory: when it is low, batches get smaller instead of fewer."""

SMALLEST_BATCH: Final = 1_000_000
"""Bytes that a batch may always take, however little memory the guard reports as free."""


_budgets: WeakSet[MemoryBudget] = WeakSet()
_registering = threading.Lock()


class Guard(Protocol):
    """Knows how much memory the process has left."""

    def available_bytes(self) -> int:
        """Return the free bytes; 0 or negative if too much is in use already."""
        ...


@dataclass(slots=True, eq=False)
class _Waiter:
    cost: int
    owner: Owner
    granted: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class MemoryBudget:
    """A weighted first-come-first-served semaphore over bytes; one per client, shared by its streams.

    Args:
        total: Size of the budget in bytes.
        guard: Reports how many bytes the process really has left; None to rely on `total` alone.
    """

    def __init__(self, total: int, guard: Guard | None = None) -> None:
        self.total = total
        self._guard = guard
        self.reserved = 0
        self.peak = 0
        self._waiters: list[_Waiter] = []
        with _registering:
            _budgets.add(self)

    @property
    def waiting(self) -> int:
        """Number of batches that wait for memory."""
        return len(self._waiters)

    @property
    def largest(self) -> int:
        """Maximum number of bytes that one batch should take."""
        if self._guard is None:
            return self.total
        return min(self.total, max(self._guard.available_bytes() // BATCHES_AT_ONCE, SMALLEST_BATCH))

    async def reserve(self, cost: int, owner: Owner) -> None:
        """Wait until `cost` bytes are free, or nothing is reserved, or `owner` holds nothing; then reserve them."""
        if not owner or (not self._waiters and self._fits(cost)):
            self._grant(cost)
        else:
            await self._wait(_Waiter(cost, owner))

    def reserve_beyond(self, cost: int) -> None:
        """Reserve more for a batch that has started, even beyond the budget; later batches wait for it."""
        self._grant(cost)

    def try_reserve(self, cost: int) -> bool:
        """Reserve `cost` bytes if they are free and nothing waits; return whether it did."""
        if self._waiters or not self._fits(cost):
            return False
        self._grant(cost)
        return True

    def release(self, cost: int, owner: Owner) -> None:
        """Give back bytes of `owner`, and grant memory to waiters that it now suffices for."""
        self.reserved -= cost
        if not owner:
            for waiter in [waiter for waiter in self._waiters if waiter.owner is owner]:
                self._start(waiter)
        self._wake()

    def _fits(self, cost: int) -> bool:
        fits = self.reserved + cost <= self.total
        if fits and self._guard:
            fits = reserved_by_all() + cost <= self._guard.available_bytes()
        return fits or self.reserved == 0

    def _grant(self, cost: int) -> None:
        self.reserved += cost
        self.peak = max(self.peak, self.reserved)

    def _start(self, waiter: _Waiter) -> None:
        self._waiters.remove(waiter)
        if not waiter.granted.done():
            self._grant(waiter.cost)
            waiter.granted.set_result(None)

    def _wake(self) -> None:
        while self._waiters and self._fits(self._waiters[0].cost):
            self._start(self._waiters[0])

    async def _wait(self, waiter: _Waiter) -> None:
        self._waiters.append(waiter)
        try:
            while self._guard and not waiter.granted.done():
                await asyncio.wait([waiter.granted], timeout=POLL_SECONDS)
                self._wake()
            await waiter.granted
        except asyncio.CancelledError:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
                self._wake()
            elif not waiter.granted.cancelled():
                self.release(waiter.cost, waiter.owner)
            raise


def reserved_by_all() -> int:
    """Return the bytes that all budgets of this process have reserved."""
    with _registering:
        return sum(budget.reserved for budget in _budgets)


class Reservation:
    """The reserved bytes of one batch: a part for its requests, and a share for each result until it is taken.

    Args:
        budget: The budget that the bytes were reserved in.
        working: Bytes that become free when the last request of the batch has ended.
        waiting: Bytes that become free as the results are taken.
        results: Number of results that the batch will have.
        owner: The stream's open reservations; this one is a member until everything is given back.
    """

    __slots__ = ("_budget", "_owner", "_remaining", "_reserved", "_share", "_working")

    def __init__(self, budget: MemoryBudget, *, working: int, waiting: int, results: int, owner: Owner) -> None:
        self._budget = budget
        self._working = working
        self._reserved = working + waiting
        self._share = waiting // max(results, 1)
        self._remaining = results
        self._owner = owner
        owner.add(self)

    def end_work(self) -> None:
        """Give back the bytes for requests."""
        working, self._working = self._working, 0
        self._give_back(working)

    def consumed(self, results: int = 1) -> None:
        """Give back the shares of results that the consumer has taken."""
        self._remaining -= results
        self._give_back(self._share * results)

    def resize(self, by: int) -> None:
        """Change the share of each result that was not taken by `by` bytes, as its real size becomes known."""
        if self._remaining <= 0 or not by:
            return
        self._share += by
        self._reserved += by * self._remaining
        if by > 0:
            self._budget.reserve_beyond(by * self._remaining)
        else:
            self._budget.release(-by * self._remaining, self._owner)

    def release(self) -> None:
        """Give everything back; a second call does nothing."""
        self._remaining = self._working = 0
        self._give_back(0)

    def _give_back(self, size: int) -> None:
        if self._remaining <= 0 and not self._working:
            size = self._reserved  # with what the division into shares left over
            self._owner.discard(self)
        size = min(size, self._reserved)
        self._reserved -= size
        if size:
            self._budget.release(size, self._owner)
