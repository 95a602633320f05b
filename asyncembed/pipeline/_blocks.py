"""A batch as matrices instead of single results: no object, and no way through the outbox, for each row.

Vectors are copied into the rows of one matrix as they arrive, and it is handed over when the batch is complete. Where
inputs are missing for good, it is cut into views of the rows between them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from asyncembed._models import EmbedBlock
from asyncembed.pipeline._delivery import Delivery

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncembed._models import Matrix, Vector
    from asyncembed.pipeline._chunker import Batch
    from asyncembed.pipeline._delivery import Arrived


class BlockDelivery(Delivery):
    """Keeps the books of one batch, and gives its vectors as blocks."""

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch)
        self._inputs = dict(batch.inputs)
        self._first = min(batch.inputs, default=0)
        self._rows = max(batch.inputs, default=0) - self._first + 1
        self._matrix: Matrix | None = None
        self._arrived = bytearray(self._rows)

    def rest(self) -> Sequence[EmbedBlock]:
        """Return blocks of what arrived, without the gaps."""
        matrix, self._matrix = self._matrix, None
        if matrix is None:
            return ()
        rows = np.flatnonzero(np.frombuffer(self._arrived, np.uint8))
        stretches = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
        return [self._block(matrix, int(stretch[0]), int(stretch[-1]) + 1) for stretch in stretches]

    def _pack(self, arrived: Arrived) -> Sequence[EmbedBlock]:
        if arrived:
            self._copy([index - self._first for index, _, _ in arrived], [vector for _, _, vector in arrived])
        return self.rest() if self.is_complete else ()

    def _copy(self, rows: list[int], vectors: list[Vector]) -> None:
        if self._matrix is None:
            self._matrix = np.empty((self._rows, len(vectors[0])), vectors[0].dtype)
        start, stop = rows[0], rows[0] + len(rows)
        if rows == list(range(start, stop)):  # all of them in one call
            np.concatenate(vectors, out=self._matrix[start:stop].reshape(-1))
            self._arrived[start:stop] = b"\1" * len(rows)
            return
        for row, vector in zip(rows, vectors, strict=True):
            self._matrix[row] = vector
            self._arrived[row] = 1

    def _block(self, matrix: Matrix, start: int, stop: int) -> EmbedBlock:
        first = self._first
        return EmbedBlock(first + start, matrix[start:stop], [self._inputs[first + row] for row in range(start, stop)])
