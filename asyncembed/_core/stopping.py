"""Ends the waits of a run that stops early."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Stopping:
    """Ends the waits of workers when the run stops; requests in flight may finish."""

    def __init__(self) -> None:
        self.is_on = False
        """Whether the run sends no more requests."""
        self.is_final = False
        """Whether requests in flight are useless too, because the request or the account causes the error."""
        self._waits: set[anyio.CancelScope] = set()  # of workers without a request in flight

    def stop(self) -> None:
        """Send no more requests, and end all waits."""
        self.is_on = True
        for scope in self._waits:
            scope.cancel()

    async def wait(self, pause: Callable[[], Awaitable[None]]) -> None:
        """Wait for `pause`, but no longer than until the run stops."""
        if self.is_on:
            return
        with anyio.CancelScope() as scope:
            self._waits.add(scope)
            try:
                await pause()
            finally:
                self._waits.discard(scope)
