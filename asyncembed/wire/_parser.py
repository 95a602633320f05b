"""One response, from bytes to (position, vector): cutter, then ijson, then a decoder of vectors."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from asyncembed._errors import ResponseError
from asyncembed.wire._cutter import ValueCutter
from asyncembed.wire._events import EventReader
from asyncembed.wire._finite import quiet
from asyncembed.wire._items import ItemReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from asyncembed.wire._events import Event
    from asyncembed.wire._gap import Gap
    from asyncembed.wire._layout import Layout
    from asyncembed.wire._text import JSONText
    from asyncembed.wire._vectors import Value

DecodedT = TypeVar("DecodedT")

STEP: Final = 16_384
"""Most bytes of the structure that become events at once."""

MAX_FAULTS: Final = 8
"""Bad vectors of one response that are described; there may be any number."""


def _not_at_once(values: Sequence[Value]) -> None:
    """Decode nothing: each value is looked at alone."""


class ResponseParser(Generic[DecodedT]):
    """Incremental and without I/O: `feed(chunk)` gives the vectors whose arrays closed in this chunk.

    A vector that cannot be decoded is left out and noted in `faults`; the ones around it are not harmed.

    Args:
        layout: Where things lie in this provider's responses.
        decode: Makes a vector of what stands in the place of one, at once; raises `ResponseError` if it is none.
        max_value_bytes: Most bytes one vector or text may have in the response.
        decode_run: Makes vectors of many values at once, or gives None, and then each of them is given to `decode`.
        gap: That of an earlier response of the same kind, so that it has not to be learned again.
    """

    def __init__(
        self,
        layout: Layout,
        decode: Callable[[Value], DecodedT],
        max_value_bytes: int = sys.maxsize,
        decode_run: Callable[[Sequence[Value]], list[DecodedT] | None] = _not_at_once,
        gap: Gap | None = None,
    ) -> None:
        self._layout = layout
        self._decode = decode
        self._decode_run = decode_run
        self._cutter = ValueCutter(max_value_bytes, gap)
        self._events = EventReader()
        self._items = ItemReader(layout)
        self._error: ResponseError | None = None
        self.faults: list[str] = []
        """Why vectors were left out; the first few of them."""

    @property
    def count(self) -> int:
        """Places for a vector met so far: the count of vectors the response claims to hold."""
        return self._items.positions.count

    @property
    def by_order(self) -> bool:
        """Whether a position followed from the order alone, because no index was sent."""
        return self._items.positions.by_order

    @property
    def gap(self) -> Gap:
        """What lies between the vectors of this response."""
        return self._cutter.gap

    @property
    def tokens(self) -> int | None:
        """Tokens the response says were billed, if it has said so yet."""
        values = (self._items.found.get(prefix) for prefix in self._layout.tokens)
        return next(
            (int(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)), None
        )

    @property
    def message(self) -> str:
        """An error message inside the response; empty if there is none."""
        values = (self._items.found.get(prefix) for prefix in self._layout.messages)
        return next((value for value in values if isinstance(value, str)), "")

    def feed(self, data: bytes) -> list[tuple[int, DecodedT]]:
        """Take the next bytes of the response and give the vectors they complete, with their positions.

        Raises:
            ResponseError: if the response is not JSON; vectors before the fault have been given already, as a fault
                is only raised by the call after the one that met it.
        """
        if self._error:
            raise self._error
        vectors = self._repeat(data) if self._cutter.is_repeating else self._feed(data, 0, to_repeat=True)
        while self._is_left(data):
            can_repeat = self._items.can_repeat(self._cutter.number)
            if can_repeat:
                vectors += self._repeat(data)
            if self._is_left(data):
                vectors += self._feed(data, self._cutter.position, to_repeat=can_repeat)
        self._items.let_go()
        return vectors

    def close(self) -> list[tuple[int, DecodedT]]:
        """End the response.

        Raises:
            ResponseError: if it was cut off or is not JSON.
        """
        vectors = self.feed(b"")
        vectors += self._decoded(self._read(self._events.feed(self._cutter.close())))
        vectors += self._decoded(self._read(self._events.close()))
        if self._error:
            raise self._error
        return vectors

    def discard(self) -> None:
        """End a response that will not be read further; a parser left in the middle of one complains when it goes."""
        self._events.discard()

    @property
    def _has_failed(self) -> bool:
        """Whether the next call is to raise something, so that what came before it is given now."""
        return self._error is not None or self._events.has_failed

    def _is_left(self, data: bytes) -> bool:
        return self._cutter.position < len(data) and not self._has_failed

    def _feed(self, data: bytes, start: int, *, to_repeat: bool) -> list[tuple[int, DecodedT]]:
        structure, values = self._cutter.feed(data, start, to_repeat=to_repeat)
        items = self._read(self._events.feed(structure[:STEP]), values)
        for at in range(STEP, len(structure), STEP):  # not in one piece: an event takes 50 times its bytes
            if self._has_failed:
                break
            items += self._read(self._events.feed(structure[at : at + STEP]))
        return self._decoded(items)

    def _repeat(self, data: bytes) -> list[tuple[int, DecodedT]]:
        items = self._items.repeat(*self._cutter.repeat(data))
        if self._cutter.is_repeating:
            items += self._items.complete(self._cutter.next_number)
        return self._decoded(items)

    def _read(self, events: list[Event], values: Iterable[JSONText] = ()) -> list[tuple[object, Value]]:
        items = self._items.read(events, values) if events else []
        self._error = self._error or self._items.error
        return items

    def _decoded(self, items: list[tuple[object, Value]]) -> list[tuple[int, DecodedT]]:
        if not items:
            return []
        positions, values = zip(*items, strict=True)
        with quiet():
            if set(map(type, positions)) == {int} and (run := self._decode_run(values)):
                return list(zip(positions, run, strict=True))
            return [*self._decoded_each(items)]

    def _decoded_each(self, items: list[tuple[object, Value]]) -> Iterator[tuple[int, DecodedT]]:
        for position, value in items:
            try:
                if type(position) is not int:
                    raise _no_position(position)
                yield position, self._decode(value)
            except ResponseError as error:
                if not error.retryable:
                    self._error = error
                    break
                if len(self.faults) < MAX_FAULTS:
                    self.faults.append(str(error))


def _no_position(index: object) -> ResponseError:
    if index is None:
        return ResponseError("an item has no index, though others have one")
    return ResponseError(f"an index is a {type(index).__name__} instead of a whole number")
