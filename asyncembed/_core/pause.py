"""Stops all requests of a client while the API asks for a pause."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable


class SharedPause:
    """A pause for all requests to an endpoint, after the API has asked one of them to wait."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = 0.0

    def extend(self, seconds: float) -> None:
        """Pause for at least `seconds` from now."""
        self._until = max(self._until, self._clock() + seconds)

    @property
    def is_on(self) -> bool:
        """Whether there is a pause now."""
        return self._until > self._clock()

    async def wait(self) -> None:
        """Return when the pause is over, even if it is extended meanwhile."""
        while (remaining := self._until - self._clock()) > 0:  # noqa: ASYNC110  # only time ends a pause
            await anyio.sleep(remaining)
