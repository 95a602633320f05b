"""How a run stops asking: what is on its way may arrive, and whoever waits to ask again does not wait on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Stopping:
    """Waits that end when the run is to ask for nothing more."""

    def __init__(self) -> None:
        self.is_on = False
        """Whether nothing more is to be asked for."""
        self._waits: set[anyio.CancelScope] = set()  # of workers that are not asking for anything now

    def stop(self) -> None:
        """Ask for nothing more: nobody begins another attempt."""
        self.is_on = True
        for scope in self._waits:
            scope.cancel()

    async def wait(self, pause: Callable[[], Awaitable[None]]) -> None:
        """Wait for `pause`, but not when the run is stopping."""
        if self.is_on:
            return
        with anyio.CancelScope() as scope:
            self._waits.add(scope)
            try:
                await pause()
            finally:
                self._waits.discard(scope)
