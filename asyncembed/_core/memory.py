"""What the process really holds in memory, as the operating system counts it.

A budget knows only what it has reserved. The rest, such as results that the consumer keeps, shows here.

Memory as the semaphore: requests start only while what they may need fits into a budget of bytes.

The budget is weighted and first come, first served: letting a small request pass a large one that waits would starve
the large one for ever. A request that is larger than the whole budget runs alone instead of never.

One thing goes before the queue: a stream that holds nothing never waits. It could be that of a consumer that calls the
client again before it takes its next result; if it waited for memory that other results hold, it would wait for its own
caller. So the budget may be exceeded by one batch for each stream after the first.

A budget may have a guard, which says how much memory there really is. Then what is reserved must fit into that too,
together with what all other budgets of the process have reserved: it may not be in use yet, and so not be seen. Nobody
says when more of it comes free, so whoever waits looks again now and then.

Grants are made synchronously by whoever releases, so a waiter that is cancelled in the same tick as it is granted
gives back what it got, and the head of the queue being cancelled wakes the one behind it.
"""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias
from weakref import WeakSet

from asyncembed._config import check, check_positive

MEGABYTE: Final = 1_000_000
MAX_MEGABYTES: Final = 1e12

BRINK: Final = 0.9
"""Share of the limit from which on nothing new should be begun; the rest is for what nobody reckoned with."""


class MemoryMonitor:
    """Watches the resident memory of this process, its own and that of all libraries in it.

    Args:
        max_memory_mb: The limit to stay below, in millions of bytes.

    Raises:
        ConfigurationError: if the limit is no number above 0.

    Example:
        ```python
        monitor = MemoryMonitor(2_000)
        if monitor.should_wait():
            print(f"{monitor.current_mb:.0f} MB are in use, {monitor.peak_mb:.0f} MB at the peak")
        ```
    """

    def __init__(self, max_memory_mb: float) -> None:
        self.threshold_bytes = int(bytes_of(max_memory_mb) * BRINK)
        """Bytes from which on nothing new should be begun."""
        import psutil  # noqa: PLC0415  # most runs need no monitor, and it takes a tenth of the time to import us

        self._process = psutil.Process()
        self._peak = 0
        self._limit = max_memory_mb

    def __repr__(self) -> str:
        return f"MemoryMonitor(max_memory_mb={self._limit!r}, current_mb={self.current_mb:.0f})"

    def should_wait(self) -> bool:
        """Whether nothing new should be begun now, because the process holds nine tenths of the limit."""
        return self.available_bytes() <= 0

    def available_bytes(self) -> int:
        """Bytes that may still be taken before something should wait; negative beyond that."""
        return self.threshold_bytes - self._resident()

    @property
    def current_mb(self) -> float:
        """Resident memory now, in millions of bytes."""
        return self._resident() / MEGABYTE

    @property
    def peak_mb(self) -> float:
        """The most that this monitor has seen, in millions of bytes; it sees something whenever it is asked."""
        self._resident()
        return self._peak / MEGABYTE

    def _resident(self) -> int:
        resident: int = self._process.memory_info().rss
        self._peak = max(self._peak, resident)
        return resident


def bytes_of(max_memory_mb: float) -> int:
    """Return a limit in bytes; raises `ConfigurationError` if it is no number above 0, or more than machines have."""
    check_positive("max_memory_mb", max_memory_mb)
    check(max_memory_mb <= MAX_MEGABYTES, f"max_memory_mb={max_memory_mb!r} is more than any machine has")
    return int(max_memory_mb * MEGABYTE)


Owner: TypeAlias = "set[Reservation]"
"""The open reservations of one stream."""


LOOK_AGAIN: Final = 0.05
"""Seconds after which a request that waits for a guard asks it again."""

BATCHES_AT_ONCE: Final = 8
"""Batches that should fit into what a guard leaves: where it is little, batches get smaller instead of fewer."""

SMALLEST_BATCH: Final = 1_000_000
"""Bytes that a batch may take however little a guard leaves."""


_budgets: WeakSet[MemoryBudget] = WeakSet()
_registering = threading.Lock()


class Guard(Protocol):
    """Watches memory that a budget cannot know of."""

    def available_bytes(self) -> int:
        """Bytes that may still be taken; none, or less, if there is too much in use already."""
        ...


@dataclass(slots=True, eq=False)
class _Waiter:
    cost: int
    owner: Owner
    granted: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class MemoryBudget:
    """A weighted first-come-first-served semaphore over bytes; one per client, shared by its streams.

    Args:
        total: Bytes there are.
        guard: Says how many of them may really be taken, if that can change.
    """

    def __init__(self, total: int, guard: Guard | None = None) -> None:
        self.total = total
        self._guard = guard
        self.reserved = 0
        self.peak = 0
        self._waiters: list[_Waiter] = []  # as many as there are streams that wait
        with _registering:
            _budgets.add(self)

    @property
    def waiting(self) -> int:
        """Requests that wait for memory."""
        return len(self._waiters)

    @property
    def largest(self) -> int:
        """Bytes that one batch should take at most."""
        if self._guard is None:
            return self.total
        return min(self.total, max(self._guard.available_bytes() // BATCHES_AT_ONCE, SMALLEST_BATCH))

    async def reserve(self, cost: int, owner: Owner) -> None:
        """Wait until `cost` bytes are free, or everything is, or `owner` holds nothing; and reserve them."""
        if not owner or (not self._waiters and self._fits(cost)):
            self._grant(cost)
        else:
            await self._wait(_Waiter(cost, owner))

    def add(self, cost: int) -> None:
        """Reserve more for what has been let in already, whether it fits or not: what comes after it waits for that."""
        self._grant(cost)

    def take(self, cost: int) -> bool:
        """Reserve `cost` bytes if they are free and nothing waits; whether they were."""
        if self._waiters or not self._fits(cost):
            return False
        self._grant(cost)
        return True

    def release(self, cost: int, owner: Owner) -> None:
        """Give back bytes of `owner`, and start whoever may go on now."""
        self.reserved -= cost
        if not owner:
            for waiter in [waiter for waiter in self._waiters if waiter.owner is owner]:
                self._let_go(waiter)
        self._wake()

    def _fits(self, cost: int) -> bool:
        fits = self.reserved + cost <= self.total
        if fits and self._guard:
            fits = reserved_by_all() + cost <= self._guard.available_bytes()
        return fits or self.reserved == 0

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
            while self._guard and not waiter.granted.done():
                await asyncio.wait([waiter.granted], timeout=LOOK_AGAIN)
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
    """Bytes that all budgets of this process have reserved."""
    with _registering:
        return sum(budget.reserved for budget in _budgets)


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
        self._share = waiting // max(results, 1)
        self._left = results
        self._owner = owner
        owner.add(self)

    def end_work(self) -> None:
        """Give back the part for requests."""
        working, self._working = self._working, 0
        self._give_back(working)

    def take(self, results: int = 1) -> None:
        """Give back the share of so many results."""
        self._left -= results
        self._give_back(self._share * results)

    def resize(self, by: int) -> None:
        """Reserve `by` bytes more for each result that was not taken, or fewer, as its size turns out to be another."""
        if self._left <= 0 or not by:
            return
        self._share += by
        self._held += by * self._left
        if by > 0:
            self._budget.add(by * self._left)
        else:
            self._budget.release(-by * self._left, self._owner)

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
