"""Work on one event loop is spread over its turns, of which it may take half a millisecond each."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from asyncembed._core import Endpoint

(LoopBudget,) = [field.default_factory for field in dataclasses.fields(Endpoint) if field.name == "loop_budget"]


class Clock:
    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("time.perf_counter", clock.perf_counter)
    return clock


async def work(turns: LoopBudget, clock: Clock, seconds: float, done: list[int]) -> None:
    """Take as long as that, in the turn of the loop that one is given, and note which it was."""
    await turns.wait()
    clock.now += seconds
    done.append(clock.turn)


async def turns_of(clock: Clock, seconds: float, count: int) -> list[int]:
    """In which turns of the loop so many pieces of work are done that are all ready in the first."""
    done: list[int] = []
    turns, clock.turn = LoopBudget(), 0
    tasks = [asyncio.create_task(work(turns, clock, seconds, done)) for _ in range(count)]
    while len(done) < count:
        await asyncio.sleep(0)
        clock.turn += 1
    await asyncio.gather(*tasks)
    return done


async def test_what_takes_long_is_one_piece_a_turn(clock):
    done = await turns_of(clock, 0.001, 4)
    assert len(set(done)) == 4
    assert done == sorted(done)


async def test_what_is_short_is_done_in_one_turn(clock):
    assert len(set(await turns_of(clock, 0.00005, 4))) == 1


async def test_whoever_is_cancelled_in_the_line_holds_up_nobody(clock):
    """Neither while it stands there nor when its turn has come."""
    turns, clock.turn, done = LoopBudget(), 0, []
    tasks = [asyncio.create_task(work(turns, clock, 0.001, done)) for _ in range(6)]
    await asyncio.sleep(0)
    tasks[3].cancel()
    await asyncio.sleep(0)
    assert done == [0]
    tasks[1].cancel()  # it has been told to go on in this turn
    await asyncio.wait(tasks)
    assert [task.cancelled() for task in tasks] == [False, True, False, True, False, False]


async def test_who_stands_in_line_is_not_looked_at_in_every_turn(clock):
    """A task of many waits for one step of its own."""
    turns, clock.turn, done, steps = LoopBudget(), 0, [], 0

    class Watched:
        """Counts how often the task that waits here goes on."""

        def __await__(self):
            nonlocal steps
            waits = turns.wait().__await__()
            while True:
                try:
                    future = next(waits)
                except StopIteration:
                    return
                steps += 1
                yield future

    async def last() -> None:
        await Watched()
        done.append(clock.turn)

    tasks = [asyncio.create_task(work(turns, clock, 0.001, done)) for _ in range(20)]
    await asyncio.gather(*tasks, last())
    assert (len(done), steps) == (21, 1)


def test_a_loop_that_dies_in_a_turn_does_not_hold_up_the_next_one():
    """A client may be used again, by another `asyncio.run`."""
    turns = LoopBudget()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(turns.wait())  # it ends before the turn does
    loop.close()

    async def again() -> None:
        await asyncio.gather(*(turns.wait() for _ in range(3)))

    asyncio.run(asyncio.wait_for(again(), 30))
