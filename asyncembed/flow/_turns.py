"""Shares of the event loop's time, so that no other task waits until all responses have been read.

When bytes of many connections are there at once, their workers would all run in one turn of the loop, and a timer or a
request of the program's own would wait for the sum of them. Here they may use so much of a turn; the others stand in
line, and one of them goes on in each of the next turns. They wait for a future, as a task that looks again in every
turn costs as much as the parsing of several vectors each time.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Final

LONGEST: Final = 0.0005
"""Seconds of a turn of the event loop after which nothing more begins in it: a timer may wait for two whole turns."""


class Turns:
    """Lets work begin that takes a while without an `await`; shared by all who do such work on one event loop."""

    __slots__ = ("_began", "_line", "_loop")

    def __init__(self) -> None:
        self._began: float | None = None  # the first work of this turn
        self._line: deque[asyncio.Future[None]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def wait(self) -> None:
        """Return at once if there is time left in this turn of the loop, and else in a later one."""
        if self._began is None or self._loop is not asyncio.get_running_loop():  # the last one may have died in a turn
            self._line.clear()
            self._begin()
        elif self._line or time.perf_counter() - self._began > LONGEST:
            place = asyncio.get_running_loop().create_future()
            self._line.append(place)
            await place

    def _begin(self) -> None:
        self._began, self._loop = time.perf_counter(), asyncio.get_running_loop()
        self._loop.call_soon(self._end)

    def _end(self) -> None:
        self._began = None
        while self._line:
            place = self._line.popleft()
            if not place.done():  # whoever stood there may have been cancelled
                place.set_result(None)
                self._begin()
                return
