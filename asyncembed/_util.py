"""Base classes of async context managers and iterators, a thread whose calls run to their end, and SQL transactions."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn, Self, TypeVar

import anyio

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator
    from types import TracebackType


class AsyncClosing(ABC):
    """Base class of objects with `aclose`, which `async with` and `contextlib.aclosing` call."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close the object, and return when all its resources are released; a second call does nothing."""

    async def __aenter__(self) -> Self:
        """Return the object itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the object."""
        await self.aclose()

    if not TYPE_CHECKING:  # type checkers report these mistakes themselves

        def __enter__(self) -> NoReturn:
            name = type(self).__name__
            raise TypeError(
                f"{name} is closed by `async with`; code without an event loop uses asyncembed.SyncEmbedder"
            )

        def __exit__(self, *_: object) -> None: ...


class AsyncReading(AsyncClosing):
    """Base class of async iterators that are closed after use."""

    if not TYPE_CHECKING:

        def __iter__(self) -> NoReturn:
            name = type(self).__name__
            raise TypeError(
                f"{name} is read by `async for`; code without an event loop uses the stream of asyncembed.SyncEmbedder"
            )


T = TypeVar("T")


class OneThread:
    """A thread that runs one function after the other while this context is open.

    It is always the same thread, because each thread that allocates memory keeps an arena of its own.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="asyncembed")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown(wait=False)  # `run` has waited for every call

    async def run(self, function: Callable[[], T]) -> T:
        """Run a function in the thread and wait for its end, even if this task is cancelled meanwhile.

        A thread cannot be interrupted, so code that continued without waiting would touch data that the thread still
        uses. Neither asyncio's cancellation nor anyio's ends the wait; it is raised afterwards.
        """
        future = asyncio.get_running_loop().run_in_executor(self._executor, function)
        try:
            await end_of(future)
        except asyncio.CancelledError:
            future.exception()  # mark it as retrieved
            raise
        return future.result()


async def end_of(future: asyncio.Future[T]) -> None:
    """Wait until a future is done, even if this task is cancelled meanwhile; the cancellation is raised afterwards."""
    try:
        await asyncio.wait([future])
    except asyncio.CancelledError:
        with anyio.CancelScope(shield=True):
            while not future.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([future])
        raise


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Run the block in a transaction of SQLite that may write; an exception undoes it."""
    database.execute("begin immediate")
    try:
        yield
        database.execute("commit")
    except BaseException:
        if database.in_transaction:
            database.execute("rollback")
        raise
