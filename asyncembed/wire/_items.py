"""The structure of a response, from ijson's events to (position, what stands in the place of a vector).

Items are much alike, so it also watches the steps from one vector to the next. After some that were taken in the same
way, items whose bytes repeat need not be followed: they do again what the last ones did.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from asyncembed._errors import ResponseError
from asyncembed.wire._layout import ARRAY_ITEM, places
from asyncembed.wire._positions import Positions
from asyncembed.wire._steps import Steps
from asyncembed.wire._text import text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from asyncembed.wire._events import Event
    from asyncembed.wire._layout import Layout, Place
    from asyncembed.wire._text import JSONText
    from asyncembed.wire._vectors import Value

MAX_DEPTH: Final = 64
"""Deepest nesting that is followed; responses of known APIs need 4 to 6."""


class ItemReader:
    """Follows the events of one response, and finds in it what its layout names.

    Args:
        layout: Where things lie in this provider's responses.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._values: deque[JSONText] = deque()  # cut out, and not met in the structure yet
        self._place: Place | None = places(layout)  # where the next value lies; None is a place of no interest
        # For each open container where it lies, and where its items do if it is an array; the place of the innermost.
        self._around: list[tuple[Place | None, Place | None]] = []
        self._parent: Place | None = None
        self._last = ""  # the last event
        self._value: Value = None  # the vector of the item being read
        self._steps = Steps()
        self._given = 0  # values that came with the events so far
        # The last event was a vector that had been cut out; the item being read has been given by `complete`.
        self._is_at_vector = self._is_given = False
        self._items: list[tuple[object, Value]] = []
        self.error: ResponseError | None = None
        """What ended the reading."""
        self.found: dict[str, object] = {}
        """Scalars that the layout names, by their place."""
        self.positions = Positions()
        """Where the items that were met belong, and how many there are."""

    def read(self, events: list[Event], values: Iterable[JSONText] = ()) -> list[tuple[object, Value]]:
        """Follow the next events, with the values that the cutter took out of them, and return position and value.

        A position is a whole number, or something else that the server sent in its place.
        """
        self._given -= len(self._values)
        self._values.extend(values)
        self._given += len(self._values)
        try:
            self._follow(events)
        except ResponseError as error:
            self.error = error
        items, self._items = self._items, []
        return items

    def can_repeat(self, number: int | None) -> bool:
        """Whether values whose bytes repeat, with `number` before the last one, can be given to `repeat`."""
        is_settled = self._is_at_vector and not self._values and not self.positions.are_mixed
        return is_settled and self._steps.are_alike(number)

    def repeat(self, numbers: Sequence[int | None], values: Sequence[JSONText]) -> list[tuple[object, Value]]:
        """Take vectors, each with the number that lies before it, and return position and value as `read` does."""
        if not values:
            return []
        positions = self.positions.skip(numbers)
        self._given += len(values)
        self._steps.skip(len(self._around), self._given, self.positions.count, numbers[-1])
        if self._layout.item is None:
            return list(zip(positions, values, strict=True))
        whole = [self._value, *values]  # of the last one, the item is still open
        self._value = whole.pop()
        first, self._is_given = int(self._is_given), False
        return list(zip(positions, whole, strict=True))[first:]

    def complete(self, number: int | None) -> list[tuple[object, Value]]:
        """Return position and value of the open item, once, as its end, with `number` in it, came and is left out."""
        if self._layout.item is None or self._is_given:
            return []
        self._is_given = True
        return [(self.positions.present(number), self._value)]

    def let_go(self) -> None:
        """Copy what is kept of the chunk that was read, because its item is still open."""
        self._value = bytearray(self._value) if isinstance(self._value, memoryview) else self._value

    def _follow(self, events: list[Event]) -> None:
        for event, value in events:
            self._is_at_vector = False
            if event == "map_key":
                if value == "":
                    self._values.popleft()  # a long name, or none: no layout has such a field
                self._place = self._parent.children.get(str(value)) if self._parent else None
            elif value is not None or event == "null":
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
            self._set_index(event)  # it is no number, and that is said of it
        self._around.append((place, item))
        self._parent, self._place = place, item

    def _leave(self, event: str) -> None:
        place, _ = self._around.pop()
        self._parent, self._place = self._around[-1] if self._around else (None, None)
        self._steps.left(len(self._around))
        # An empty array stands for the next one that the cutter took out; others hold no plain vector.
        array = self._values.popleft() if self._last == "start_array" else None
        if place and place.is_vector and event == "end_array":
            self._take(array, place)
        elif place and place.is_item:
            self._close_item()

    def _scalar(self, event: str, value: object) -> None:
        if value == "":  # it stands for the next string that the cutter took out
            value = self._values.popleft()
        place = self._place
        if not place:
            return
        if place.is_vector:
            self._take(value if event == "string" else None, place)  # type: ignore[arg-type]
        elif place.is_item:
            self._close_item()
        else:
            value = text_of(value) if isinstance(value, memoryview | bytearray) else value
            if place.is_index:
                self._set_index(value)
            else:
                self.found[place.prefix] = value

    def _take(self, value: Value, place: Place | None = None) -> None:
        self._value = value
        is_indexed = self.positions.index is not None
        if self._layout.item is None:
            self._close_item()
        if value is not None and not isinstance(value, str):
            self._is_at_vector = True
            depth, taken = len(self._around), self._given - len(self._values)
            self._steps.end(place, depth, taken, self.positions.count, is_indexed=is_indexed)

    def _set_index(self, value: object) -> None:
        self.positions.index = value
        self._steps.met(value)

    def _close_item(self) -> None:
        position = self.positions.close()
        if not self._is_given:
            self._items.append((position, self._value))
        self._value, self._is_given = None, False
