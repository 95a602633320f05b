"""One plain call that another thread's event loop works on, while the caller's thread does what only it may do.

Texts are pulled on the caller's thread, and its functions are called there: a cursor of a database may belong to that
thread, and what is slow holds up nothing but this call.
"""

from __future__ import annotations

import asyncio
import inspect
import queue
import time
from collections.abc import AsyncIterable
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from asyncembed._core.source import length, lines
from asyncembed._decide.texts import check_texts
from asyncembed._exceptions import StreamClosedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from asyncembed._decide.texts import TextLike, Texts

T = TypeVar("T")

TEXTS_AT_ONCE: Final = 2_048
CHARACTERS_AT_ONCE: Final = 1_000_000
SECONDS_AT_ONCE: Final = 0.05
"""Most texts, characters and time that one pull takes, whichever comes first; it takes one text at least."""


class Loop(Protocol):
    """What a call needs of the thread that works on it."""

    def start(self, coroutine: Coroutine[object, object, T], done: Callable[[asyncio.Task[T]], None]) -> None:
        """Run a coroutine as a task, and call `done` with it at its end."""

    def cancel(self, coroutine: Coroutine[object, object, object]) -> None:
        """Cancel the task of a coroutine that was started."""


class Hop:
    """Waits for calls on another thread, and does on this one what they ask for; it serves one call at a time."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()

    def ask(self, job: Callable[[], None]) -> None:
        """Have a function called on the thread that waits, or by the next call if none waits now."""
        self._jobs.put(job)

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
            while not ended:  # what it has begun is undone, or safe on the disk, before the caller goes on
                self._jobs.get()
            if not ended[0].cancelled():
                ended[0].exception()  # it counts as seen
            raise
        (task,) = ended
        if task.cancelled():
            raise StreamClosedError("the client was closed")
        return task.result()


class Pulled(Generic[T]):
    """The texts of a caller as an async iterable, each pulled on the caller's thread.

    Args:
        iterator: The caller's texts.
        count: How many there are, if that is known.
        hop: The calls that the caller makes meanwhile.
    """

    def __init__(self, iterator: Iterator[T], count: int | None, hop: Hop) -> None:
        self._iterator = iterator
        self._count = count
        self._hop = hop

    def __len__(self) -> int:
        """Return how many texts there are."""
        if self._count is None:
            raise TypeError("these texts do not know how many they are")
        return self._count

    async def __aiter__(self) -> AsyncIterator[T]:
        """Give the texts; what the caller's iterator raises is raised after those before it."""
        loop = asyncio.get_running_loop()
        while True:
            answer: asyncio.Future[tuple[list[T], bool, Exception | None]] = loop.create_future()

            def job(answer: asyncio.Future[tuple[list[T], bool, Exception | None]] = answer) -> None:
                found = self._pull()
                with suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(_set, answer, found)

            self._hop.ask(job)
            items, has_ended, error = await answer
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
        return items, len(items) < TEXTS_AT_ONCE, None


def from_caller(texts: Texts, hop: Hop) -> Texts:
    """Return texts so that they are pulled where the caller is; a list, or what is async anyway, is left as it is.

    Raises:
        ConfigurationError: if they are no texts.
    """
    check_texts(texts)
    if isinstance(texts, AsyncIterable | list | tuple):
        return texts
    return Pulled(lines(texts), length(texts), hop)


def close_texts(texts: object) -> None:
    """Close a generator of the caller's that was left before its end."""
    if inspect.isgenerator(texts):
        with suppress(ValueError):  # it is running: it made this call itself
            texts.close()


def _set(answer: asyncio.Future[T], found: T) -> None:
    if not answer.done():
        answer.set_result(found)


def _size(item: object) -> int:
    if isinstance(item, str):
        return len(item)
    text: TextLike | object = item[-1] if isinstance(item, tuple) and item else getattr(item, "text", None)
    return len(text) if isinstance(text, str) else 0
