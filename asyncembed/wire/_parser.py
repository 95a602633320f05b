"""One response, from bytes to (position, vector): cutter, then ijson, then the number decoder.

A `Layout` says where things lie, as ijson prefixes. Two shapes cover all providers: vectors in a bare list
(position is their place in it), and vectors inside items that may carry an `index` before or after them.
"""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asyncembed._errors import ResponseError
from asyncembed.wire._cutter import ArrayCutter
from asyncembed.wire._events import EventReader

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asyncembed._models import Vector
    from asyncembed.wire._events import Event
    from asyncembed.wire._vectors import VectorDecoder

_SCALARS: Final = frozenset({"string", "number", "boolean", "null"})
_VALUES: Final = _SCALARS | {"start_map"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where things lie in a response, as ijson prefixes.

    Attributes:
        vectors: Where one vector lies; several where one API answers in several shapes.
        item: The object around one vector, None where vectors stand in a bare list.
        index: The position inside the item, where the API sends one.
        tokens: Billed tokens; the first of these that is present counts.
        messages: Error messages, in case the body is an error after all.
    """

    vectors: frozenset[str]
    item: str | None = None
    index: str | None = None
    tokens: tuple[str, ...] = ()
    messages: tuple[str, ...] = ("error.message", "error", "message", "detail")


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
        self._opened = False  # the last event opened an array
        self._value: bytes | str | None = None  # the vector of the item being read
        self._index: object = None  # its index
        self._found: dict[str, object] = {}
        self.count = 0
        """Places for a vector met so far: the count of vectors the response claims to hold."""
        self.by_order = False
        """Whether a position followed from the order alone, because no index was sent."""
        self.faults: list[str] = []
        """Why vectors were left out."""

    @property
    def tokens(self) -> int | None:
        """Tokens the response says were billed, if it has said so yet."""
        values = (self._found.get(prefix) for prefix in self._layout.tokens)
        return next((value for value in values if isinstance(value, int)), None)

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
        structure, arrays = self._cutter.feed(data)
        self._arrays.extend(arrays)
        return self._read(self._reader.feed(structure))

    def close(self) -> list[tuple[int, Vector]]:
        """End the response.

        Raises:
            ResponseError: if it was cut off or is not JSON.
        """
        vectors = self._read(self._reader.feed(self._cutter.close()))
        return vectors + self._read(self._reader.close())

    def _read(self, events: Iterable[Event]) -> list[tuple[int, Vector]]:
        vectors: list[tuple[int, Vector]] = []
        layout = self._layout
        for prefix, event, value in events:
            opened, self._opened = self._opened, event == "start_array"
            if event == "end_array":
                # An empty array stands for the next one that the cutter took out; others hold no plain vector.
                array = self._arrays.popleft() if opened else None
                if prefix in layout.vectors:
                    self._take(array, vectors)
            elif prefix in layout.vectors:
                if event in _VALUES:
                    self._take(value if isinstance(value, str) else None, vectors)
            elif prefix == layout.item:
                if event == "end_map" or event in _SCALARS:
                    self._close_item(vectors)
            elif prefix == layout.index:
                self._index = value
            elif event in _SCALARS and (prefix in layout.tokens or prefix in layout.messages):
                self._found[prefix] = value
        return vectors

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
                raise ResponseError(f"an index is {position!r} instead of a whole number")  # noqa: TRY301
            vectors.append((position, self._decoder.decode(value)))
        except ResponseError as error:
            self.faults.append(str(error))
