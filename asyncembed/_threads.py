"""Work off the event loop that is not left half done."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Self, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

T = TypeVar("T")


class OneThread:
    """A thread that does one thing after the other, while this context is open.

    Always the same one, because each thread that allocates keeps memory of its own.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="asyncembed")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown(wait=False)  # every call was waited for

    async def run(self, function: Callable[[], T]) -> T:
        """Call a function there and wait for its end, also if this task is being cancelled meanwhile.

        A thread cannot be interrupted, so whoever went on without it would touch what it is still working on. Neither
        asyncio's way to cancel a task nor anyio's ends the wait; a cancellation is raised after it.
        """
        future = asyncio.get_running_loop().run_in_executor(self._executor, function)
        try:
            await end_of(future)
        except asyncio.CancelledError:
            future.exception()  # it counts as seen
            raise
        return future.result()


async def end_of(future: asyncio.Future[T]) -> None:
    """Wait until something has ended, also if this task is being cancelled meanwhile; that is raised after it."""
    try:
        await asyncio.wait([future])
    except asyncio.CancelledError:
        with anyio.CancelScope(shield=True):
            while not future.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([future])
        raise
