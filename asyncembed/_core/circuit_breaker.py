"""Stops all requests of a client but one while the API is down.

While the API is down, one request at a time probes whether it is back, and all others wait. Without this, every worker
would retry on its own, and most of the load on an API that is down or restarting would be retries. An API that is only
overloaded, or loses some responses, still answers others, so the breaker does not open for it.
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


FAILURE_THRESHOLD: Final = 8
"""Consecutive failed attempts of all workers together after which the API counts as down."""


class ProbeToken:
    """Token of the one attempt that may find out whether the API is back."""


class CircuitBreaker:
    """Knows whether an API is down; shared by all streams of one client.

    Args:
        policy: How long to wait between two probes.
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
        self._next = 0.0  # when the next probe may start
        self._probe: ProbeToken | None = None  # of the probe in flight
        self._waiting_queries = 0
        self._changed = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether the API counts as down, so that only a probe may be sent."""
        return self._failures >= FAILURE_THRESHOLD

    def allows(self, probe: ProbeToken | None) -> bool:
        """Whether an attempt may start now; `probe` is what `wait` returned to it."""
        return not self.is_open or (probe is not None and probe is self._probe)

    async def wait(
        self, on_wait: Callable[[float | None], None] | None = None, *, is_query: bool = False
    ) -> ProbeToken | None:
        """Wait until the outage is over, or until the caller is to probe whether it is.

        Args:
            on_wait: Called before each wait with its length in seconds, or None while another request probes.
            is_query: Whether the caller is a query: while one waits, it is the one to probe.

        Returns:
            None if the outage is over, or a probe token, which the caller must pass to `end_attempt`.
        """
        self._waiting_queries += is_query
        try:
            while self.is_open:
                remaining = self._next - self._clock()
                is_turn = is_query or not self._waiting_queries
                if remaining <= 0 and self._probe is None and is_turn:
                    self._probe = ProbeToken()
                    return self._probe
                seconds = remaining if self._probe is None and is_turn else None
                if on_wait:
                    on_wait(seconds)
                self._changed.clear()
                with anyio.move_on_after(seconds):
                    await self._changed.wait()
            return None
        finally:
            if is_query:
                self._waiting_queries -= 1
                self._changed.set()  # it may be another's turn now

    def end_attempt(self, probe: ProbeToken | None = None, *, failed: bool | None) -> None:
        """Record how an attempt ended.

        An attempt that started before the outage was noticed ends the outage if it succeeds; its failure is ignored.

        Args:
            probe: What `wait` returned.
            failed: Whether the attempt failed without bringing a vector; None if its end says nothing about the API.
        """
        is_probe = probe is not None and probe is self._probe
        if is_probe:
            self._probe = None
        if failed is False:
            self._failures, self._probe = 0, None
        elif failed and (is_probe or not self.is_open):
            self._failures += 1
            if self.is_open:
                self._next = self._clock() + self._wait()
        self._changed.set()

    def _wait(self) -> float:
        return ceiling(self._policy, self._failures - FAILURE_THRESHOLD) * (0.5 + self._draw() / 2)
