"""What `async with` closes.

Work off the event loop that is not left half done.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn, Self, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class AsyncClosing(ABC):
    """Base of what is closed by `aclose`, and so by `async with` and `contextlib.aclosing`."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close it, and return when nothing of it is left; a second call does nothing."""

    async def __aenter__(self) -> Self:
        """Return the object itself; nothing is opened before it is needed."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        await self.aclose()

    if not TYPE_CHECKING:  # type checkers are to say the same

        def __enter__(self) -> NoReturn:
            name = type(self).__name__
            raise TypeError(
                f"{name} is closed by `async with`; code without an event loop uses asyncembed.SyncEmbedder"
            )

        def __exit__(self, *_: object) -> None: ...


class AsyncReading(AsyncClosing):
    """Base of what is read by `async for`."""

    if not TYPE_CHECKING:

        def __iter__(self) -> NoReturn:
            name = type(self).__name__
            raise TypeError(
                f"{name} is read by `async for`; code without an event loop uses the stream of asyncembed.SyncEmbedder"
            )


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
