"""A rate limit that the server enforces."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from asyncembed._config import check, check_positive

if TYPE_CHECKING:
    from asyncembed.testing.faults._waits import Hint

Cost: TypeAlias = tuple[int, int, int]
"""Requests, inputs and tokens."""


@dataclass(slots=True, kw_only=True)
class Limit:
    """Maximum use in a window of time. A request above it gets a 429 and does not count.

    Attributes:
        requests: Maximum number of requests in a window.
        inputs: Maximum number of texts in a window.
        tokens: Maximum number of tokens in a window.
        at_once: Maximum number of concurrent requests.
        window: Length of the window in seconds.
        rolling: Whether the window is always the last `window` seconds; if not, a new window starts at every multiple
            of `window`.
        hint: How a 429 says how long to wait; see `faults.TooManyRequests`.
        announce: Whether every answer has OpenAI's `x-ratelimit-*` headers.
    """

    requests: int | None = None
    inputs: int | None = None
    tokens: int | None = None
    at_once: int | None = None
    window: float = 60.0
    rolling: bool = True
    hint: Hint = "none"
    announce: bool = False
    _taken: deque[tuple[float, Cost]] = field(default_factory=deque, repr=False)
    _used: Cost = field(default=(0, 0, 0), repr=False)

    def __post_init__(self) -> None:
        check_positive("window", self.window)
        caps = (self.requests, self.inputs, self.tokens, self.at_once)
        check(
            any(cap is not None for cap in caps), "Limit() limits nothing; set requests=, inputs=, tokens= or at_once="
        )

    def take(self, inputs: int, tokens: int, now: float, active: int = 0) -> float | None:
        """Count a request if the limit allows it; if not, return how many seconds it must wait.

        Args:
            inputs: Number of texts in the request.
            tokens: Number of tokens in the request.
            now: Seconds on any monotonic clock.
            active: Number of requests that are being answered already.
        """
        self._forget(now)
        cost = (1, inputs, tokens)
        if self.at_once is not None and active >= self.at_once:
            return 0.0
        if not self._fits(self._used, cost):
            return self._wait(cost, now)
        self._taken.append((now, cost))
        self._used = _add(self._used, cost)
        return None

    def headers(self, now: float) -> dict[str, str]:
        """Return the headers that report the remaining limit."""
        self._forget(now)
        caps = {"requests": self.requests, "inputs": self.inputs, "tokens": self.tokens}
        found: dict[str, str] = {}
        for (name, cap), used in zip(caps.items(), self._used, strict=True):
            if cap is not None:
                left = {"limit": str(cap), "remaining": str(max(0, cap - used)), "reset": f"{self._full(now):.3f}s"}
                found |= {f"x-ratelimit-{what}-{name}": value for what, value in left.items()}
        return found

    def _forget(self, now: float) -> None:
        start = now - self.window if self.rolling else now - now % self.window
        while self._taken and (self._taken[0][0] <= start if self.rolling else self._taken[0][0] < start):
            self._used = _add(self._used, self._taken.popleft()[1], -1)

    def _fits(self, used: Cost, cost: Cost) -> bool:
        caps = (self.requests, self.inputs, self.tokens)
        return all(cap is None or total <= cap for cap, total in zip(caps, _add(used, cost), strict=True))

    def _wait(self, cost: Cost, now: float) -> float:
        if not self.rolling:
            return self.window - now % self.window
        used = self._used
        for when, taken in self._taken:
            used = _add(used, taken, -1)
            if self._fits(used, cost):
                return when + self.window - now
        return self.window

    def _full(self, now: float) -> float:
        """Return the seconds until the whole limit is free again."""
        if not self._taken:
            return 0.0
        return self._taken[-1][0] + self.window - now if self.rolling else self.window - now % self.window


def _add(one: Cost, other: Cost, sign: int = 1) -> Cost:
    return one[0] + sign * other[0], one[1] + sign * other[1], one[2] + sign * other[2]
