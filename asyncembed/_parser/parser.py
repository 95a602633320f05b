"""Parses one response from bytes into (position, vector) pairs: scanner, then structure, then vector decoder."""

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
"""Maximum number of descriptions of bad vectors in one response."""


def _no_run(values: Sequence[Value]) -> None:
    """Decode nothing at once, so that the parser decodes each value alone."""


class ResponseParser(Generic[DecodedT]):
    """Parses one response incrementally, without I/O: `feed(chunk)` returns the vectors that end in this chunk.

    A vector that cannot be decoded is skipped and described in `faults`. It does not affect the others.

    Args:
        layout: Layout of the provider's responses.
        decode: Decodes one vector. Raises `ResponseError` if the value is not one.
        max_value_bytes: Maximum length of one vector or text in the response, in bytes.
        decode_run: Decodes many values at once. If it returns None, the parser calls `decode` for each.
    """

    def __init__(
        self,
        layout: Layout,
        decode: Callable[[Value], DecodedT],
        max_value_bytes: int = sys.maxsize,
        decode_run: Callable[[Sequence[Value]], list[DecodedT] | None] = _no_run,
    ) -> None:
        self._layout = layout
        self._decode = decode
        self._decode_run = decode_run
        self._max_value_bytes = max_value_bytes
        self._open = bytearray()  # the start of an incomplete value
        self._structure = StructureReader(layout)
        self._error: ResponseError | None = None
        self.faults: list[str] = []
        """Descriptions of the first few bad vectors."""

    @property
    def count(self) -> int:
        """Number of vectors so far, bad ones included."""
        return self._structure.positions.count

    @property
    def are_nested(self) -> bool:
        """Whether several vectors have arrived, and each was a list of anything but numbers."""
        return 1 < self.count == self._structure.count_nested

    @property
    def by_order(self) -> bool:
        """Whether positions follow from the order, because the response has no indices."""
        return self._structure.positions.by_order

    @property
    def has_failed(self) -> bool:
        """Whether the next call raises an error. All vectors before the error have been returned."""
        return self._error is not None or self._structure.has_failed

    @property
    def tokens(self) -> int | None:
        """Billed tokens; None if the response has not named them yet."""
        added = self._layout.added
        prefixes = (*self._layout.tokens, added) if added else self._layout.tokens
        values = (self._structure.found.get(prefix) for prefix in prefixes)
        counts = [int(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        # Some servers leave one of their fields at 0.
        return next((count for count in counts if count > 0), next(iter(counts), None))

    @property
    def message(self) -> str:
        """The error message inside the response; empty if there is none."""
        values = (self._structure.found.get(prefix) for prefix in self._layout.messages)
        return next((value for value in values if isinstance(value, str)), "")

    def take_proofs(self) -> list[Value]:
        """Return the base64 copies that arrived since the last call."""
        proofs, self._structure.proofs = self._structure.proofs, []
        return proofs

    def feed(self, data: bytes) -> list[tuple[int, DecodedT]]:
        """Parse the next bytes of the response and return the vectors that they complete, with their positions.

        Raises:
            ResponseError: if the response is not JSON or contains a value longer than `max_value_bytes`. The call
                that meets the error returns the vectors before it; the next call raises it.
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
        if max(len(self._open), self._structure.bytes_since_event) > self._max_value_bytes:
            self._error = self._error or self._too_long()
        self._structure.detach()
        return vectors

    def close(self) -> list[tuple[int, DecodedT]]:
        """End the response and return its last vectors.

        Raises:
            ResponseError: if the response is incomplete or not JSON.
        """
        vectors = self.feed(b"")
        vectors += self._decoded(self._structure.close(bytes(self._open[:1])))
        self._error = self._error or self._structure.error
        if self._error:
            raise self._error
        return vectors

    def discard(self) -> None:
        """End an abandoned response. Without this call, ijson complains when the parser is released."""
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
                    raise _invalid_position(position)
                yield position, self._decode(value)
            except ResponseError as error:
                if not error.retryable:
                    self._error = error
                    break
                if len(self.faults) < MAX_FAULTS:
                    self.faults.append(str(error))

    def _too_long(self) -> ResponseError:
        return ResponseError(f"the response holds a value of more than {self._max_value_bytes} bytes")


def _invalid_position(index: object) -> ResponseError:
    if index is None:
        return ResponseError("an item has no index, although others have one")
    return ResponseError(f"an index is a {type(index).__name__} instead of an integer")
