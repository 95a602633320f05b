"""Everything at once: one matrix, filled as the blocks arrive."""

from __future__ import annotations

from collections.abc import AsyncIterable
from operator import attrgetter
from typing import TYPE_CHECKING, Final

import numpy as np

from asyncembed._core.source import length, lines
from asyncembed._decide.texts import as_input_or_refused, is_repeatable
from asyncembed._exceptions import BudgetExceededError
from asyncembed._models import EmbedFailure, EmbedInput, EmbedResponse
from asyncembed.sinks import NUMPY_TYPES, PACKED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from asyncembed._config import Dtype
    from asyncembed._core.run import Run
    from asyncembed._core.stream import EmbedStream
    from asyncembed._decide.texts import TextLike, Texts
    from asyncembed._models import EmbedBlock, Matrix

FIRST_ROWS: Final = 1_024
"""Rows made room for where the number of texts is not known ahead; half as many again when they are full."""


class GrowingMatrix:
    """A matrix that rows are written into, wherever they belong.

    It grows in place: the allocator moves large memory by its pages, so there is no moment with two copies.

    Args:
        dtype: Type of the rows.
        expected: How many there will be, if that is known; then it never has to grow.
    """

    def __init__(self, dtype: Dtype, expected: int | None = None) -> None:
        self._dtype = dtype
        self._expected = FIRST_ROWS if expected is None else expected
        self._matrix: Matrix | None = None
        self._rows = 0
        self._missing: list[int] = []

    def put(self, first: int, rows: Matrix) -> None:
        """Write rows into their place, from row `first` on."""
        end = first + len(rows)
        if self._matrix is None:
            self._matrix = self._first_matrix(end, rows)
        if end > len(self._matrix):
            self._resize(max(end, len(self._matrix) * 3 // 2))
        self._matrix[first:end] = rows
        self._rows = max(self._rows, end)

    def leave_out(self, row: int) -> None:
        """Note that a row has no vector."""
        self._missing.append(row)
        self._rows = max(self._rows, row + 1)

    def done(self, dimension: int | None) -> Matrix:
        """Return the matrix, of shape (rows, width), with NaN or zeros in rows that have no vector.

        If no row has one, the width follows from the dimension, if that is known.
        """
        if self._matrix is None:
            width = (dimension or 0) // (8 if self._dtype in PACKED else 1)
            self._matrix = np.empty((self._rows, width), NUMPY_TYPES[self._dtype])
        if len(self._matrix) != self._rows:
            self._resize(self._rows)
        self._matrix[self._missing] = np.nan if self._dtype == "float32" else 0
        return self._matrix

    def _first_matrix(self, needed: int, rows: Matrix) -> Matrix:
        width = rows.shape[1]
        try:
            return np.empty((max(self._expected, needed), width), rows.dtype)
        except (MemoryError, ValueError):  # the length that the texts claim may be wrong: what arrives counts
            return np.empty((max(FIRST_ROWS, needed), width), rows.dtype)

    def _resize(self, rows: int) -> None:
        assert self._matrix is not None
        self._matrix.resize((rows, self._matrix.shape[1]), refcheck=False)  # nobody has seen it yet


async def collect(texts: Texts, stream: EmbedStream[EmbedBlock | EmbedFailure], run: Run) -> EmbedResponse:
    """Take all that the unordered stream of a run over `texts` gives into one response; there is no list of vectors."""
    matrix = GrowingMatrix(run.options.dtype, length(texts))
    given: dict[int, Sequence[EmbedInput]] = {}
    failures: list[EmbedFailure] = []
    ended: BudgetExceededError | None = None
    try:
        async with stream:
            async for item in stream:
                if isinstance(item, EmbedFailure):
                    failures.append(item)
                    given[item.index] = [EmbedInput(item.text, item.id)]
                else:
                    matrix.put(item.index, item.embeddings)
                    given[item.index] = item.inputs
    except BudgetExceededError as error:
        if run.on_error == "raise" or not is_repeatable(texts) or isinstance(texts, AsyncIterable):
            raise
        ended = error
    if ended and not isinstance(texts, AsyncIterable):
        for failure in _left(texts, given, ended):
            failures.append(failure)
            given[failure.index] = [EmbedInput(failure.text, failure.id)]
    for failure in failures:
        matrix.leave_out(failure.index)
    inputs = [item for first in sorted(given) for item in given[first]]
    return EmbedResponse(
        embeddings=matrix.done(run.dimension),
        texts=[item.text for item in inputs],
        ids=[item.id for item in inputs],
        usage=run.usage,
        model=run.options.model,
        failures=sorted(failures, key=attrgetter("index")),
    )


def _left(
    texts: Iterable[TextLike], given: Mapping[int, Sequence[EmbedInput]], error: BudgetExceededError
) -> Iterator[EmbedFailure]:
    """Give the texts that the run has not come to."""
    known = {index for first, items in given.items() for index in range(first, first + len(items))}
    for index, item in enumerate(lines(texts)):
        if index not in known:
            left = as_input_or_refused(item, index)
            yield EmbedFailure(index, left.text, left.id, error, left.metadata)
