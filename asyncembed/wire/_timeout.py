"""A time limit whose clock stands still while the event loop does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from types import TracebackType

LATE: Final = 0.05
"""Seconds a timer may be late before we say that the loop stood still: in that time nothing could be read."""


class FairTimeout:
    """Like `asyncio.timeout`, but a consumer that blocks the event loop is not taken for a silent server.

    A timer that goes off late by more than `LATE` is set once more, for as long as the loop stood still. Once is
    enough: what came meanwhile is read before it goes off again, and a loop that is always late must not wait for ever.

    Args:
        delay: Seconds until `TimeoutError` is raised inside the block.
    """

    __slots__ = ("_delay", "_due", "_extended", "_loop", "_timeout", "_timer")

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._timeout = asyncio.timeout(None)
        self._extended = False

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._loop = asyncio.get_running_loop()
        self._set(self._delay)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._timeout.__aexit__(kind, error, trace)

    def _set(self, delay: float) -> None:
        self._due = self._loop.time() + delay
        self._timer = self._loop.call_at(self._due, self._expire)

    def _expire(self) -> None:
        late = self._loop.time() - self._due
        if late > LATE and not self._extended:
            self._extended = True
            self._set(late)
        else:
            self._timeout.reschedule(self._due)
