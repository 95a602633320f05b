"""One response, from bytes to (position, vector): cutter, then ijson, then the number decoder.

A `Layout` says where things lie, as ijson prefixes. Two shapes cover all providers: vectors in a bare list
(position is their place in it), and vectors inside items that may carry an `index` before or after them.
"""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from asyncembed._errors import ResponseError
from asyncembed.wire._cutter import ArrayCutter
from asyncembed.wire._events import EventReader

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asyncembed._models import Vector
    from asyncembed.wire._events import Event
    from asyncembed.wire._vectors import VectorDecoder

MAX_DEPTH: Final = 64
"""Deepest nesting that is followed; responses of known APIs need 4 to 6."""

MAX_FAULTS: Final = 8
"""Bad vectors of one response that are described; there may be any number."""

_ARRAY_ITEM: Final = "item"
"""ijson's word for any item of an array in a path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where things lie in a response, as ijson prefixes.

    Attributes:
        vectors: Where one vector lies; several where one API answers in several shapes.
        item: The object around one vector, None where vectors stand in a bare list.
        index: The position inside the item, where the API sends one.
        tokens: Billed tokens; the first of these that is present counts.
        messages: Error messages, in case the body is an error after all.
        one_list: Whether only the first list of vectors counts; others would hold the same in another encoding.
    """

    vectors: frozenset[str]
    item: str | None = None
    index: str | None = None
    tokens: tuple[str, ...] = ()
    messages: tuple[str, ...] = ("error.message", "error", "message", "detail")
    one_list: bool = False


class _Place:
    """A place that a layout names, or that leads to one: a node of the tree of its paths."""

    __slots__ = ("children", "is_index", "is_item", "is_vector", "prefix")

    def __init__(self, prefix: str, layout: Layout) -> None:
        self.prefix = prefix
        self.children: dict[str, _Place] = {}
        self.is_vector = prefix in layout.vectors
        self.is_item = prefix == layout.item
        self.is_index = prefix == layout.index


@cache
def _places(layout: Layout) -> _Place:
    root = _Place("", layout)
    for path in (*layout.vectors, layout.item, layout.index, *layout.tokens, *layout.messages):
        place = root
        for name in path.split(".") if path else ():
            prefix = f"{place.prefix}.{name}" if place.prefix else name
            place = place.children.setdefault(name, _Place(prefix, layout))
    return root


class ResponseParser:
    """Incremental and without I/O: `feed(chunk)` gives the vectors whose arrays closed in this chunk.

    A vector that cannot be decoded is left out and noted in `faults`; the ones around it are not harmed.

    Args:
        layout: Where things lie in this provider's responses.
        decoder: Decodes the vectors, and holds them to one dimension.
        max_value_bytes: Most bytes one vector or text may have in the response.
    """

    def __init__(self, layout: Layout, decoder: VectorDecoder, max_value_bytes: int = sys.maxsize) -> None:
        self._layout = layout
        self._decoder = decoder
        self._cutter = ArrayCutter(max_value_bytes)
        self._reader = EventReader()
        self._arrays: deque[bytes] = deque()
        # Where the next value lies, and the same for each container around it; None is a place of no interest.
        self._place: _Place | None = _places(layout)
        self._around: list[tuple[_Place | None, _Place | None]] = []
        self._opened = False  # the last event opened an array
        self._value: bytes | str | None = None  # the vector of the item being read
        self._index: object = None  # its index
        self._found: dict[str, object] = {}
        self._error: ResponseError | None = None
        self.count = 0
        """Places for a vector met so far: the count of vectors the response claims to hold."""
        self.by_order = False
        """Whether a position followed from the order alone, because no index was sent."""
        self.faults: list[str] = []
        """Why vectors were left out; the first few of them."""

    @property
    def tokens(self) -> int | None:
        """Tokens the response says were billed, if it has said so yet."""
        values = (self._found.get(prefix) for prefix in self._layout.tokens)
        return next(
            (int(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)), None
        )

    @property
    def message(self) -> str:
        """An error message inside the response; empty if there is none."""
        values = (self._found.get(prefix) for prefix in self._layout.messages)
        return next((value for value in values if isinstance(value, str)), "")

    def feed(self, data: bytes) -> list[tuple[int, Vector]]:
        """Take the next bytes of the response and give the vectors they complete, with their positions.

        Raises:
            ResponseError: if the response is not JSON; vectors before the fault have been given already, as a fault
                is only raised by the call after the one that met it.
        """
        if self._error:
            raise self._error
        structure, arrays = self._cutter.feed(data)
        self._arrays.extend(arrays)
        return self._read(self._reader.feed(structure))

    def close(self) -> list[tuple[int, Vector]]:
        """End the response.

        Raises:
            ResponseError: if it was cut off or is not JSON.
        """
        vectors = self.feed(b"") + self._read(self._reader.feed(self._cutter.close()))
        vectors += self._read(self._reader.close())
        if self._error:
            raise self._error
        return vectors

    def discard(self) -> None:
        """End a response that will not be read further; a parser left in the middle of one complains when it goes."""
        self._reader.discard()

    def _read(self, events: Iterable[Event]) -> list[tuple[int, Vector]]:
        vectors: list[tuple[int, Vector]] = []
        try:
            for event, value in events:
                opened, self._opened = self._opened, False
                if event == "map_key":
                    around, _ = self._around[-1]
                    self._place = around.children.get(str(value)) if around else None
                elif event in {"start_array", "start_map"}:
                    self._enter(vectors, in_array=event == "start_array")
                elif event in {"end_array", "end_map"}:
                    self._leave(vectors, is_array=event == "end_array", opened=opened)
                elif self._place:
                    self._scalar(self._place, value, vectors)
        except ResponseError as error:
            self._error = error
        return vectors

    def _enter(self, vectors: list[tuple[int, Vector]], *, in_array: bool) -> None:
        place = self._place
        if len(self._around) >= MAX_DEPTH:
            raise ResponseError(f"the response is nested more than {MAX_DEPTH} levels deep")
        if place and place.is_vector and not in_array:
            self._take(None, vectors)
        item = place.children.get(_ARRAY_ITEM) if place and in_array else None
        if item and item.is_vector:
            item = None if self._layout.one_list and self.count else item
        self._around.append((place, item))
        self._place = item
        self._opened = in_array

    def _leave(self, vectors: list[tuple[int, Vector]], *, is_array: bool, opened: bool) -> None:
        place, _ = self._around.pop()
        self._place = self._around[-1][1] if self._around else None
        # An empty array stands for the next one that the cutter took out; others hold no plain vector.
        array = self._arrays.popleft() if opened else None
        if place and place.is_vector and is_array:
            self._take(array, vectors)
        elif place and place.is_item:
            self._close_item(vectors)

    def _scalar(self, place: _Place, value: object, vectors: list[tuple[int, Vector]]) -> None:
        if place.is_vector:
            self._take(value if isinstance(value, str) else None, vectors)
        elif place.is_item:
            self._close_item(vectors)
        elif place.is_index:
            self._index = value
        else:
            self._found[place.prefix] = value

    def _take(self, value: bytes | str | None, vectors: list[tuple[int, Vector]]) -> None:
        self._value = value
        if self._layout.item is None:
            self._close_item(vectors)

    def _close_item(self, vectors: list[tuple[int, Vector]]) -> None:
        value, index = self._value, self._index
        self._value = self._index = None
        self.by_order |= index is None
        position = self.count if index is None else index
        self.count += 1
        try:
            if type(position) is not int:
                raise ResponseError(f"an index is a {type(position).__name__} instead of a whole number")  # noqa: TRY301
            vectors.append((position, self._decoder.decode(value)))
        except ResponseError as error:
            if not error.retryable:
                raise
            if len(self.faults) < MAX_FAULTS:
                self.faults.append(str(error))
