"""An API that is down is asked by one at a time."""

from __future__ import annotations

import asyncio

import pytest

from asyncembed import RetryPolicy
from asyncembed._core import CircuitBreaker

FAILURE_THRESHOLD = 8
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
    return CircuitBreaker(POLICY, clock, draw=lambda: 1.0)


def fail(outage: CircuitBreaker, times: int = FAILURE_THRESHOLD) -> None:
    for _ in range(times):
        outage.end_attempt(failed=True)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_failures_in_a_row_make_one(outage):
    fail(outage, FAILURE_THRESHOLD - 1)
    outage.end_attempt(failed=False)
    fail(outage, FAILURE_THRESHOLD - 1)
    outage.end_attempt(failed=None)  # which says nothing
    assert not outage.is_open
    await outage.wait()
    fail(outage, 1)
    assert outage.is_open


async def test_one_finds_out_and_the_others_wait_until_it_is_over(outage, clock):
    fail(outage)
    clock.now += 2
    waiting = [asyncio.create_task(outage.wait()) for _ in range(5)]
    await settle()
    assert [task.done() for task in waiting].count(True) == 1
    clock.now += 100  # however long it takes
    await settle()
    assert [task.done() for task in waiting].count(True) == 1
    probe = next(task.result() for task in waiting if task.done())
    outage.end_attempt(probe, failed=False)
    assert (await asyncio.gather(*waiting)).count(None) == 4


async def test_the_next_one_tries_after_a_longer_wait(outage, clock):
    fail(outage)
    for wait in (1.0, 2.0, 4.0, 8.0, 8.0):
        task = asyncio.create_task(outage.wait())
        clock.now += wait - 0.01
        await settle()
        assert not task.done()
        task.cancel()
        clock.now += 0.01
        outage.end_attempt(await outage.wait(), failed=True)


async def test_who_gives_up_finding_out_leaves_it_to_another(outage, clock):
    fail(outage)
    clock.now += 2
    probe = await outage.wait()
    other = asyncio.create_task(outage.wait())
    await settle()
    assert not other.done()
    outage.end_attempt(probe, failed=None)
    assert await asyncio.wait_for(other, 60) is not None


@pytest.mark.parametrize("failed", [True, None])
async def test_an_attempt_from_before_does_not_free_the_probe(outage, clock, failed):
    """Its end says nothing of that of the one that is on its way."""
    fail(outage)
    clock.now += 2
    probe = await outage.wait()
    other = asyncio.create_task(outage.wait())
    for _ in range(50):
        outage.end_attempt(failed=failed)
    clock.now += 2
    await settle()
    assert not other.done()
    assert outage.allows(probe)
    assert not outage.allows(None)
    outage.end_attempt(probe, failed=True)
    await settle()
    assert not other.done()
    clock.now += 2
    assert await asyncio.wait_for(other, 60) is not None


async def test_attempts_from_before_that_fail_make_the_wait_no_longer(outage, clock):
    """The API is asked again as soon as if they had not been."""
    fail(outage)
    clock.now += 0.5
    fail(outage, 50)
    clock.now += 0.5
    assert await asyncio.wait_for(outage.wait(), 60) is not None


async def test_an_attempt_from_before_that_goes_well_ends_it(outage, clock):
    """The one that was finding out does not, whatever comes of it then."""
    fail(outage)
    clock.now += 2
    probe = await outage.wait()
    other = asyncio.create_task(outage.wait())
    await settle()
    outage.end_attempt(failed=False)
    assert await asyncio.wait_for(other, 60) is None
    fail(outage)
    assert not outage.allows(probe)
    clock.now += 2
    newer = await outage.wait()
    outage.end_attempt(probe, failed=True)
    assert outage.allows(newer)
    outage.end_attempt(newer, failed=False)
    outage.end_attempt(probe, failed=True)
    assert not outage.is_open
