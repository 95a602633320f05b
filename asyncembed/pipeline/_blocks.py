"""A batch as matrices instead of single results: no object, and no way through the outbox, for each row.

The rows of a chunk go into one matrix in one step, and it is handed over when the batch is complete, or what there is
of it when `rest` asks. Where inputs are missing, it is cut into views of the rows between them.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from asyncembed._models import EmbedBlock, Withdrawal
from asyncembed.pipeline._delivery import Delivery
from asyncembed.wire._fitness import doubtful_rows, fault_in, quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from asyncembed._models import Matrix
    from asyncembed.pipeline._chunker import Batch
    from asyncembed.pipeline._delivery import Arrived
    from asyncembed.wire._vectors import RawRow, Value, VectorDecoder


MISSING, WAITING, GIVEN = b"\0", b"\1", b"\2"
_WAITING: Final = re.compile(WAITING + b"+")


class BlockDelivery(Delivery["RawRow"]):
    """Keeps the books of one batch, and gives its vectors as blocks.

    Args:
        batch: The batch.
        decoder: What decodes its vectors.
        withholds: Whether only `rest` gives blocks, also when the batch is complete.
    """

    def __init__(self, batch: Batch, decoder: VectorDecoder, *, withholds: bool = False) -> None:
        super().__init__(batch, decoder)
        self._withholds = withholds
        self._inputs = batch.inputs
        self._indices = list(batch.inputs)
        self._first = min(batch.inputs, default=0)
        # A run that goes on with an earlier one may ask for texts that lie far apart.
        self._places = None if self._is_dense() else {index: place for place, index in enumerate(self._indices)}
        self._matrix: Matrix | None = None  # of the rows from the first that is missing to the last
        self._start = 0  # the place of its first row
        self._state = bytearray(len(self._indices))  # of each place: MISSING, WAITING or GIVEN
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
        matrix, state, start = self._matrix, self._state, self._start
        if matrix is None or not self.waiting:
            return ()
        # A few rows are copied, or each of them would keep the memory of all.
        are_few = 2 * self.waiting < len(matrix)
        self._state, self.waiting = state.replace(WAITING, GIVEN), 0
        if not are_few or 2 * self._state.count(MISSING) < len(matrix):
            self._matrix = None
        blocks = [self._block(matrix, first, last, start) for first, last in self._stretches(state)]
        return [replace(block, embeddings=block.embeddings.copy()) for block in blocks] if are_few else blocks

    def _pack(self, arrived: Arrived[RawRow]) -> Sequence[EmbedBlock]:
        indices, _, rows = arrived
        if self._matrix is None:
            self._start, last = self._state.find(MISSING), self._state.rfind(MISSING)
            self._matrix = np.empty((last + 1 - self._start, self._decoder.width), self._decoder.stored)
        bad = self._copy(self._matrix, indices, rows)
        self.waiting += len(indices) - len(bad)
        for index, fault in bad:
            self._put_back({index: self._inputs[index]}, fault)
        return () if self.count_missing or self._withholds else self.rest()

    def withdraw(self) -> tuple[Sequence[EmbedBlock], Withdrawal | None]:
        """Forget what the response of the current attempt gave, so that it is asked for again.

        Returns:
            Blocks of earlier attempts that were not handed over, and what takes back what was, if anything.
        """
        given = [index for position, index in enumerate(self._asked) if position not in self._awaited]
        places = [index - self._first if self._places is None else self._places[index] for index in given]
        state = self._state
        taken = [index for index, place in zip(given, places, strict=True) if state[place : place + 1] == GIVEN]
        for place in places:
            self.waiting -= state[place : place + 1] == WAITING
            state[place : place + 1] = MISSING
        blocks = self.rest()
        self._put_back({index: self._inputs[index] for index in given}, "")
        self._matrix = None
        return blocks, Withdrawal(taken, [self._inputs[index] for index in taken]) if taken else None

    def _copy(self, matrix: Matrix, indices: Sequence[int], rows: Sequence[RawRow]) -> list[tuple[int, str]]:
        """Copy rows to the places of these inputs, and return the inputs whose rows are no vectors, with the reason."""
        first, count = indices[0], len(indices)
        if list(indices) != list(range(first, first + count)):
            pairs = zip(indices, rows, strict=True)
            return [bad for index, row in pairs for bad in self._copy(matrix, [index], [row])]
        place = first - self._first if self._places is None else self._places[first]
        part = matrix[place - self._start :][:count]
        with quiet():
            _fill(part, rows)
            doubtful = {row: fault_in(part[row], is_base64=type(rows[row]) is bytearray) for row in doubtful_rows(part)}
        self._state[place : place + count] = WAITING * count
        bad = [(row, fault) for row, fault in doubtful.items() if fault]
        for row, _ in bad:
            self._state[place + row : place + row + 1] = MISSING
        return [(first + row, fault) for row, fault in bad]

    def _block(self, matrix: Matrix, first: int, last: int, start: int) -> EmbedBlock:
        indices = self._indices[first:last]
        rows = matrix[first - start : last - start]
        return EmbedBlock(indices[0], rows, [self._inputs[index] for index in indices])

    def _stretches(self, state: bytearray) -> Iterator[tuple[int, int]]:
        """Give begin and end of each stretch of places that wait, and whose inputs follow one another."""
        for found in _WAITING.finditer(state):
            start, stop = found.span()
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
