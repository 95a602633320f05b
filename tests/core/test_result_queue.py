"""The outbox: every result once, in order or as it came, whoever is cancelled meanwhile."""

from __future__ import annotations

import asyncio
import random

import numpy as np
import pytest
from anyio.lowlevel import checkpoint

from asyncembed import AsyncEmbedError, EmbedFailure, EmbedInput, EmbedResult, TransportError
from asyncembed._core.result_queue import ResultQueue
from asyncembed._models import EmbedBlock


def result(index: int) -> EmbedResult:
    return EmbedResult(index, np.zeros(1, np.float32), str(index))


def put(result_queue: ResultQueue, *indices: int) -> None:
    if indices:
        result_queue.put([result(index) for index in indices], None)


async def taken(result_queue: ResultQueue) -> list[int]:
    return [item.index for items, _ in await result_queue.get() for item in items]


async def waiting(result_queue: ResultQueue) -> asyncio.Task:
    """A task that waits for results and has come to its wait."""
    task = asyncio.create_task(taken(result_queue))
    await checkpoint()
    assert not task.done()
    return task


async def test_ordered_results_wait_for_their_turn():
    """Whatever came before its turn leaves right behind the one that was missing."""
    result_queue = ResultQueue(ordered=True)
    put(result_queue, 3, 1)
    task = await waiting(result_queue)
    put(result_queue, 0)
    assert await task == [0, 1]
    put(result_queue, 4)
    task = await waiting(result_queue)
    put(result_queue, 2)
    assert await task == [2, 3, 4]


async def test_unordered_results_leave_as_they_came():
    """All that are there at once."""
    result_queue = ResultQueue(ordered=False)
    put(result_queue, 3, 1)
    put(result_queue, 0)
    assert await taken(result_queue) == [3, 1, 0]
    task = await waiting(result_queue)
    put(result_queue, 2)
    assert await task == [2]


async def test_bursts_carry_the_reservation_they_came_with():
    """Failures too; None where nothing was reserved."""
    result_queue, reservation = ResultQueue(ordered=True), object()
    failure = EmbedFailure(1, "1", None, TransportError("x"))
    result_queue.put([failure], None)
    result_queue.put([result(0)], reservation)
    first, second = await result_queue.get()
    assert ([item.index for item in first[0]], first[1]) == ([0], reservation)
    assert second == ([failure], None)


async def test_what_follows_each_other_stays_together():
    """Matrices too, which stand for several inputs; a gap or a wrong order splits a burst."""
    result_queue = ResultQueue(ordered=True)
    put(result_queue, 0, 1, 2, 5, 4, 3)
    blocks = [EmbedBlock(first, np.zeros((2, 1), np.float32), [EmbedInput("x")] * 2) for first in (6, 8, 12)]
    result_queue.put(blocks, None)
    bursts = [[item.index for item in items] for items, _ in await result_queue.get()]
    assert bursts == [[0, 1, 2], [3], [4], [5], [6, 8]]
    put(result_queue, 10, 11)
    assert await taken(result_queue) == [10, 11, 12]


async def test_an_index_left_out_is_passed_over():
    """At the front, in the middle and before anything came."""
    result_queue = ResultQueue(ordered=True)
    result_queue.skip(1)
    put(result_queue, 2)
    task = await waiting(result_queue)
    result_queue.skip(0)
    assert await task == [2]
    task = await waiting(result_queue)
    result_queue.skip(3)
    await checkpoint()
    assert not task.done(), "nothing to give is no reason to wake the consumer"
    put(result_queue, 4)
    assert await task == [4]


async def test_leaving_out_means_nothing_without_order():
    """Nobody waits for a certain index."""
    result_queue = ResultQueue(ordered=False)
    result_queue.skip(0)
    put(result_queue, 1)
    assert await taken(result_queue) == [1]


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("error", [None, TransportError("broken")])
async def test_closing_gives_what_is_ready_first(ordered, error):
    """Then the end, as often as it is asked for; what waited for its turn is dropped."""
    result_queue = ResultQueue(ordered=ordered)
    put(result_queue, 0, 2)
    result_queue.close(error)
    assert await taken(result_queue) == ([0] if ordered else [0, 2])
    for _ in range(2):
        assert await taken(result_queue) == []
        assert result_queue.error is error


async def test_closing_wakes_the_consumer():
    """It would wait for ever."""
    result_queue = ResultQueue(ordered=True)
    task = await waiting(result_queue)
    result_queue.close()
    assert await task == []


async def test_the_first_close_counts():
    """An error is not covered by the clean-up after it."""
    result_queue, first = ResultQueue(ordered=True), TransportError("first")
    result_queue.close(first)
    result_queue.close(TransportError("second"))
    assert result_queue.error is first


async def test_clear_drops_everything():
    """For a stream that nobody reads any more."""
    result_queue = ResultQueue(ordered=True)
    put(result_queue, 0, 2)
    result_queue.clear()
    result_queue.close()
    assert await taken(result_queue) == []


async def test_a_second_consumer_is_refused():
    """And the first one is not disturbed."""
    result_queue = ResultQueue(ordered=True)
    task = await waiting(result_queue)
    with pytest.raises(AsyncEmbedError, match="one consumer at a time"):
        await result_queue.get()
    put(result_queue, 0)
    assert await task == [0]


async def test_a_consumer_cancelled_in_the_tick_of_its_results_loses_none():
    """They stay for the next one."""
    result_queue = ResultQueue(ordered=True)
    task = await waiting(result_queue)
    put(result_queue, 0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await taken(result_queue) == [0]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("ordered", [True, False])
async def test_random_cancellations_lose_and_double_nothing(seed, ordered):  # noqa: C901  # two tasks and their fate
    """A consumer that is cancelled at any moment, again and again, while results come in bursts in any order."""
    draw, total = random.Random(seed), 200
    result_queue, got = ResultQueue(ordered=ordered), []
    left_out = set(draw.sample(range(total), 20))
    indices = list(range(total))
    for start in range(0, total, 20):  # out of order, but not by more than a few batches
        part = indices[start : start + 20]
        draw.shuffle(part)
        indices[start : start + 20] = part

    async def produce():
        while indices:
            burst = [indices.pop(0) for _ in range(min(len(indices), draw.randint(1, 9)))]
            for index in left_out.intersection(burst):
                result_queue.skip(index)
            put(result_queue, *(index for index in burst if index not in left_out))
            for _ in range(draw.randint(0, 3)):
                await checkpoint()
        result_queue.close()

    async def consume():
        while burst := await result_queue.get():
            # No await between: that is the consumer's own business.
            got.extend(item.index for items, _ in burst for item in items)
            for _ in range(draw.randint(0, 2)):
                await checkpoint()

    producer = asyncio.create_task(produce())
    while True:
        consumer = asyncio.create_task(consume())
        for _ in range(draw.randint(1, 4)):
            await checkpoint()
        if producer.done():
            await consumer
            break
        consumer.cancel()
        await asyncio.wait([consumer])
    expected = [index for index in range(total) if index not in left_out]
    assert (got if ordered else sorted(got)) == expected
