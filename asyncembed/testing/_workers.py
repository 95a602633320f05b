"""The workers of a fake server: a fixed number of requests at a time, and the others wait in order of arrival."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from asyncembed._config import check_count, check_not_negative


@dataclass(slots=True, kw_only=True, eq=False)
class Workers:
    """Workers that each answer one request at a time, as a server with a model of its own does.

    Attributes:
        count: Number of requests that are worked on at the same time.
        seconds: Seconds for each request.
        seconds_per_text: Further seconds for each of its texts.
        max_waiting: Maximum number of requests that waited for a worker at the same time so far.
    """

    count: int = 1
    seconds: float = 0.0
    seconds_per_text: float = 0.0
    max_waiting: int = field(default=0, init=False)
    _waiting: int = field(default=0, init=False, repr=False)
    _free: asyncio.Semaphore = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_count("count", self.count)
        check_not_negative("seconds", self.seconds)
        check_not_negative("seconds_per_text", self.seconds_per_text)
        self._free = asyncio.Semaphore(self.count)

    async def work(self, texts: int) -> None:
        """Wait for a worker, and for its work on a request of `texts` texts."""
        self._waiting += 1
        self.max_waiting = max(self.max_waiting, self._waiting - (not self._free.locked()))
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        try:
            await asyncio.sleep(self.seconds + self.seconds_per_text * texts)
        finally:
            self._free.release()
