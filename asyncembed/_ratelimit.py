"""Rate limits: a time to start is given to each request at once, first come, first served, and then it waits.

Each request is told when to start, and what follows is planned behind that. So no request ever depends on another one
to wake it, and a limit can be shared between event loops in several threads with nothing but a lock that is held for
microseconds. A planned time can only move to a later one; a request that wakes up looks again.

A request that something else holds up after its time has come, such as an outage, is asked again when it begins: the
limit counts when requests are sent. It goes before all that came later, and these are planned again behind it. So what
it waits for there, with its memory and its slot in its hands, is never more than the limit itself.
"""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal, NoReturn

from asyncembed._config import check_positive
from asyncembed._decide.sliding_window import SLACK, Window
from asyncembed._repr import ShortRepr

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncembed._decide.sliding_window import WindowEntry
    from asyncembed._models import RateLimitHeaders


PERIOD: Final = 60.0
"""Seconds of a minute."""

RateLimitOff = Literal["off"]
"""No rate limit at all: neither one that the provider has published nor one that it states in its headers."""

_REQUESTS, _TOKENS = range(2)


@dataclass(slots=True, eq=False)
class Slot:
    """The time at which one request starts, and what it takes of each limit.

    Attributes:
        at: When it starts; it may be put off while it is waited for.
        costs: Requests, tokens and, if they are limited, inputs.
        number: Its place among all that were asked for.
        charges: Where the costs are noted.
        is_withdrawn: Whether it will not be sent.
    """

    at: float
    costs: list[int]
    number: int
    charges: tuple[WindowEntry, ...] = ()
    is_withdrawn: bool = False


class Limiter:
    """The state of the limits of one account; used from any number of event loops and threads.

    Args:
        requests: Requests a minute; None if there is no such limit.
        inputs: Texts a minute.
        tokens: Tokens a minute.
        heeds_headers: Whether what the API says in its headers counts.
        period: Seconds of a minute; shorter in tests.
        clock: Monotonic seconds; replaced in tests.
    """

    def __init__(
        self,
        requests: float | None = None,
        inputs: float | None = None,
        tokens: float | None = None,
        *,
        heeds_headers: bool = True,
        period: float = PERIOD,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._heeds_headers = heeds_headers
        # Books of requests and tokens are kept in any case, as the API may say later what it allows.
        limits = (requests, tokens) if inputs is None else (requests, tokens, inputs)
        self._windows = tuple(Window(limit, period) for limit in limits)
        self._clock = clock
        self._late = period * SLACK
        self._numbers = itertools.count()
        self._waiting: dict[Slot, None] = {}  # requests that have not begun, in the order of their times
        # Re-entrant, as garbage collection may end a wait, and so withdraw a ticket, while another thing is done here.
        self._lock = threading.RLock()

    @property
    def limits(self) -> tuple[float | None, float | None, float | None]:
        """Requests, inputs and tokens a minute, as they are declared or as the API has said."""
        requests, tokens, *inputs = (window.limit for window in self._windows)
        return requests, inputs[0] if inputs else None, tokens

    @property
    def waiting(self) -> int:
        """Number of requests that have a time and have not begun."""
        return len(self._waiting)

    def book(self, inputs: int, tokens: int) -> Slot:
        """Plan a request behind all others; one without inputs takes nothing."""
        with self._lock:
            now = self._clock()
            amounts = (1, tokens, inputs) if inputs else (0, 0, 0)
            costs = [window.cost(amount) for window, amount in zip(self._windows, amounts, strict=False)]
            ticket = Slot(now, costs, next(self._numbers))
            self._plan([ticket], now)
            return ticket

    def seconds_left(self, ticket: Slot) -> float:
        """Return the seconds until a request may start, 0.0 if it may start now."""
        return max(0.0, ticket.at - self._clock())

    def withdraw(self, ticket: Slot) -> None:
        """Forget a request that will not be sent."""
        with self._lock:
            ticket.is_withdrawn = True
            self._take_back([ticket])

    def begin(self, ticket: Slot) -> float:
        """Seconds until a request may be sent, asked right before that; with none left it counts as sent now.

        They are the rest of its time, or more if something else has held it up for so long that its time is over.
        """
        with self._lock:
            now = self._clock()
            if ticket.charges and now - ticket.at > self._late:
                # Also those whose time has come: two tasks that always wake up late would overtake each other for ever.
                later = [each for each in self._waiting if each.number > ticket.number]
                self._take_back([ticket, *later])
                ticket.at = now
                self._plan([ticket, *later], now)
            left = max(0.0, ticket.at - now)
            if not left:
                self._waiting.pop(ticket, None)
            return left

    def settle(self, ticket: Slot, tokens: int) -> None:
        """Put the tokens that a request has really taken in the place of those it was reckoned at."""
        with self._lock:
            window, real = self._windows[_TOKENS], self._windows[_TOKENS].cost(tokens)
            if ticket.charges:
                more, ticket.costs[_TOKENS] = real - ticket.costs[_TOKENS], real
                window.correct((ticket.charges[_TOKENS], more))
                if more > 0 and window.limit is not None:  # those that wait were planned with less
                    now = self._clock()
                    waiting = self._planned(now)
                    self._take_back(waiting)
                    self._plan(waiting, now)

    def observe(self, ticket: Slot, quota: RateLimitHeaders) -> None:
        """Take over what the API says about its limits in the answer to a request."""
        if not self._heeds_headers:
            return
        with self._lock:
            now = until = self._clock()
            for unit, allowance in ((_REQUESTS, quota.requests), (_TOKENS, quota.tokens)):
                if allowance:
                    self._windows[unit].forget(now)
                    until = max(until, self._windows[unit].observe(allowance, ticket.costs[unit], now))
            waiting = self._planned(now)
            if waiting and waiting[0].at < until:
                seconds = until - waiting[0].at
                self._take_back(waiting)
                for each in waiting:
                    each.at += seconds
                    self._note(each)

    def _plan(self, tickets: list[Slot], now: float) -> None:
        """Plan requests behind all others, one after the other, and none before the time that it was told."""
        for window in self._windows:
            window.forget(now)
        for ticket in tickets:
            if any(ticket.costs):
                ticket.at = max(ticket.at, self._earliest(ticket.costs, now))
            self._note(ticket)

    def _earliest(self, costs: list[int], now: float) -> float:
        # No later request starts before the last of those that wait.
        first = max(now, next(reversed(self._waiting)).at) if self._waiting else now
        return max(window.earliest(cost, first) for window, cost in zip(self._windows, costs, strict=True))

    def _note(self, ticket: Slot) -> None:
        if any(ticket.costs) and not ticket.is_withdrawn:
            pairs = zip(self._windows, ticket.costs, strict=True)
            ticket.charges = tuple([window.charge(cost, ticket.at) for window, cost in pairs])
            self._waiting[ticket] = None

    def _planned(self, now: float) -> list[Slot]:
        """Those whose time has not come, in the order of their times."""
        return [each for each in list(self._waiting) if each.at > now]

    def _take_back(self, tickets: list[Slot]) -> None:
        """Take requests out of the plan, to plan them anew or for good."""
        taken: list[tuple[tuple[WindowEntry, ...], list[int]]] = []
        for ticket in tickets:
            charges, ticket.charges = ticket.charges, ()
            if charges:
                taken.append((charges, ticket.costs))
            self._waiting.pop(ticket, None)
        for unit, window in enumerate(self._windows):
            window.correct(*((charges[unit], -costs[unit]) for charges, costs in taken))


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RateLimit(ShortRepr):
    """What an API allows in a minute; requests wait so that it is used up and never exceeded.

    Clients that are given the same object share its limits, also in several threads, each with its own event loop.
    Equal objects share nothing, nor do copies. Another process cannot share it, so it cannot be pickled: give the
    processes `ClientSpec(..., requests_per_minute=...).share(workers)`.

    For a limit that you do not declare, the client follows the API's headers. `RateLimit()` declares none, and so
    replaces the limits that the provider has published. `rate_limit="off"` switches off all of them, headers included.

    Attributes:
        requests_per_minute: Requests, retries included.
        inputs_per_minute: Texts in all requests together.
        tokens_per_minute: Tokens in all requests together; reckoned from the bytes of the texts, and corrected by
            what the API says it has billed.

    Raises:
        ConfigurationError: if one of them is no number above 0.

    Example:
        ```python
        limit = RateLimit(requests_per_minute=600, tokens_per_minute=1_000_000)
        EmbedClient("openai", api_key="...", rate_limit=limit)
        ```
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

    def __copy__(self) -> RateLimit:
        """Return the same limits, of which nothing has been used."""
        return replace(self)

    def __deepcopy__(self, memo: object) -> RateLimit:
        """Return the same limits, of which nothing has been used."""
        return replace(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a RateLimit is shared inside one process, and cannot be pickled; give another process numbers, as in "
            "ClientSpec(provider, requests_per_minute=600).share(workers)"
        )

    def _values(self) -> tuple[float | None, float | None, float | None]:
        return self.requests_per_minute, self.inputs_per_minute, self.tokens_per_minute


def limiter_of(rate_limit: RateLimit) -> Limiter:
    """Return the state that all who were given this very object share."""
    return rate_limit._limiter  # noqa: SLF001  # private to users, not to this package
