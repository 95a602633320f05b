"""The outbox: every result once, in order or as it came, whoever is cancelled meanwhile."""

from __future__ import annotations

import asyncio
import random

import numpy as np
import pytest
from anyio.lowlevel import checkpoint

from asyncembed import AsyncEmbedError, EmbedFailure, EmbedInput, EmbedResult, TransportError
from asyncembed._core.result_queue import Outbox
from asyncembed._models import EmbedBlock


def result(index: int) -> EmbedResult:
    return EmbedResult(index, np.zeros(1, np.float32), str(index))


def put(outbox: Outbox, *indices: int) -> None:
    if indices:
        outbox.put([result(index) for index in indices], None)


async def taken(outbox: Outbox) -> list[int]:
    return [item.index for items, _ in await outbox.get() for item in items]


async def waiting(outbox: Outbox) -> asyncio.Task:
    """A task that waits for results and has come to its wait."""
    task = asyncio.create_task(taken(outbox))
    await checkpoint()
    assert not task.done()
    return task


async def test_ordered_results_wait_for_their_turn():
    """Whatever came before its turn leaves right behind the one that was missing."""
    outbox = Outbox(ordered=True)
    put(outbox, 3, 1)
    task = await waiting(outbox)
    put(outbox, 0)
    assert await task == [0, 1]
    put(outbox, 4)
    task = await waiting(outbox)
    put(outbox, 2)
    assert await task == [2, 3, 4]


async def test_unordered_results_leave_as_they_came():
    """All that are there at once."""
    outbox = Outbox(ordered=False)
    put(outbox, 3, 1)
    put(outbox, 0)
    assert await taken(outbox) == [3, 1, 0]
    task = await waiting(outbox)
    put(outbox, 2)
    assert await task == [2]


async def test_bursts_carry_the_reservation_they_came_with():
    """Failures too; None where nothing was reserved."""
    outbox, reservation = Outbox(ordered=True), object()
    failure = EmbedFailure(1, "1", None, TransportError("x"))
    outbox.put([failure], None)
    outbox.put([result(0)], reservation)
    first, second = await outbox.get()
    assert ([item.index for item in first[0]], first[1]) == ([0], reservation)
    assert second == ([failure], None)


async def test_what_follows_each_other_stays_together():
    """Matrices too, which stand for several inputs; a gap or a wrong order splits a burst."""
    outbox = Outbox(ordered=True)
    put(outbox, 0, 1, 2, 5, 4, 3)
    blocks = [EmbedBlock(first, np.zeros((2, 1), np.float32), [EmbedInput("x")] * 2) for first in (6, 8, 12)]
    outbox.put(blocks, None)
    bursts = [[item.index for item in items] for items, _ in await outbox.get()]
    assert bursts == [[0, 1, 2], [3], [4], [5], [6, 8]]
    put(outbox, 10, 11)
    assert await taken(outbox) == [10, 11, 12]


async def test_an_index_left_out_is_passed_over():
    """At the front, in the middle and before anything came."""
    outbox = Outbox(ordered=True)
    outbox.leave_out(1)
    put(outbox, 2)
    task = await waiting(outbox)
    outbox.leave_out(0)
    assert await task == [2]
    task = await waiting(outbox)
    outbox.leave_out(3)
    await checkpoint()
    assert not task.done(), "nothing to give is no reason to wake the consumer"
    put(outbox, 4)
    assert await task == [4]


async def test_leaving_out_means_nothing_without_order():
    """Nobody waits for a certain index."""
    outbox = Outbox(ordered=False)
    outbox.leave_out(0)
    put(outbox, 1)
    assert await taken(outbox) == [1]


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("error", [None, TransportError("broken")])
async def test_closing_gives_what_is_ready_first(ordered, error):
    """Then the end, as often as it is asked for; what waited for its turn is dropped."""
    outbox = Outbox(ordered=ordered)
    put(outbox, 0, 2)
    outbox.close(error)
    assert await taken(outbox) == ([0] if ordered else [0, 2])
    for _ in range(2):
        assert await taken(outbox) == []
        assert outbox.error is error


async def test_closing_wakes_the_consumer():
    """It would wait for ever."""
    outbox = Outbox(ordered=True)
    task = await waiting(outbox)
    outbox.close()
    assert await task == []


async def test_the_first_close_counts():
    """An error is not covered by the clean-up after it."""
    outbox, first = Outbox(ordered=True), TransportError("first")
    outbox.close(first)
    outbox.close(TransportError("second"))
    assert outbox.error is first


async def test_clear_drops_everything():
    """For a stream that nobody reads any more."""
    outbox = Outbox(ordered=True)
    put(outbox, 0, 2)
    outbox.clear()
    outbox.close()
    assert await taken(outbox) == []


async def test_a_second_consumer_is_refused():
    """And the first one is not disturbed."""
    outbox = Outbox(ordered=True)
    task = await waiting(outbox)
    with pytest.raises(AsyncEmbedError, match="one consumer at a time"):
        await outbox.get()
    put(outbox, 0)
    assert await task == [0]


async def test_a_consumer_cancelled_in_the_tick_of_its_results_loses_none():
    """They stay for the next one."""
    outbox = Outbox(ordered=True)
    task = await waiting(outbox)
    put(outbox, 0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await taken(outbox) == [0]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("ordered", [True, False])
async def test_random_cancellations_lose_and_double_nothing(seed, ordered):  # noqa: C901  # two tasks and their fate
    """A consumer that is cancelled at any moment, again and again, while results come in bursts in any order."""
    draw, total = random.Random(seed), 200
    outbox, got = Outbox(ordered=ordered), []
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
                outbox.leave_out(index)
            put(outbox, *(index for index in burst if index not in left_out))
            for _ in range(draw.randint(0, 3)):
                await checkpoint()
        outbox.close()

    async def consume():
        while burst := await outbox.get():
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
