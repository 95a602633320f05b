"""One response, from bytes to (position, vector): cutter, then ijson, then a decoder of vectors."""

from __future__ import annotations

import sys
from collections import deque
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from asyncembed._errors import ResponseError
from asyncembed.wire._cutter import ValueCutter, text_of
from asyncembed.wire._events import EventReader
from asyncembed.wire._layout import ARRAY_ITEM, places
from asyncembed.wire._vectors import quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from asyncembed.wire._cutter import JSONText
    from asyncembed.wire._events import Event
    from asyncembed.wire._layout import Layout, Place
    from asyncembed.wire._vectors import Value

DecodedT = TypeVar("DecodedT")

MAX_DEPTH: Final = 64
"""Deepest nesting that is followed; responses of known APIs need 4 to 6."""

MAX_FAULTS: Final = 8
"""Bad vectors of one response that are described; there may be any number."""


class ResponseParser(Generic[DecodedT]):
    """Incremental and without I/O: `feed(chunk)` gives the vectors whose arrays closed in this chunk.

    A vector that cannot be decoded is left out and noted in `faults`; the ones around it are not harmed.

    Args:
        layout: Where things lie in this provider's responses.
        decode: Makes a vector of what stands in the place of one, at once; raises `ResponseError` if it is none.
        max_value_bytes: Most bytes one vector or text may have in the response.
    """

    def __init__(
        self, layout: Layout, decode: Callable[[Value], DecodedT], max_value_bytes: int = sys.maxsize
    ) -> None:
        self._layout = layout
        self._decode = decode
        self._cutter = ValueCutter(max_value_bytes)
        self._reader = EventReader()
        self._values: deque[JSONText] = deque()
        # Where the next value lies, and the same for each container around it; None is a place of no interest.
        self._place: Place | None = places(layout)
        self._around: list[tuple[Place | None, Place | None]] = []
        self._last = ""  # the last event
        self._value: Value = None  # the vector of the item being read
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

    def feed(self, data: bytes) -> list[tuple[int, DecodedT]]:
        """Take the next bytes of the response and give the vectors they complete, with their positions.

        Raises:
            ResponseError: if the response is not JSON; vectors before the fault have been given already, as a fault
                is only raised by the call after the one that met it.
        """
        if self._error:
            raise self._error
        structure, values = self._cutter.feed(data)
        self._values += values
        with quiet():
            vectors = self._read(self._reader.feed(structure))
        if isinstance(self._value, memoryview):
            self._value = bytearray(self._value)  # its item is still open, and need not hold the whole chunk
        return vectors

    def close(self) -> list[tuple[int, DecodedT]]:
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

    def _read(self, events: Iterable[Event]) -> list[tuple[int, DecodedT]]:
        vectors: list[tuple[int, DecodedT]] = []
        try:
            for event, value in events:
                if event == "map_key":
                    self._enter_field(value)
                elif event == "start_array" or event == "start_map":  # noqa: PLR1714  # a set costs twice as much
                    self._enter(event, vectors)
                elif event == "end_array" or event == "end_map":  # noqa: PLR1714
                    self._leave(event, vectors)
                elif value == "":  # it stands for the next string that the cutter took out
                    self._scalar(self._values.popleft(), vectors)
                elif self._place:
                    self._scalar(value, vectors)
                self._last = event
        except ResponseError as error:
            self._error = error
        return vectors

    def _enter_field(self, name: object) -> None:
        if name == "":
            self._values.popleft()  # a long name, or none: no layout has such a field
        around = self._around[-1][0]
        self._place = around.children.get(name) if around else None  # type: ignore[call-overload]

    def _enter(self, event: str, vectors: list[tuple[int, DecodedT]]) -> None:
        place, in_array = self._place, event == "start_array"
        if len(self._around) >= MAX_DEPTH:
            raise ResponseError(f"the response is nested more than {MAX_DEPTH} levels deep")
        if place and place.is_vector and not in_array:
            self._take(None, vectors)
        item = place.children.get(ARRAY_ITEM) if place and in_array else None
        if item and item.is_vector:
            item = None if self._layout.one_list and self.count else item
        self._around.append((place, item))
        self._place = item

    def _leave(self, event: str, vectors: list[tuple[int, DecodedT]]) -> None:
        place, _ = self._around.pop()
        self._place = self._around[-1][1] if self._around else None
        # An empty array stands for the next one that the cutter took out; others hold no plain vector.
        array = self._values.popleft() if self._last == "start_array" else None
        if place and place.is_vector and event == "end_array":
            self._take(array, vectors)
        elif place and place.is_item:
            self._close_item(vectors)

    def _scalar(self, value: object, vectors: list[tuple[int, DecodedT]]) -> None:
        place = self._place
        if not place:
            return
        is_cut = isinstance(value, memoryview | bytearray)
        if place.is_vector:
            self._take(value if is_cut or isinstance(value, str) else None, vectors)  # type: ignore[arg-type]
        elif place.is_item:
            self._close_item(vectors)
        elif place.is_index:
            self._index = text_of(value) if is_cut else value  # type: ignore[arg-type]
        else:
            self._found[place.prefix] = text_of(value) if is_cut else value  # type: ignore[arg-type]

    def _take(self, value: Value, vectors: list[tuple[int, DecodedT]]) -> None:
        self._value = value
        if self._layout.item is None:
            self._close_item(vectors)

    def _close_item(self, vectors: list[tuple[int, DecodedT]]) -> None:
        value, index = self._value, self._index
        self._value = self._index = None
        self.by_order |= index is None
        position = self.count if index is None else index
        self.count += 1
        try:
            if type(position) is not int:
                raise ResponseError(f"an index is a {type(position).__name__} instead of a whole number")  # noqa: TRY301
            vectors.append((position, self._decode(value)))
        except ResponseError as error:
            if not error.retryable:
                raise
            if len(self.faults) < MAX_FAULTS:
                self.faults.append(str(error))
