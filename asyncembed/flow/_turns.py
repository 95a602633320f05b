"""Shares of the event loop's time, so that no other task waits until all responses have been read.

When bytes of many connections are there at once, their workers would all run in one turn of the loop, and a timer or a
request of the program's own would wait for the sum of them. Here they may use so much of a turn; the others go on in
the next one.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

LONGEST: Final = 0.0005
"""Seconds of a turn of the event loop after which nothing more begins in it: a timer may wait for two whole turns."""


class Turns:
    """Lets work begin that takes a while without an `await`; shared by all who do such work on one event loop."""

    __slots__ = ("_began",)

    def __init__(self) -> None:
        self._began: float | None = None  # the first work of this turn

    async def wait(self) -> None:
        """Return at once if there is time left in this turn of the loop, and else in a later one."""
        while self._began is not None and time.perf_counter() - self._began > LONGEST:  # noqa: ASYNC110  # no event
            await asyncio.sleep(0)
        if self._began is None:
            self._began = time.perf_counter()
            asyncio.get_running_loop().call_soon(self._end)

    def _end(self) -> None:
        self._began = None
