"""Time limits that do not count the time in which the event loop is blocked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


LATE: Final = 0.05
"""Seconds by which a late timer shows that the loop was blocked, so that nothing could be read."""


class FairTimeout:
    """Works like `asyncio.timeout`, but does not mistake a consumer that blocks the event loop for a silent server.

    If its timer fires more than `LATE` seconds late, it is set once more, for as long as the loop was blocked. Once is
    enough: data that arrived meanwhile is read before the timer fires again, and a loop that is always late still
    times out.

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


class SilenceLimit:
    """Limits each of many waits, as fairly as `FairTimeout`, with about one timer for all of them.

    Setting a timer for each chunk of a response costs more than reading the chunk. Here the timer keeps running, and
    is set again only when it fires and finds that a newer wait has begun.

    Args:
        delay: Maximum seconds of one wait.
        expire: Called when a wait takes longer. It must end the wait.
    """

    __slots__ = ("_delay", "_expire", "_extended", "_loop", "_since", "_timer")

    def __init__(self, delay: float, expire: Callable[[], None]) -> None:
        self._delay = delay
        self._expire = expire
        self._loop = asyncio.get_running_loop()
        self._since: float | None = None  # when the wait began
        self._timer: asyncio.TimerHandle | None = None
        self._extended = False

    def begin(self) -> None:
        """Begin a wait."""
        self._since = self._loop.time()
        self._extended = False
        due = self._since + self._delay
        if self._timer is None or self._timer.when() > due:
            self._set(due)

    def end(self) -> None:
        """End the wait."""
        self._since = None

    def close(self) -> None:
        """Stop the timer and drop the callback, which refers back to this object and would delay its release."""
        self._stop_timer()
        self._expire = _do_nothing

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _set(self, due: float) -> None:
        self._stop_timer()
        self._timer = self._loop.call_at(due, self._fire, due)

    def _fire(self, set_for: float) -> None:
        self._timer = None
        if self._since is None:
            return
        now, due = self._loop.time(), self._since + self._delay
        late = now - max(due, set_for)
        if now < due:
            self._set(due)
        elif late > LATE and not self._extended:
            self._extended = True
            self._set(now + late)
        else:
            self._expire()


def _do_nothing() -> None:
    """Replace the callback of a closed limit."""
