"""The time limit on waiting for the next bytes: fair to a loop that stood still, and no longer than that."""

from __future__ import annotations

import asyncio
import time

import pytest

from asyncembed._http.timeouts import LATE, SilenceLimit

DELAY = 0.1


class Watched:
    """A limit that notes when it expired."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.expired = asyncio.Event()
        self.limit = SilenceLimit(DELAY, self._expire)
        self.at = 0.0

    def _expire(self) -> None:
        self.at = self.loop.time()
        self.expired.set()

    async def expires_after(self, begun: float) -> float:
        async with asyncio.timeout(30):
            await self.expired.wait()
        return self.at - begun


@pytest.fixture
async def watched():
    watched = Watched()
    yield watched
    watched.limit.close()


async def test_silence_ends_the_wait(watched):
    begun = watched.loop.time()
    watched.limit.begin()
    assert await watched.expires_after(begun) >= DELAY


async def test_every_wait_has_its_own_time(watched):
    """Waits that follow each other may take longer together, and one that is over counts for nothing."""
    for _ in range(6):
        watched.limit.begin()
        await asyncio.sleep(DELAY / 3)
        watched.limit.end()
    await asyncio.sleep(2 * DELAY)
    assert not watched.expired.is_set()
    begun = watched.loop.time()
    watched.limit.begin()
    assert await watched.expires_after(begun) >= DELAY


async def test_a_loop_that_stood_still_is_no_silence(watched):
    """The wait goes on for as long as the loop did nothing."""
    begun = watched.loop.time()
    watched.limit.begin()
    time.sleep(DELAY + 3 * LATE)  # it is the loop that has to stand still
    await asyncio.sleep(LATE)
    assert not watched.expired.is_set()
    assert await watched.expires_after(begun) + LATE >= DELAY + 6 * LATE


async def test_a_long_stand_is_forgotten_by_the_next_wait(watched):
    watched.limit.begin()
    time.sleep(DELAY + 2)
    await asyncio.sleep(0.01)
    watched.limit.end()
    begun = watched.loop.time()
    watched.limit.begin()
    assert await watched.expires_after(begun) < 1


async def test_nothing_expires_after_the_end(watched):
    watched.limit.begin()
    watched.limit.close()
    await asyncio.sleep(2 * DELAY)
    assert not watched.expired.is_set()
