"""ijson's push interface as a decoder without I/O: `feed(chunk)` gives the events of that chunk.

`async for` over ijson around a socket is not safe: the awaitable of its C backend has no `throw`, so a time-out that
fires while it waits for bytes turns into a bare `CancelledError`, and inside a task group into silently missing data
(ICRAR/ijson issue 130). Here ijson never waits for anything. Of its interfaces that need no file this is also the
fastest for what the scanner leaves: it appends to a list in C, where others make an awaitable for every event.

When a chunk holds good events and then garbage, the events are there before the error. It is kept for the next call,
so that nothing that arrived is lost.
"""

from __future__ import annotations

import re
from typing import TypeAlias

import ijson

from asyncembed._errors import ResponseError

Event: TypeAlias = tuple[str, str | int | float | bool | None]
"""ijson's (event, value), without the path: a path with every event could multiply the size of a response."""


class EventReader:
    """Turns chunks of a JSON document into ijson's events, without I/O."""

    __slots__ = ("_ended", "_error", "_events", "_parser")

    def __init__(self) -> None:
        self._events: list[Event] = ijson.sendable_list()
        self._parser = ijson.basic_parse_coro(self._events, use_float=True)
        self._error: ResponseError | None = None
        self._ended = False

    @property
    def has_failed(self) -> bool:
        """Whether something that is not JSON was met; the next call raises it."""
        return self._error is not None

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes and give the events they complete.

        Raises:
            ResponseError: if an earlier call met something that is not JSON.
        """
        if self._error:
            raise self._error
        if data:
            try:
                self._parser.send(data)
            except (ijson.JSONError, ValueError) as error:  # ValueError: a string that is no text
                self._fail(error)
        return self._take()

    def close(self) -> list[Event]:
        """End the document and give its last events.

        Raises:
            ResponseError: if it is cut off, or an earlier call met something that is not JSON.
        """
        if not self._error:
            self.discard()
        if self._error:
            raise self._error
        return self._take()

    def discard(self) -> None:
        """End the document wherever it is."""
        if not self._ended:
            self._ended = True
            try:
                self._parser.close()
            except (ijson.JSONError, ValueError) as error:
                self._fail(error)

    def _take(self) -> list[Event]:
        events = self._events[:]
        self._events.clear()
        return events

    def _fail(self, error: Exception) -> None:
        self._ended = True
        self._error = ResponseError(f"the response is not JSON, or is cut off: {_reason(error)}")


def _reason(error: Exception) -> str:
    """The parser's own words, without what it quotes of the document: on further lines, or in quotes."""
    words = error.args[0] if error.args else ""
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else str(error)
    return re.sub("'[^']*'", "'…'", text.split("\n", 1)[0].strip())
