"""Shares the time of the event loop among workers that parse responses.

When data of many connections arrives at once, their workers would all run in one iteration of the loop, and your
program's timers and requests would wait for all of them. The budget lets only some of them run per iteration; the
others queue, and one continues in each of the next iterations. A queued worker waits for a future: a task that polls in
every iteration costs as much each time as parsing several vectors.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Final

MAX_LOOP_SECONDS: Final = 0.0005
"""Seconds of work per event loop iteration after which no more is started; a timer may wait for two iterations."""


class LoopBudget:
    """Limits the synchronous work per event loop iteration; shared by all workers on one event loop."""

    __slots__ = ("_loop", "_queue", "_started")

    def __init__(self) -> None:
        self._started: float | None = None  # when the first work of this iteration started
        self._queue: deque[asyncio.Future[None]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def wait(self) -> None:
        """Return at once if this iteration of the loop has time left, otherwise in a later iteration."""
        # An earlier loop may have closed before `_end`.
        if self._started is None or self._loop is not asyncio.get_running_loop():
            self._queue.clear()
            self._start()
        elif self._queue or time.perf_counter() - self._started > MAX_LOOP_SECONDS:
            turn = asyncio.get_running_loop().create_future()
            self._queue.append(turn)
            await turn

    def _start(self) -> None:
        self._started, self._loop = time.perf_counter(), asyncio.get_running_loop()
        self._loop.call_soon(self._end)

    def _end(self) -> None:
        self._started = None
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():  # its task may have been cancelled
                turn.set_result(None)
                self._start()
                return
