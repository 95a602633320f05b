"""Work off the event loop that is not left half done."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


async def in_thread(function: Callable[[], T]) -> T:
    """Call a function in a thread and wait for its end, also if this task is being cancelled meanwhile.

    A thread cannot be interrupted, so whoever went on without it would touch what it is still working on. Neither
    asyncio's way to cancel a task nor anyio's ends the wait; a cancellation is raised after it.
    """
    future = asyncio.get_running_loop().run_in_executor(None, function)
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled:
        future.exception()  # it counts as seen
        raise cancelled
    return future.result()
