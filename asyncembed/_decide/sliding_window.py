"""One limit of so many units a minute: when the next request may start, without I/O and without a clock of its own.

Two rules, and a request starts when both hold:

- The log: what started within the last minute, together with the request, stays within the limit. So the limit holds
  in every window of a minute, and it does not matter whether a server counts rolling windows or by the clock's minutes.
- The pace: requests are spaced as the limit divides the minute. An idle limit gives credit, as far as the minute is
  still unused, so that half of it can be had at once; a limit that is used up all the time gives none, so that the
  requests of a long run are spread evenly instead of coming in one burst a minute.

A request larger than the whole limit starts when nothing else is in the log, and the pace makes those after it wait
for as long as it should have taken.
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
"""Share of the minute that is added to it, because requests do not all take the same time to the server."""

GRAINS: Final = 600
"""Parts of a minute that are told apart: the log is no longer than that, however many requests there are."""

UNKNOWN_RESET: Final = 1 / 60
"""Share of the minute to wait when an API says that nothing is left, but not until when."""

_since, _at, _until, _total = attrgetter("since"), attrgetter("at"), attrgetter("until"), attrgetter("total")


@dataclass(slots=True, eq=False)
class WindowEntry:
    """What started at about the same time.

    Attributes:
        since: When the first of it started.
        at: When the last of it started.
        until: When the last of it is out of the window.
        behind: When everything before it would be done at an even pace.
        amount: Units.
        total: Units of everything up to it, since the window was made.
        counts: Whether it is still in the log.
    """

    since: float
    at: float
    until: float
    behind: float
    amount: int = 0
    total: int = 0
    counts: bool = True


class Window:
    """One limit and what has been used of it.

    Args:
        limit: Units a minute, None if there is no limit that is known.
        period: Seconds of a minute; shorter in tests.
    """

    def __init__(self, limit: float | None, period: float) -> None:
        self.limit = limit
        self._is_declared = limit is not None
        self._period = period
        self._span = period * (1 + SLACK)
        self._log: list[WindowEntry] = []  # by time; what starts only later is in it, too
        self._forgotten = 0  # units of everything that is not in the log any more
        self._paced = -math.inf  # when everything so far would be done at an even pace
        self._paced_from = -math.inf  # what started before the limit was known does not count for that
        self._foreign = 0.0  # what others use of the limit, as far as the API has said
        self._foreign_until = -math.inf

    def cost(self, amount: int) -> int:
        """Return what a request of so many units is charged: a limit that nobody declared may be nonsense."""
        if self.limit is None or self._is_declared:
            return amount
        return min(amount, max(1, math.floor(self.limit)))

    def earliest(self, amount: int, at: float) -> float:
        """When a request of so many units may start: at `at`, after which nothing else starts, or later."""
        if not amount:
            return at
        foreign = self._foreign if at < self._foreign_until else 0.0
        if self.limit is None:
            return self._foreign_until if foreign else at
        paced = self._paced - self._span * max(0.0, 1 - self._used_at(at) / self.limit)
        fits = self._fits(amount, at)
        if foreign:
            fits = min(self._fits(amount, at, foreign), max(fits, self._foreign_until))
        return max(at, paced, fits)

    def charge(self, amount: int, at: float) -> WindowEntry:
        """Note a request that starts at `at`, after all others."""
        while self._log and self._log[-1].at > at and not self._log[-1].amount:  # it was planned and then withdrawn
            self._log.pop().counts = False
        if not self._log or at - self._log[-1].since > self._period / GRAINS:
            self._log.append(WindowEntry(at, at, at + self._span, self._paced))
        charge = self._log[-1]
        if at > charge.at:
            charge.at, charge.until = at, at + self._span
        charge.amount += amount
        self._add_up(len(self._log) - 1)
        return charge

    def correct(self, *corrections: tuple[WindowEntry, int]) -> None:
        """Add an amount of units to each of these charges; a negative one takes them away."""
        first: WindowEntry | None = None
        for charge, amount in corrections:
            if charge.counts:
                charge.amount += amount
                first = charge if first is None or charge.since < first.since else first
        if first:
            self._add_up(bisect_left(self._log, first.since, key=_since))

    def forget(self, now: float) -> None:
        """Drop what is out of the window."""
        if old := self._past(now):
            for charge in self._log[:old]:
                charge.counts = False
            self._forgotten = self._log[old - 1].total
            del self._log[:old]

    def observe(self, allowance: LimitHeader, amount: int, now: float) -> float:
        """Take over what the API says about the limit, and return until when there is nothing left of it.

        Only what our own books do not explain matters: whoever uses up a limit is told that nothing is left of it.

        Args:
            allowance: What the API says.
            amount: Units of the request that it said it to.
            now: The time.
        """
        if allowance.limit and allowance.limit != self.limit and not self._is_declared:
            self._adopt(allowance.limit, now)
        if allowance.remaining is None:
            return now
        if self.limit is None:
            self._foreign = 0.0 if allowance.remaining else math.inf
        else:
            self._foreign = max(0.0, self.limit - allowance.remaining - self._used_at(now))
        self._foreign_until = now + self._wait(allowance, amount)
        return self._foreign_until if self._foreign and not allowance.remaining else now

    def _adopt(self, limit: float, now: float) -> None:
        self.limit = limit
        self._paced = self._paced_from = now
        if self._log:
            self._log[0].behind = now
            self._add_up(0)

    def _add_up(self, index: int) -> None:
        """Add up from the charge with this index on, and say when everything would be done at an even pace."""
        total = self._total_of(index)
        paced = self._log[index].behind
        for charge in self._log[index:]:
            charge.behind = paced
            charge.total = total = total + charge.amount
            if self.limit is not None and charge.amount and charge.since > self._paced_from:
                paced = max(paced, charge.since) + charge.amount * self._span / self.limit
        if self.limit is not None:
            self._paced = paced

    def _wait(self, allowance: LimitHeader, amount: int) -> float:
        """Seconds until the API has told the truth for long enough."""
        if allowance.reset is None:
            return self._period * UNKNOWN_RESET
        used = (allowance.limit or 0) - (allowance.remaining or 0)
        share = min(1.0, amount / used) if allowance.refills and used > 0 else 1.0
        return min(allowance.reset * share, self._period)

    def _fits(self, amount: int, at: float, foreign: float = 0.0) -> float:
        """When so many units more are within the limit, as the log says; infinity if never."""
        excess = self._used + foreign - max(0.0, (self.limit or 0.0) - amount)
        if excess <= 0:
            return at
        last = bisect_left(self._log, self._forgotten + excess, key=_total)
        return max(at, self._log[last].until) if last < len(self._log) else math.inf

    @property
    def _used(self) -> int:
        """Units of all of the log, what starts only later included."""
        return self._total_of(len(self._log)) - self._forgotten

    def _used_at(self, moment: float) -> int:
        """Units in the window that ends at `moment`."""
        return self._total_of(bisect_right(self._log, moment, key=_at)) - self._total_of(self._past(moment))

    def _past(self, moment: float) -> int:
        """How many charges are out of the window that ends at `moment`."""
        return bisect_right(self._log, moment, key=_until)

    def _total_of(self, count: int) -> int:
        """Units of the first `count` charges, and of everything before them."""
        return self._log[count - 1].total if count else self._forgotten
