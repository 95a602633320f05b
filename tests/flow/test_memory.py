"""The memory budget: first come, first served, never over, nothing leaked, whoever is cancelled."""

from __future__ import annotations

import asyncio
import random

import pytest
from anyio.lowlevel import checkpoint

from asyncembed.flow._cost import FIXED_COST, READ_BUFSIZE, TEXT_BYTES_PER_NUMBER, CostModel
from asyncembed.flow._memory import MemoryBudget, Reservation


async def reserving(budget: MemoryBudget, cost: int) -> asyncio.Task:
    task = asyncio.create_task(budget.reserve(cost))
    await checkpoint()
    return task


async def test_what_fits_is_granted_at_once():
    """Without giving way to another task."""
    budget = MemoryBudget(100)
    for cost in (60, 40):
        coroutine = budget.reserve(cost)
        with pytest.raises(StopIteration):
            coroutine.send(None)
    assert (budget.reserved, budget.peak, budget.waiting) == (100, 100, 0)


async def test_first_come_first_served():
    """A small request does not pass a large one that waits."""
    budget = MemoryBudget(100)
    await budget.reserve(60)
    large, small = await reserving(budget, 50), await reserving(budget, 1)
    assert (budget.waiting, budget.reserved) == (2, 60)
    budget.release(5)
    await checkpoint()
    assert not large.done()
    assert not small.done()
    budget.release(10)
    await asyncio.gather(large, small)
    assert (budget.reserved, budget.waiting, budget.peak) == (96, 0, 96)


async def test_one_release_may_start_several():
    """As many as fit, in their order."""
    budget = MemoryBudget(100)
    await budget.reserve(100)
    tasks = [await reserving(budget, cost) for cost in (30, 30, 30, 30)]
    budget.release(100)
    await checkpoint()
    assert [task.done() for task in tasks] == [True, True, True, False]
    budget.release(30)
    await tasks[3]


async def test_more_than_everything_runs_alone():
    """It waits for all the rest to end, and all the rest waits for it."""
    budget = MemoryBudget(100)
    await budget.reserve(10)
    oversize, behind = await reserving(budget, 500), await reserving(budget, 1)
    assert budget.waiting == 2
    budget.release(10)
    await oversize
    assert (budget.reserved, behind.done()) == (500, False)
    budget.release(500)
    await behind
    await MemoryBudget(0).reserve(500)


async def test_a_stream_that_holds_nothing_need_not_wait():
    """It goes over the budget and past the queue."""
    budget = MemoryBudget(100)
    await budget.reserve(100)
    waiting = await reserving(budget, 10)
    await budget.reserve(50, at_once=True)
    assert (budget.reserved, budget.peak, budget.waiting) == (150, 150, 1)
    budget.release(50)
    await checkpoint()
    assert not waiting.done()
    budget.release(100)
    await waiting


async def cancelled(task: asyncio.Task) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_head_of_the_queue_being_cancelled_wakes_the_next():
    """If that one fits."""
    budget = MemoryBudget(100)
    await budget.reserve(60)
    head, behind = await reserving(budget, 50), await reserving(budget, 40)
    await cancelled(head)
    await behind
    assert (budget.reserved, budget.waiting) == (100, 0)


async def test_one_in_the_middle_being_cancelled_changes_nothing():
    """The order of the others stays."""
    budget = MemoryBudget(100)
    await budget.reserve(100)
    first, middle, last = [await reserving(budget, 40) for _ in range(3)]
    await cancelled(middle)
    assert (first.done(), last.done(), budget.waiting) == (False, False, 2)
    budget.release(100)
    await asyncio.gather(first, last)
    assert budget.reserved == 80


async def test_cancelled_in_the_tick_of_the_grant():
    """What was granted goes to the next in the queue."""
    budget = MemoryBudget(100)
    await budget.reserve(100)
    first, second = await reserving(budget, 90), await reserving(budget, 90)
    budget.release(100)
    assert budget.reserved == 90  # granted, but the task has not run yet
    await cancelled(first)
    await second
    assert (budget.reserved, budget.waiting) == (90, 0)


async def test_released_in_the_tick_of_the_cancellation():
    """Nothing is granted to one who is gone."""
    budget = MemoryBudget(100)
    await budget.reserve(100)
    first, second = await reserving(budget, 90), await reserving(budget, 90)
    first.cancel()
    budget.release(100)
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
        await budget.reserve(cost)
        running[number] = cost
        served.add(number)
        try:
            assert sum(running.values()) <= budget.reserved  # more where somebody was granted but has not run yet
            assert sum(running.values()) <= budget.total or len(running) == 1
            for _ in range(draw.randint(0, 6)):
                await checkpoint()
        finally:
            del running[number]
            budget.release(cost)

    tasks = []
    for number in range(80):
        tasks.append(asyncio.create_task(request(number, draw.choice([1, 10, 35, 60, 100, 300]))))
        for _ in range(draw.randint(0, 2)):
            await checkpoint()
        if draw.random() < 0.4:
            draw.choice(tasks).cancel()
    results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
    assert all(result is None or isinstance(result, asyncio.CancelledError) for result in results)
    assert served >= {number for number, result in enumerate(results) if result is None}
    assert (budget.reserved, budget.waiting) == (0, 0)
    assert budget.peak <= 300


def reservation(budget: MemoryBudget, owner: set[Reservation], *, working: int = 10, waiting: int = 23, results: int = 4):
    budget.reserved += working + waiting
    return Reservation(budget, working=working, waiting=waiting, results=results, owner=owner)


def test_a_reservation_is_given_back_piece_by_piece():
    """The working part once, a share for each result, and what rounding left over with the last."""
    budget, owner = MemoryBudget(100), set()
    held = reservation(budget, owner)
    assert owner == {held}
    levels = []
    for step in (held.take_result, held.end_work, held.end_work, held.take_result, held.take_result):
        step()
        levels.append(budget.reserved)
    assert levels == [28, 18, 18, 13, 8]
    assert owner == {held}
    held.take_result()
    assert (budget.reserved, owner) == (0, set())


def test_the_work_may_end_after_the_results():
    """Then all that is left goes with it."""
    budget, owner = MemoryBudget(100), set()
    held = reservation(budget, owner, results=1)
    held.take_result()
    assert (budget.reserved, owner) == (10, {held})
    held.end_work()
    assert (budget.reserved, owner) == (0, set())


@pytest.mark.parametrize("before", [0, 1, 4])
def test_releasing_gives_back_everything_once(before):
    """Whatever was given back already; ending the work after it is harmless."""
    budget, owner = MemoryBudget(100), set()
    budget.reserved = 7  # somebody else's
    held = reservation(budget, owner)
    for _ in range(before):
        held.take_result()
    held.release()
    held.release()
    held.end_work()
    assert (budget.reserved, owner) == (7, set())


def test_taking_a_result_after_releasing_is_harmless():
    """As ending the work is."""
    budget = MemoryBudget(100)
    held = reservation(budget, set())
    held.release()
    held.take_result()
    assert budget.reserved == 0


async def test_giving_back_wakes_who_waits():
    """Piece by piece, as soon as it fits."""
    budget = MemoryBudget(40)
    held = reservation(budget, set())
    task = await reserving(budget, 20)
    held.take_result()
    await checkpoint()
    assert not task.done()
    held.end_work()
    await task


def test_what_a_request_may_need():
    """The formula of the docstring."""
    cost = CostModel(dimension=1_000, itemsize=4)
    assert cost.working(500) == 500 + 3 * READ_BUFSIZE + TEXT_BYTES_PER_NUMBER * 1_000 + FIXED_COST
    assert cost.waiting(96, 500) == 500 + 96 * 1_000 * 4
    assert cost.total(96, 500) == cost.working(500) + cost.waiting(96, 500)
    assert CostModel().dimension == 3_072
