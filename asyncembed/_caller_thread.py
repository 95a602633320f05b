"""A plain call that runs on another thread's event loop, while the caller's thread runs the caller's own code.

The caller's texts are read and its functions are called on its thread, because a database cursor may belong to that
thread, and slow code then delays only this call.
"""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import AsyncIterable
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar, cast

from asyncembed._core.source import close_texts, length, lines
from asyncembed._decide.texts import check_texts
from asyncembed._exceptions import StreamClosedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from asyncembed._decide.texts import TextLike, Texts

T = TypeVar("T")

TEXTS_AT_ONCE: Final = 2_048
CHARACTERS_AT_ONCE: Final = 1_000_000
SECONDS_AT_ONCE: Final = 0.05
"""Limits of one pull in texts, characters and seconds. It takes at least one text."""


class Loop(Protocol):
    """The event loop thread that a call runs on."""

    def start(self, coroutine: Coroutine[object, object, T], done: Callable[[asyncio.Task[T]], None]) -> None:
        """Run a coroutine as a task, and call `done` with the task when it ends."""

    def cancel(self, coroutine: Coroutine[object, object, object]) -> None:
        """Cancel the task of a started coroutine."""


class CallerThread:
    """Waits for a call on another thread, and runs its jobs on this one. It serves one call at a time."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()

    def submit(self, job: Callable[[], None]) -> None:
        """Call a function on the waiting thread, or during the next call if no thread waits now."""
        self._jobs.put(job)

    async def call(self, function: Callable[[], T]) -> T:
        """Call a function on the waiting thread, and return or raise what it does."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[tuple[T | None, Exception | None]] = loop.create_future()

        def job() -> None:
            found: tuple[T | None, Exception | None]
            try:
                found = function(), None
            except Exception as error:  # noqa: BLE001  # raised where the value is used
                found = None, error
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(_set, answer, found)

        self.submit(job)
        value, error = await answer
        if error:
            raise error
        return cast("T", value)

    def run(self, loop: Loop, coroutine: Coroutine[object, object, T]) -> T:
        """Run a coroutine on a loop, and wait for it.

        Raises:
            StreamClosedError: if the client was closed meanwhile.
        """
        ended: list[asyncio.Task[T]] = []

        def finish(task: asyncio.Task[T]) -> None:
            ended.append(task)
            self._jobs.put(None)

        loop.start(coroutine, finish)
        try:
            while job := self._jobs.get():
                job()
        except BaseException:
            loop.cancel(coroutine)
            while not ended:  # the caller continues only after the call has undone or saved its work
                self._jobs.get()
            if not ended[0].cancelled():
                ended[0].exception()  # marks it as retrieved
            raise
        (task,) = ended
        if task.cancelled():
            raise StreamClosedError("the client was closed")
        return task.result()


class CallerTexts(Generic[T]):
    """The caller's texts as an async iterable that is read on the caller's thread.

    Args:
        iterator: The caller's texts.
        count: Their number, None if it is not known.
        caller: Runs jobs on the caller's thread.
    """

    def __init__(self, iterator: Iterator[T], count: int | None, caller: CallerThread) -> None:
        self._iterator = iterator
        self._count = count
        self._caller = caller
        self._has_ended = False

    def __len__(self) -> int:
        """Return the number of texts."""
        if self._count is None:
            raise TypeError("the number of these texts is not known")
        return self._count

    def close(self) -> None:
        """Close the caller's iterator if it can be closed and was not read to its end."""
        if not self._has_ended:
            with suppress(ValueError):  # a generator is running: it made this call itself
                close_texts(self._iterator)

    async def __aiter__(self) -> AsyncIterator[T]:
        """Yield the texts. An error of the caller's iterator is raised after the texts before it."""
        while True:
            items, has_ended, error = await self._caller.call(self._pull)
            for item in items:
                yield item
            if error:
                raise error
            if has_ended:
                return

    def _pull(self) -> tuple[list[T], bool, Exception | None]:
        items: list[T] = []
        characters, until = 0, time.monotonic() + SECONDS_AT_ONCE
        try:
            for item in islice(self._iterator, TEXTS_AT_ONCE):
                items.append(item)
                characters += _size(item)
                if characters >= CHARACTERS_AT_ONCE or time.monotonic() >= until:
                    return items, False, None
        except Exception as error:  # noqa: BLE001  # raised where the texts are used
            return items, True, error
        self._has_ended = len(items) < TEXTS_AT_ONCE
        return items, self._has_ended, None


def from_caller(texts: Texts, caller: CallerThread) -> Texts:
    """Return texts that are read on the caller's thread. Lists, tuples and async iterables are returned as they are.

    Raises:
        ConfigurationError: if it is not a collection of texts.
    """
    check_texts(texts)
    if isinstance(texts, AsyncIterable | list | tuple):
        return texts
    return CallerTexts(lines(texts), length(texts), caller)


def close_early(texts: Texts) -> None:
    """Close what `from_caller` returned, on the caller's thread, unless it was read to its end."""
    if isinstance(texts, CallerTexts):
        texts.close()


def _set(answer: asyncio.Future[T], found: T) -> None:
    if not answer.done():
        answer.set_result(found)


def _size(item: object) -> int:
    if isinstance(item, str):
        return len(item)
    text: TextLike | object = item[-1] if isinstance(item, tuple) and item else getattr(item, "text", None)
    return len(text) if isinstance(text, str) else 0
