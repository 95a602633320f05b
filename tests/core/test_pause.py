"""One pause for all requests of a client, when the API asks to be left alone."""

from __future__ import annotations

import asyncio
import time

import pytest

from asyncembed import RetryPolicy
from asyncembed._core import CircuitBreaker, EndpointState


@pytest.fixture
def pause():
    return EndpointState(CircuitBreaker(RetryPolicy())).pause


async def test_no_pause_takes_no_time(pause):
    """Not even a turn of the event loop."""
    with pytest.raises(StopIteration):
        pause.wait().send(None)


async def test_everybody_waits_until_the_pause_is_over(pause):
    """Also who comes later; and longer if it is extended meanwhile, but never shorter."""
    start = time.monotonic()
    pause.extend(0.05)
    tasks = [asyncio.create_task(pause.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    pause.extend(0.1)
    pause.extend(0.01)
    await asyncio.gather(*tasks, pause.wait())
    assert time.monotonic() - start >= 0.1


async def test_the_pause_ends_by_its_own_clock():
    """The event loop's may be a little ahead."""
    readings = iter([0.0, 0.0, 0.0005, 0.0009, 0.0011])
    pause = type(EndpointState(CircuitBreaker(RetryPolicy())).pause)(lambda: next(readings))
    pause.extend(0.001)
    await pause.wait()
    assert list(readings) == []
