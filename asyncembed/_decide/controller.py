"""How many texts are in flight at one API: the size of a request times the number of requests at once.

Size and number share one signal: more of either brings more texts a second until the server is full, and only slower
answers from then on. Two controllers that read this signal separately answer each other's steps, so one owns both. It
measures, takes one step, measures again, and keeps the step or takes it back:

    LARGER   twice the size, while answers come within a second      kept if the rate grows
    MORE     up to twice the number, while answers are not slow      kept if the rate grows
    FEWER    half the number, where answers take over a second       kept if they come sooner at the same rate
    SMALLER  half the size, where fewer bring them no sooner         kept if they come sooner at the same rate

The size comes first, and the number when the size is settled. A step that was kept is repeated. One that was taken back
is tried again after a rest, which gets longer each time. The controller takes a step up only if answers stay bearable
should the rate not grow at all. Answers of more than three seconds force a step down, whatever it costs in rate.

Time that no step down shortens does not come from the number of texts: it is the distance, or a consumer that blocks
the event loop. The controller leaves it out of account until a rest is over. No step raises a rate that the consumer
limits, so no step up is kept. Refusals, time-outs and overloads take effect at once, without a measurement; after a
time-out or an overload the number grows by one a round.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable


FIRST_SIZE: Final = 64
"""Texts in the first requests where no limit is confirmed.

Some APIs refuse more than 96 or 100 texts. A slow server (100 texts/s) answers 64 within a second.
"""

FIRST_CONCURRENCY: Final = 8

QUICK: Final = 1.0
"""Seconds: requests may get larger while answers take no longer, and smaller or fewer only if they do."""

BEARABLE: Final = 2.4
"""Seconds that answers may take if more requests at once bring no rate; below `SLOW`, as service times vary."""

SLOW: Final = 3.0
"""Seconds from which on an answer is slow."""

INSTANT: Final = 0.5
"""Seconds: while answers take no longer, a larger size is kept that brings the same rate, as it saves requests."""

AMPLE_LIMIT: Final = 5.0
"""Seconds of a time limit that suits the times above. A shorter one that was met shortens them in proportion."""

FEWEST: Final = 4
"""Fewest answers in a measurement. There are always whole rounds of them, as part of a simultaneous burst misleads."""

FEWEST_SLOW: Final = 2
"""Fewest slow answers on which the controller acts: one may be a straggler."""

ENOUGH: Final = 24
"""Fewest answers in a measurement that decides on a step whose effect is not obvious."""

ENOUGH_ROUNDS: Final = 3
"""Fewest rounds in it; in a round there are as many answers as requests may be in flight."""

OBVIOUS_GAIN: Final = 1.4
OBVIOUS_LOSS: Final = 0.8
SAME_RATE: Final = 0.93
"""Least ratio of two rates that may be equal: service times that vary by ±30 % make rates of 24 answers vary by 5 %."""

SOONER: Final = 0.75
"""Ratio of two times from which on answers come sooner."""

SHORTEST_REST: Final = 2
LONGEST_REST: Final = 64
"""Measurements that pass without a step after all steps were taken back."""

NEWEST: Final = 0.25
"""Weight of the newest measurement in the average of those before a step."""

OVERLOAD_DECREASE: Final = 0.8
TIMEOUT_DECREASE: Final = 0.5
COOLDOWN: Final = 1.0
"""Seconds after a decrease in which no overload counts."""

FORGIVEN: Final = 256
"""Answers after a time-out that pass before a larger size is tried again: it may have had another cause."""

ADDITIVE_GOAL: Final = 1.25
"""Growth of the number, request by request, after which it is judged whether it brought any rate."""

LEAST_CUT: Final = 0.1
"""Smallest share of the size that is left at once where answers are slow."""

LEAST_SHARE: Final = 1 / 64
"""Smallest share of a refused request that the server may name as its limit: numbers in messages may mean anything."""

IDLE: Final = 0.05
"""Seconds without a request in flight, if that is longer than an answer takes, after which a measurement begins again.

The caller had nothing to send then. A shorter time passes between any two requests that are not in flight together.
"""


class _Step(Enum):
    LARGER = "larger requests"
    MORE = "more requests"
    FEWER = "fewer requests"
    SMALLER = "smaller requests"


_UP: Final = (_Step.LARGER, _Step.MORE)
_DOWN: Final = (_Step.FEWER, _Step.SMALLER)
_INVERSE: Final = {
    _Step.LARGER: _Step.SMALLER,
    _Step.MORE: _Step.FEWER,
    _Step.FEWER: _Step.MORE,
    _Step.SMALLER: _Step.LARGER,
}
_LEAST_GAIN: Final = {_Step.LARGER: 0.04, _Step.MORE: 0.1}
"""What a step up has to bring in rate. Where a size settles that doubling improves by 4 %, at most 8 % are missing."""

_GAIN_PER_GROWTH: Final = 0.4
"""Share of its own growth that is demanded of a small step up, if that is less."""


class Flight:
    """One request in flight. You tell it the outcome of the request.

    The first outcome counts, and later ones are ignored. As a context manager it ends itself, so that no way out of the
    block leaves it in flight.

    Attributes:
        texts: Texts in the request.
        order: How many requests began before it.
        begun_at: When it began, by the controller's clock.
    """

    __slots__ = ("_controller", "begun_at", "order", "texts")

    def __init__(self, controller: Controller, texts: int, order: int, begun_at: float) -> None:
        self._controller: Controller | None = controller
        self.texts = texts
        self.order = order
        self.begun_at = begun_at

    def answered(self, seconds: float) -> None:
        """Note that all texts were answered. Tell it when the whole answer has arrived.

        Args:
            seconds: Time from sending the request to the headers of its answer. The time to the end would contain the
                pauses of the consumer.
        """
        if controller := self._land():
            controller._answered(self, seconds)  # noqa: SLF001

    def overloaded(self) -> None:
        """Note that the server refused the request because it gets too much (429, 503, 529)."""
        if controller := self._land():
            controller._overloaded(self)  # noqa: SLF001

    def timed_out(self) -> None:
        """Note that no byte of the answer came in time, or that a gateway gave up waiting (504)."""
        if controller := self._land():
            controller._timed_out(self)  # noqa: SLF001

    def refused(self, allowed: int | None = None) -> None:
        """Note that the server takes fewer texts in one request. No later size is above what it takes.

        Where a cap in tokens or bytes keeps later requests small enough, tell `ended` after a refusal in that unit; a
        limit on texts that follows from it would last longer than such texts come.

        Args:
            allowed: Most texts that the server takes, if it says so; else half of this request is taken for it.
        """
        if controller := self._land():
            controller._refused(self, allowed)  # noqa: SLF001

    def ended(self) -> None:
        """Note an end that says nothing about load: a broken connection, a cancelled request, any other error."""
        self._land()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.ended()

    def _land(self) -> Controller | None:
        controller, self._controller = self._controller, None
        if controller:
            controller._landed()  # noqa: SLF001
        return controller


@dataclass(frozen=True, slots=True)
class _Measurement:
    """What some answers have shown.

    Attributes:
        rate: Texts answered a second.
        typical: Seconds that half of the answers took at most.
        late: Seconds that nine of ten answers took at most.
        answers: How many answers there were.
        rounds: How often as many as there may be in flight.
        is_full: Whether at least half of the requests had as many texts as the size allows.
        largest: Most texts in a request.
    """

    rate: float
    typical: float
    late: float
    answers: int
    rounds: float
    is_full: bool
    largest: int

    @property
    def is_enough(self) -> bool:
        """Whether it can decide on a step without an obvious effect."""
        return self.answers >= ENOUGH and self.rounds >= ENOUGH_ROUNDS


@dataclass(slots=True)
class _Window:
    """Answers since a point in time.

    Attributes:
        first: Order of the first request that counts; those before it began under another setting.
        skip: Answers that are left out before the time begins.
        start: When the time began; None before that.
        peak: Most requests in flight.
        largest: Most texts in a request that began.
        seconds: Time of each answer to its headers.
        texts: Texts in all answers.
        full: Answers to requests with as many texts as the size allows.
        slow: How many of the last answers were slow, one after the other.
    """

    first: int
    skip: int
    start: float | None
    peak: int
    largest: int = 0
    seconds: list[float] = field(default_factory=list)
    texts: int = 0
    full: int = 0
    slow: int = 0

    @property
    def answers(self) -> int:
        return len(self.seconds)

    def is_slow(self, concurrency: int) -> bool:
        """Whether more than half of the last round were slow, one after the other; two stand for a round that began."""
        return self.slow >= FEWEST_SLOW and self.slow * 2 > min(self.answers, concurrency)

    def measure(self, now: float, concurrency: int, last: int) -> _Measurement:
        """Return the rate of all answers, and the times of the last ones."""
        assert self.start is not None
        ascending = sorted(self.seconds[-last:])
        return _Measurement(
            rate=max(self.texts, 1) / max(now - self.start, 1e-6),
            typical=ascending[last // 2],
            late=ascending[last * 9 // 10],
            answers=last,
            rounds=last / concurrency,
            is_full=self.full * 2 >= self.answers,
            largest=self.largest,
        )


@dataclass(frozen=True, slots=True)
class _Trial:
    """A step that was taken and is not judged yet.

    Attributes:
        step: What was changed.
        size: Size before.
        concurrency: Number before.
        goal: Number to reach before it is judged.
        before: Measurement before.
    """

    step: _Step
    size: int
    concurrency: int
    goal: int
    before: _Measurement


class Controller:
    """Decides how many texts a request may hold and how many requests may be in flight, for one address and model.

    Args:
        max_size: Most texts in one request.
        max_concurrency: Most requests in flight.
        initial_concurrency: Requests in flight to begin with, at most `max_concurrency`; None for `FIRST_CONCURRENCY`.
        is_own_address: Whether this is the provider's own address and `max_size` its confirmed limit: requests begin
            with that size, and with `FIRST_SIZE` elsewhere.
        initial_size: Texts in the first requests, where `max_size` is not confirmed.
        clock: Monotonic seconds; replaced in tests.
    """

    def __init__(
        self,
        *,
        max_size: int,
        max_concurrency: int,
        initial_concurrency: int | None = None,
        is_own_address: bool = False,
        initial_size: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_concurrency = max_concurrency
        self._clock = clock
        own_size = initial_size or max_size
        self._size = min(own_size if is_own_address else min(FIRST_SIZE, own_size), max_size)
        self._concurrency = min(initial_concurrency or FIRST_CONCURRENCY, max_concurrency)

        self._in_flight = 0
        self._begun = 0
        self._landed_at = -math.inf
        self._last_seconds = 0.0  # of the newest answer

        self._window = _Window(first=0, skip=0, start=None, peak=0)
        self._trial: _Trial | None = None
        self._slowest_before = 0.0  # longest answer to a request that began before the step on trial
        self._rejected: set[_Step] = set()
        self._without_effect: set[_Step] = set()  # steps down after which answers came no sooner
        self._last_kept: _Step | None = None
        self._is_growing = True  # the last step up was kept: each round of answers may bring the next
        self._rest = 0
        self._next_rest = SHORTEST_REST
        self._rate: float | None = None  # smoothed, since the setting changed

        self._wall = max_size
        self._time_wall = max_size
        self._since_time_out = 0
        self._unavoidable = 0.0  # seconds of each answer that no step down shortens
        self._time_limit = math.inf  # seconds after which a request timed out
        self._is_additive = False
        self._ceiling = max_concurrency  # below the number that met an overload, until after a rest
        self._decreased_at = -math.inf
        self._first_after_decrease = 0

    @property
    def size(self) -> int:
        """Most texts that the next request should hold."""
        return self._size

    @property
    def concurrency(self) -> int:
        """Most requests that should be in flight; begin no other while there are as many."""
        return self._concurrency

    @property
    def in_flight(self) -> int:
        """Requests that have begun and not ended."""
        return self._in_flight

    @property
    def _largest(self) -> int:
        """Most texts that a request may come to hold: neither too many for the server nor, for a while, too slow."""
        return min(self._wall, self._time_wall)

    def begin(self, texts: int) -> Flight:
        """Note that a request begins.

        Args:
            texts: Texts in the request.

        Returns:
            What you must tell the outcome, whatever it is.
        """
        now = self._clock()
        if not self._in_flight and now - self._landed_at > max(IDLE, self._last_seconds):
            self._restart(start=now)
        flight = Flight(self, texts, self._begun, now)
        self._begun += 1
        self._in_flight += 1
        self._window.peak = max(self._window.peak, self._in_flight)
        self._window.largest = max(self._window.largest, texts)
        return flight

    # What flights tell.

    def _landed(self) -> None:
        self._in_flight -= 1
        self._landed_at = self._clock()

    def _answered(self, flight: Flight, seconds: float) -> None:
        self._since_time_out += 1
        if self._since_time_out > FORGIVEN and self._time_wall < self._wall:
            self._time_wall, self._since_time_out = 2 * self._time_wall, 0
        self._last_seconds = seconds
        if seconds > self._time_limit:  # then the time-out that taught it had another reason
            self._time_limit = math.inf
        window = self._window
        if flight.order < window.first:
            self._slowest_before = max(self._slowest_before, seconds)
        elif window.start is None:
            window.skip -= 1
            if window.skip <= 0:
                window.start = self._clock()
                window.peak = self._in_flight + 1
        else:
            window.seconds.append(seconds)
            window.texts += flight.texts
            window.full += flight.texts >= self._size
            window.slow = window.slow + 1 if self._own_time(seconds) > SLOW else 0
            self._consider()

    def _overloaded(self, flight: Flight) -> None:
        # A burst of refusals that were all sent under the old number counts once.
        if flight.order >= self._first_after_decrease and self._clock() - self._decreased_at >= COOLDOWN:
            self._ceiling = max(1, self._concurrency - 1)
            self._decrease(OVERLOAD_DECREASE)

    def _timed_out(self, flight: Flight) -> None:
        if flight.order < self._first_after_decrease:
            return
        self._time_limit = min(self._time_limit, self._clock() - flight.begun_at)
        smaller = min(self._size, max(flight.texts, self._window.largest)) // 2
        self._decrease(TIMEOUT_DECREASE)
        if flight.texts > 1:
            self._size = min(self._size, max(1, smaller))
            self._time_wall, self._since_time_out = self._size, 0

    def _refused(self, flight: Flight, allowed: int | None) -> None:
        if flight.texts <= 1:
            return
        fits = math.ceil(flight.texts / 2)
        if allowed is not None and flight.texts * LEAST_SHARE <= allowed < flight.texts:
            fits = allowed
        self._wall = min(self._wall, fits)
        if self._size > self._wall:
            self._drop_trial()
            self._size = self._wall
            self._rate = None
            self._restart(first=self._begun, skip=1)

    def _decrease(self, factor: float) -> None:
        concurrency = max(1, int(self._concurrency * factor))
        if (trial := self._trial) and trial.step is _Step.LARGER:
            self._rejected.add(trial.step)
            self._size = trial.size
        self._drop_trial()
        self._concurrency = min(self._concurrency, concurrency)
        self._is_additive = True
        self._is_growing = False
        self._rate = None
        self._decreased_at = self._clock()
        self._first_after_decrease = self._begun
        self._restart(first=self._begun, skip=1)

    def _drop_trial(self) -> None:
        """End a trial without a verdict: what is below the setting before it stays so."""
        if self._trial:
            self._concurrency = min(self._concurrency, self._trial.concurrency)
            self._trial = None

    # Steps.

    def _consider(self) -> None:
        """See whether there are answers enough to judge a step or to take one."""
        window, trial = self._window, self._trial
        is_slow = window.is_slow(self._concurrency)
        if not is_slow and (window.answers < FEWEST or window.answers % self._concurrency):
            return
        now = self._clock()
        measured = window.measure(now, self._concurrency, window.slow if is_slow else window.answers)
        if measured.typical <= SOONER * self._unavoidable:
            self._unavoidable = 0.0
        if not is_slow and window.peak < self._concurrency:  # the number held nothing back: the rate is the caller's
            self._restart(start=now)
        elif trial is None:
            self._take_step(measured)
        elif trial.step is _Step.LARGER and not measured.is_full and not is_slow:  # nor is the larger size in use
            self._restart(start=now)
        elif self._concurrency < trial.goal and not is_slow:
            self._concurrency += 1
            self._restart(start=now)
        elif (is_kept := self._judge(trial, measured)) is not None:
            self._conclude(trial, measured, is_kept=is_kept)

    def _judge(self, trial: _Trial, after: _Measurement) -> bool | None:
        """Whether a step is kept; None if it takes more answers to tell."""
        gain = after.rate / trial.before.rate
        return self._judge_up(trial, after, gain) if trial.step in _UP else self._judge_down(trial, after, gain)

    def _judge_up(self, trial: _Trial, after: _Measurement, gain: float) -> bool | None:
        own = self._own_time(after.late)
        if own > SLOW:
            return False
        if gain >= OBVIOUS_GAIN:
            return True
        if not trial.before.is_enough:
            return False
        if not after.is_enough:
            return None
        growth = self._size * self._concurrency / (trial.size * trial.concurrency)
        needed = 1 + min(_LEAST_GAIN[trial.step], _GAIN_PER_GROWTH * (growth - 1))
        if trial.step is _Step.LARGER and own <= INSTANT:
            needed = SAME_RATE
        return gain >= needed

    def _judge_down(self, trial: _Trial, after: _Measurement, gain: float) -> bool | None:
        if self._own_time(trial.before.typical) > SLOW:
            return after.typical <= SOONER * self._slowest_before
        if gain < OBVIOUS_LOSS:
            return False
        if not after.is_enough:
            return None
        return gain >= SAME_RATE and after.typical <= SOONER * trial.before.typical

    def _conclude(self, trial: _Trial, measured: _Measurement, *, is_kept: bool) -> None:
        """Keep a step and go on from there, or take it back."""
        self._trial = None
        step = trial.step
        if is_kept:
            self._rest, self._next_rest = 0, SHORTEST_REST
            self._last_kept = step
            self._is_growing |= step in _UP
            self._rejected = {_INVERSE[step]}
            self._without_effect.clear()
            self._take_step(measured)
            return
        self._size, self._concurrency = min(trial.size, self._largest), trial.concurrency
        if step in _UP:
            self._is_growing = False
        if trial.before.is_enough or step in _DOWN:  # else it is tried again after a measurement that is
            self._rejected.add(step)
        if step in _DOWN and measured.typical > SOONER * self._slowest_before:
            self._without_effect.add(step)
        self._restart(first=self._begun, skip=1)

    def _take_step(self, measured: _Measurement) -> None:
        """Take the next step that there is, rest, or go on measuring."""
        if self._own_time(measured.typical) > SLOW:
            is_size = measured.largest * 2 > self._size
            steps = (_Step.SMALLER, _Step.FEWER) if is_size else (_Step.FEWER, _Step.SMALLER)
            if not self._take_first(steps, self._without_effect, measured) and measured.rounds >= 1:
                self._settle(measured)
        elif not measured.is_enough:
            if self._is_growing:
                self._take_first(_UP, self._rejected, measured)
        else:
            measured = self._smooth(measured)
            if self._rest > 1:
                self._rest -= 1
                self._restart(start=self._clock())
                return
            if self._rest:
                self._end_rest()
            if not self._take_first((*_UP, *_DOWN), self._rejected, measured):
                self._settle(measured)

    def _smooth(self, measured: _Measurement) -> _Measurement:
        """Average the rate over the last measurements under this setting, so that chance seldom passes for a gain."""
        self._rate = measured.rate if self._rate is None else self._rate + (measured.rate - self._rate) * NEWEST
        return replace(measured, rate=self._rate)

    def _take_first(self, steps: Iterable[_Step], barred: Collection[_Step], measured: _Measurement) -> bool:
        """Take the first step that can be taken; whether there was one."""
        for step in sorted(steps, key=lambda step: step is not self._last_kept):
            if step not in barred and (setting := self._setting(step, measured)):
                self._take(step, *setting, measured)
                return True
        return False

    def _settle(self, measured: _Measurement) -> None:
        """Leave the setting as it is for a while, as there is no step to take."""
        is_late = self._own_time(measured.typical) > QUICK
        if is_late and not any(self._setting(step, measured) for step in _DOWN if step not in self._without_effect):
            self._unavoidable = measured.typical
            self._rejected.clear()
            self._without_effect.clear()
        else:
            self._rest = self._next_rest
            self._next_rest = min(LONGEST_REST, self._next_rest * 2)
        self._restart(start=self._clock())

    def _end_rest(self) -> None:
        self._rest = 0
        self._rejected.clear()
        self._without_effect.clear()
        self._ceiling = self._max_concurrency
        self._unavoidable = 0.0

    def _setting(self, step: _Step, measured: _Measurement) -> tuple[int, int] | None:
        """Size and number after a step; None if it cannot be taken now."""
        size, number = self._size, self._concurrency
        late, typical = self._own_time(measured.late), self._own_time(measured.typical)
        if step is _Step.LARGER and measured.is_full and late <= QUICK and size < self._largest:
            return min(2 * size, self._largest), number
        if step is _Step.MORE:
            most = int(number * min(2.0, BEARABLE / late if late else 2.0))
            wanted = math.ceil(number * ADDITIVE_GOAL) if self._is_additive else most
            more = min(wanted, most, self._ceiling)
            return (size, more) if more > number else None
        if step is _Step.FEWER and late > QUICK and number > 1:
            return size, number // 2
        # It is not the size that makes answers late as long as fewer requests bring them sooner.
        is_size = measured.is_full and (number == 1 or _Step.FEWER in self._without_effect)
        largest = min(size, measured.largest)
        if step is _Step.SMALLER and late > QUICK and largest > 1 and (is_size or typical > SLOW):
            # Slow answers are brought to half of what is slow, in one step where that is not far.
            share = 0.5 if typical <= SLOW else min(0.5, max(LEAST_CUT, SLOW / 2 / typical))
            return max(1, int(largest * share)), number
        return None

    def _take(self, step: _Step, size: int, concurrency: int, before: _Measurement) -> None:
        self._trial = _Trial(step, self._size, self._concurrency, concurrency, before)
        self._rate = None
        self._slowest_before = before.typical
        self._size = size
        if step is _Step.MORE:
            # Requests that are in flight already run under the new number too.
            self._concurrency = self._concurrency + 1 if self._is_additive else concurrency
            self._restart(start=self._clock())
        else:
            self._concurrency = concurrency
            # The first smaller requests wait at the server behind larger ones.
            self._restart(first=self._begun, skip=concurrency if step is _Step.SMALLER else 1)

    def _restart(self, *, first: int | None = None, skip: int = 0, start: float | None = None) -> None:
        """Begin a new measurement, at once or after some answers."""
        self._window = _Window(self._window.first if first is None else first, skip, start, self._in_flight)

    def _own_time(self, seconds: float) -> float:
        """Seconds of an answer that this client may cause, on a scale that a short time limit stretches."""
        return max(0.0, seconds - self._unavoidable) * max(1.0, AMPLE_LIMIT / max(self._time_limit, 1e-3))
