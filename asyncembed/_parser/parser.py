"""One response, from bytes to (position, vector): scanner, structure, decoder of vectors."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from asyncembed._exceptions import ResponseError
from asyncembed._parser.splitter import scan
from asyncembed._parser.structure import StructureReader
from asyncembed._parser.vectors import quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from asyncembed._parser.layout import Layout
    from asyncembed._parser.structure import Item
    from asyncembed._parser.vectors import Value


DecodedT = TypeVar("DecodedT")

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
    """

    def __init__(
        self,
        layout: Layout,
        decode: Callable[[Value], DecodedT],
        max_value_bytes: int = sys.maxsize,
        decode_run: Callable[[Sequence[Value]], list[DecodedT] | None] = _not_at_once,
    ) -> None:
        self._layout = layout
        self._decode = decode
        self._decode_run = decode_run
        self._max_value_bytes = max_value_bytes
        self._open = bytearray()  # the beginning of a value that has not ended yet
        self._structure = StructureReader(layout)
        self._error: ResponseError | None = None
        self.faults: list[str] = []
        """Why vectors were left out; the first few of them."""

    @property
    def count(self) -> int:
        """Places for a vector met so far: the count of vectors the response claims to hold."""
        return self._structure.positions.count

    @property
    def by_order(self) -> bool:
        """Whether a position followed from the order alone, because no index was sent."""
        return self._structure.positions.by_order

    @property
    def has_failed(self) -> bool:
        """Whether the next call raises an error; what came before it has been given."""
        return self._error is not None or self._structure.has_failed

    @property
    def tokens(self) -> int | None:
        """Tokens the response says were billed, if it has said so yet."""
        places = (*self._layout.tokens, self._layout.added or "")
        values = (self._structure.found.get(prefix) for prefix in places)
        return next(
            (int(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)), None
        )

    @property
    def message(self) -> str:
        """An error message inside the response; empty if there is none."""
        values = (self._structure.found.get(prefix) for prefix in self._layout.messages)
        return next((value for value in values if isinstance(value, str)), "")

    def take_proofs(self) -> list[Value]:
        """Return base64 that is to be compared, as it came since the last call."""
        proofs, self._structure.proofs = self._structure.proofs, []
        return proofs

    def feed(self, data: bytes) -> list[tuple[int, DecodedT]]:
        """Take the next bytes of the response and give the vectors they complete, with their positions.

        Raises:
            ResponseError: if the response is not JSON, or holds a value that is longer than in any embedding response;
                vectors before the fault have been given already, as a fault is only raised by the call after the one
                that met it.
        """
        if self._error:
            raise self._error
        piece: bytes | bytearray = data
        searched = len(self._open)
        if searched:
            self._open += data
            piece = self._open
        structure, values, end = scan(piece, searched)
        items = self._structure.feed(structure, values)
        self._error = self._structure.error
        vectors = self._decoded(items)
        if end or not searched:
            self._open = bytearray(piece[end:])
        if max(len(self._open), self._structure.eventless) > self._max_value_bytes:
            self._error = self._error or self._too_long()
        self._structure.detach()
        return vectors

    def close(self) -> list[tuple[int, DecodedT]]:
        """End the response.

        Raises:
            ResponseError: if it was cut off or is not JSON.
        """
        vectors = self.feed(b"")
        vectors += self._decoded(self._structure.close(bytes(self._open[:1])))
        self._error = self._error or self._structure.error
        if self._error:
            raise self._error
        return vectors

    def discard(self) -> None:
        """End a response that will not be read further; a parser left in the middle of one complains when it goes."""
        self._structure.discard()

    def _decoded(self, items: list[Item]) -> list[tuple[int, DecodedT]]:
        if not items:
            return []
        positions, values = zip(*items, strict=True)
        with quiet():
            if set(map(type, positions)) == {int} and (run := self._decode_run(values)):
                return list(zip(positions, run, strict=True))
            return [*self._decoded_each(items)]

    def _decoded_each(self, items: list[Item]) -> Iterator[tuple[int, DecodedT]]:
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

    def _too_long(self) -> ResponseError:
        return ResponseError(f"the response holds a value of more than {self._max_value_bytes} bytes")


def _no_position(index: object) -> ResponseError:
    if index is None:
        return ResponseError("an item has no index, though others have one")
    return ResponseError(f"an index is a {type(index).__name__} instead of a whole number")
