"""One pause for all requests of a client when the API asks for one.

When nothing comes back any more, one request at a time finds out whether that is over, and all others wait.

Else every worker would try again on its own, and most of what an API gets while it is down, or comes up again, would be
retries. One that is only overloaded, or loses some responses, still answers others, and is not taken for down.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Final

import anyio

from asyncembed._decide.retry import ceiling

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncembed._config import RetryPolicy


class SharedPause:
    """No request of an endpoint starts before the pause is over, whoever was told to wait."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = 0.0

    def extend(self, seconds: float) -> None:
        """Pause for at least so many seconds from now."""
        self._until = max(self._until, self._clock() + seconds)

    @property
    def is_on(self) -> bool:
        """Whether there is a pause now."""
        return self._until > self._clock()

    async def wait(self) -> None:
        """Return when the pause is over, however often it is extended meanwhile."""
        while (left := self._until - self._clock()) > 0:  # noqa: ASYNC110  # time is what is waited for
            await anyio.sleep(left)


FAILURES: Final = 8
"""Attempts in a row that brought nothing, by whichever worker, before this counts as an outage."""


class Probe:
    """Held by the one attempt that finds out whether an API is back."""


class CircuitBreaker:
    """Whether an API is down, as all streams of one client see it.

    Args:
        policy: How long to wait between two attempts.
        clock: Monotonic seconds; replaced in tests.
        draw: Uniform random number in [0, 1); replaced in tests.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,  # noqa: S311  # jitter, no secret
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._draw = draw
        self._failures = 0
        self._next = 0.0  # when the next attempt may find out
        self._probe: Probe | None = None  # of the attempt that is finding out
        self._changed = asyncio.Event()

    @property
    def is_on(self) -> bool:
        """Whether the API is down, as far as is known."""
        return self._failures >= FAILURES

    def lets_through(self, probe: Probe | None) -> bool:
        """Whether an attempt may begin now, with what `wait` gave to it."""
        return not self.is_on or (probe is not None and probe is self._probe)

    async def wait(self, begins: Callable[[float | None], None] | None = None) -> Probe | None:
        """Return None when it is over, or a probe if the caller is to find out; it must be given to `end_attempt`.

        Each time that there is something to wait for, `begins` is told for how long, None while another finds out.
        """
        while self.is_on:
            left = self._next - self._clock()
            if left <= 0 and self._probe is None:
                self._probe = Probe()
                return self._probe
            seconds = left if self._probe is None else None
            if begins:
                begins(seconds)
            self._changed.clear()
            with anyio.move_on_after(seconds):
                await self._changed.wait()
        return None

    def end_attempt(self, probe: Probe | None = None, *, failed: bool | None) -> None:
        """Note how an attempt ended.

        One that began before the outage was noticed ends it if it goes well; if it fails, that is nothing new.

        Args:
            probe: What `wait` gave, if it gave anything.
            failed: Whether the attempt brought nothing; None if it does not say anything about the API.
        """
        is_probe = probe is not None and probe is self._probe
        if is_probe:
            self._probe = None
        if failed is False:
            self._failures, self._probe = 0, None
        elif failed and (is_probe or not self.is_on):
            self._failures += 1
            if self.is_on:
                self._next = self._clock() + self._wait()
        self._changed.set()

    def _wait(self) -> float:
        return ceiling(self._policy, self._failures - FAILURES) * (0.5 + self._draw() / 2)
