"""ijson's push interface as a decoder without I/O: `feed(chunk)` gives the events of that chunk.

`async for` over ijson around a socket is not safe: the awaitable of its C backend has no `throw`, so a time-out that
fires while it waits for bytes turns into a bare `CancelledError`, and inside a task group into silently missing data
(ICRAR/ijson issue 130). Here ijson never waits for anything. Of its interfaces that need no file this is also the
fastest for what the scanner leaves: it appends to a list in C, where others make an awaitable for every event.

When a chunk holds good events and then garbage, the events are there before the error. It is kept for the next call,
so that nothing that arrived is lost.

Which text each item of a response belongs to: by its index, or by the order where no item has one.

Servers may leave out an index, but a mixture cannot be trusted: an item without one, where others have theirs, may
stand anywhere, and an index that contradicts the order says that those before it were taken for the wrong ones.

The structure of a response, and in it position and value of each item: by ijson, by orjson where items are alike.

ijson gives an event for each bracket, name and word, and Python looks at each of them. That costs more than all else
that is done with a vector of base64 (1,147 bytecodes of the interpreter a vector instead of 750, `benchmarks counted`).
So once ijson has come to the end of an item in the list, the whole items that follow are read by orjson, in one call
for all of them. JSON makes that safe: behind an item, text that can be read as a comma and further whole values is
nothing else, and a list from which whole items are left out is still a list to ijson. Whatever else comes is ijson's.
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


MAX_INDEX: Final = (1 << 63) - 1
"""Largest whole number that ijson's parser takes."""


class Positions:
    """Counts items and says where they belong."""

    __slots__ = ("_has_indices", "by_order", "count", "index")

    def __init__(self) -> None:
        self._has_indices = False
        self.index: object = None
        """The index of the item that is being read, None as long as none was met."""
        self.count = 0
        """Items that have ended."""
        self.by_order = False
        """Whether a position followed from the order alone, because no index was sent."""

    def close(self) -> object:
        """End an item and return its position: a whole number, or something else where nobody knows it.

        Raises:
            ResponseError: if its index contradicts the order of items before it.
        """
        position = self._position()
        self.index = None
        self.count += 1
        return position

    def close_all(self, indices: Sequence[object]) -> Sequence[int] | None:
        """End an item for each index, None where it has none, and return their positions.

        Returns:
            None if they are to be ended one by one, as they are not all of one kind.
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
            raise ResponseError("an index contradicts the order of items before it that had none", retryable=False)
        self._has_indices = True
        return self.index


MAX_DEPTH: Final = 64
"""Deepest nesting that is followed; responses of known APIs need 4 to 6."""

STEP: Final = 16_384
"""Most bytes of the structure that become events at once: an event takes 50 times its bytes."""

Item: TypeAlias = "tuple[object, Value]"
"""Position and value; the position is a whole number, or something else that the server sent in its place."""


class StructureReader:
    """Follows the structure of one response, and finds in it what its layout names. Incremental and without I/O.

    Args:
        layout: Where things lie in this provider's responses.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._events = EventReader()
        self._text = bytearray()  # the beginning of an item that may be like the ones before it
        self._values: list[JSONText] = []  # taken out of the structure
        self._met = 0  # how many of them were met in it
        self._place: Place | None = places(layout)  # where the next value lies; None is a place of no interest
        # For each open container where it lies, and where its items do if it is an array; the place of the innermost.
        self._around: list[tuple[Place | None, Place | None]] = []
        self._parent: Place | None = None
        self._last = b""  # the last byte that ijson got
        self._value: Value = None  # the vector of the item being read
        self._items: list[Item] = []
        self.eventless = 0
        """Bytes since something ended: of a number or of white space without an end."""
        self.error: ResponseError | None = None
        """What ended the reading."""
        self.found: dict[str, object] = {}
        """Scalars that the layout names, by their place."""
        self.proofs: list[Value] = []
        """Base64 that the layout wants to be compared, as it came since it was last taken."""
        self.positions = Positions()
        """Where the items that were met belong, and how many there are."""

    @property
    def has_failed(self) -> bool:
        """Whether reading has ended; what came before that has been given."""
        return self.error is not None or self._events.has_failed

    def feed(self, structure: bytes, values: Sequence[JSONText]) -> list[Item]:
        """Follow the next piece of the structure, with the values that were taken out of it.

        Returns:
            The items that it completes.

        Raises:
            ResponseError: if an earlier call met something that is not JSON.
        """
        self._events.feed(b"")  # which raises that error
        self._values = [*self._values[self._met :], *values]
        self._met = 0
        text = bytes(self._text) + structure
        if not self._is_behind_item:  # maybe at the end of the first item
            first = TAKEN if self._layout.item is None else self._end
            end = text.find(first) + len(first)
            beginning = text[:end] if end >= len(first) else text
            self._follow(beginning)
            text = text[len(beginning) :]
        self._text.clear()
        if not self.has_failed:
            self._follow(self._read_items(text) if self._is_behind_item else text)
        return self._given()

    def close(self, rest: bytes) -> list[Item]:
        """End the response, with the beginning of a value that does not end; return the items it completes.

        Raises:
            ResponseError: if the response is cut off or is not JSON.
        """
        self._follow(bytes(self._text) + rest)
        self._read(self._events.close())
        return self._given()

    def discard(self) -> None:
        """End a response that will not be read further; ijson complains of one that is left in the middle."""
        self._events.discard()

    def detach(self) -> None:
        """Copy what is kept of the chunk that was read, because its item is still open."""
        if isinstance(self._value, memoryview):
            self._value = bytearray(self._value)
        self._values = [bytearray(value) for value in self._values[self._met :]]
        self._met = 0

    def _given(self) -> list[Item]:
        items, self._items = self._items, []
        return items

    @property
    def _end(self) -> bytes:
        """What an item of the list ends with."""
        return b'"' if self._layout.item is None else b"}"

    @property
    def _is_behind_item(self) -> bool:
        """Whether ijson has come to the end of an item in the list of items, and not further."""
        place = self._place
        if place is None or not self._around or self._around[-1][1] is not place or self._last != self._end:
            return False
        return place.is_item or (place.is_vector and self._layout.item is None)

    def _read_items(self, text: bytes) -> bytes:
        """Read whole items that are alike, and keep the beginning of the next one; return what is for ijson."""
        closing = text.find(b"]")
        end = text.rfind(self._end, 0, closing if closing >= 0 else len(text)) + len(self._end)
        whole = text[:end] if end >= len(self._end) else b""
        if whole and not self._take_items(whole):
            return text
        left = text[len(whole) :]
        if closing < 0 and self._begins_item(left):
            self._text += left  # a copy, so that the chunk is not kept
            return b""
        return left

    def _begins_item(self, text: bytes) -> bool:
        """Whether text can be no more than the beginning of an item."""
        beginning = text.strip(b", \r\n\t")
        return len(text) <= STEP and (not beginning or (self._layout.item is not None and beginning[:1] == b"{"))

    def _take_items(self, text: bytes) -> bool:
        """Read items, each behind a comma; whether each holds one vector, and nothing else that was taken out."""
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
            self._add(_at(_path_in_item(self._layout, self._layout.added), items))
        self._items += zip(positions, self._values[self._met : self._met + count], strict=True)
        self._met += count
        return True

    def _follow(self, text: bytes) -> None:
        """Follow a piece of the structure by ijson's events, up to the first fault."""
        for start in range(0, len(text), STEP):
            part = text[start : start + STEP]
            events = self._events.feed(part)
            self._last = part[-1:]
            self.eventless = 0 if events else self.eventless + len(part)
            self._read(events)
            if self.has_failed:
                break

    def _read(self, events: list[Event]) -> None:
        try:
            for event, value in events:
                if event == "map_key":
                    self._name(value)
                elif value is not None or event == "null":
                    self._scalar(event, value)
                elif event == "start_map" or event == "start_array":  # noqa: PLR1714  # a set costs twice as much
                    self._enter(event)
                else:
                    self._leave(event)
        except ResponseError as error:
            self.error = error

    def _name(self, name: object) -> None:
        if name == "" and not are_strings([self._next_value()]):  # a string: a long name, or none, of no field we read
            raise ResponseError("the response is not JSON: an array stands in the place of a name")
        self._place = self._parent.children.get(str(name)) if self._parent else None

    def _next_value(self) -> JSONText:
        """Return the value that stands next in the structure of those that were taken out."""
        self._met += 1
        return self._values[self._met - 1]

    def _enter(self, event: str) -> None:
        if len(self._around) >= MAX_DEPTH:
            raise ResponseError(f"the response is nested more than {MAX_DEPTH} levels deep")
        place, item = self._place, None
        if place and event == "start_array":
            item = place.children.get(ARRAY_ITEM)
            if item and item.is_vector and self._layout.one_list and self.positions.count:
                item = None
        elif place and place.is_vector:
            self._take(None)
        if place and place.is_index:
            self.positions.index = event  # it is no number, and that is said of it
        self._around.append((place, item))
        self._parent, self._place = place, item

    def _leave(self, event: str) -> None:
        place, _ = self._around.pop()
        self._parent, self._place = self._around[-1] if self._around else (None, None)
        if place and place.is_vector and event == "end_array":
            self._take(None)  # an array that was not taken out is none of numbers
        elif place and place.is_item:
            self._close_item()

    def _scalar(self, event: str, given: object) -> None:
        value = self._next_value() if given == "" else given
        place = self._place
        if not place:
            return
        if place.is_vector:
            self._take(value if event == "string" else None)  # type: ignore[arg-type]
        elif place.is_item:
            self._close_item()
        else:
            if place.is_proof:
                self.proofs.append(value if event == "string" else None)  # type: ignore[arg-type]
                return
            value = text_of(value) if isinstance(value, memoryview | bytearray) else value
            if place.is_index:
                self.positions.index = value
            elif place.is_added:
                self._add([value])
            else:
                self.found[place.prefix] = value

    def _add(self, numbers: Sequence[object]) -> None:
        """Add up what items say for themselves; what is no number says nothing."""
        place = self._layout.added or ""
        known = [number for number in numbers if isinstance(number, int | float) and not isinstance(number, bool)]
        if known:
            before = self.found.get(place, 0)
            self.found[place] = sum(known, before if isinstance(before, int | float) else 0)

    def _take(self, value: Value) -> None:
        self._value = value
        if self._layout.item is None:
            self._close_item()

    def _close_item(self) -> None:
        self._items.append((self.positions.close(), self._value))
        self._value = None


@cache
def _fields(layout: Layout) -> tuple[list[str], list[str]]:
    """Return the names that lead from an item to its vector, and those that lead to its index."""
    if layout.item is None or len(layout.vectors) != 1:
        return [], []
    names = [_path_in_item(layout, path) for path in (*layout.vectors, layout.index) if path]
    return names[0], names[1] if layout.index else []


def _path_in_item(layout: Layout, path: str) -> list[str]:
    return path[len(layout.item or "") + 1 :].split(".")


def _at(names: list[str], items: list[object]) -> list[object]:
    """Return the fields that names lead to in each item; none, if one of them has no such field."""
    try:
        for name in names:
            items = [*map(itemgetter(name), items)]  # type: ignore[arg-type]
    except (TypeError, KeyError):
        return []
    return items
