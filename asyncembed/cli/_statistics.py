"""What the requests of a run were like, for the progress and the report.

`RequestStatistics` learns from events how long requests took, what the run waited for, and which errors there were. It
needs a fixed amount of memory, however long the run.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asyncembed import EndpointPaused, InputsFailed, RequestEnded, RequestsThrottled, RetryScheduled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asyncembed import Event

_GROWTH: Final = 1.02
_SHORTEST: Final = 1e-4
_CANCELLED: Final = "CancelledError"

RATE_LIMIT, PAUSE, OUTAGE, RETRY = "the rate limit", "a pause that the API asked for", "the API to be back", "retries"
"""What a run waits for."""


class Latencies:
    """Percentiles of durations, at most 1 % off.

    Counts durations in buckets whose bounds grow by 2 %, so there are about a thousand buckets at most.
    """

    def __init__(self) -> None:
        self.count = 0
        self._buckets: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        """Count a duration; less than 0.1 ms counts as 0.1 ms."""
        self.count += 1
        self._buckets[math.ceil(math.log(max(seconds, _SHORTEST), _GROWTH))] += 1

    def percentile(self, share: float) -> float | None:
        """Return the duration that this share of all durations does not exceed; None without any."""
        rank = max(1, math.ceil(share * self.count))
        for bucket in sorted(self._buckets):
            rank -= self._buckets[bucket]
            if rank <= 0:
                return 2 / (1 + _GROWTH) * _GROWTH**bucket  # the middle of the bucket
        return None


@dataclass(slots=True)
class Wait:
    """The waits for one thing. Waits that overlap count as one.

    Attributes:
        count: Number of waits.
        seconds: Their announced duration. A wait of unknown length adds nothing.
    """

    count: int = 0
    seconds: float = 0.0
    _end: float = 0.0

    def add(self, now: float, seconds: float | None) -> None:
        """Count a wait that starts now."""
        if now >= self._end:
            self.count += 1
        end = now + (seconds or 0.0)
        self.seconds += max(0.0, end - max(now, self._end))
        self._end = max(self._end, end)


class RequestStatistics:
    """Latencies, waits and errors of one run.

    Args:
        clock: Function that returns monotonic seconds; replaced in tests.

    Attributes:
        latencies: Durations of the requests that succeeded.
        waits: The waits, by what the run waits for.
        errors: Number of failed requests, by error.
        failures: Number of failed texts, by error.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.latencies = Latencies()
        self.waits: dict[str, Wait] = {}
        self.errors: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()

    def __call__(self, event: Event) -> None:
        """Handle one event."""
        match event:
            case RequestEnded(error=None):
                self.latencies.add(event.seconds)
            case RequestEnded(error=error) if error != _CANCELLED:
                self.errors[_kind(event)] += 1
            case RequestsThrottled():
                self._wait(RATE_LIMIT if event.reason == "rate_limit" else OUTAGE, event.seconds)
            case EndpointPaused():
                self._wait(PAUSE, event.seconds)
            case RetryScheduled():
                self._wait(RETRY, event.seconds)
            case InputsFailed():
                self.failures[_kind(event)] += len(event.indices)

    def percentiles(self) -> Mapping[str, float]:
        """Return the latencies of 50, 90 and 99 % of the requests; empty without any request."""
        found = {f"p{share}": self.latencies.percentile(share / 100) for share in (50, 90, 99)}
        return {name: seconds for name, seconds in found.items() if seconds is not None}

    def _wait(self, reason: str, seconds: float | None) -> None:
        self.waits.setdefault(reason, Wait()).add(self._clock(), seconds)


def _kind(event: Event) -> str:
    return f"{event.error} ({event.status})" if event.status else str(event.error)
