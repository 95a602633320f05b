"""A discrete-event simulation of APIs and one caller, on a clock of its own: the same seed gives the same run.

Every server here takes requests in the order in which they come. So it can tell when a request is sent what becomes of
it. The caller always keeps as many requests in flight as its controller allows.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

Outcome = Literal["answered", "overloaded", "timed_out", "refused"]

REFUSAL = 0.02
"""Seconds in which a server says no."""


@dataclass(frozen=True)
class Fate:
    """What becomes of a request, and when."""

    at: float
    outcome: Outcome = "answered"


class Server(Protocol):
    def submit(self, texts: int, now: float) -> Fate: ...


@dataclass
class Latency:
    """Answers any number of requests at once, each after `seconds`, whatever its size."""

    seconds: float
    noise: float = 0.0
    seed: int = 7

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    def submit(self, texts: int, now: float) -> Fate:
        return Fate(now + self.seconds * (1 + self.noise * self._dice.uniform(-1, 1)))


@dataclass
class Workers:
    """Workers with one queue; each works `base + per_text * texts` seconds on a request.

    Attributes:
        noise: Share by which a service time is longer or shorter, at most.
        network: Seconds that a request and its answer travel.
        gives_up: Seconds after which a gateway in front answers 504, or a client waits no longer for the first byte.
        works_on: Whether a worker continues with a request that the client no longer waits for.
        wall: Most texts in a request.
        at_once: Most requests that wait or are worked on; others are refused for load.
    """

    count: int
    base: float
    per_text: float
    noise: float = 0.0
    network: float = 0.0
    gives_up: float = math.inf
    works_on: bool = False
    wall: float = math.inf
    at_once: float = math.inf
    seed: int = 7
    _free_at: list[float] = field(init=False)
    _ends: list[float] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self._free_at = [0.0] * self.count
        self._dice = random.Random(self.seed)

    def submit(self, texts: int, now: float) -> Fate:
        if texts > self.wall:
            return Fate(now + REFUSAL, "refused")
        while self._ends and self._ends[0] <= now:
            heapq.heappop(self._ends)
        if len(self._ends) >= self.at_once:
            return Fate(now + REFUSAL, "overloaded")
        begin = max(now, self._free_at[0])
        end = begin + (self.base + self.per_text * texts) * (1 + self.noise * self._dice.uniform(-1, 1))
        deadline = now + self.gives_up
        if end <= deadline or self.works_on:
            heapq.heapreplace(self._free_at, end)
        elif begin < deadline:
            heapq.heapreplace(self._free_at, deadline)
        fate = Fate(end + self.network) if end <= deadline else Fate(deadline, "timed_out")
        heapq.heappush(self._ends, fate.at)
        return fate


@dataclass
class Until:
    """One server until a point in time, then another."""

    before: Server
    change: float
    after: Server

    def submit(self, texts: int, now: float) -> Fate:
        return (self.before if now < self.change else self.after).submit(texts, now)


@dataclass
class Down:
    """Says the same to every request, at once."""

    outcome: Outcome

    def submit(self, texts: int, now: float) -> Fate:
        return Fate(now + REFUSAL, self.outcome)


class Flight(Protocol):
    def answered(self, seconds: float) -> None: ...
    def overloaded(self) -> None: ...
    def timed_out(self) -> None: ...
    def refused(self) -> None: ...


class Controls(Protocol):
    """What a caller asks of a controller."""

    @property
    def size(self) -> int: ...
    @property
    def concurrency(self) -> int: ...
    def begin(self, texts: int) -> Flight: ...


@dataclass
class Fixed:
    """A size and a number that stay as they are; also each of its own flights."""

    size: int
    concurrency: int

    def begin(self, texts: int) -> Fixed:
        return self

    def answered(self, seconds: float) -> None: ...
    def overloaded(self) -> None: ...
    def timed_out(self) -> None: ...
    def refused(self) -> None: ...


@dataclass(frozen=True)
class Request:
    """A request that has ended, and under which setting it began."""

    begun: float
    ended: float
    texts: int
    outcome: Outcome
    size: int
    concurrency: int

    @property
    def seconds(self) -> float:
        return self.ended - self.begun


class Simulation:
    """A caller with a controller and texts to send.

    Args:
        server: Who answers.
        new_controls: Makes the controller of a clock.
        texts: How many texts there are.
        cut: How many texts the next request has, of the size that the controller wants.
        pause: Seconds for which the consumer blocks the event loop for each text.
    """

    def __init__(
        self,
        server: Server,
        new_controls: Callable[[Callable[[], float]], Controls],
        *,
        texts: float = math.inf,
        cut: Callable[[int], int] = lambda size: size,
        pause: float = 0.0,
    ) -> None:
        self.now = 0.0
        self.controls = new_controls(lambda: self.now)
        self.requests: list[Request] = []
        self._server = server
        self._left = texts
        self._cut = cut
        self._pause = pause
        self._in_flight = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._ties = itertools.count()

    def run(self, *, seconds: float = math.inf, requests: float = math.inf) -> list[Request]:
        """Run until that time, until that number of requests has ended, or until there are no texts."""
        self._fill()
        while self._events and self._events[0][0] <= seconds and len(self.requests) < requests:
            at, _, event = heapq.heappop(self._events)
            self.now = max(self.now, at)  # later if the event loop was blocked
            event()
            self._fill()
        return self.requests

    def _fill(self) -> None:
        while self._left > 0 and self._in_flight < self.controls.concurrency:
            texts = int(min(self._left, self._cut(self.controls.size)))
            self._left -= texts
            self._in_flight += 1
            flight = self.controls.begin(texts)
            fate = self._server.submit(texts, self.now)
            begun = (self.now, texts, fate.outcome, self.controls.size, self.controls.concurrency)
            self._at(fate.at, lambda flight=flight, begun=begun: self._end(flight, *begun))

    def _end(self, flight: Flight, begun: float, texts: int, outcome: Outcome, size: int, concurrency: int) -> None:
        request = Request(begun, self.now, texts, outcome, size, concurrency)
        self.requests.append(request)
        if outcome == "answered":
            self.now += self._pause * texts
            flight.answered(request.seconds)
            self._free()
        else:
            self._left += texts
            getattr(flight, outcome)()
            self._at(self.now + (0.1 if outcome == "overloaded" else 0.0), self._free)

    def _free(self) -> None:
        self._in_flight -= 1

    def _at(self, when: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._ties), event))


def rate(requests: list[Request], after: int = 20) -> float:
    """Return answered texts per second, counted from the moment at which `after` requests had ended."""
    since = requests[after - 1].ended
    counted = [request.texts for request in requests if request.ended > since and request.outcome == "answered"]
    return sum(counted) / (requests[-1].ended - since)


SIZES = [8, 16, 32, 50, 64, 128, 256, 512, 1024, 2048]
NUMBERS = [1, 2, 4, 8, 16, 32, 64]


def best_rate(new_server: Callable[[], Server], *, seconds: float = 60.0, requests: int = 1_000) -> float:
    """The best rate among fixed sizes and numbers, of those at which next to no request is slow or times out."""
    best = 0.0
    for size, concurrency in itertools.product(SIZES, NUMBERS):
        fixed = Fixed(size, concurrency)
        ended = Simulation(new_server(), lambda _, fixed=fixed: fixed).run(seconds=seconds, requests=requests)
        bad = sum(request.seconds > 3 or request.outcome == "timed_out" for request in ended[20:])
        if len(ended) > 30 and bad <= 0.02 * len(ended) and any(r.outcome == "answered" for r in ended):
            best = max(best, rate(ended))
    return best
