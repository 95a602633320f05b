"""Vectors that have arrived while the dimension of their run is not agreed on.

Without I/O. They are held back until it is, or until their response ends, so that nothing waits for another response.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeAlias, TypeVar

if TYPE_CHECKING:
    from asyncembed._models import EmbedInput
    from asyncembed.wire._vectors import RawRow, VectorDecoder

MOST_HELD: Final = 4
"""Vectors of a response that are held back: more than that were never alike, and are asked for again."""

RowT = TypeVar("RowT", bound="RawRow")
Entry: TypeAlias = tuple[int, "EmbedInput", RowT]
"""Index, text and vector."""


class Held(Generic[RowT]):
    """The vectors of one batch that are held back.

    Args:
        decoder: What they were decoded with; it knows whether their dimension is agreed on.
    """

    def __init__(self, decoder: VectorDecoder) -> None:
        self._decoder = decoder
        self._waiting: list[Entry[RowT]] = []

    def sift(self, arrived: list[Entry[RowT]], *, is_last: bool = False) -> tuple[list[Entry[RowT]], list[Entry[RowT]]]:
        """Take what a chunk has brought, and return what is to be delivered now and what is to be asked for again.

        At the end of a response nothing is held back: a vector that no other one contradicts is believed then.
        """
        self._waiting += arrived
        if is_last and self._waiting:
            self._decoder.conclude()
        if self._decoder.is_open and not is_last:
            refused = self._waiting[:-MOST_HELD]
            del self._waiting[:-MOST_HELD]
            return [], refused
        waiting, self._waiting = self._waiting, []
        good: list[Entry[RowT]] = []
        bad: list[Entry[RowT]] = []
        for entry in waiting:
            (bad if self.misfit(entry[2]) else good).append(entry)
        return good, bad

    def misfit(self, row: RawRow) -> str:
        """Say what is wrong with the size of a row; nothing if it is right."""
        if isinstance(row, bytearray) or len(row) == self._decoder.width:  # bytes are of the right size from the start
            return ""
        other = ", and no other one has as many" if self._decoder.is_open else f" instead of {self._decoder.width}"
        return f"a vector has {len(row)} numbers{other}"
