"""How many requests may run at once: grows while the API keeps up, shrinks when it says it is overloaded.

Additive increase, multiplicative decrease on losses alone. The time of a whole request cannot be used as a signal
here, because it contains the consumer's pauses. One decrease per cool-down, or a single burst of 429s that were all
sent under the old limit would take the limit to the floor. No increase while the event loop's own thread is busy all
the time: then more requests at once bring no result sooner, and each of them takes memory.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable

START: Final = 8
DECREASE: Final = 0.8
COOLDOWN: Final = 1.0  # seconds
BUSY: Final = 0.8
"""Share of the time from which on a thread counts as busy all the time."""
LOOK_EVERY: Final = 0.2  # seconds
SCHEDULER: Final = Path("/proc/thread-self/schedstat")
"""Linux: nanoseconds that this thread ran, and waited to run."""


def time_not_idle() -> float:
    """Seconds in which this thread worked or, where the system tells, waited for a processor to work on."""
    try:
        worked, waited, _ = SCHEDULER.read_bytes().split()
    except OSError:
        return time.thread_time()
    return (int(worked) + int(waited)) / 1e9


class AdaptiveConcurrency:
    """Slots for requests, shared by the streams of one client.

    Args:
        maximum: Most slots there will ever be.
        clock: Monotonic seconds; replaced in tests.
        work_clock: Seconds in which this thread was not idle; replaced in tests.
    """

    def __init__(
        self,
        maximum: int,
        clock: Callable[[], float] = time.monotonic,
        work_clock: Callable[[], float] = time_not_idle,
    ) -> None:
        self._maximum = maximum
        self._clock = clock
        self._work_clock = work_clock
        self._seen: tuple[float, float] | None = None  # both clocks, when they were looked at last
        self._is_busy = False
        self._limit = float(min(START, maximum))
        self._limiter = anyio.CapacityLimiter(math.floor(self._limit))
        self._shrunk_at = -math.inf

    @property
    def limit(self) -> int:
        """Slots there are now."""
        return int(self._limiter.total_tokens)

    @property
    def in_flight(self) -> int:
        """Slots taken."""
        return self._limiter.borrowed_tokens

    async def acquire(self, borrower: object) -> None:
        """Wait for a slot and take it in the name of `borrower`."""
        try:
            self._limiter.acquire_on_behalf_of_nowait(borrower)
        except anyio.WouldBlock:
            await self._limiter.acquire_on_behalf_of(borrower)

    def release(self, borrower: object) -> None:
        """Give back the slot of `borrower`."""
        self._limiter.release_on_behalf_of(borrower)

    def succeeded(self) -> None:
        """Note a request that went well: one more slot per round of successes, if slots are what is short."""
        self._look()
        if self.in_flight * 2 >= self.limit and not self._is_busy:
            self._set(min(self._maximum, self._limit + 1 / self._limit))

    def overloaded(self) -> None:
        """Note that the API refused a request for load."""
        now = self._clock()
        if now - self._shrunk_at >= COOLDOWN:
            self._shrunk_at = now
            self._set(max(1.0, self._limit * DECREASE))

    def _look(self) -> None:
        now = self._clock()
        then, worked_then = self._seen or (-math.inf, 0.0)
        if now - then >= LOOK_EVERY:
            worked = self._work_clock()
            self._is_busy = self._seen is not None and (worked - worked_then) / (now - then) >= BUSY
            self._seen = now, worked

    def _set(self, limit: float) -> None:
        self._limit = limit
        if math.floor(limit) != self._limiter.total_tokens:
            self._limiter.total_tokens = math.floor(limit)
