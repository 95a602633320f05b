"""A rate limit of units per minute: computes when the next request may start. No I/O, and no clock of its own.

A request starts when two rules allow it:

- The log: the requests of the last minute and this one stay within the limit together. So the limit holds in every
  window of a minute, and works with servers that count rolling windows and with those that count clock minutes.
- The pace: requests are spaced evenly over the minute. The unused share of the last minute gives credit, so that half
  of an idle limit is available at once. A saturated limit gives none, so the requests of a long run are spread evenly
  instead of coming in one burst per minute.

A request larger than the whole limit starts when the log is empty. The pace delays the requests after it accordingly.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from asyncembed._models import LimitHeader


SLACK: Final = 0.01
"""Share that is added to the minute, because the network delay varies between requests."""

RESOLUTION: Final = 600
"""Maximum log entries per minute: requests that start close together share one, so that the log stays short."""

UNKNOWN_RESET: Final = 1 / 60
"""Share of the minute to wait when an API reports that nothing is left without a reset time."""

_since, _at, _until, _total = attrgetter("since"), attrgetter("at"), attrgetter("until"), attrgetter("total")


@dataclass(slots=True, eq=False)
class WindowEntry:
    """The requests that started at about the same time.

    Attributes:
        since: When the first of them started.
        at: When the last of them started.
        until: When the last of them leaves the window.
        paced_before: When the requests before this entry would end at an even pace.
        amount: Units.
        total: Units of all entries up to this one, since the window was made.
        counts: Whether the entry is still in the log.
    """

    since: float
    at: float
    until: float
    paced_before: float
    amount: int = 0
    total: int = 0
    counts: bool = True


class Window:
    """One limit and its use.

    Args:
        limit: Units per minute; None if no limit is known.
        period: Length of a minute in seconds; shorter in tests.
    """

    def __init__(self, limit: float | None, period: float) -> None:
        self.limit = limit
        self._is_declared = limit is not None
        self._period = period
        self._span = period * (1 + SLACK)
        self._log: list[WindowEntry] = []  # by time, planned requests included
        self._forgotten = 0  # units of the entries that have left the log
        self._paced_until = -math.inf  # when all requests so far would end at an even pace
        self._paced_from = -math.inf  # requests before this time started without a limit, and do not count
        self._used_by_others = 0.0  # units, as reported by the API
        self._others_until = -math.inf  # when that report expires

    @property
    def knows_limit(self) -> bool:
        """Whether there is a limit, or the API has said that nothing is left."""
        return self.limit is not None or self._used_by_others > 0

    def cost(self, amount: int) -> int:
        """Return the units to charge for a request: at most the limit, if it only comes from a header."""
        if self.limit is None or self._is_declared:
            return amount
        return min(amount, max(1, math.floor(self.limit)))

    def earliest(self, amount: int, at: float, *, kept: float = 0.0, paced: bool = True) -> float:
        """Return when a request may start: at `at` or later.

        Args:
            amount: Units of the request.
            at: Earliest time; no planned request starts after it.
            kept: Units that this request must leave to others.
            paced: Whether the pace delays the request; otherwise only the log does.
        """
        if not amount:
            return at
        by_others = self._used_by_others if at < self._others_until else 0.0
        if self.limit is None:
            return self._others_until if by_others else at
        kept = min(kept, max(0.0, self.limit - amount))  # a request of the whole limit starts all the same
        fits = self._fits(amount, at, kept)
        if by_others:
            fits = min(self._fits(amount, at, by_others + kept), max(fits, self._others_until))
        if not paced:
            return max(at, fits)
        return max(at, fits, self._paced_until - self._span * max(0.0, 1 - self._used_at(at) / self.limit))

    def charge(self, amount: int, at: float) -> WindowEntry:
        """Log a request that starts at `at`, after all others."""
        while self._log and self._log[-1].at > at and not self._log[-1].amount:  # withdrawn plans
            self._log.pop().counts = False
        if not self._log or at - self._log[-1].since > self._period / RESOLUTION:
            self._log.append(WindowEntry(at, at, at + self._span, self._paced_until))
        entry = self._log[-1]
        if at > entry.at:
            entry.at, entry.until = at, at + self._span
        entry.amount += amount
        self._recompute(len(self._log) - 1)
        return entry

    def correct(self, *corrections: tuple[WindowEntry, int]) -> None:
        """Add an amount of units, which may be negative, to each of these entries."""
        first: WindowEntry | None = None
        for entry, amount in corrections:
            if entry.counts:
                entry.amount += amount
                first = entry if first is None or entry.since < first.since else first
        if first:
            self._recompute(bisect_left(self._log, first.since, key=_since))

    def forget(self, now: float) -> None:
        """Drop the entries that have left the window."""
        if old := self._past(now):
            for entry in self._log[:old]:
                entry.counts = False
            self._forgotten = self._log[old - 1].total
            del self._log[:old]

    def observe(self, header: LimitHeader, amount: int, now: float) -> float:
        """Apply what a response says about the limit, and return until when nothing is left of it.

        The window compares the reported use with its own log. Only the difference, which others have used, delays
        requests.

        Args:
            header: What the response says.
            amount: Units of its request.
            now: The time.
        """
        if header.limit and header.limit != self.limit and not self._is_declared:
            self._adopt(header.limit, now)
        if header.remaining is None:
            return now
        if self.limit is None:
            self._used_by_others = 0.0 if header.remaining else math.inf
        else:
            self._used_by_others = max(0.0, self.limit - header.remaining - self._used_at(now))
        self._others_until = now + self._seconds_valid(header, amount)
        return self._others_until if self._used_by_others and not header.remaining else now

    def _adopt(self, limit: float, now: float) -> None:
        self.limit = limit
        self._paced_until = self._paced_from = now
        if self._log:
            self._log[0].paced_before = now
            self._recompute(0)

    def _recompute(self, index: int) -> None:
        """Update totals and pace of all entries from this index on."""
        total = self._total_of(index)
        paced = self._log[index].paced_before
        for entry in self._log[index:]:
            entry.paced_before = paced
            entry.total = total = total + entry.amount
            if self.limit is not None and entry.amount and entry.since > self._paced_from:
                paced = max(paced, entry.since) + entry.amount * self._span / self.limit
        if self.limit is not None:
            self._paced_until = paced

    def _seconds_valid(self, header: LimitHeader, amount: int) -> float:
        """Return for how many seconds the reported use counts."""
        if header.reset is None:
            return self._period * UNKNOWN_RESET
        used = (header.limit or 0) - (header.remaining or 0)
        share = min(1.0, amount / used) if header.refills and used > 0 else 1.0
        return min(header.reset * share, self._period)

    def _fits(self, amount: int, at: float, by_others: float = 0.0) -> float:
        """Return when the log has room for an amount of units; infinity if never."""
        excess = self._used + by_others - max(0.0, (self.limit or 0.0) - amount)
        if excess <= 0:
            return at
        last = bisect_left(self._log, self._forgotten + excess, key=_total)
        return max(at, self._log[last].until) if last < len(self._log) else math.inf

    @property
    def _used(self) -> int:
        """Units in the log, planned requests included."""
        return self._total_of(len(self._log)) - self._forgotten

    def _used_at(self, moment: float) -> int:
        """Return the units in the window that ends at `moment`."""
        return self._total_of(bisect_right(self._log, moment, key=_at)) - self._total_of(self._past(moment))

    def _past(self, moment: float) -> int:
        """Return the number of entries that have left the window that ends at `moment`."""
        return bisect_right(self._log, moment, key=_until)

    def _total_of(self, count: int) -> int:
        """Return the units of the first `count` entries and of all that have left the log."""
        return self._log[count - 1].total if count else self._forgotten
