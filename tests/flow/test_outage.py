"""An API that is down is asked by one at a time."""

from __future__ import annotations

import asyncio

import pytest

from asyncembed import RetryPolicy
from asyncembed.flow._outage import FAILURES, Outage

POLICY = RetryPolicy(initial_backoff=1.0, max_backoff=8.0)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def outage(clock):
    return Outage(POLICY, clock, draw=lambda: 1.0)


def fail(outage: Outage, times: int = FAILURES) -> None:
    for _ in range(times):
        outage.end_attempt(failed=True)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_failures_in_a_row_make_one(outage):
    fail(outage, FAILURES - 1)
    outage.end_attempt(failed=False)
    fail(outage, FAILURES - 1)
    outage.end_attempt(failed=None)  # which says nothing
    assert not outage.is_on
    await outage.wait()
    fail(outage, 1)
    assert outage.is_on


async def test_one_finds_out_and_the_others_wait_until_it_is_over(outage, clock):
    fail(outage)
    clock.now += 2
    waiting = [asyncio.create_task(outage.wait()) for _ in range(5)]
    await settle()
    assert [task.done() for task in waiting].count(True) == 1
    clock.now += 100  # however long it takes
    await settle()
    assert [task.done() for task in waiting].count(True) == 1
    outage.end_attempt(failed=False)
    await asyncio.gather(*waiting)


async def test_the_next_one_tries_after_a_longer_wait(outage, clock):
    fail(outage)
    for wait in (1.0, 2.0, 4.0, 8.0, 8.0):
        task = asyncio.create_task(outage.wait())
        clock.now += wait - 0.01
        await settle()
        assert not task.done()
        task.cancel()
        clock.now += 0.01
        await outage.wait()
        outage.end_attempt(failed=True)


async def test_who_gives_up_finding_out_leaves_it_to_another(outage, clock):
    fail(outage)
    clock.now += 2
    await outage.wait()
    other = asyncio.create_task(outage.wait())
    await settle()
    assert not other.done()
    outage.end_attempt(failed=None)
    await asyncio.wait_for(other, 60)
