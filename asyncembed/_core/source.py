"""Reads the caller's texts from an iterable, async iterable or open text file, only when a batch may start.

The supervisor reads a plain iterable itself. An async iterable may be slow, for example a queue that another task
fills, and then a partly filled batch must not wait forever. So a task of its own, the pump, reads it, and only while a
batch is wanted. If the batch is not full `max_wait` seconds after its first text, it is sent partly filled.

When a run ends early, the source closes the iterator if it can, so that a generator or a database cursor releases its
resources. An open file stays open, because the caller may read on.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sized
from typing import TYPE_CHECKING, Final

import anyio

from asyncembed._decide.texts import items_of
from asyncembed._exceptions import AsyncEmbedError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncembed._decide.chunker import Batch, Chunker
    from asyncembed._decide.texts import TextLike, Texts
    from asyncembed._models import EmbedInput


_BYTE_ORDER_MARK: Final = "\ufeff"


def length(texts: Texts) -> int | None:
    """Return the number of texts, or None if they have no length or a `__len__` that fails."""
    try:
        return len(texts) if isinstance(texts, Sized) else None
    except Exception:  # noqa: BLE001  # the caller's `__len__` may raise anything; a wrapper of a generator does
        return None


class Source:
    """Yields the batches of one run, in order.

    Args:
        texts: The caller's texts.
        chunker: Groups texts into batches.
        max_wait: How long a partly filled batch waits for more texts of an async iterable, in seconds.
        gaps: Texts before the first one, with their indices.
    """

    def __init__(
        self, texts: Texts, chunker: Chunker, max_wait: float, gaps: Iterable[tuple[int, EmbedInput]] = ()
    ) -> None:
        self._texts = texts
        self._iterator: Iterator[TextLike] | None = None if isinstance(texts, AsyncIterable) else lines(texts)
        self._chunker = chunker
        self._max_wait = max_wait
        self._batches: deque[Batch] = deque()
        self._first = chunker.index
        self._gaps = deque(gaps)
        self._wanted = asyncio.Event()
        self._changed = asyncio.Event()  # a batch was started or filled, or the texts have ended
        self._ended = False
        self._error: Exception | None = None

    @property
    def pulled(self) -> int:
        """Number of texts read from the caller so far."""
        return self._chunker.index - self._first

    @property
    def full_batch(self) -> int:
        """Number of texts in a full batch."""
        return self._chunker.max_inputs

    @property
    def needs_pump(self) -> bool:
        """Whether `pump` must run in a task of its own."""
        return self._iterator is None

    @property
    def is_exhausted(self) -> bool:
        """Whether `next_batch` is known to return None next."""
        return self._ended and not self._batches and not self._gaps and not self._error

    async def next_batch(self) -> Batch | None:
        """Return the next batch, or None after the last one.

        Raises:
            Exception: what the caller's iterable raised, after the batch of the texts before it.
        """
        if self._gaps:
            self._take_gaps()
        if not self._batches and not self._ended:
            await self._wait_for_pump() if self.needs_pump else self._pull()
        if self._batches:
            return self._batches.popleft()
        if self._error:
            raise self._error
        return None

    def _take_gaps(self) -> None:
        try:
            while self._gaps and not self._batches:
                self._chunker.index, item = self._gaps.popleft()
                self._batches += self._chunker.take([item])
        except InvalidInputError as error:  # `next_batch` raises it after the texts before it
            self._error = error
            self._gaps.clear()
            self._end()
            self._wanted.set()
        if not self._gaps:
            self._batches += self._chunker.flush()
            self._chunker.index = self._first

    def _pull(self) -> None:
        assert self._iterator is not None
        try:
            self._batches += self._chunker.take(self._iterator)
        except Exception as error:  # noqa: BLE001  # `next_batch` raises it after the texts before it
            self._error = error
        if not self._batches:
            self._end()

    async def _wait_for_pump(self) -> None:
        self._wanted.set()
        while not self._batches and not self._ended:
            self._changed.clear()
            try:
                async with asyncio.timeout(self._max_wait if self._chunker.pending else None):
                    await self._changed.wait()
            except TimeoutError:
                self._batches.extend(self._chunker.flush())
        self._wanted.clear()

    async def pump(self) -> None:
        """Read an async iterable while batches are wanted.

        Run this in a plain asyncio task. Such a task is cancelled once, but a task in an anyio scope is cancelled again
        at each `await` in a generator's `finally`.
        """
        assert isinstance(self._texts, AsyncIterable)
        iterator, is_exhausted = async_lines(self._texts), False
        try:
            await self._wanted.wait()
            if self._ended:  # a text in the gaps was refused
                return
            async for item in iterator:
                self._batches += self._chunker.take([item])
                if self._batches:
                    self._wanted.clear()
                if self._batches or self._chunker.pending == 1:
                    self._changed.set()
                await self._wanted.wait()
            is_exhausted = True
        except Exception as error:  # noqa: BLE001  # `next_batch` raises it after the texts before it
            self._error = error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # The run is not cancelled, but something that the iterable waited for; the texts have not ended.
            self._error = AsyncEmbedError("the iterable of texts was cancelled")
        finally:
            self._end()
            self._changed.set()
            if not is_exhausted:
                with anyio.CancelScope(shield=True):
                    await aclose_texts(iterator)

    def close(self) -> None:
        """Close a plain iterator that was not read to its end."""
        if self._iterator is not None and (self._error or not self._ended):
            close_texts(self._iterator)

    def _end(self) -> None:
        self._batches.extend(self._chunker.flush())
        self._ended = True


def _is_file(texts: object) -> bool:
    return hasattr(texts, "readline")


class _FileLine:
    """Turns each line of a file into a text, or a blank line into None; the command line uses the same rule."""

    def __init__(self) -> None:
        self._is_first = True

    def __call__(self, item: TextLike) -> TextLike | None:
        is_first, self._is_first = self._is_first, False
        if not isinstance(item, str):
            return item
        line = item.removeprefix(_BYTE_ORDER_MARK) if is_first else item
        return None if not line or line.isspace() else line.rstrip("\r\n")


def lines(texts: Iterable[TextLike]) -> Iterator[TextLike]:
    """Return an iterator over the texts; a file gives its non-blank lines without line ends.

    A line of white space is blank. A byte order mark at the start of the file is removed.
    """
    return (line for line in map(_FileLine(), texts) if line is not None) if _is_file(texts) else items_of(texts)


def async_lines(texts: AsyncIterable[TextLike]) -> AsyncIterator[TextLike]:
    """Return an async iterator over the texts, by the same rules as `lines`."""
    return _async_lines(texts) if _is_file(texts) else aiter(texts)


async def _async_lines(file: AsyncIterable[TextLike]) -> AsyncIterator[TextLike]:
    text_of = _FileLine()
    async for item in file:
        if (line := text_of(item)) is not None:
            yield line


def close_texts(iterator: Iterator[object]) -> None:
    """Close an iterator that has a `close` method, unless it is a file, so that it releases its resources now."""
    close = getattr(iterator, "close", None)
    if callable(close) and not _is_file(iterator) and not inspect.iscoroutinefunction(close):
        close()


async def aclose_texts(iterator: AsyncIterator[TextLike]) -> None:
    """Close an async iterator that has an `aclose` or `close` method, unless it is a file."""
    close = getattr(iterator, "aclose", None) or getattr(iterator, "close", None)
    if callable(close) and not _is_file(iterator):
        returned = close()
        if inspect.isawaitable(returned):
            await returned
