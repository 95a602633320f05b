"""Decides how much bulk runs beside queries: as much as leaves them quick. No I/O.

A query that meets a busy server waits behind the bulk requests that came before it, so what counts is how many texts of
bulk are in flight. From the first query on, bulk starts with one small request, as a busy server would hide what the
best latency is. It grows while queries stay near their own best latency, and shrinks while they take more than 2.5
times as long: first the number of requests, down to one, then its size. Without a query for a minute, bulk has
everything again.

The best latency is the lowest that two consecutive queries both reached in the last 150 to 300 seconds. It can become
unreachable: it was an outlier, or the server slowed down. So if queries are slow although hardly any bulk is left, bulk
is not the cause, and their latency counts as the best for 300 seconds.
"""

from __future__ import annotations

import math
import time
from statistics import median
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

QUERY_MEMORY: Final = 60.0
"""Seconds after a query in which bulk gives way."""

SLOW_RATIO: Final = 2.5
"""Bulk shrinks if the latency of queries exceeds the best latency by this factor."""

QUICK_RATIO: Final = 1.8
"""Bulk grows if the latency of queries is within this factor of the best latency."""

GROWTH: Final = 1.5
MIN_CUT: Final = 0.5
MAX_CUT: Final = 0.8
"""A step down leaves at least `MIN_CUT` and at most `MAX_CUT` of bulk."""

FEW: Final = 2.0
"""Below this number of bulk requests, the latency of queries is remembered as the latency beside few."""

CROWD: Final = 4.0
"""From this number of bulk requests on, bulk shrinks if queries are slower than beside few."""

AS_QUICK: Final = 1.1
"""Bulk of more than a few requests grows only if the latency of queries is within this factor of that beside few."""

SLOWER: Final = 1.2
"""Queries count as slower than beside few if their latency exceeds that one by this factor."""

ENOUGH_QUERIES: Final = 5
"""Queries after which a step may follow: one may be a straggler."""

STEP_SECONDS: Final = 2.0
"""Seconds after which a step may follow with fewer queries."""

IDLE_SECONDS: Final = 10.0
"""Seconds without an answer to a query after which bulk grows all the same."""

MAX_ALLOWED: Final = 1_000.0

SMALLEST: Final = 1 / 16
"""Smallest share of a request's usual size."""

KEPT_SLOTS: Final = 1 / 8
"""Share of all concurrent requests that bulk does not use while queries come."""

ENOUGH_STEPS: Final = 3
"""Steps at which queries must be slow beside hardly any bulk: what was sent before may still be on its way."""

UNAVOIDABLE_MEMORY: Final = 300.0
"""Seconds for which a latency that is not bulk's doing counts as the best."""

BEST_MEMORY: Final = 150.0
"""Seconds after which the older half of what is known of the best latency is forgotten."""


class GivingWay:
    """How many bulk requests may be in flight beside queries, and how many texts each may have.

    Args:
        clock: Monotonic seconds; replaced in tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = -math.inf  # bulk gives way until then
        self._allowed = SMALLEST  # requests of the usual size; a fraction is one smaller request
        self._changed_at = self._answered_at = -math.inf
        self._seconds: list[float] = []  # latencies since then
        self._last = math.inf  # latency
        self._latency_beside_few = math.inf
        self._beside_few_since = -math.inf
        self._steps_at_smallest = 0
        self._best = self._best_before = math.inf
        self._best_since = -math.inf
        self._unavoidable = 0.0  # latency beside hardly any bulk
        self._unavoidable_until = -math.inf

    @property
    def is_on(self) -> bool:
        """Whether a query came within the last minute."""
        return self._until > -math.inf and self._clock() < self._until

    def came(self) -> None:
        """Note that a query has come."""
        now = self._clock()
        if now >= self._until:
            self._change(self._allowed, now)
        self._until = now + QUERY_MEMORY

    def answered(self, seconds: float, concurrency: int) -> bool:
        """Note how long a query took, and take a step if enough is known; return whether it took one.

        Args:
            seconds: Time from sending its request to the headers of the response.
            concurrency: Number of bulk requests that may run if nothing else limits them.
        """
        now = self._answered_at = self._clock()
        self._learn_best(seconds, now)
        if now - seconds < self._changed_at:
            return False  # it was sent before the last step
        self._seconds.append(seconds)
        if len(self._seconds) < ENOUGH_QUERIES and now - self._changed_at < STEP_SECONDS:
            return False
        typical, best = median(self._seconds), self.best
        ratio = typical / best if best < math.inf else 1.0
        allowed = min(self._allowed, float(concurrency))
        if allowed < FEW:
            self._latency_beside_few, self._beside_few_since = typical, now
        self._steps_at_smallest = self._steps_at_smallest + 1 if allowed <= SMALLEST and ratio > SLOW_RATIO else 0
        if self._steps_at_smallest >= ENOUGH_STEPS:
            self._unavoidable, self._unavoidable_until = typical, now + UNAVOIDABLE_MEMORY
        elif ratio > SLOW_RATIO:
            allowed = max(SMALLEST, allowed * min(MAX_CUT, max(MIN_CUT, SLOW_RATIO / ratio)))
        elif allowed >= CROWD and typical > SLOWER * self._beside_few(now, typical):
            allowed *= MAX_CUT
        elif ratio <= QUICK_RATIO and (allowed < FEW or typical <= AS_QUICK * self._beside_few(now, typical)):
            allowed *= GROWTH
        else:
            del self._seconds[0]
            return False
        self._change(allowed, now)
        return True

    @property
    def best(self) -> float:
        """Best latency of the last minutes, in seconds, or the latency measured without bulk, if that is higher."""
        best = min(self._best, self._best_before)
        return max(best, self._unavoidable) if self._clock() < self._unavoidable_until else best

    def size(self, size: int) -> int:
        """Return how many texts a bulk request may have, of those that it may have otherwise."""
        return max(1, int(size * min(1.0, self._grown()))) if self.is_on else size

    def concurrency(self, concurrency: int, maximum: int) -> int:
        """Return how many bulk requests may run, of those that may run otherwise, and of the most that ever may."""
        if not self.is_on:
            return concurrency
        unkept = max(1, maximum - math.ceil(maximum * KEPT_SLOTS))
        return min(max(1, int(self._grown())), concurrency, unkept)

    def _beside_few(self, now: float, typical: float) -> float:
        """Return the latency beside few bulk requests. If it is too old, the current latency replaces it."""
        if now - self._beside_few_since > UNAVOIDABLE_MEMORY:
            self._latency_beside_few, self._beside_few_since = typical, now
        return self._latency_beside_few

    def _grown(self) -> float:
        """Return how many requests are allowed; if no query has told for a while, it takes a step up first."""
        now = self._clock()
        if now - self._changed_at > IDLE_SECONDS and now - self._answered_at > IDLE_SECONDS:
            self._change(min(self._allowed * GROWTH, MAX_ALLOWED), now)
        return self._allowed

    def _change(self, allowed: float, now: float) -> None:
        self._allowed, self._changed_at = allowed, now
        self._seconds.clear()

    def _learn_best(self, seconds: float, now: float) -> None:
        if now - self._best_since > BEST_MEMORY:
            self._best_before, self._best, self._best_since = self._best, math.inf, now
        self._best = min(self._best, max(self._last, seconds))
        self._last = seconds
