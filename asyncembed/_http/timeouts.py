"""Time limits whose clocks stand still while the event loop does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable
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


class SilenceLimit:
    """A time limit for each of many waits, as fair as `FairTimeout`, with hardly more than one timer for all of them.

    To set a timer for each chunk of a response costs more than to read the chunk. Here the timer stays, and is set
    again only when it goes off and finds that there was news meanwhile.

    Args:
        delay: Seconds that one wait may take.
        expire: Called when a wait takes longer; it ends the wait.
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
        """Begin to wait."""
        self._since = self._loop.time()
        self._extended = False
        due = self._since + self._delay
        if self._timer is None or self._timer.when() > due:
            self._set(due)

    def end(self) -> None:
        """Note that the wait is over."""
        self._since = None

    def close(self) -> None:
        """Wait for nothing more, and let go of whom to tell: it holds this object, and both would stay for a while."""
        self._stop_timer()
        self._expire = _nothing

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _set(self, due: float) -> None:
        self._stop_timer()
        self._timer = self._loop.call_at(due, self._look, due)

    def _look(self, set_for: float) -> None:
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


def _nothing() -> None:
    """What there is to do when a wait that is over takes too long."""
