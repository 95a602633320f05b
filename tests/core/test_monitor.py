"""The monitor of resident memory, and a budget that listens to it."""

from __future__ import annotations

import asyncio

import numpy as np
import psutil
import pytest
from anyio.lowlevel import checkpoint
from support.watching import until

from asyncembed import ConfigurationError, EmbedClient, MemoryMonitor
from asyncembed._core import SMALLEST_BATCH, MemoryBudget

MEGABYTE = 1_000_000


def resident() -> float:
    return psutil.Process().memory_info().rss / MEGABYTE


def test_it_says_what_the_operating_system_says():
    monitor = MemoryMonitor(10_000)
    before = monitor.current_mb
    assert before == pytest.approx(resident(), abs=5)
    block = np.ones(50 * MEGABYTE, np.uint8)
    assert monitor.current_mb - before == pytest.approx(50, abs=5)
    del block
    assert monitor.current_mb - before < 25
    assert monitor.peak_mb - before == pytest.approx(50, abs=5)


def test_nine_tenths_of_the_limit_are_the_brink():
    now = resident()
    assert not MemoryMonitor(now / 0.9 + 20).should_wait()
    assert MemoryMonitor(now / 0.9 - 20).should_wait()
    assert MemoryMonitor(2 * now).available_bytes() == pytest.approx(0.8 * now * MEGABYTE, abs=20 * MEGABYTE)


@pytest.mark.parametrize("limit", [0, -1, "much", None, float("nan")])
def test_a_limit_that_is_none_is_refused(limit):
    with pytest.raises(ConfigurationError, match="must be a number above 0"):
        MemoryMonitor(limit)


async def budget_of(megabytes: float) -> int:
    """Bytes that a run may use which shares so much with the rest of the process."""
    async with (
        EmbedClient("openai", base_url="http://127.0.0.1:9/v1", api_key="k") as client,
        client.embed_large_dataset(["a"], max_memory_mb=megabytes) as stream,
    ):
        return stream.summary.budget_bytes


async def test_a_limit_below_what_the_process_holds_is_refused():
    with pytest.raises(ConfigurationError, match=r"for the whole process, which already uses \d+ MB; raise the limit"):
        await budget_of(resident() * 0.8)
    assert await budget_of(resident() + 1_000) > 800 * MEGABYTE


class Guard:
    """Memory that a test can take and give."""

    def __init__(self, left: int) -> None:
        self.left = left

    def available_bytes(self) -> int:
        return self.left


async def test_what_is_reserved_must_fit_into_what_there_really_is():
    guard = Guard(100)
    budget = MemoryBudget(1_000, guard)
    mine = {object()}
    await budget.reserve(60, mine)
    waiting = asyncio.create_task(budget.reserve(60, mine))
    await checkpoint()
    assert (budget.waiting, budget.reserved) == (1, 60)
    guard.left = 120  # nobody says so; it is found
    await waiting
    assert budget.reserved == 120


async def test_one_request_runs_however_little_there_is():
    """Nothing that waiting could change is in our hands then."""
    budget = MemoryBudget(1_000, Guard(-50))
    mine = {object()}
    await budget.reserve(60, mine)
    waiting = asyncio.create_task(budget.reserve(60, mine))
    await checkpoint()
    assert budget.waiting == 1
    budget.release(60, mine)
    await waiting
    assert budget.reserved == 60


async def test_a_wait_for_the_guard_can_be_cancelled():
    guard = Guard(0)
    budget = MemoryBudget(1_000, guard)
    mine = {object()}
    await budget.reserve(60, mine)
    waiting = asyncio.create_task(budget.reserve(60, mine))
    await until(lambda: budget.waiting)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert (waiting.cancelled(), budget.waiting, budget.reserved) == (True, 0, 60)


def test_batches_get_smaller_as_memory_gets_less():
    guard = Guard(800 * MEGABYTE)
    budget = MemoryBudget(400 * MEGABYTE, guard)
    assert budget.largest == 800 * MEGABYTE // 8
    guard.left = 80 * MEGABYTE
    assert budget.largest == 80 * MEGABYTE // 8
    guard.left = -5
    assert budget.largest == SMALLEST_BATCH
    assert MemoryBudget(400).largest == 400


async def test_what_others_have_reserved_counts_too():
    """It may not be in use yet, and so not be seen."""
    guard = Guard(100)
    first, second = MemoryBudget(1_000, guard), MemoryBudget(1_000, guard)
    other, mine = {object()}, {object()}
    await first.reserve(60, other)
    await second.reserve(10, mine)
    waiting = asyncio.create_task(second.reserve(60, mine))
    await checkpoint()
    assert (second.waiting, second.reserved) == (1, 10)
    first.release(60, other)
    await waiting
    assert second.reserved == 70


async def test_a_budget_is_as_large_as_the_limit_whatever_there_is_when_it_is_made():
    """The guard knows how much of it there is at any moment."""
    limit = resident() + 500
    assert await budget_of(limit) == pytest.approx(0.9 * limit * MEGABYTE, abs=2)
    with pytest.raises(ConfigurationError, match="more than any machine has"):
        MemoryMonitor(1e305)
