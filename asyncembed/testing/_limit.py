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
    """What may be asked for in a window of time; what is over it is answered 429 and does not count.

    Attributes:
        requests: Most requests in a window.
        inputs: Most texts in a window.
        tokens: Most tokens in a window.
        at_once: Most requests that are answered at the same time.
        window: Length of the window in seconds.
        rolling: Whether the window is always the last `window` seconds; else one begins at every multiple of them.
        hint: How the answer says how long to wait; see `faults.TooManyRequests`.
        announce: Whether every answer bears OpenAI's `x-ratelimit-*` headers.
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
        """Take what a request needs, or return for how many seconds it has to wait.

        Args:
            inputs: Its texts.
            tokens: Its tokens.
            now: Seconds on any clock that only moves forward.
            active: Requests that are being answered already.
        """
        self._forget(now)
        cost = (1, inputs, tokens)
        if self.at_once is not None and active >= self.at_once:
            return 0.0
        if not self._fits(self._used, cost):
            return self._wait(cost, now)
        self._taken.append((now, cost))
        self._used = _plus(self._used, cost)
        return None

    def headers(self, now: float) -> dict[str, str]:
        """Return the headers that say what is left."""
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
            self._used = _plus(self._used, self._taken.popleft()[1], -1)

    def _fits(self, used: Cost, cost: Cost) -> bool:
        caps = (self.requests, self.inputs, self.tokens)
        return all(cap is None or there <= cap for cap, there in zip(caps, _plus(used, cost), strict=True))

    def _wait(self, cost: Cost, now: float) -> float:
        if not self.rolling:
            return self.window - now % self.window
        used = self._used
        for when, taken in self._taken:
            used = _plus(used, taken, -1)
            if self._fits(used, cost):
                return when + self.window - now
        return self.window

    def _full(self, now: float) -> float:
        """Seconds until everything is free again."""
        if not self._taken:
            return 0.0
        return self._taken[-1][0] + self.window - now if self.rolling else self.window - now % self.window


def _plus(one: Cost, other: Cost, sign: int = 1) -> Cost:
    return one[0] + sign * other[0], one[1] + sign * other[1], one[2] + sign * other[2]
