"""Rate limits: a time to start is given to each request at once, first come, first served, and then it waits.

Whoever asks is told when to start, and what follows is planned behind that. So nobody ever depends on another one to
wake it, and a limit can be shared between event loops in several threads with nothing but a lock that is held for
microseconds. A planned time can only move to a later one; whoever wakes up looks again.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from asyncembed._settings import check_positive
from asyncembed.flow._window import SLACK, Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncembed._models import Quota
    from asyncembed.flow._window import Charge

PERIOD: Final = 60.0
"""Seconds of a minute."""

_REQUESTS, _TOKENS = range(2)


@dataclass(slots=True, eq=False)
class Ticket:
    """The time at which one request starts, and what it takes of each limit.

    Attributes:
        at: When it starts; it may be put off while it is waited for.
        costs: Requests, tokens and, if they are limited, inputs.
        charges: Where they are noted.
    """

    at: float
    costs: list[int]
    charges: list[Charge]


class Limiter:
    """The state of the limits of one account; used from any number of event loops and threads.

    Args:
        requests: Requests a minute; None if there is no such limit.
        inputs: Texts a minute.
        tokens: Tokens a minute.
        period: Seconds of a minute; shorter in tests.
        clock: Monotonic seconds; replaced in tests.
    """

    def __init__(
        self,
        requests: float | None = None,
        inputs: float | None = None,
        tokens: float | None = None,
        *,
        period: float = PERIOD,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # Books of requests and tokens are kept in any case, as the API may say later what it allows.
        limits = (requests, tokens) if inputs is None else (requests, tokens, inputs)
        self._windows = tuple(Window(limit, period) for limit in limits)
        self._clock = clock
        self._late = period * SLACK
        self._waiting: dict[Ticket, None] = {}  # in the order of their times
        # Re-entrant, as garbage collection may end a wait at any time, so also inside. It changes amounts alone.
        self._lock = threading.RLock()

    @property
    def limits(self) -> tuple[float | None, float | None, float | None]:
        """Requests, inputs and tokens a minute, as they are declared or as the API has said."""
        requests, tokens, *inputs = (window.limit for window in self._windows)
        return requests, inputs[0] if inputs else None, tokens

    @property
    def waiting(self) -> int:
        """Requests that wait for their time."""
        return len(self._waiting)

    def book(self, inputs: int, tokens: int) -> Ticket:
        """Plan a request behind all others; one without inputs takes nothing."""
        with self._lock:
            now = self._clock()
            amounts = (1, tokens, inputs) if inputs else (0, 0, 0)
            costs = [window.cost(amount) for window, amount in zip(self._windows, amounts, strict=False)]
            ticket = Ticket(self._earliest(costs, now) if inputs else now, costs, [])
            self._note(ticket)
            if ticket.at > now:
                self._waiting[ticket] = None
            return ticket

    def seconds_left(self, ticket: Ticket) -> float:
        """Seconds until a request may start; none are left for one that may start now, and is not put off any more."""
        with self._lock:
            left = ticket.at - self._clock()
            if left <= 0:
                self._waiting.pop(ticket, None)
            return max(0.0, left)

    def withdraw(self, ticket: Ticket) -> None:
        """Forget a request that will not be sent."""
        with self._lock:
            self._waiting.pop(ticket, None)
            for window, charge, cost in zip(self._windows, ticket.charges, ticket.costs, strict=False):
                window.correct(charge, -cost)
            ticket.charges = []

    def begin(self, ticket: Ticket) -> None:
        """Note that a request is sent now: if something else held it up, it counts from now on."""
        with self._lock:
            now = self._clock()
            if ticket.charges and now - ticket.at > self._late:
                self.withdraw(ticket)
                ticket.at = self._end(now)
                self._note(ticket)

    def settle(self, ticket: Ticket, tokens: int) -> None:
        """Put the tokens that a request has really taken in the place of those it was reckoned at."""
        with self._lock:
            window, real = self._windows[_TOKENS], self._windows[_TOKENS].cost(tokens)
            if ticket.charges:
                window.correct(ticket.charges[_TOKENS], real - ticket.costs[_TOKENS])
                ticket.costs[_TOKENS] = real

    def observe(self, ticket: Ticket, quota: Quota) -> None:
        """Take over what the API says about its limits in the answer to a request."""
        with self._lock:
            now = until = self._clock()
            for unit, allowance in ((_REQUESTS, quota.requests), (_TOKENS, quota.tokens)):
                if allowance:
                    self._windows[unit].forget(now)
                    until = max(until, self._windows[unit].observe(allowance, ticket.costs[unit], now))
            waiting = [each for each in list(self._waiting) if each.at > now]
            if waiting and waiting[0].at < until:
                self._put_off(waiting, until - waiting[0].at)

    def _earliest(self, costs: list[int], now: float) -> float:
        first = at = self._end(now)
        for window, cost in zip(self._windows, costs, strict=True):
            window.forget(now)
            at = max(at, window.earliest(cost, first))
        return at

    def _end(self, now: float) -> float:
        """When the last of those starts who wait; nobody does before that who comes after them."""
        return max(now, next(reversed(self._waiting)).at) if self._waiting else now

    def _put_off(self, waiting: list[Ticket], seconds: float) -> None:
        for ticket in waiting:
            self.withdraw(ticket)
        for ticket in waiting:
            ticket.at += seconds
            self._note(ticket)
            self._waiting[ticket] = None

    def _note(self, ticket: Ticket) -> None:
        if any(ticket.costs):
            pairs = zip(self._windows, ticket.costs, strict=True)
            ticket.charges = [window.charge(cost, ticket.at) for window, cost in pairs]


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """What an API allows in a minute; requests wait so that it is used up and never exceeded.

    Clients that are given the same object share its limits, also in several threads, each with its own event loop.
    Equal objects share nothing, nor do copies. For a limit that is not declared here the client goes by what the API
    says in its headers. `RateLimit()` declares none, and so takes away what the client knows of the provider.

    Attributes:
        requests_per_minute: Requests, retries included.
        inputs_per_minute: Texts in all requests together.
        tokens_per_minute: Tokens in all requests together; reckoned from the bytes of the texts, and corrected by
            what the API says it has billed.

    Raises:
        ConfigurationError: if one of them is no number above 0.
    """

    requests_per_minute: float | None = None
    inputs_per_minute: float | None = None
    tokens_per_minute: float | None = None
    _limiter: Limiter = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("requests_per_minute", "inputs_per_minute", "tokens_per_minute"):
            if (value := getattr(self, name)) is not None:
                check_positive(name, value)
        object.__setattr__(self, "_limiter", Limiter(*self._values(), period=PERIOD))

    def __reduce__(self) -> tuple[Callable[..., RateLimit], tuple[float | None, ...]]:
        """Copy and pickle the limits without what has been used of them."""
        return _new_rate_limit, self._values()

    def _values(self) -> tuple[float | None, float | None, float | None]:
        return self.requests_per_minute, self.inputs_per_minute, self.tokens_per_minute


def limiter_of(rate_limit: RateLimit) -> Limiter:
    """Return the state that all who were given this very object share."""
    return rate_limit._limiter  # noqa: SLF001  # private to users, not to this package


def _new_rate_limit(requests: float | None, inputs: float | None, tokens: float | None) -> RateLimit:
    return RateLimit(requests_per_minute=requests, inputs_per_minute=inputs, tokens_per_minute=tokens)
