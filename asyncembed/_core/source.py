"""Where texts come from: any iterable, async iterable or text file, pulled only when a batch may start.

A plain iterable is pulled by the feeder itself. An async iterable may be slow, like a queue that is filled by somebody
else, and then a half-full batch must not wait for ever. So it is pulled by a task of its own, the pump, which runs only
while a batch is wanted; if the batch is not full `max_wait` seconds after its first text, it goes as it is.

An iterator that is left before its end is closed, if it can be: a generator releases what it holds open then, and so
does a cursor of a database. An open file stays open, as it may be read on.
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
    """Return how many texts there are, if they know it themselves; a wrapper around a generator may not."""
    try:
        return len(texts) if isinstance(texts, Sized) else None
    except Exception:  # noqa: BLE001  # the caller's own, and not worth a run
        return None


class Source:
    """Gives the batches of one run, in order.

    Args:
        texts: The caller's texts.
        chunker: Groups them.
        max_wait: Seconds a batch that is not full waits for more texts of an async iterable.
        gaps: Texts that come before the first one, with their indices.
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
        self._changed = asyncio.Event()  # a batch was begun or completed, or the texts have ended
        self._ended = False
        self._error: Exception | None = None

    @property
    def pulled(self) -> int:
        """Texts taken from the caller so far."""
        return self._chunker.index - self._first

    @property
    def full_batch(self) -> int:
        """Number of texts in a full batch."""
        return self._chunker.max_inputs

    @property
    def needs_pump(self) -> bool:
        """Whether `pump` must run beside the feeder."""
        return self._iterator is None

    @property
    def is_exhausted(self) -> bool:
        """Whether it is known that there is neither a batch any more nor an error."""
        return self._ended and not self._batches and not self._gaps and not self._error

    async def next_batch(self) -> Batch | None:
        """Return the next batch, or None after the last one; raises what the caller's iterable raises."""
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
        except InvalidInputError as error:  # raised after the texts before it
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
        except Exception as error:  # noqa: BLE001  # the caller's own, raised after the texts before it
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
        """Pull an async iterable while batches are wanted.

        In a plain task, which is cancelled once: anyio would cancel each `await` in a generator's `finally` again.
        """
        assert isinstance(self._texts, AsyncIterable)
        iterator, is_exhausted = async_lines(self._texts), False
        try:
            await self._wanted.wait()
            if self._ended:  # by one of the gaps
                return
            async for item in iterator:
                self._batches += self._chunker.take([item])
                if self._batches:
                    self._wanted.clear()
                if self._batches or self._chunker.pending == 1:
                    self._changed.set()
                await self._wanted.wait()
            is_exhausted = True
        except Exception as error:  # noqa: BLE001  # the caller's own, raised after the texts before it
            self._error = error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Not the run is being cancelled, but something that the iterable waited for: the texts have not ended.
            self._error = AsyncEmbedError("the iterable of texts was cancelled")
        finally:
            self._end()
            self._changed.set()
            if not is_exhausted:
                with anyio.CancelScope(shield=True):
                    await aclose_texts(iterator)

    def close(self) -> None:
        """Close a plain iterator that was left before its end."""
        if self._iterator is not None and (self._error or not self._ended):
            close_texts(self._iterator)

    def _end(self) -> None:
        self._batches.extend(self._chunker.flush())
        self._ended = True


def _is_file(texts: object) -> bool:
    return hasattr(texts, "readline")


class _FileLine:
    """Makes a text of each line of a file, or None of a blank one: the command line reads files by the same rule."""

    def __init__(self) -> None:
        self._is_first = True

    def __call__(self, item: TextLike) -> TextLike | None:
        is_first, self._is_first = self._is_first, False
        if not isinstance(item, str):
            return item
        line = item.removeprefix(_BYTE_ORDER_MARK) if is_first else item
        return None if not line or line.isspace() else line.rstrip("\r\n")


def lines(texts: Iterable[TextLike]) -> Iterator[TextLike]:
    """Return what is to be pulled: of a file of any kind, its lines without their ends, but no blank ones.

    A line of white space is blank. A byte order mark at the beginning of the file is no part of its first text.
    """
    return (line for line in map(_FileLine(), texts) if line is not None) if _is_file(texts) else items_of(texts)


def async_lines(texts: AsyncIterable[TextLike]) -> AsyncIterator[TextLike]:
    """Return the same of what must be waited for."""
    return _async_lines(texts) if _is_file(texts) else aiter(texts)


async def _async_lines(file: AsyncIterable[TextLike]) -> AsyncIterator[TextLike]:
    text_of = _FileLine()
    async for item in file:
        if (line := text_of(item)) is not None:
            yield line


def close_texts(iterator: Iterator[TextLike]) -> None:
    """Close an iterator if it can be closed, so that what it holds open is released now."""
    close = getattr(iterator, "close", None)
    if callable(close) and not _is_file(iterator) and not inspect.iscoroutinefunction(close):
        close()


async def aclose_texts(iterator: AsyncIterator[TextLike]) -> None:
    """Do the same with what must be waited for."""
    close = getattr(iterator, "aclose", None) or getattr(iterator, "close", None)
    if callable(close) and not _is_file(iterator):
        returned = close()
        if inspect.isawaitable(returned):
            await returned
