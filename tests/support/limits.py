"""Servers that enforce a limit, and streams that ask them, on a clock that only exists in a test."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from asyncembed._models import LimitHeader, RateLimitHeaders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from asyncembed._ratelimit import Limiter, ScheduledRequest

MINUTE = 60.0
WORK = 0.005
"""Seconds that it takes to make a request."""
REQUESTS, INPUTS, TOKENS = range(3)
NAMES = ("requests", "inputs", "tokens")


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class FixedWindow:
    """Counts afresh with every minute of the clock on the wall, which is not that of the client."""

    def __init__(self, limit: float, period: float = MINUTE, offset: float = 17.3) -> None:
        self.limit, self.period, self.offset = limit, period, offset
        self._minute, self._used = None, 0

    def take(self, cost: int, now: float) -> bool:
        """Whether a request is let through; one that is larger than the limit goes if it is the first."""
        minute = int((now + self.offset) // self.period)
        if minute != self._minute:
            self._minute, self._used = minute, 0
        fits = self._used + cost <= self.limit or self._used == 0
        self._used += cost * fits
        return fits

    def remaining(self, now: float) -> float:
        return max(0, self.limit - self._used)

    def reset(self, now: float) -> float:
        return self.period - (now + self.offset) % self.period


class RollingWindow:
    """Counts what came in the minute before each request."""

    def __init__(self, limit: float, period: float = MINUTE) -> None:
        self.limit, self.period = limit, period
        self._log: deque[tuple[float, int]] = deque()
        self._used = 0

    def take(self, cost: int, now: float) -> bool:
        """Whether a request is let through; one that is larger than the limit goes if nothing else counts."""
        self._forget(now)
        fits = self._used + cost <= self.limit or not self._used
        if fits:
            self._log.append((now, cost))
            self._used += cost
        return fits

    def remaining(self, now: float) -> float:
        self._forget(now)
        return max(0, self.limit - self._used)

    def reset(self, now: float) -> float:
        self._forget(now)
        return self._log[0][0] + self.period - now if self._log else 0.0

    def _forget(self, now: float) -> None:
        while self._log and self._log[0][0] + self.period <= now:
            self._used -= self._log.popleft()[1]


class LeakyBucket:
    """Refills all the time, as OpenAI's does; its reset is the time until it is full."""

    def __init__(self, limit: float, period: float = MINUTE) -> None:
        self.limit, self.period = limit, period
        self._level, self._at = limit, None

    def take(self, cost: int, now: float) -> bool:
        """Whether a request is let through."""
        fits = cost <= self.remaining(now)
        self._level -= cost * fits
        return fits

    def remaining(self, now: float) -> float:
        self._level = min(self.limit, self._level + (now - (self._at or now)) * self.limit / self.period)
        self._at = now
        return self._level

    def reset(self, now: float) -> float:
        return (self.limit - self.remaining(now)) / self.limit * self.period


@dataclass(order=True)
class _Event:
    at: float
    number: int
    act: Callable[[], None] = field(compare=False)


@dataclass
class Scene:
    """Streams that ask for as much as they may, of a server with one limit.

    Attributes:
        server: What enforces the limit.
        unit: Which of requests, inputs and tokens it counts.
        batches: Inputs and tokens of the requests, one after the other.
        latency: Shortest and longest seconds to the server; as long back.
        headers: Whether the server says in each answer how its limit stands.
        ratio: Estimated tokens per actual token.
        hold: For how many seconds something else holds a request up when its time has come.
        streams: How many ask at the same time, each with a limiter of `limiters`, in turn.
        slots: Most requests of all of them that are on their way.
    """

    server: FixedWindow | RollingWindow | LeakyBucket
    unit: int
    batches: Iterator[tuple[int, int]]
    limiters: list[Limiter]
    clock: Clock
    latency: tuple[float, float] = (0.02, 0.3)
    headers: bool = False
    ratio: Callable[[], float] = lambda: 1.0
    hold: Callable[[], float] = lambda: 0.0
    seed: int = 7
    streams: int = 4
    slots: int = 1_000

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.accepted: list[tuple[float, int, int]] = []  # when, how many units, of which stream
        self.refused: list[float] = []
        self.sent: list[tuple[float, int]] = []
        self._events: list[_Event] = []
        self._numbers = itertools.count()
        self._on_their_way = 0
        self._idle: deque[int] = deque()

    def run(self, seconds: float) -> None:
        """Advance the clock by this many seconds."""
        end = self.clock.now + seconds
        for stream in range(self.streams):
            self._at(self.clock.now, lambda stream=stream: self._next(stream))
        while self._events and self._events[0].at <= end:
            event = heapq.heappop(self._events)
            self.clock.now = event.at
            event.act()
        self.clock.now = end

    def share(self, since: float, until: float) -> float:
        """Which part of the limit got through between two moments."""
        units = sum(units for at, units, _ in self.accepted if since <= at < until)
        return units / (self.server.limit * (until - since) / self.server.period)

    @property
    def refusals(self) -> float:
        """Which part of the requests was refused."""
        return len(self.refused) / (len(self.refused) + len(self.accepted))

    def most_in_a_window(self, period: float) -> int:
        """Return the maximum number of units that were sent within `period` seconds."""
        most = used = 0
        window: deque[tuple[float, int]] = deque()
        for at, units in self.sent:
            window.append((at, units))
            used += units
            while window[0][0] <= at - period:
                used -= window.popleft()[1]
            most = max(most, used)
        return most

    def _at(self, moment: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, _Event(moment, next(self._numbers), act))

    def _next(self, stream: int) -> None:
        if self._on_their_way >= self.slots:
            self._idle.append(stream)
        elif batch := next(self.batches, None):
            self._on_their_way += 1
            self._ask(stream, batch, lambda: self._at(self.clock.now + WORK, lambda: self._next(stream)))

    def _done(self) -> None:
        self._on_their_way -= 1
        if self._idle:
            self._next(self._idle.popleft())

    def _ask(self, stream: int, batch: tuple[int, int], then: Callable[[], None]) -> None:
        limiter = self.limiters[stream % len(self.limiters)]
        ticket = limiter.schedule(batch[0], int(batch[1] * self.ratio()) or 1)
        self._wait(stream, batch, limiter, ticket, then)

    def _wait(self, stream, batch, limiter: Limiter, ticket: ScheduledRequest, then: Callable[[], None]) -> None:
        if limiter.seconds_left(ticket):
            self._at(ticket.at, lambda: self._wait(stream, batch, limiter, ticket, then))
            return
        held = self.hold()
        if held:
            self._at(self.clock.now + held, lambda: self._begin(stream, batch, limiter, ticket))
        else:
            self._begin(stream, batch, limiter, ticket)
        then()

    def _begin(self, stream, batch, limiter: Limiter, ticket: ScheduledRequest) -> None:
        now = self.clock.now
        if left := limiter.begin(ticket):
            self._at(now + left, lambda: self._begin(stream, batch, limiter, ticket))
            return
        self.sent.append((now, self._units(batch)))
        there = now + self.random.uniform(*self.latency)
        self._at(there, lambda: self._arrive(stream, batch, limiter, ticket))

    def _units(self, batch: tuple[int, int]) -> int:
        return (1, *batch)[self.unit]

    def _arrive(self, stream, batch, limiter: Limiter, ticket: ScheduledRequest) -> None:
        now, units = self.clock.now, self._units(batch)
        is_let = self.server.take(units, now)
        quota = self._quota() if self.headers else None
        back = now + self.random.uniform(*self.latency)
        if is_let:
            self.accepted.append((now, units, stream))
            self._at(back, lambda: (limiter.settle(ticket, batch[1]), self._done()))
        else:
            self.refused.append(now)
            again = back + self.random.uniform(0.5, 2)
            self._at(again, lambda: self._ask(stream, batch, lambda: None))
        if quota:
            self._at(back, lambda: limiter.observe(ticket, quota))

    def _quota(self) -> RateLimitHeaders:
        now = self.clock.now
        refills = isinstance(self.server, LeakyBucket)
        said = LimitHeader(self.server.limit, int(self.server.remaining(now)), self.server.reset(now), refills)
        return RateLimitHeaders(**{NAMES[self.unit]: said})


class HeldUp:
    """Requests that are held up between their time and their beginning, whose tasks wake up late, or which give up.

    Args:
        limiter: What they ask.
        clock: The clock of that.
    """

    def __init__(self, limiter: Limiter, clock: Clock) -> None:
        self._limiter, self._clock = limiter, clock
        self._events: list[_Event] = []
        self._numbers = itertools.count()
        self._starts: list[tuple[float, tuple[int, int, int]]] = []

    def run(self, requests: list[tuple]) -> list[tuple[float, tuple[int, int, int]]]:
        """Ask for all of them one after the other, and return when each was sent, and what it took."""
        moment = self._clock.now
        for seconds, *request in requests:
            moment += seconds
            self._at(moment, lambda request=request: self._ask(*request))
        while self._events:
            event = heapq.heappop(self._events)
            self._clock.now = event.at
            event.act()
        return self._starts

    def _at(self, moment: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, _Event(moment, next(self._numbers), act))

    def _later(self, seconds: float, act: Callable[[], object]) -> None:
        self._at(self._clock.now + seconds, act)

    def _ask(self, inputs: int, tokens: int, held: float, late: float, fate: str, share: float) -> None:
        ticket, real = self._limiter.schedule(inputs, tokens), math.ceil(tokens * share)

        def wait() -> None:
            if left := self._limiter.seconds_left(ticket):
                self._later(left + late, wait)
            elif fate == "give up when held":
                self._later(held, give_up)
            else:
                self._later(held, begin)

        def begin() -> None:
            if not (left := self._limiter.begin(ticket)):
                self._starts.append((self._clock.now, (1, inputs, real)))
                self._later(1, lambda: self._limiter.settle(ticket, real))
            elif fate == "give up at the beginning":
                self._later(left / 2, give_up)
            else:
                self._later(left + late, begin)

        def give_up() -> None:
            self._limiter.withdraw(ticket)

        wait()
