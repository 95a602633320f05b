"""The structure of a response, and in it position and value of each item: by ijson, by orjson where items are alike.

ijson gives an event for each bracket, name and word, and Python looks at each of them. That costs more than all else
that is done with a vector of base64 (1,147 bytecodes of the interpreter a vector instead of 750, `benchmarks counted`).
So once ijson has come to the end of an item in the list, the whole items that follow are read by orjson, in one call
for all of them. JSON makes that safe: behind an item, text that can be read as a comma and further whole values is
nothing else, and a list from which whole items are left out is still a list to ijson. Whatever else comes is ijson's.
"""

from __future__ import annotations

from functools import cache
from operator import itemgetter
from typing import TYPE_CHECKING, Final, TypeAlias

import orjson

from asyncembed._errors import ResponseError
from asyncembed.wire._events import EventReader
from asyncembed.wire._layout import ARRAY_ITEM, places
from asyncembed.wire._positions import Positions
from asyncembed.wire._scan import TAKEN, are_strings, text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncembed.wire._events import Event
    from asyncembed.wire._layout import Layout, Place
    from asyncembed.wire._scan import JSONText
    from asyncembed.wire._vectors import Value

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

    def let_go(self) -> None:
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
