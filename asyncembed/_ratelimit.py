"""Rate limits: each request immediately gets a start time, first come, first served, and then waits for it.

Later requests are planned behind it. So no request depends on another one to wake it, and event loops in several
threads can share a limit with nothing but a lock that is held for microseconds. A start time can only move later, so a
request that wakes up checks it again.

The limit counts when requests are sent. If something else delays a request beyond its start time, such as an outage,
`begin` plans it anew, ahead of all later requests, which are planned again behind it. So a request that already holds
memory and a slot never waits for longer than the limit requires.

A query goes before all requests that are not queries, whenever it comes: they are planned again behind it. For a minute
after each query a part of the limit is kept for the next ones, as much as they use but at most half of it.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Final, Literal, NoReturn

from asyncembed._config import check_positive
from asyncembed._decide.sliding_window import SLACK, Window
from asyncembed._repr import ShortRepr

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncembed._decide.sliding_window import WindowEntry
    from asyncembed._models import RateLimitHeaders


PERIOD: Final = 60.0
"""Length of a minute in seconds."""

MIN_KEPT: Final = 0.1
MAX_KEPT: Final = 0.5
"""Shares of a limit that are kept for queries, at least and at most, while queries come..."""

KEPT_PER_USED: Final = 1.25
"""...and between them this much of what the queries of the last minute have used."""

RateLimitOff = Literal["off"]
"""No rate limit: neither a published limit of the provider nor one from its headers applies."""

_REQUESTS, _TOKENS = range(2)


_knows_limit = attrgetter("knows_limit")


@dataclass(slots=True, eq=False)
class ScheduledRequest:
    """The start time of one request, and its cost for each limit.

    Attributes:
        at: Start time. It may move later while the request waits.
        costs: Requests, tokens and, if they are limited, inputs.
        number: Sequence number in the order of scheduling.
        is_query: Whether it goes before all requests that are not queries.
        charges: Log entries that hold the costs.
        is_withdrawn: Whether the request will not be sent.
    """

    at: float
    costs: list[int]
    number: int
    is_query: bool = False
    charges: tuple[WindowEntry, ...] = ()
    is_withdrawn: bool = False

    def is_before(self, other: ScheduledRequest) -> bool:
        """Whether this request goes before another one."""
        if self.is_query != other.is_query:
            return self.is_query
        return self.number < other.number


class Limiter:
    """Schedules the requests of one account within its limits. Safe to use from several event loops and threads.

    Args:
        requests: Requests per minute; None for no limit.
        inputs: Texts per minute; None for no limit.
        tokens: Tokens per minute; None for no limit.
        follow_headers: Whether the rate limit headers of the API count.
        period: Length of a minute in seconds; shorter in tests.
        clock: Monotonic seconds; replaced in tests.
    """

    def __init__(
        self,
        requests: float | None = None,
        inputs: float | None = None,
        tokens: float | None = None,
        *,
        follow_headers: bool = True,
        period: float = PERIOD,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._follow_headers = follow_headers
        # Requests and tokens are always logged, as the API may name a limit later.
        limits = (requests, tokens) if inputs is None else (requests, tokens, inputs)
        self._windows = tuple(Window(limit, period) for limit in limits)
        self._clock = clock
        self._max_delay = period * SLACK  # a request that is sent later than this after its time is planned anew
        self._period = period
        self._numbers = itertools.count()
        self._queries: deque[tuple[float, tuple[int, ...]]] = deque()  # of the last minute: time and costs
        self._used_by_queries = [0] * len(limits)
        self._waiting: dict[ScheduledRequest, None] = {}  # requests that have not begun, by start time
        # Re-entrant, as garbage collection may end a wait, and so withdraw a request, inside any of these methods.
        self._lock = threading.RLock()

    @property
    def limits(self) -> tuple[float | None, float | None, float | None]:
        """Requests, inputs and tokens per minute, declared or reported by the API; None where unknown."""
        requests, tokens, *inputs = (window.limit for window in self._windows)
        return requests, inputs[0] if inputs else None, tokens

    @property
    def waiting(self) -> int:
        """Number of requests that have a start time and have not begun."""
        return len(self._waiting)

    @property
    def has_queries(self) -> bool:
        """Whether a query came within the last minute."""
        return bool(self._queries) and self._clock() - self._queries[-1][0] <= self._period

    def schedule(self, inputs: int, tokens: int, *, is_query: bool = False) -> ScheduledRequest:
        """Plan a request behind all others, and a query before those that are none.

        A request without inputs costs nothing.
        """
        with self._lock:
            now = self._clock()
            if is_query and not any(map(_knows_limit, self._windows)):
                # It leaves the log as it is, which costs little of its time: a header that names a limit counts it.
                costs = [0] * len(self._windows)
                self._note_query(costs, now)
                return ScheduledRequest(now, costs, next(self._numbers), is_query)
            amounts = (1, tokens, inputs) if inputs else (0, 0, 0)
            costs = [window.cost(amount) for window, amount in zip(self._windows, amounts, strict=False)]
            request = ScheduledRequest(now, costs, next(self._numbers), is_query)
            if is_query:
                self._note_query(costs, now)
                later = [each for each in self._planned(now) if not each.is_query]
                self._unplan(later)
                self._plan([request, *later], now)
            else:
                self._plan([request], now)
            return request

    def seconds_left(self, request: ScheduledRequest) -> float:
        """Return the seconds until a request may start; 0.0 if it may start now."""
        return max(0.0, request.at - self._clock())

    def withdraw(self, request: ScheduledRequest) -> None:
        """Forget a request that will not be sent."""
        with self._lock:
            request.is_withdrawn = True
            self._unplan([request])

    def begin(self, request: ScheduledRequest) -> float:
        """Return the seconds until a request may be sent. At 0 it counts as sent, so call this right before sending.

        If something else has delayed the request well beyond its start time, it gets a new one.
        """
        with self._lock:
            now = self._clock()
            if request.charges and now - request.at > self._max_delay:
                # Includes requests whose time has come: two tasks that always wake up late would overtake each other.
                later = [each for each in self._waiting if request.is_before(each)]
                self._unplan([request, *later])
                request.at = now
                self._plan([request, *later], now)
            left = max(0.0, request.at - now)
            if not left:
                self._waiting.pop(request, None)
            return left

    def settle(self, request: ScheduledRequest, tokens: int) -> None:
        """Replace the estimated tokens of a request by the billed ones."""
        with self._lock:
            window, billed = self._windows[_TOKENS], self._windows[_TOKENS].cost(tokens)
            if request.charges:
                more, request.costs[_TOKENS] = billed - request.costs[_TOKENS], billed
                window.correct((request.charges[_TOKENS], more))
                if more > 0 and window.limit is not None:  # waiting requests were planned with a lower cost
                    now = self._clock()
                    waiting = self._planned(now)
                    self._unplan(waiting)
                    self._plan(waiting, now)

    def observe(self, request: ScheduledRequest, headers: RateLimitHeaders) -> None:
        """Apply the rate limit headers of the response to a request."""
        if not self._follow_headers:
            return
        with self._lock:
            now = until = self._clock()
            for unit, header in ((_REQUESTS, headers.requests), (_TOKENS, headers.tokens)):
                if header:
                    self._windows[unit].forget(now)
                    until = max(until, self._windows[unit].observe(header, request.costs[unit], now))
            waiting = self._planned(now)
            if waiting and waiting[0].at < until:
                seconds = until - waiting[0].at
                self._unplan(waiting)
                for each in waiting:
                    each.at += seconds
                    self._charge(each)

    def _plan(self, requests: list[ScheduledRequest], now: float) -> None:
        """Plan requests behind all others, in this order, and none before its previous start time."""
        for window in self._windows:
            window.forget(now)
        kept = self._kept(now) if self._queries and not all(request.is_query for request in requests) else None
        for request in requests:
            if any(request.costs):
                request.at = max(request.at, self._earliest(request, now, kept))
            self._charge(request)

    def _earliest(self, request: ScheduledRequest, now: float, kept: list[float] | None) -> float:
        # A new request starts after the last waiting one.
        first = max(now, next(reversed(self._waiting)).at) if self._waiting else now
        pairs = zip(self._windows, request.costs, strict=True)
        if request.is_query:
            return max(window.earliest(cost, first, paced=False) for window, cost in pairs)
        if kept:
            return max(
                window.earliest(cost, first, kept=units) for (window, cost), units in zip(pairs, kept, strict=True)
            )
        return max(window.earliest(cost, first) for window, cost in pairs)

    def _note_query(self, costs: list[int], now: float) -> None:
        self._forget_queries(now)
        self._queries.append((now, tuple(costs)))
        self._used_by_queries = [used + cost for used, cost in zip(self._used_by_queries, costs, strict=True)]

    def _forget_queries(self, now: float) -> None:
        while self._queries and now - self._queries[0][0] > self._period:
            _, costs = self._queries.popleft()
            self._used_by_queries = [used - cost for used, cost in zip(self._used_by_queries, costs, strict=True)]

    def _kept(self, now: float) -> list[float] | None:
        """Return the units of each limit that bulk must leave for queries now; None if no query has come lately."""
        self._forget_queries(now)
        if not self._queries:
            return None
        kept: list[float] = []
        for window, used in zip(self._windows, self._used_by_queries, strict=True):
            limit, one = window.limit or 0.0, used / len(self._queries)
            share = min(MAX_KEPT * limit, max(MIN_KEPT * limit, KEPT_PER_USED * used, one))
            kept.append(max(0.0, share - used))
        return kept

    def _charge(self, request: ScheduledRequest) -> None:
        if any(request.costs) and not request.is_withdrawn:
            pairs = zip(self._windows, request.costs, strict=True)
            request.charges = tuple([window.charge(cost, request.at) for window, cost in pairs])
            self._waiting[request] = None

    def _planned(self, now: float) -> list[ScheduledRequest]:
        """Return the requests with a future start time, by start time."""
        return [each for each in list(self._waiting) if each.at > now]

    def _unplan(self, requests: list[ScheduledRequest]) -> None:
        """Remove requests from the plan and their costs from the log."""
        removed: list[tuple[tuple[WindowEntry, ...], list[int]]] = []
        for request in requests:
            charges, request.charges = request.charges, ()
            if charges:
                removed.append((charges, request.costs))
            self._waiting.pop(request, None)
        for unit, window in enumerate(self._windows):
            window.correct(*((charges[unit], -costs[unit]) for charges, costs in removed))


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RateLimit(ShortRepr):
    """Limits requests, texts or tokens per minute and makes full use of the limits.

    Clients that share this object share its limits, also across threads with an event loop each. Equal objects and
    copies share nothing. Other processes cannot share it, so it cannot be pickled; give each process its share with
    `ClientSpec(..., requests_per_minute=...).share(workers)`.

    If you leave out a limit, the client follows the rate limit headers of the API. `RateLimit()` declares no limit,
    and so overrides the limits that the provider has published. `rate_limit="off"` turns off all of them, headers
    included.

    Attributes:
        requests_per_minute: Maximum requests per minute, retries included.
        inputs_per_minute: Maximum texts per minute, over all requests.
        tokens_per_minute: Maximum tokens per minute, over all requests. The client estimates them from the bytes of
            the texts, and corrects the estimate by the tokens that the API bills.

    Raises:
        ConfigurationError: if a limit is not a number above 0.

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
        """Return the same limits, unused."""
        return replace(self)

    def __deepcopy__(self, memo: object) -> RateLimit:
        """Return the same limits, unused."""
        return replace(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a RateLimit only works inside one process, so it cannot be pickled; give other processes numbers, as in "
            "ClientSpec(provider, requests_per_minute=600).share(workers)"
        )

    def _values(self) -> tuple[float | None, float | None, float | None]:
        return self.requests_per_minute, self.inputs_per_minute, self.tokens_per_minute


def limiter_of(rate_limit: RateLimit) -> Limiter:
    """Return the state shared by all clients with this object."""
    return rate_limit._limiter  # noqa: SLF001  # private to users, not to this package
