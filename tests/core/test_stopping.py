"""Waits that end when a run is to ask for nothing more."""

from __future__ import annotations

import asyncio

from support.watching import turns

from asyncembed._core.run import Stopping


async def forever() -> None:
    await asyncio.Event().wait()


async def test_stopping_ends_every_wait():
    """Those that are there, and those that come later."""
    stopping = Stopping()
    waits = [asyncio.create_task(stopping.wait(forever)) for _ in range(3)]
    await turns()
    assert not any(wait.done() for wait in waits)
    stopping.stop()
    await asyncio.wait_for(asyncio.gather(*waits), 60)
    await asyncio.wait_for(stopping.wait(forever), 60)


async def test_a_wait_that_is_over_is_no_wait():
    """Whatever was waited for is done, and the run goes on."""
    stopping = Stopping()
    done = []

    async def note() -> None:
        done.append(True)

    await stopping.wait(note)
    assert done == [True]
    assert not stopping.is_on
