"""One pause for all requests of a client when the API asks for one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable


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
