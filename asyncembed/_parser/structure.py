"""Parses the structure of a response: finds the position and the value of each item, and the scalars of the layout.

`EventReader` wraps the push interface of ijson without I/O: `feed(chunk)` returns the events of that chunk. `async for`
over ijson on a socket is not safe: the awaitable of its C backend has no `throw`, so a time-out while it waits for
bytes becomes a bare `CancelledError`, and silently missing data inside a task group (ICRAR/ijson issue 130). The push
interface never waits. It is also the fastest that needs no file, as it appends to a list in C. If a chunk contains
garbage after good events, `feed` returns the events, and the next call raises the error, so that no vector is lost.

`Positions` decides which text an item belongs to: by its index, or by the order if no item has an index. It does not
trust a mixture. An item without an index, where others have one, may belong anywhere. An index that contradicts the
order shows that the items before it were matched to the wrong texts.

`StructureReader` combines them, and skips ijson where it can: an event for each bracket, key and scalar costs more
than the rest of the work for a base64 vector (1,147 bytecodes per vector instead of 750, `benchmarks counted`). Once
ijson has reached the end of an item in the list, orjson parses all complete items that follow, in one call. That is
safe: after an item, text that parses as a comma and more complete values can be nothing else, and to ijson a list
without these items is still a valid list. ijson parses everything else.
"""

from __future__ import annotations

import re
from functools import cache
from operator import itemgetter
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import ijson
import orjson

from asyncembed._exceptions import ResponseError
from asyncembed._parser.layout import ARRAY_ITEM, places
from asyncembed._parser.splitter import TAKEN, are_strings, text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncembed._parser.layout import Layout, Place
    from asyncembed._parser.splitter import JSONText
    from asyncembed._parser.vectors import Value


Event: TypeAlias = tuple[str, str | int | float | bool | None]
"""ijson's (event, value), without the path, which could multiply the size of a response."""


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
        """Whether the document is not valid JSON, so that the next call raises an error."""
        return self._error is not None

    def feed(self, data: bytes) -> list[Event]:
        """Parse bytes and return the events that they complete.

        Raises:
            ResponseError: if an earlier call met invalid JSON.
        """
        if self._error:
            raise self._error
        if data:
            try:
                self._parser.send(data)
            except (ijson.JSONError, ValueError) as error:  # ValueError: a string that is not UTF-8
                self._fail(error)
        return self._take()

    def close(self) -> list[Event]:
        """End the document and return its last events.

        Raises:
            ResponseError: if the document is incomplete, or an earlier call met invalid JSON.
        """
        if not self._error:
            self.discard()
        if self._error:
            raise self._error
        return self._take()

    def discard(self) -> None:
        """End the document, complete or not."""
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
    """Return the parser's message without what it quotes of the document, in quotes or on further lines."""
    words = error.args[0] if error.args else ""
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else str(error)
    return re.sub("'[^']*'", "'…'", text.split("\n", 1)[0].strip())


MAX_INDEX: Final = (1 << 63) - 1
"""Largest integer that ijson accepts."""


class Positions:
    """Counts items and determines their positions."""

    __slots__ = ("_has_indices", "by_order", "count", "index")

    def __init__(self) -> None:
        self._has_indices = False
        self.index: object = None
        """The index of the current item; None until one arrives."""
        self.count = 0
        """Number of complete items."""
        self.by_order = False
        """Whether positions follow from the order, because no item so far had an index."""

    def close(self) -> object:
        """End an item and return its position: an integer, or any other object if the position is unknown.

        Raises:
            ResponseError: if its index contradicts the order of the items before it.
        """
        position = self._position()
        self.index = None
        self.count += 1
        return position

    def close_all(self, indices: Sequence[object]) -> Sequence[int] | None:
        """End several items at once and return their positions.

        Args:
            indices: One index per item; None for an item without one.

        Returns:
            The positions; None if the items need `close` one by one, because only some have a usable index.
        """
        kinds = set(map(type, indices))
        count = self.count + len(indices)
        if kinds == {int} and not self.by_order and max(whole := cast("Sequence[int]", indices)) <= MAX_INDEX:
            self._has_indices = True
            self.count = count
            return whole
        if kinds == {type(None)} and not self._has_indices:
            self.by_order = True
            first, self.count = self.count, count
            return range(first, count)
        return None

    def _position(self) -> object:
        if self.index is None:
            self.by_order = self.by_order or not self._has_indices
            return None if self._has_indices else self.count
        if self.by_order and type(self.index) is int and self.index != self.count:
            raise ResponseError("an index contradicts the order of the items before it without one", retryable=False)
        self._has_indices = True
        return self.index


MAX_DEPTH: Final = 64
"""Maximum nesting depth; responses of known APIs need 4 to 6."""

MAX_STEP: Final = 16_384
"""Maximum bytes of the structure to turn into events at once: an event takes 50 times the memory of its bytes."""

Item: TypeAlias = "tuple[object, Value]"
"""Position and value. The position is an integer, or whatever else the server sent in its place."""


class StructureReader:
    """Parses the structure of one response incrementally and collects the values of its layout. No I/O.

    Args:
        layout: Layout of the provider's responses.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._events = EventReader()
        self._text = bytearray()  # the start of an item that orjson may parse once it is complete
        self._values: list[JSONText] = []  # taken out of the structure
        self._used = 0  # number of values whose placeholders have been parsed
        self._place: Place | None = places(layout)  # of the next value; None if the layout does not name it
        # For each open container, its place and the place of its items if it is an array.
        self._containers: list[tuple[Place | None, Place | None]] = []
        self._parent: Place | None = None  # the place of the innermost container
        self._last = b""  # the last byte given to ijson
        self._value: Value = None  # the vector of the current item
        self._items: list[Item] = []
        self.bytes_since_event = 0
        """Bytes since the last event, as in an endless number or endless white space."""
        self.error: ResponseError | None = None
        """The error that ended the parsing."""
        self.found: dict[str, object] = {}
        """Scalars of the layout, by their path."""
        self.proofs: list[Value] = []
        """Base64 copies of vectors. The caller takes them out."""
        self.positions = Positions()
        """Count and positions of the items."""
        self.count_nested = 0
        """Number of vectors that were lists of anything but numbers, such as a matrix of one vector per token."""

    @property
    def has_failed(self) -> bool:
        """Whether an error has ended the parsing. All items before the error have been returned."""
        return self.error is not None or self._events.has_failed

    def feed(self, structure: bytes, values: Sequence[JSONText]) -> list[Item]:
        """Parse the next piece of the structure, with the values that were taken out of it.

        Returns:
            The items that it completes.

        Raises:
            ResponseError: if an earlier call met invalid JSON.
        """
        self._events.feed(b"")  # raises the error of an earlier call
        self._values = [*self._values[self._used :], *values]
        self._used = 0
        text = bytes(self._text) + structure
        if not self._is_after_item:  # parse up to the possible end of an item
            first = TAKEN if self._layout.item is None else self._item_end
            end = text.find(first) + len(first)
            beginning = text[:end] if end >= len(first) else text
            self._parse(beginning)
            text = text[len(beginning) :]
        self._text.clear()
        if not self.has_failed:
            self._parse(self._parse_items(text) if self._is_after_item else text)
        return self._take_items()

    def close(self, rest: bytes) -> list[Item]:
        """End the response with the bytes of an incomplete value, if any, and return its last items.

        Raises:
            ResponseError: if the response is incomplete or not JSON.
        """
        self._parse(bytes(self._text) + rest)
        self._handle(self._events.close())
        return self._take_items()

    def discard(self) -> None:
        """End an abandoned response. Without this call, ijson complains when it is released."""
        self._events.discard()

    def detach(self) -> None:
        """Copy the values of an open item, so that they do not keep the whole chunk in memory."""
        if isinstance(self._value, memoryview):
            self._value = bytearray(self._value)
        self._values = [bytearray(value) for value in self._values[self._used :]]
        self._used = 0

    def _take_items(self) -> list[Item]:
        items, self._items = self._items, []
        return items

    @property
    def _item_end(self) -> bytes:
        """Last byte of an item in the list."""
        return b'"' if self._layout.item is None else b"}"

    @property
    def _is_after_item(self) -> bool:
        """Whether ijson has parsed exactly up to the end of an item in the list."""
        place = self._place
        if (
            place is None
            or not self._containers
            or self._containers[-1][1] is not place
            or self._last != self._item_end
        ):
            return False
        return place.is_item or (place.is_vector and self._layout.item is None)

    def _parse_items(self, text: bytes) -> bytes:
        """Parse complete items with orjson, keep the start of the next item, and return the rest for ijson."""
        closing = text.find(b"]")
        end = text.rfind(self._item_end, 0, closing if closing >= 0 else len(text)) + len(self._item_end)
        whole = text[:end] if end >= len(self._item_end) else b""
        if whole and not self._parse_whole_items(whole):
            return text
        left = text[len(whole) :]
        if closing < 0 and self._may_begin_item(left):
            self._text += left  # a copy, so that the chunk is not kept
            return b""
        return left

    def _may_begin_item(self, text: bytes) -> bool:
        """Whether text can only be the start of an item."""
        beginning = text.strip(b", \r\n\t")
        return len(text) <= MAX_STEP and (not beginning or (self._layout.item is not None and beginning[:1] == b"{"))

    def _parse_whole_items(self, text: bytes) -> bool:
        """Parse complete items, each after a comma. Return False if ijson must parse them instead.

        That is the case unless each item contains one vector and no other value that was taken out.
        """
        try:
            items = orjson.loads(b"[0%b]" % text)[1:]
        except ValueError:
            return False
        vector, index = _fields(self._layout)
        vectors = _at(vector, items)
        count = text.count(TAKEN)
        if count != len(vectors) or set(map(type, vectors)) != {str} or any(vectors):
            return False
        positions = self.positions.close_all(_at(index, items) if index else [None] * count)
        if positions is None:
            return False
        if self._layout.added:
            self._add_tokens(_at(_path_in_item(self._layout, self._layout.added), items))
        self._items += zip(positions, self._values[self._used : self._used + count], strict=True)
        self._used += count
        return True

    def _parse(self, text: bytes) -> None:
        """Parse a piece of the structure with ijson, up to the first error."""
        for start in range(0, len(text), MAX_STEP):
            part = text[start : start + MAX_STEP]
            events = self._events.feed(part)
            self._last = part[-1:]
            self.bytes_since_event = 0 if events else self.bytes_since_event + len(part)
            self._handle(events)
            if self.has_failed:
                break

    def _handle(self, events: list[Event]) -> None:
        try:
            for event, value in events:
                if event == "map_key":
                    self._key(value)
                elif value is not None or event == "null":
                    self._scalar(event, value)
                elif event == "start_map" or event == "start_array":  # noqa: PLR1714  # a set costs twice as much
                    self._enter(event)
                else:
                    self._leave(event)
        except ResponseError as error:
            self.error = error

    def _key(self, name: object) -> None:
        # An empty key is a placeholder: for a long or empty key, which no layout names, or for an array.
        if name == "" and not are_strings([self._next_value()]):
            raise ResponseError("the response is not JSON: an object has an array as a key")
        self._place = self._parent.children.get(str(name)) if self._parent else None

    def _next_value(self) -> JSONText:
        """Return the value of the next placeholder."""
        self._used += 1
        return self._values[self._used - 1]

    def _enter(self, event: str) -> None:
        if len(self._containers) >= MAX_DEPTH:
            raise ResponseError(f"the response is nested more than {MAX_DEPTH} levels deep")
        place, item = self._place, None
        if place and event == "start_array":
            item = place.children.get(ARRAY_ITEM)
            if item and item.is_vector and self._layout.one_list and self.positions.count:
                item = None
        elif place and place.is_vector:
            self._set_vector(None)
        if place and place.is_index:
            self.positions.index = event  # not an integer, so the parser rejects it
        self._containers.append((place, item))
        self._parent, self._place = place, item

    def _leave(self, event: str) -> None:
        place, _ = self._containers.pop()
        self._parent, self._place = self._containers[-1] if self._containers else (None, None)
        if place and place.is_vector and event == "end_array":
            self.count_nested += 1
            self._set_vector(None)  # an array that was not taken out is not an array of numbers
        elif place and place.is_item:
            self._close_item()

    def _scalar(self, event: str, scalar: object) -> None:
        value = self._next_value() if scalar == "" else scalar
        place = self._place
        if not place:
            return
        if place.is_vector:
            self._set_vector(value if event == "string" else None)  # type: ignore[arg-type]
        elif place.is_item:
            self._close_item()
        elif place.is_alone and _holds_numbers(value):
            self._set_vector(value)  # type: ignore[arg-type]
        else:
            if place.is_proof:
                self.proofs.append(value if event == "string" else None)  # type: ignore[arg-type]
                return
            value = text_of(value) if isinstance(value, memoryview | bytearray) else value
            if place.is_index:
                self.positions.index = value
            elif place.is_added:
                self._add_tokens([value])
            else:
                self.found[place.prefix] = value

    def _add_tokens(self, values: Sequence[object]) -> None:
        """Add up the tokens of items, ignoring values that are not numbers."""
        path = self._layout.added or ""
        numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        if numbers:
            before = self.found.get(path, 0)
            self.found[path] = sum(numbers, before if isinstance(before, int | float) else 0)

    def _set_vector(self, value: Value) -> None:
        self._value = value
        if self._layout.item is None:
            self._close_item()

    def _close_item(self) -> None:
        self._items.append((self.positions.close(), self._value))
        self._value = None


def _holds_numbers(value: object) -> bool:
    """Whether a value that was taken out is an array that is not empty."""
    return isinstance(value, memoryview | bytearray) and value[0] == ord("[") and bool(bytes(value[1:-1]).strip())


@cache
def _fields(layout: Layout) -> tuple[list[str], list[str]]:
    """Return the paths from an item to its vector and to its index; empty for a bare list or without an index."""
    if layout.item is None or len(layout.vectors) != 1:
        return [], []
    names = [_path_in_item(layout, path) for path in (*layout.vectors, layout.index) if path]
    return names[0], names[1] if layout.index else []


def _path_in_item(layout: Layout, path: str) -> list[str]:
    return path[len(layout.item or "") + 1 :].split(".")


def _at(names: list[str], items: list[object]) -> list[object]:
    """Return the value at a path in each item; an empty list if any item lacks it."""
    try:
        for name in names:
            items = [*map(itemgetter(name), items)]  # type: ignore[arg-type]
    except (TypeError, KeyError):
        return []
    return items
