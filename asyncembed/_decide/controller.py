"""Controls how many texts are in flight at one API: the size of a request times the number of concurrent requests.

Size and concurrency share one signal: raising either raises the rate (texts per second) until the server is saturated,
and only the latency from then on. Two controllers that read this signal separately would react to each other's steps,
so one owns both. It measures, takes one step, measures again, and keeps or reverts the step:

    LARGER   doubles the size while latency is below a second          kept if the rate grows
    MORE     up to doubles concurrency while latency is not high       kept if the rate grows
    FEWER    halves concurrency when latency is over a second          kept if latency falls at the same rate
    SMALLER  halves the size when FEWER does not lower latency         kept if latency falls at the same rate

The controller settles the size first, then concurrency. It repeats a step that it kept. It tries a reverted step again
after a rest, which gets longer each time. It takes a step up only if latency stays acceptable even when the rate does
not grow at all. Latency above three seconds forces a step down, whatever that costs in rate.

If no step down lowers the latency, the number of texts is not its cause: the network is, or a consumer that blocks the
event loop. The controller subtracts such latency until a rest is over. If the consumer limits the rate, no step raises
it, so the controller keeps no step up. Refusals, time-outs and overloads take effect at once, without a measurement;
after a time-out or an overload, concurrency grows by one per round.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Final, Self

from asyncembed._decide.too_large import MIN_SHARE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable


FIRST_SIZE: Final = 64
"""Texts in the first requests if no limit is confirmed.

Some APIs refuse more than 96 or 100 texts. A slow server (100 texts/s) answers 64 within a second.
"""

FIRST_CONCURRENCY: Final = 8

QUICK: Final = 1.0
"""Latency in seconds up to which requests may get larger, and above which they may get smaller or fewer."""

ACCEPTABLE: Final = 2.4
"""Highest latency in seconds that a useless rise in concurrency may cause; below `SLOW`, as service times vary."""

SLOW: Final = 3.0
"""Latency in seconds above which a response is slow."""

INSTANT: Final = 0.5
"""Latency in seconds up to which a larger size is kept at an equal rate, as it saves requests."""

AMPLE_LIMIT: Final = 5.0
"""Time limit in seconds that suits the values above. A request that hits a shorter one shortens them in proportion."""

MIN_ANSWERS: Final = 4
"""Fewest responses in a measurement. It always covers whole rounds, as part of a simultaneous burst misleads."""

MIN_SLOW: Final = 2
"""Fewest slow responses on which the controller acts: one may be a straggler."""

ENOUGH_ANSWERS: Final = 24
"""Fewest responses in a measurement that judges a step whose effect is not obvious."""

ENOUGH_ROUNDS: Final = 3
"""Fewest rounds in such a measurement. A round has as many responses as there may be requests in flight."""

OBVIOUS_GAIN: Final = 1.4
OBVIOUS_LOSS: Final = 0.8
SAME_RATE: Final = 0.93
"""Lowest ratio of two equal rates: service times that vary by ±30 % make the rate of 24 responses vary by 5 %."""

FASTER: Final = 0.75
"""Highest ratio of two latencies of which the second counts as lower."""

MIN_REST: Final = 2
MAX_REST: Final = 64
"""Measurements without a step after the controller has reverted all steps."""

NEWEST_WEIGHT: Final = 0.25
"""Weight of the newest measurement in the average before a step."""

OVERLOAD_DECREASE: Final = 0.8
TIMEOUT_DECREASE: Final = 0.5
COOLDOWN: Final = 1.0
"""Seconds after a decrease in which further overloads do not count."""

TIMEOUT_MEMORY: Final = 256
"""Responses after a time-out before a larger size is allowed again: the time-out may have had another cause."""

ADDITIVE_GOAL: Final = 1.25
"""Growth of concurrency, one request at a time, after which the controller judges it."""

MIN_CUT: Final = 0.1
"""Smallest share of the size that one step down leaves when responses are slow."""

IDLE: Final = 0.05
"""Seconds without a request in flight, if longer than the last response took, after which a measurement begins again.

The caller had nothing to send then. Between two requests that follow each other, less time passes.
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
_MIN_GAIN: Final = {_Step.LARGER: 0.04, _Step.MORE: 0.1}
"""Growth in rate that keeps a step up. If doubling a size gains less than 4 %, at most 8 % of the rate is lost."""

_GAIN_PER_GROWTH: Final = 0.4
"""Growth in rate that keeps a small step up, as a share of the step's own growth, if that is less."""


class Flight:
    """One request in flight. Report its outcome to it.

    The first outcome counts; later ones are ignored. As a context manager it ends itself on every exit from the block.

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
        """Report that the whole response has arrived, with all texts answered.

        Args:
            seconds: Time from sending the request to the headers of its response. The time to its end would include
                the consumer's pauses.
        """
        if controller := self._land():
            controller._answered(self, seconds)  # noqa: SLF001

    def overloaded(self) -> None:
        """Report that the server refused the request because it is overloaded (429, 503, 529)."""
        if controller := self._land():
            controller._overloaded(self)  # noqa: SLF001

    def timed_out(self) -> None:
        """Report that no byte of the response arrived in time, or that a gateway timed out (504)."""
        if controller := self._land():
            controller._timed_out(self)  # noqa: SLF001

    def refused(self, allowed: int | None = None) -> None:
        """Report that the server accepts fewer texts per request. No later size exceeds its limit.

        If a cap in tokens or bytes keeps later requests small enough, call `ended` instead; a limit on texts that
        follows from long texts would outlast them.

        Args:
            allowed: Maximum number of texts, if the server names it. Otherwise half of this request is assumed.
        """
        if controller := self._land():
            controller._refused(self, allowed)  # noqa: SLF001

    def ended(self) -> None:
        """Report an end that says nothing about load: a broken connection, a cancelled request, any other error."""
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
    """The rate and latency of some responses.

    Attributes:
        rate: Texts answered per second.
        median: Median latency in seconds.
        p90: 90th percentile of the latency in seconds.
        answers: Number of responses.
        rounds: Number of rounds: responses divided by concurrency.
        is_full: Whether at least half of the requests had as many texts as the size allows.
        largest: Most texts in a request.
    """

    rate: float
    median: float
    p90: float
    answers: int
    rounds: float
    is_full: bool
    largest: int

    @property
    def is_enough(self) -> bool:
        """Whether it can judge a step without an obvious effect."""
        return self.answers >= ENOUGH_ANSWERS and self.rounds >= ENOUGH_ROUNDS


@dataclass(slots=True)
class _Window:
    """The responses of a running measurement.

    Attributes:
        first: Order of the first request that counts; earlier requests began under another setting.
        skip: Responses to skip before the clock starts.
        start: When the clock started; None before that.
        peak: Most requests in flight.
        largest: Most texts in a request that began.
        seconds: Latency of each response, to its headers.
        texts: Texts in all responses.
        full: Responses to requests with as many texts as the size allows.
        slow: Slow responses in a row, up to the last one.
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
        """Whether the last responses, more than half a round, were slow. A round that has begun counts from two on."""
        return self.slow >= MIN_SLOW and self.slow * 2 > min(self.answers, concurrency)

    def measure(self, now: float, concurrency: int, last: int) -> _Measurement:
        """Return the rate of all responses and the latency of the last ones."""
        assert self.start is not None
        ascending = sorted(self.seconds[-last:])
        return _Measurement(
            rate=max(self.texts, 1) / max(now - self.start, 1e-6),
            median=ascending[last // 2],
            p90=ascending[last * 9 // 10],
            answers=last,
            rounds=last / concurrency,
            is_full=self.full * 2 >= self.answers,
            largest=self.largest,
        )


@dataclass(frozen=True, slots=True)
class _Trial:
    """A step that awaits judgement.

    Attributes:
        step: The step.
        size: Size before the step.
        concurrency: Concurrency before the step.
        goal: Concurrency to reach before the step is judged.
        before: Measurement before the step.
    """

    step: _Step
    size: int
    concurrency: int
    goal: int
    before: _Measurement


class Controller:
    """Decides how many texts a request may hold and how many requests may be in flight, for one address and model.

    Args:
        max_size: Maximum number of texts in one request.
        max_concurrency: Maximum number of concurrent requests.
        initial_concurrency: Concurrency to start with, at most `max_concurrency`; None for `FIRST_CONCURRENCY`.
        is_own_address: Whether this is the provider's own address, where its limits are confirmed. If so, requests
            start at `initial_size` or `max_size`; elsewhere at `FIRST_SIZE`, if that is smaller.
        initial_size: Texts in the first requests; None for `max_size`.
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
        self.max_concurrency = max_concurrency
        """Maximum number of concurrent requests."""
        self._clock = clock
        own_size = initial_size or max_size
        self._size = min(own_size if is_own_address else min(FIRST_SIZE, own_size), max_size)
        self._concurrency = min(initial_concurrency or FIRST_CONCURRENCY, max_concurrency)

        self._in_flight = 0
        self._begun = 0
        self._landed_at = -math.inf
        self._last_seconds = 0.0  # latency of the newest response

        self._window = _Window(first=0, skip=0, start=None, peak=0)
        self._trial: _Trial | None = None
        self._slowest_before = 0.0  # highest latency of the requests that began before the step on trial
        self._rejected: set[_Step] = set()
        self._without_effect: set[_Step] = set()  # steps down that did not lower the latency
        self._last_kept: _Step | None = None
        self._is_growing = True  # the last step up was kept, so the next may follow after each round
        self._rest = 0
        self._next_rest = MIN_REST
        self._rate: float | None = None  # smoothed, since the setting changed

        self._size_limit = max_size  # lowered by refusals, permanently
        self._timeout_size_limit = max_size  # lowered by time-outs, for a while
        self._answers_since_timeout = 0
        self._unavoidable = 0.0  # latency in seconds that no step down lowers
        self._time_limit = math.inf  # seconds after which a request timed out
        self._is_additive = False
        self._ceiling = max_concurrency  # below the concurrency that met an overload, until after a rest
        self._decreased_at = -math.inf
        self._first_after_decrease = 0

    @property
    def size(self) -> int:
        """Maximum number of texts in the next request."""
        return self._size

    @property
    def concurrency(self) -> int:
        """Maximum number of requests in flight. Begin no other at this number."""
        return self._concurrency

    @property
    def in_flight(self) -> int:
        """Requests that have begun but not ended."""
        return self._in_flight

    @property
    def largest(self) -> int:
        """Maximum size that steps may reach: accepted by the server, and not recently timed out."""
        return min(self._size_limit, self._timeout_size_limit)

    def begin(self, texts: int) -> Flight:
        """Begin a request.

        Args:
            texts: Texts in the request.

        Returns:
            The request in flight. You must report its outcome to it.
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

    # Reports of flights.

    def _landed(self) -> None:
        self._in_flight -= 1
        self._landed_at = self._clock()

    def _answered(self, flight: Flight, seconds: float) -> None:
        self._answers_since_timeout += 1
        if self._answers_since_timeout > TIMEOUT_MEMORY and self._timeout_size_limit < self._size_limit:
            self._timeout_size_limit, self._answers_since_timeout = 2 * self._timeout_size_limit, 0
        self._last_seconds = seconds
        if seconds > self._time_limit:  # so the time-out had another reason
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
            window.slow = window.slow + 1 if self._avoidable(seconds) > SLOW else 0
            self._consider()

    def _overloaded(self, flight: Flight) -> None:
        # Refusals of requests that were all sent under the old concurrency count once.
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
            self._timeout_size_limit, self._answers_since_timeout = self._size, 0

    def _refused(self, flight: Flight, allowed: int | None) -> None:
        if flight.texts <= 1:
            return
        fits = math.ceil(flight.texts / 2)
        if allowed is not None and flight.texts * MIN_SHARE <= allowed < flight.texts:
            fits = allowed
        self._size_limit = min(self._size_limit, fits)
        if self._size > self._size_limit:
            self._drop_trial()
            self._size = self._size_limit
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
        """End a trial without a verdict. Concurrency does not stay above its value before the trial."""
        if self._trial:
            self._concurrency = min(self._concurrency, self._trial.concurrency)
            self._trial = None

    # Steps.

    def _consider(self) -> None:
        """Judge or take a step, if the window holds enough responses."""
        window, trial = self._window, self._trial
        is_slow = window.is_slow(self._concurrency)
        if not is_slow and (window.answers < MIN_ANSWERS or window.answers % self._concurrency):
            return
        now = self._clock()
        measured = window.measure(now, self._concurrency, window.slow if is_slow else window.answers)
        if measured.median <= FASTER * self._unavoidable:
            self._unavoidable = 0.0
        if not is_slow and window.peak < self._concurrency:  # the caller limits the rate, not the concurrency
            self._restart(start=now)
        elif trial is None:
            self._take_step(measured)
        elif trial.step is _Step.LARGER and not measured.is_full and not is_slow:  # the larger size is not in use
            self._restart(start=now)
        elif self._concurrency < trial.goal and not is_slow:
            self._concurrency += 1
            self._restart(start=now)
        elif (is_kept := self._judge(trial, measured)) is not None:
            self._conclude(trial, measured, is_kept=is_kept)

    def _judge(self, trial: _Trial, after: _Measurement) -> bool | None:
        """Whether to keep a step; None if the decision needs more responses."""
        gain = after.rate / trial.before.rate
        return self._judge_up(trial, after, gain) if trial.step in _UP else self._judge_down(trial, after, gain)

    def _judge_up(self, trial: _Trial, after: _Measurement, gain: float) -> bool | None:
        latency = self._avoidable(after.p90)
        if latency > SLOW:
            return False
        if gain >= OBVIOUS_GAIN:
            return True
        if not trial.before.is_enough:
            return False
        if not after.is_enough:
            return None
        growth = self._size * self._concurrency / (trial.size * trial.concurrency)
        needed = 1 + min(_MIN_GAIN[trial.step], _GAIN_PER_GROWTH * (growth - 1))
        if trial.step is _Step.LARGER and latency <= INSTANT:
            needed = SAME_RATE
        return gain >= needed

    def _judge_down(self, trial: _Trial, after: _Measurement, gain: float) -> bool | None:
        if self._avoidable(trial.before.median) > SLOW:
            return after.median <= FASTER * self._slowest_before
        if gain < OBVIOUS_LOSS:
            return False
        if not after.is_enough:
            return None
        return gain >= SAME_RATE and after.median <= FASTER * trial.before.median

    def _conclude(self, trial: _Trial, measured: _Measurement, *, is_kept: bool) -> None:
        """Keep a step and continue from there, or revert it."""
        self._trial = None
        step = trial.step
        if is_kept:
            self._rest, self._next_rest = 0, MIN_REST
            self._last_kept = step
            self._is_growing |= step in _UP
            self._rejected = {_INVERSE[step]}
            self._without_effect.clear()
            self._take_step(measured)
            return
        self._size, self._concurrency = min(trial.size, self.largest), trial.concurrency
        if step in _UP:
            self._is_growing = False
        if trial.before.is_enough or step in _DOWN:  # otherwise try it again after a longer measurement
            self._rejected.add(step)
        if step in _DOWN and measured.median > FASTER * self._slowest_before:
            self._without_effect.add(step)
        self._restart(first=self._begun, skip=1)

    def _take_step(self, measured: _Measurement) -> None:
        """Take the next possible step, rest, or continue to measure."""
        if self._avoidable(measured.median) > SLOW:
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
        """Average the rate over the measurements under this setting, so that chance rarely looks like a gain."""
        self._rate = measured.rate if self._rate is None else self._rate + (measured.rate - self._rate) * NEWEST_WEIGHT
        return replace(measured, rate=self._rate)

    def _take_first(self, steps: Iterable[_Step], barred: Collection[_Step], measured: _Measurement) -> bool:
        """Take the first possible step and return whether there was one. The last kept step goes first."""
        for step in sorted(steps, key=lambda step: step is not self._last_kept):
            if step not in barred and (setting := self._setting(step, measured)):
                self._take(step, *setting, measured)
                return True
        return False

    def _settle(self, measured: _Measurement) -> None:
        """Keep the setting for a while, as no step is possible."""
        is_late = self._avoidable(measured.median) > QUICK
        if is_late and not any(self._setting(step, measured) for step in _DOWN if step not in self._without_effect):
            self._unavoidable = measured.median
            self._rejected.clear()
            self._without_effect.clear()
        else:
            self._rest = self._next_rest
            self._next_rest = min(MAX_REST, self._next_rest * 2)
        self._restart(start=self._clock())

    def _end_rest(self) -> None:
        self._rest = 0
        self._rejected.clear()
        self._without_effect.clear()
        self._ceiling = self.max_concurrency
        self._unavoidable = 0.0

    def _setting(self, step: _Step, measured: _Measurement) -> tuple[int, int] | None:
        """Return size and concurrency after a step; None if the step is not possible now."""
        size, concurrency = self._size, self._concurrency
        p90, median = self._avoidable(measured.p90), self._avoidable(measured.median)
        if step is _Step.LARGER and measured.is_full and p90 <= QUICK and size < self.largest:
            return min(2 * size, self.largest), concurrency
        if step is _Step.MORE:
            highest = int(concurrency * min(2.0, ACCEPTABLE / p90 if p90 else 2.0))
            wanted = math.ceil(concurrency * ADDITIVE_GOAL) if self._is_additive else highest
            more = min(wanted, highest, self._ceiling)
            return (size, more) if more > concurrency else None
        if step is _Step.FEWER and p90 > QUICK and concurrency > 1:
            return size, concurrency // 2
        # As long as fewer requests lower the latency, the size is not its cause.
        is_size = measured.is_full and (concurrency == 1 or _Step.FEWER in self._without_effect)
        largest = min(size, measured.largest)
        if step is _Step.SMALLER and p90 > QUICK and largest > 1 and (is_size or median > SLOW):
            # Aim at half of `SLOW`, in one step if `MIN_CUT` allows it.
            share = 0.5 if median <= SLOW else min(0.5, max(MIN_CUT, SLOW / 2 / median))
            return max(1, int(largest * share)), concurrency
        return None

    def _take(self, step: _Step, size: int, concurrency: int, before: _Measurement) -> None:
        self._trial = _Trial(step, self._size, self._concurrency, concurrency, before)
        self._rate = None
        self._slowest_before = before.median
        self._size = size
        if step is _Step.MORE:
            # Requests that are already in flight run under the new concurrency too.
            self._concurrency = self._concurrency + 1 if self._is_additive else concurrency
            self._restart(start=self._clock())
        else:
            self._concurrency = concurrency
            # The first smaller requests wait at the server behind larger ones.
            self._restart(first=self._begun, skip=concurrency if step is _Step.SMALLER else 1)

    def _restart(self, *, first: int | None = None, skip: int = 0, start: float | None = None) -> None:
        """Begin a new measurement, at once or after some responses."""
        self._window = _Window(self._window.first if first is None else first, skip, start, self._in_flight)

    def _avoidable(self, seconds: float) -> float:
        """Return the part of a latency that this client may cause, scaled up if the time limit is short."""
        return max(0.0, seconds - self._unavoidable) * max(1.0, AMPLE_LIMIT / max(self._time_limit, 1e-3))
