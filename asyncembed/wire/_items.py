"""The structure of a response, from ijson's events to (position, what stands in the place of a vector).

Items are much alike: but for the index and the vector, one gives the same events as the other. So the first one is
followed event by event, and those that repeat it are recognised as a whole, by comparing two lists.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from asyncembed._errors import ResponseError
from asyncembed.wire._cutter import text_of
from asyncembed.wire._layout import ARRAY_ITEM, places

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asyncembed.wire._cutter import JSONText
    from asyncembed.wire._events import Event
    from asyncembed.wire._layout import Layout, Place
    from asyncembed.wire._vectors import Value

MAX_DEPTH: Final = 64
"""Deepest nesting that is followed; responses of known APIs need 4 to 6."""


MOST_EVENTS: Final = 64
"""Events of the longest item that is remembered."""


class ItemReader:
    """Follows the events of one response, and finds in it what its layout names.

    Args:
        layout: Where things lie in this provider's responses.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._values: deque[JSONText] = deque()  # cut out, and not met in the structure yet
        # Where the next value lies; for each open container where it lies, and where its items do if it is an array;
        # and where the innermost one lies. None is a place of no interest.
        self._place: Place | None = places(layout)
        self._around: list[tuple[Place | None, Place | None]] = []
        self._parent: Place | None = None
        self._last = ""  # the last event
        self._value: Value = None  # the vector of the item being read
        self._index: object = None  # its index
        self._started = self._index_at = -1  # which of the present events began it, and which is its index
        self._shape: _Shape | None = None
        self._items: list[tuple[object, Value]] = []
        self.error: ResponseError | None = None
        """What ended the reading."""
        self.found: dict[str, object] = {}
        """Scalars that the layout names, by their place."""
        self.count = 0
        """Items met so far."""
        self.by_order = False
        """Whether a position followed from the order alone, because no index was sent."""

    def read(self, events: list[Event], values: Iterable[JSONText] = ()) -> list[tuple[object, Value]]:
        """Follow the next events, with the values that the cutter took out of them, and return position and value.

        A position is a whole number, or something else that the server sent in its place.
        """
        self._values.extend(values)
        self._started = self._index_at = -1
        try:
            self._follow(events)
        except ResponseError as error:
            self.error = error
        if isinstance(self._value, memoryview):
            self._value = bytearray(self._value)  # its item is still open, and need not hold the whole chunk
        items, self._items = self._items, []
        return items

    def _follow(self, events: list[Event]) -> None:
        at = 0
        while at < len(events):
            shape, (event, value) = self._shape, events[at]
            if shape and event == "start_map" and self._place is shape.place and shape.fits(events, at):
                self._index, self._value = shape.index(events, at), self._values.popleft()
                self._close_item()
                at += shape.size - 1
                event = "end_map"
            elif event == "map_key":
                if value == "":
                    self._values.popleft()  # a long name, or none: no layout has such a field
                self._place = self._parent.children.get(str(value)) if self._parent else None
            elif value is not None or event == "null":
                self._scalar(event, value, at)
            elif event == "start_map" or event == "start_array":  # noqa: PLR1714  # a set costs twice as much
                self._enter(event, at)
            else:
                self._leave(event, events, at)
            self._last = event
            at += 1

    def _enter(self, event: str, at: int) -> None:
        if len(self._around) >= MAX_DEPTH:
            raise ResponseError(f"the response is nested more than {MAX_DEPTH} levels deep")
        place, item = self._place, None
        if place and event == "start_array":
            item = place.children.get(ARRAY_ITEM)
            if item and item.is_vector and self._layout.one_list and self.count:
                item = None
        elif place and place.is_vector:
            self._take(None)
        elif place and place.is_item:
            self._started, self._index_at = at, -1
        self._around.append((place, item))
        self._parent, self._place = place, item

    def _leave(self, event: str, events: list[Event], at: int) -> None:
        place, _ = self._around.pop()
        self._parent, self._place = self._around[-1] if self._around else (None, None)
        # An empty array stands for the next one that the cutter took out; others hold no plain vector.
        array = self._values.popleft() if self._last == "start_array" else None
        if place and place.is_vector and event == "end_array":
            self._take(array)
        elif place and place.is_item:
            if self._shape is None and self.count and self._started >= 0 and self._index_at >= 0:
                self._learn(place, events[self._started : at + 1])
            self._close_item()

    def _learn(self, place: Place, item: list[Event]) -> None:
        """Expect more items like this one, if its vector and nothing else was cut out of it."""
        arrays = sum(a[0] == "start_array" and b[0] == "end_array" for a, b in pairwise(item))
        count_cut = arrays + sum(value == "" for _, value in item)
        if count_cut == 1 and len(item) <= MOST_EVENTS and not isinstance(self._value, str | None):
            self._shape = _Shape(place, item, self._index_at - self._started)

    def _scalar(self, event: str, value: object, at: int) -> None:
        if value == "":  # it stands for the next string that the cutter took out
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
                self._index, self._index_at = value, at
            else:
                self.found[place.prefix] = value

    def _take(self, value: Value) -> None:
        self._value = value
        if self._layout.item is None:
            self._close_item()

    def _close_item(self) -> None:
        position = self._index
        if position is None:
            self.by_order, position = True, self.count
        self._items.append((position, self._value))
        self._value = self._index = None
        self.count += 1


class _Shape:
    """What the events of an item are, but for its index.

    Args:
        place: Where the item lies.
        events: Its events, with just one value cut out of them, which is the vector.
        index_at: Which of them is the index.
    """

    __slots__ = ("_head", "_tail", "place", "size")

    def __init__(self, place: Place, events: list[Event], index_at: int) -> None:
        self.place = place
        self.size = len(events)
        self._head, self._tail = events[:index_at], events[index_at + 1 :]

    def fits(self, events: list[Event], at: int) -> bool:
        """Whether an item begins at `at` that differs in nothing but its index and its vector."""
        middle, end = at + len(self._head), at + self.size
        return (
            end <= len(events)
            and events[middle][0] == "number"
            and events[at:middle] == self._head
            and events[middle + 1 : end] == self._tail
        )

    def index(self, events: list[Event], at: int) -> object:
        """The index of that item."""
        return events[at + len(self._head)][1]
