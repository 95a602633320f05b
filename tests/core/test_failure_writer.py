"""Failures are written off the event loop: one write at a time, with all that came during the one before."""

from __future__ import annotations

import asyncio
import threading

import pytest
from support.watching import turns

from asyncembed import EmbedFailure, InvalidInputError
from asyncembed._core.failures import FailureWriter


def failure(index):
    return EmbedFailure(index, f"text {index}", None, InvalidInputError("no"))


class Letters:
    """Writes nothing before it is told to."""

    def __init__(self, error=None):
        self.writes = []
        self.may_go_on = threading.Event()
        self.error = error

    def write(self, failures):
        self.writes.append([failure.index for failure in failures])
        assert threading.current_thread() is not threading.main_thread()
        assert self.may_go_on.wait(10)
        if self.error:
            raise self.error

    def recognise(self, first):
        raise AssertionError


async def begin(writer, letters, count):
    """Begin a write, and then further ones."""
    tasks = [asyncio.create_task(writer.write([failure(0)]))]
    while not letters.writes:
        await asyncio.sleep(0)
    tasks += [asyncio.create_task(writer.write([failure(index)])) for index in range(1, count)]
    await turns()
    return tasks


async def test_what_comes_during_a_write_goes_into_the_next():
    letters = Letters()
    tasks = await begin(FailureWriter(letters), letters, 6)
    assert letters.writes == [[0]]
    assert not any(task.done() for task in tasks)
    letters.may_go_on.set()
    await asyncio.gather(*tasks)
    assert letters.writes == [[0], [1, 2, 3, 4, 5]]


async def test_nobody_goes_on_after_a_write_that_failed():
    letters = Letters(OSError(28, "full"))
    writer = FailureWriter(letters)
    tasks = await begin(writer, letters, 3)
    letters.may_go_on.set()
    assert [type(error) for error in await asyncio.gather(*tasks, return_exceptions=True)] == [OSError] * 3
    with pytest.raises(OSError, match="full"):
        await writer.write([failure(3)])
    assert letters.writes == [[0]]


async def test_a_cancelled_write_is_finished_first():
    """A thread cannot be interrupted, and what it has begun is whole when its task has ended."""
    letters = Letters()
    (task,) = await begin(FailureWriter(letters), letters, 1)
    task.cancel()
    await turns()
    assert not task.done()
    letters.may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_without_a_file_nothing_is_waited_for():
    await FailureWriter(None).write([failure(0)])
