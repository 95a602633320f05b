"""A batch as matrices instead of single results: no object, and no way through the outbox, for each row.

Vectors are decoded into the rows of one matrix as they arrive, and it is handed over when the batch is complete. Where
inputs are missing for good, it is cut into views of the rows between them. That numbers are finite is seen once for all
rows of a chunk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from asyncembed._models import EmbedBlock
from asyncembed.pipeline._delivery import Delivery
from asyncembed.wire._vectors import NOT_FINITE, not_finite, quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asyncembed._models import Matrix
    from asyncembed.pipeline._chunker import Batch
    from asyncembed.pipeline._delivery import Arrived
    from asyncembed.wire._vectors import RawRow, Value, VectorDecoder


class BlockDelivery(Delivery["RawRow"]):
    """Keeps the books of one batch, and gives its vectors as blocks."""

    def __init__(self, batch: Batch, decoder: VectorDecoder) -> None:
        super().__init__(batch)
        self._decoder = decoder
        self._inputs = dict(batch.inputs)
        self._first = min(batch.inputs, default=0)
        self._rows = max(batch.inputs, default=0) - self._first + 1
        self._matrix: Matrix | None = None
        self._bytes = memoryview(b"")  # the same memory
        self._arrived = bytearray(self._rows)

    @property
    def decode(self) -> Callable[[Value], RawRow]:
        return self._decoder.decode_row

    def rest(self) -> Sequence[EmbedBlock]:
        """Return blocks of what arrived, without the gaps."""
        matrix, self._matrix = self._matrix, None
        if matrix is None:
            return ()
        rows = np.flatnonzero(np.frombuffer(self._arrived, np.uint8))
        stretches = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
        return [self._block(matrix, int(stretch[0]), int(stretch[-1]) + 1) for stretch in stretches if len(stretch)]

    def _pack(self, arrived: Arrived[RawRow]) -> Sequence[EmbedBlock]:
        if arrived:
            if self._matrix is None:
                self._matrix = np.empty((self._rows, self._decoder.width), self._decoder.stored)
                self._bytes = memoryview(self._matrix).cast("B")
            with quiet():
                self._copy(self._matrix, arrived)
        return self.rest() if self.is_complete else ()

    def _copy(self, matrix: Matrix, arrived: Arrived[RawRow]) -> None:
        stride = matrix.strides[0]
        rows = [index - self._first for index, _, _ in arrived]
        for row, (_, _, numbers) in zip(rows, arrived, strict=True):
            if isinstance(numbers, bytearray):
                self._bytes[row * stride : (row + 1) * stride] = numbers
            else:
                matrix[row] = numbers
            self._arrived[row] = 1
        start, stop = rows[0], rows[0] + len(rows)
        touched = matrix[start:stop] if rows == list(range(start, stop)) else matrix[rows]
        if bad := [rows[place] for place in not_finite(touched)]:
            self._refuse(bad)

    def _refuse(self, rows: list[int]) -> None:
        for row in rows:
            self._arrived[row] = 0
        self._put_back([self._first + row for row in rows], self._inputs, NOT_FINITE)

    def _block(self, matrix: Matrix, start: int, stop: int) -> EmbedBlock:
        first = self._first
        return EmbedBlock(first + start, matrix[start:stop], [self._inputs[first + row] for row in range(start, stop)])
