"""A batch as matrices instead of single results: no object, and no way through the outbox, for each row.

The rows of a chunk go into one matrix in one step, and it is handed over when the batch is complete, or what there is
of it when `rest` asks. Where inputs are missing, it is cut into views of the rows between them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from asyncembed._models import EmbedBlock
from asyncembed.pipeline._delivery import Delivery
from asyncembed.wire._fitness import doubtful_rows, fault_in, quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

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
        self._indices = list(batch.inputs)
        self._first = min(batch.inputs, default=0)
        # A run that goes on with an earlier one may ask for texts that lie far apart.
        self._places = None if self._is_dense() else {index: place for place, index in enumerate(self._indices)}
        self._matrix: Matrix | None = None
        self._arrived = bytearray(len(self._indices))
        self.waiting = 0
        """Rows that have arrived and were not handed over."""

    @property
    def decode(self) -> Callable[[Value], RawRow]:
        return self._decoder.decode_row

    @property
    def decode_run(self) -> Callable[[Sequence[Value]], list[RawRow] | None]:
        return self._decoder.decode_rows

    def rest(self) -> Sequence[EmbedBlock]:
        """Return blocks of what arrived and was not handed over, without the gaps."""
        matrix, arrived = self._matrix, self._arrived
        if matrix is None or not self.waiting:
            return ()
        self._matrix, self._arrived, self.waiting = None, bytearray(len(arrived)), 0
        return [self._block(matrix, start, stop) for start, stop in self._stretches(arrived)]

    def _pack(self, arrived: Arrived[RawRow]) -> Sequence[EmbedBlock]:
        indices, _, rows = arrived
        if self._matrix is None:
            self._matrix = np.empty((len(self._indices), self._decoder.width), self._decoder.stored)
        bad = self._copy(self._matrix, indices, rows)
        self.waiting += len(indices) - len(bad)
        for index, fault in bad:
            self._put_back({index: self._inputs[index]}, fault)
        return () if self.count_missing else self.rest()

    def _copy(self, matrix: Matrix, indices: Sequence[int], rows: Sequence[RawRow]) -> list[tuple[int, str]]:
        """Copy rows to the places of these inputs, and return the inputs whose rows are no vectors, with the reason."""
        first, count = indices[0], len(indices)
        if list(indices) != list(range(first, first + count)):
            pairs = zip(indices, rows, strict=True)
            return [bad for index, row in pairs for bad in self._copy(matrix, [index], [row])]
        start = first - self._first if self._places is None else self._places[first]
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
        indices = self._indices[start:stop]
        return EmbedBlock(indices[0], matrix[start:stop], [self._inputs[index] for index in indices])

    def _stretches(self, arrived: bytearray) -> Iterator[tuple[int, int]]:
        """Give begin and end of each stretch of places that have arrived, and whose inputs follow one another."""
        stop = 0
        while (start := arrived.find(1, stop)) >= 0:
            stop = arrived.find(0, start)
            stop = len(arrived) if stop < 0 else stop
            if self._places is None:
                yield start, stop
                continue
            indices = self._indices
            cuts = [place for place in range(start + 1, stop) if indices[place] != indices[place - 1] + 1]
            yield from zip([start, *cuts], [*cuts, stop], strict=True)

    def _is_dense(self) -> bool:
        """Whether the batch holds all texts from its first to its last."""
        return self._indices == list(range(self._first, self._first + len(self._indices)))


def _fill(matrix: Matrix, rows: Sequence[RawRow]) -> None:
    """Copy rows into a matrix of as many."""
    if set(map(type, rows)) != {bytearray}:
        np.concatenate([_numbers(row) for row in rows], out=matrix.reshape(-1), casting="same_kind")
        return
    memoryview(matrix.data).cast("B")[:] = b"".join(cast("Sequence[bytearray]", rows))


def _numbers(row: RawRow) -> npt.NDArray[np.generic]:
    return np.frombuffer(row, np.float32) if isinstance(row, bytearray) else row
