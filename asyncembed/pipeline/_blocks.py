"""A batch as matrices instead of single results: no object, and no way through the outbox, for each row.

The rows of a chunk go into one matrix in one step, and it is handed over when the batch is complete. Where inputs are
missing for good, it is cut into views of the rows between them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from asyncembed._models import EmbedBlock
from asyncembed.pipeline._delivery import Delivery
from asyncembed.wire._fitness import doubtful_rows, fault_in, quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from asyncembed._models import Matrix
    from asyncembed.pipeline._chunker import Batch
    from asyncembed.pipeline._delivery import Arrived
    from asyncembed.wire._vectors import RawRow, Value, VectorDecoder


class BlockDelivery(Delivery["RawRow"]):
    """Keeps the books of one batch, and gives its vectors as blocks."""

    def __init__(self, batch: Batch, decoder: VectorDecoder) -> None:
        super().__init__(batch, decoder)
        self._inputs = batch.inputs
        self._first = min(batch.inputs, default=0)
        self._rows = max(batch.inputs, default=0) - self._first + 1
        self._matrix: Matrix | None = None
        self._arrived = bytearray(self._rows)

    @property
    def decode(self) -> Callable[[Value], RawRow]:
        return self._decoder.decode_row

    @property
    def decode_run(self) -> Callable[[Sequence[Value]], list[RawRow] | None]:
        return self._decoder.decode_rows

    def rest(self) -> Sequence[EmbedBlock]:
        """Return blocks of what arrived, without the gaps."""
        matrix, self._matrix = self._matrix, None
        if matrix is None:
            return ()
        if all(self._arrived):
            return [self._block(matrix, 0, self._rows)]
        rows = np.flatnonzero(np.frombuffer(self._arrived, np.uint8))
        stretches = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1) if rows.size else ()
        return [self._block(matrix, int(stretch[0]), int(stretch[-1]) + 1) for stretch in stretches]

    def _pack(self, arrived: Arrived[RawRow]) -> Sequence[EmbedBlock]:
        indices, _, rows = arrived
        if self._matrix is None:
            self._matrix = np.empty((self._rows, self._decoder.width), self._decoder.stored)
        for index, fault in self._copy(self._matrix, indices, rows):
            self._put_back({index: self._inputs[index]}, fault)
        return () if self.count_missing else self.rest()

    def _copy(self, matrix: Matrix, indices: Sequence[int], rows: Sequence[RawRow]) -> list[tuple[int, str]]:
        """Copy rows to the places of these inputs, and return the inputs whose rows are no vectors, with the reason."""
        first, count = indices[0], len(indices)
        if list(indices) != list(range(first, first + count)):
            pairs = zip(indices, rows, strict=True)
            return [bad for index, row in pairs for bad in self._copy(matrix, [index], [row])]
        start = first - self._first
        part = matrix[start : start + count]
        with quiet():
            _fill(part, rows)
            doubtful = {row: fault_in(part[row], is_base64=type(rows[row]) is bytearray) for row in doubtful_rows(part)}
        self._arrived[start : start + count] = b"\1" * count
        bad = [(row, fault) for row, fault in doubtful.items() if fault]
        for row, _ in bad:
            self._arrived[start + row] = 0
        return [(first + row, fault) for row, fault in bad]

    def _block(self, matrix: Matrix, start: int, stop: int) -> EmbedBlock:
        indices = range(self._first + start, self._first + stop)
        return EmbedBlock(indices.start, matrix[start:stop], [self._inputs[index] for index in indices])


def _fill(matrix: Matrix, rows: Sequence[RawRow]) -> None:
    """Copy rows into a matrix of as many."""
    if set(map(type, rows)) != {bytearray}:
        np.concatenate([_numbers(row) for row in rows], out=matrix.reshape(-1), casting="same_kind")
        return
    memoryview(matrix.data).cast("B")[:] = b"".join(cast("Sequence[bytearray]", rows))


def _numbers(row: RawRow) -> npt.NDArray[np.generic]:
    return np.frombuffer(row, np.float32) if isinstance(row, bytearray) else row
