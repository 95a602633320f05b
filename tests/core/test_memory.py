"""The memory budget: first come, first served, never over, nothing leaked, whoever is cancelled."""

from __future__ import annotations

import asyncio
import random

import pytest
from anyio.lowlevel import checkpoint

from asyncembed._core import MemoryBudget

BUSY = {object()}  # the reservations of a stream that holds something, and so may have to wait


async def reserving(budget: MemoryBudget, cost: int, owner: set = BUSY) -> asyncio.Task:
    task = asyncio.create_task(budget.reserve(cost, owner))
    await checkpoint()
    return task


async def test_what_fits_is_granted_at_once():
    """Without giving way to another task."""
    budget = MemoryBudget(100)
    for cost in (60, 40):
        coroutine = budget.reserve(cost, BUSY)
        with pytest.raises(StopIteration):
            coroutine.send(None)
    assert (budget.reserved, budget.peak, budget.waiting) == (100, 100, 0)


async def test_first_come_first_served():
    """A small request does not pass a large one that waits."""
    budget = MemoryBudget(100)
    await budget.reserve(60, BUSY)
    large, small = await reserving(budget, 50), await reserving(budget, 1)
    assert (budget.waiting, budget.reserved) == (2, 60)
    budget.release(5, BUSY)
    await checkpoint()
    assert not large.done()
    assert not small.done()
    budget.release(10, BUSY)
    await asyncio.gather(large, small)
    assert (budget.reserved, budget.waiting, budget.peak) == (96, 0, 96)


async def test_one_release_may_start_several():
    """As many as fit, in their order."""
    budget = MemoryBudget(100)
    await budget.reserve(100, BUSY)
    tasks = [await reserving(budget, cost) for cost in (30, 30, 30, 30)]
    budget.release(100, BUSY)
    await checkpoint()
    assert [task.done() for task in tasks] == [True, True, True, False]
    budget.release(30, BUSY)
    await tasks[3]


async def test_more_than_everything_runs_alone():
    """It waits for all the rest to end, and all the rest waits for it."""
    budget = MemoryBudget(100)
    await budget.reserve(10, BUSY)
    oversize, behind = await reserving(budget, 500), await reserving(budget, 1)
    assert budget.waiting == 2
    budget.release(10, BUSY)
    await oversize
    assert (budget.reserved, behind.done()) == (500, False)
    budget.release(500, BUSY)
    await behind
    await MemoryBudget(0).reserve(500, BUSY)


async def test_a_stream_that_holds_nothing_need_not_wait():
    """It goes over the budget and past the queue."""
    budget = MemoryBudget(100)
    await budget.reserve(100, BUSY)
    waiting = await reserving(budget, 10)
    await budget.reserve(50, set())
    assert (budget.reserved, budget.peak, budget.waiting) == (150, 150, 1)
    budget.release(50, BUSY)
    await checkpoint()
    assert not waiting.done()
    budget.release(100, BUSY)
    await waiting


async def test_a_stream_that_comes_to_hold_nothing_waits_no_longer():
    """Its consumer has taken everything, and may be waiting for this very batch; others keep waiting."""
    budget, mine = MemoryBudget(100), {object()}
    await budget.reserve(95, BUSY)
    await budget.reserve(5, mine)
    theirs, waiting = await reserving(budget, 50), await reserving(budget, 50, mine)
    mine.clear()
    budget.release(5, mine)
    await waiting
    assert (budget.reserved, budget.waiting, theirs.done()) == (145, 1, False)
    budget.release(95, BUSY)
    await theirs


async def test_a_stream_that_comes_to_hold_nothing_may_be_cancelled_in_that_tick():
    """Then nothing stays reserved for it."""
    for cancel_first in (True, False):
        budget, mine = MemoryBudget(100), {object()}
        await budget.reserve(95, BUSY)
        await budget.reserve(5, mine)
        waiting = await reserving(budget, 50, mine)
        mine.clear()
        if cancel_first:
            waiting.cancel()
        budget.release(5, mine)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        assert (budget.reserved, budget.waiting) == (95, 0)


async def cancelled(task: asyncio.Task) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_head_of_the_queue_being_cancelled_wakes_the_next():
    """If that one fits."""
    budget = MemoryBudget(100)
    await budget.reserve(60, BUSY)
    head, behind = await reserving(budget, 50), await reserving(budget, 40)
    await cancelled(head)
    await behind
    assert (budget.reserved, budget.waiting) == (100, 0)


async def test_one_in_the_middle_being_cancelled_changes_nothing():
    """The order of the others stays."""
    budget = MemoryBudget(100)
    await budget.reserve(100, BUSY)
    first, middle, last = [await reserving(budget, 40) for _ in range(3)]
    await cancelled(middle)
    assert (first.done(), last.done(), budget.waiting) == (False, False, 2)
    budget.release(100, BUSY)
    await asyncio.gather(first, last)
    assert budget.reserved == 80


async def test_cancelled_in_the_tick_of_the_grant():
    """What was granted goes to the next in the queue."""
    budget = MemoryBudget(100)
    await budget.reserve(100, BUSY)
    first, second = await reserving(budget, 90), await reserving(budget, 90)
    budget.release(100, BUSY)
    assert budget.reserved == 90  # granted, but the task has not run yet
    await cancelled(first)
    await second
    assert (budget.reserved, budget.waiting) == (90, 0)


async def test_released_in_the_tick_of_the_cancellation():
    """Nothing is granted to one who is gone."""
    budget = MemoryBudget(100)
    await budget.reserve(100, BUSY)
    first, second = await reserving(budget, 90), await reserving(budget, 90)
    first.cancel()
    budget.release(100, BUSY)
    await asyncio.wait([first])
    await second
    assert first.cancelled()
    assert (budget.reserved, budget.waiting) == (90, 0)


@pytest.mark.parametrize("seed", range(25))
async def test_random_requests_and_cancellations_leak_nothing(seed):
    """Never over the budget but for one alone; at the end everything is back, and everybody was served."""
    draw, budget = random.Random(seed), MemoryBudget(100)
    running: dict[int, int] = {}
    served: set[int] = set()

    async def request(number: int, cost: int) -> None:
        await budget.reserve(cost, BUSY)
        running[number] = cost
        served.add(number)
        try:
            assert sum(running.values()) <= budget.reserved  # more where somebody was granted but has not run yet
            assert sum(running.values()) <= budget.total or len(running) == 1
            for _ in range(draw.randint(0, 6)):
                await checkpoint()
        finally:
            del running[number]
            budget.release(cost, BUSY)

    tasks = []
    for number in range(80):
        tasks.append(asyncio.create_task(request(number, draw.choice([1, 10, 35, 60, 100, 300]))))
        for _ in range(draw.randint(0, 2)):
            await checkpoint()
        if draw.random() < 0.4:
            draw.choice(tasks).cancel()
    results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)
    assert all(result is None or isinstance(result, asyncio.CancelledError) for result in results)
    assert served >= {number for number, result in enumerate(results) if result is None}
    assert (budget.reserved, budget.waiting) == (0, 0)
    assert budget.peak <= 300
