"""The structure of a response, from ijson's events to (position, what stands in the place of a vector)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, TypeAlias

from asyncembed._errors import ResponseError
from asyncembed.wire._layout import ARRAY_ITEM, places
from asyncembed.wire._positions import Positions
from asyncembed.wire._scan import text_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asyncembed.wire._events import Event
    from asyncembed.wire._layout import Layout, Place
    from asyncembed.wire._scan import JSONText
    from asyncembed.wire._vectors import Value

MAX_DEPTH: Final = 64
"""Deepest nesting that is followed; responses of known APIs need 4 to 6."""

Item: TypeAlias = "tuple[object, Value]"
"""Position and value; the position is a whole number, or something else that the server sent in its place."""


class ItemReader:
    """Follows the events of one response, and finds in it what its layout names.

    Args:
        layout: Where things lie in this provider's responses.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._values: deque[JSONText] = deque()  # taken out, and not met in the structure yet
        self._place: Place | None = places(layout)  # where the next value lies; None is a place of no interest
        # For each open container where it lies, and where its items do if it is an array; the place of the innermost.
        self._around: list[tuple[Place | None, Place | None]] = []
        self._parent: Place | None = None
        self._last = ""  # the last event
        self._value: Value = None  # the vector of the item being read
        self._items: list[Item] = []
        self.error: ResponseError | None = None
        """What ended the reading."""
        self.found: dict[str, object] = {}
        """Scalars that the layout names, by their place."""
        self.positions = Positions()
        """Where the items that were met belong, and how many there are."""

    def read(self, events: list[Event], values: Iterable[JSONText] = ()) -> list[Item]:
        """Follow the next events, with the values that were taken out of them, and return the items they complete."""
        self._values.extend(values)
        try:
            self._follow(events)
        except ResponseError as error:
            self.error = error
        items, self._items = self._items, []
        return items

    def let_go(self) -> None:
        """Copy what is kept of the chunk that was read, because its item is still open."""
        if isinstance(self._value, memoryview):
            self._value = bytearray(self._value)

    def _follow(self, events: list[Event]) -> None:
        for event, value in events:
            if event == "map_key":
                if value == "":
                    self._values.popleft()  # a long name, or none: no layout has such a field
                self._place = self._parent.children.get(value) if self._parent else None  # type: ignore[arg-type]
            elif value is not None or event == "null":
                if self._place or value == "":
                    self._scalar(event, value)
            elif event == "start_map" or event == "start_array":  # noqa: PLR1714  # a set costs twice as much
                self._enter(event)
            else:
                self._leave(event)
            self._last = event

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
        # An empty array stands for the next one that was taken out; others hold no plain vector.
        array = self._values.popleft() if self._last == "start_array" else None
        if place and place.is_vector and event == "end_array":
            self._take(array)
        elif place and place.is_item:
            self._close_item()

    def _scalar(self, event: str, value: object) -> None:
        if value == "":  # it stands for the next string that was taken out
            value = self._values.popleft()
        place = self._place
        if not place:
            return
        if place.is_vector:
            self._take(value if event == "string" else None)  # type: ignore[arg-type]
        elif place.is_item:
            self._close_item()
        else:
            value = text_of(value) if isinstance(value, memoryview | bytearray) else value
            if place.is_index:
                self.positions.index = value
            else:
                self.found[place.prefix] = value

    def _take(self, value: Value) -> None:
        self._value = value
        if self._layout.item is None:
            self._close_item()

    def _close_item(self) -> None:
        self._items.append((self.positions.close(), self._value))
        self._value = None
