"""Work on one event loop is spread over its turns."""

from __future__ import annotations

import asyncio

import pytest

from asyncembed.flow import _turns
from asyncembed.flow._turns import LONGEST, Turns


class Clock:
    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(_turns, "time", clock)
    return clock


async def work(turns: Turns, clock: Clock, seconds: float, done: list[int]) -> None:
    """Take as long as that, in the turn of the loop that one is given, and note which it was."""
    await turns.wait()
    clock.now += seconds
    done.append(clock.turn)


async def turns_of(clock: Clock, seconds: float, count: int) -> list[int]:
    """In which turns of the loop so many pieces of work are done that are all ready in the first."""
    done: list[int] = []
    turns, clock.turn = Turns(), 0
    tasks = [asyncio.create_task(work(turns, clock, seconds, done)) for _ in range(count)]
    while len(done) < count:
        await asyncio.sleep(0)
        clock.turn += 1
    await asyncio.gather(*tasks)
    return done


async def test_what_takes_long_is_one_piece_a_turn(clock):
    done = await turns_of(clock, 2 * LONGEST, 4)
    assert len(set(done)) == 4
    assert done == sorted(done)


async def test_what_is_short_is_done_in_one_turn(clock):
    assert len(set(await turns_of(clock, LONGEST / 10, 4))) == 1
