"""What the events of a run say that its summary does not: why it asks again, and what it waits for."""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from asyncembed import EndpointPaused, RequestEnded, RequestsHeld, RetryScheduled

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncembed import Event

MAX_REASONS: Final = 2
"""Reasons of retries that are shown; the last are shown."""

DOWN: Final = "the API is down"

_KINDS: Final = {
    "EmbedTimeoutError": "time-out",
    "TransportError": "connection",
    "ResponseError": "broken response",
}


class News:
    """Takes in the events of one run.

    Args:
        clock: Monotonic seconds; replaced in tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._reasons: Counter[str] = Counter()
        self._latest: list[str] = []  # reasons, the newest first
        self._why, self._message = "", ""
        self._until = 0.0

    def __call__(self, event: Event) -> None:
        """Take in one event."""
        match event:
            case RetryScheduled():
                self._note(event)
            case EndpointPaused():
                self._wait("the API asks to wait", event.seconds, event.message)
            case RequestsHeld(reason="rate_limit"):
                self._wait("the rate limit is used up", event.seconds)
            case RequestsHeld():
                self._wait(DOWN, event.seconds, event.message)
            case RequestEnded(error=None) if self._why == DOWN:
                self._until = 0.0

    @property
    def reasons(self) -> str:
        """Why requests were repeated, with how often: "429 x10, time-out"; empty if none was."""
        counts = ((reason, self._reasons[reason]) for reason in self._latest[:MAX_REASONS])
        return ", ".join(f"{reason} x{count:,}" if count > 1 else reason for reason, count in counts)

    @property
    def waiting(self) -> str:
        """What the run waits for now, and for how long; empty if for nothing but answers."""
        left = self._until - self._clock()
        if left <= 0:
            return ""
        seconds = f", {math.ceil(left)} s left" if left < float("inf") else ""
        return f"{self._why}{seconds}{f': {self._message}' if self._message else ''}"

    def _note(self, event: RetryScheduled) -> None:
        reason = str(event.status or _KINDS.get(event.error or "", event.error))
        self._reasons[reason] += 1
        if reason in self._latest:
            self._latest.remove(reason)
        self._latest.insert(0, reason)
        if event.seconds >= 1:
            self._wait("trying again", event.seconds, event.message)

    def _wait(self, reason: str, seconds: float | None, message: str = "") -> None:
        until = self._clock() + (float("inf") if seconds is None else seconds)
        if until >= self._until or not self.waiting:
            self._why, self._message, self._until = reason, message, until
