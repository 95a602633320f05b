"""ijson's async backend, driven by hand as a decoder without I/O: `feed(chunk)` gives the events of that chunk.

`async for` over ijson around a socket is not safe: the awaitable of its C backend has no `throw`, so a time-out that
fires while it waits for bytes turns into a bare `CancelledError`, and inside a task group into silently missing data
(ICRAR/ijson issue 130). So the reader that ijson awaits never waits for a socket. When it has no chunk, it suspends
with a marker; `feed` sets the chunk and steps the parser until the marker comes back.

Stepping an awaitable `ijson_events.__anext__().__await__()` with `next` has four outcomes:

- `StopIteration`: its value is an event;
- the marker: more bytes are needed, and this awaitable goes on with the next chunk;
- any other value: a bare yield of ijson's own, step again;
- `StopAsyncIteration` or an error: the document ended, or is not JSON.

When a chunk holds good events and then garbage, the C backend reports the error first and the events only if asked
again. They are collected, and the error is kept for the next call, so that nothing that arrived is lost.
"""

from __future__ import annotations

import re
import types
from typing import TYPE_CHECKING, TypeAlias

import ijson

from asyncembed._errors import ResponseError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterator

Event: TypeAlias = tuple[str, str | int | float | bool | None]
"""ijson's (event, value), without the path: a path with every event could multiply the size of a response."""

_NEED_BYTES = object()


@types.coroutine
def _suspend() -> Generator[object, None, None]:
    yield _NEED_BYTES


class _ChunkReader:
    """The file that ijson reads from: gives each chunk once, and suspends when there is none."""

    __slots__ = ("chunk",)

    def __init__(self) -> None:
        self.chunk: bytes | None = None

    async def read(self, size: int) -> bytes:
        if size == 0:  # ijson asks once whether it reads bytes or text
            return b""
        while self.chunk is None:
            await _suspend()
        chunk, self.chunk = self.chunk, None
        return chunk


class EventReader:
    """Turns chunks of a JSON document into ijson's events, without I/O."""

    __slots__ = ("_ended", "_error", "_events", "_reader", "_step")

    def __init__(self) -> None:
        self._reader = _ChunkReader()
        self._events: AsyncIterator[Event] = ijson.basic_parse_async(self._reader, use_float=True)
        self._step: Iterator[object] | None = None
        self._error: ResponseError | None = None
        self._ended = False

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes and give the events they complete.

        Raises:
            ResponseError: if an earlier call met something that is not JSON.
        """
        if self._error:
            raise self._error
        if not data:
            return []
        return self._advance(data)

    def close(self) -> list[Event]:
        """End the document and give its last events.

        Raises:
            ResponseError: if it is cut off, or an earlier call met something that is not JSON.
        """
        if self._error:
            raise self._error
        events = self._advance(b"")
        if self._error:
            raise self._error
        return events

    def discard(self) -> None:
        """End the document wherever it is."""
        if not self._ended:
            self._advance(b"")

    def _advance(self, data: bytes) -> list[Event]:
        self._reader.chunk = data
        events: list[Event] = []
        while True:
            step = self._step or self._events.__anext__().__await__()
            self._step = None
            try:
                signal = next(step)
            except StopIteration as event:
                events.append(event.value)
            except StopAsyncIteration:
                self._ended = True
                return events
            except (ijson.JSONError, ValueError) as error:  # ValueError: a string that is no text
                if self._error:
                    return events
                self._error = ResponseError(f"the response is not JSON, or is cut off: {_reason(error)}")
            else:
                self._step = step
                if signal is _NEED_BYTES:
                    return events


def _reason(error: Exception) -> str:
    """The parser's own words, without what it quotes of the document: on further lines, or in quotes."""
    words = error.args[0] if error.args else ""
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else str(error)
    return re.sub("'[^']*'", "'…'", text.split("\n", 1)[0].strip())
