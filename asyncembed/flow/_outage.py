"""When nothing comes back any more, one request at a time finds out whether that is over, and all others wait.

Else every worker would try again on its own, and most of what an API gets while it is down, or comes up again, would be
retries. One that is only overloaded, or loses some responses, still answers others, and is not taken for down.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Final

import anyio

from asyncembed.flow._retry import ceiling

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncembed._settings import RetryPolicy

FAILURES: Final = 8
"""Attempts in a row that brought nothing, by whichever worker, before this counts as an outage."""


class Outage:
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
        self._next = 0.0  # when somebody may find out again
        self._is_tried = False  # somebody is finding out
        self._changed = asyncio.Event()

    @property
    def is_on(self) -> bool:
        """Whether the API is down, as far as is known."""
        return self._failures >= FAILURES

    async def wait(self, begins: Callable[[float | None], None] | None = None) -> None:
        """Return when it is over, or when the caller is the one to find out; `end_attempt` must follow then.

        Each time that there is something to wait for, `begins` is told for how long, None while somebody finds out.
        """
        while self.is_on:
            left = self._next - self._clock()
            if left <= 0 and not self._is_tried:
                self._is_tried = True
                return
            seconds = None if self._is_tried else left
            if begins:
                begins(seconds)
            self._changed.clear()
            with anyio.move_on_after(seconds):
                await self._changed.wait()

    def end_attempt(self, *, failed: bool | None) -> None:
        """Note how an attempt ended: whether it brought nothing, or None if it does not say anything about the API."""
        self._is_tried = False
        if failed is False:
            self._failures = 0
        elif failed:
            self._failures += 1
            if self.is_on:
                self._next = self._clock() + self._wait()
        self._changed.set()

    def _wait(self) -> float:
        return ceiling(self._policy, self._failures - FAILURES) * (0.5 + self._draw() / 2)
