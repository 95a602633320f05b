"""Adaptive concurrency: up slowly, down at once, and only once for one burst of refusals."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from anyio.lowlevel import checkpoint

from asyncembed.flow import _concurrency
from asyncembed.flow._concurrency import COOLDOWN, DECREASE, START, AdaptiveConcurrency, time_not_idle


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def fill(slots: AdaptiveConcurrency) -> list[object]:
    """Take every slot there is."""
    borrowers = [object() for _ in range(slots.limit - slots.in_flight)]
    for borrower in borrowers:
        await slots.acquire(borrower)
    return borrowers


@pytest.mark.parametrize(("maximum", "start"), [(1, 1), (3, 3), (START, START), (32, START)])
async def test_it_starts_small(maximum, start):
    """But not above what the caller allows."""
    slots = AdaptiveConcurrency(maximum)
    assert (slots.limit, slots.in_flight) == (start, 0)


def test_it_can_be_made_without_an_event_loop():
    """As a client is."""
    assert AdaptiveConcurrency(3).limit == 3


async def test_who_finds_no_slot_waits():
    """Until one is given back."""
    slots = AdaptiveConcurrency(2)
    borrowers = await fill(slots)
    task = asyncio.create_task(slots.acquire("third"))
    await checkpoint()
    assert not task.done()
    slots.release(borrowers[0])
    await task
    assert slots.in_flight == 2


async def test_a_wait_that_is_cancelled_takes_no_slot():
    """Before and after the slot was given."""
    slots = AdaptiveConcurrency(1)
    (borrower,) = await fill(slots)
    for _ in range(2):
        task = asyncio.create_task(slots.acquire("second"))
        await checkpoint()
        task.cancel()
        await asyncio.wait([task])
        assert slots.in_flight == 1
    task = asyncio.create_task(slots.acquire("third"))
    await checkpoint()
    slots.release(borrower)
    task.cancel()
    await asyncio.wait([task])
    assert slots.in_flight == (0 if task.cancelled() else 1)


async def test_one_slot_more_for_a_round_of_successes():
    """Up to the maximum."""
    slots = AdaptiveConcurrency(START + 2)
    await fill(slots)
    for _ in range(START):
        assert slots.limit == START
        slots.succeeded()
    slots.succeeded()
    assert slots.limit == START + 1
    for _ in range(100):
        slots.succeeded()
    assert slots.limit == START + 2


async def test_slots_that_are_not_used_do_not_grow():
    """A success says nothing about a limit that was not reached."""
    slots = AdaptiveConcurrency(32)
    await slots.acquire("one")
    for _ in range(100):
        slots.succeeded()
    assert slots.limit == START


async def test_a_burst_of_refusals_counts_once():
    """They were all sent under the old limit; the next counts after the cool-down."""
    clock = Clock()
    slots = AdaptiveConcurrency(32, clock)
    expected = float(START)
    for _ in range(3):
        expected *= DECREASE
        for _ in range(10):
            slots.overloaded()
        assert slots.limit == int(expected)
        clock.now += COOLDOWN * 0.99
        slots.overloaded()
        assert slots.limit == int(expected)
        clock.now += COOLDOWN * 0.01 + 1e-6


async def test_one_slot_is_left():
    """However often the API refuses; and it grows again from there."""
    clock = Clock()
    slots = AdaptiveConcurrency(32, clock)
    for _ in range(50):
        slots.overloaded()
        clock.now += COOLDOWN
    assert slots.limit == 1
    await slots.acquire("one")
    slots.succeeded()
    assert slots.limit == 2


async def test_requests_that_run_are_not_stopped_by_a_lower_limit():
    """The next one waits until there are fewer."""
    slots = AdaptiveConcurrency(START)
    borrowers = await fill(slots)
    slots.overloaded()
    assert (slots.limit, slots.in_flight) == (int(START * DECREASE), START)
    task = asyncio.create_task(slots.acquire("next"))
    for borrower in borrowers[: START - slots.limit]:
        slots.release(borrower)
        await checkpoint()
        assert not task.done()
    slots.release(borrowers[-1])
    await task


async def test_a_higher_limit_wakes_who_waits():
    """Without a release."""
    slots = AdaptiveConcurrency(32)
    await fill(slots)
    task = asyncio.create_task(slots.acquire("next"))
    await checkpoint()
    for _ in range(START + 1):
        slots.succeeded()
    await asyncio.wait_for(task, 60)
    assert slots.in_flight == START + 1


@pytest.mark.parametrize(("share", "grows"), [(0.5, True), (0.95, False)])
async def test_a_thread_that_is_busy_all_the_time_gets_no_more_slots(share, grows):
    """More requests at once would bring nothing sooner; when it is less busy again, they come."""
    clock, worked = Clock(), Clock()
    slots = AdaptiveConcurrency(32, clock, worked)

    async def round_of_successes(share: float) -> None:
        await fill(slots)
        for _ in range(slots.limit):
            clock.now += 0.1
            worked.now += 0.1 * share
            slots.succeeded()

    for _ in range(3):
        await round_of_successes(share)
    assert (slots.limit >= START + 2) is grows
    before = slots.limit
    await round_of_successes(0.1)
    await round_of_successes(0.1)
    assert slots.limit > before


@pytest.mark.parametrize("told", [True, False], ids=["by the system", "by the clock of the thread"])
def test_work_is_not_idle_and_sleep_is(tmp_path, monkeypatch, told):
    if not told:
        monkeypatch.setattr(_concurrency, "SCHEDULER", tmp_path / "none")
    elif not _concurrency.SCHEDULER.exists():
        pytest.skip("the system does not tell")
    started, before = time.monotonic(), time_not_idle()
    while time.monotonic() - started < 0.1:
        pass
    worked = time_not_idle() - before
    threading.Event().wait(0.1)
    assert worked > (0.05 if told else 0)
    assert time_not_idle() - before - worked < 0.05
