"""Collects the blocks of a run into one matrix, which is filled while they arrive."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterable
from itertools import repeat
from operator import attrgetter
from typing import TYPE_CHECKING, Final, TypeGuard

import numpy as np

from asyncembed._budget_exceeded import BudgetExceededError
from asyncembed._core.source import length, lines
from asyncembed._decide.texts import as_input_or_refused, is_repeatable
from asyncembed._models import EmbedFailure, EmbedInput, EmbedResponse
from asyncembed.sinks import NUMPY_TYPES, PACKED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from asyncembed._config import Dtype
    from asyncembed._core.run import Run
    from asyncembed._core.stream import EmbedStream
    from asyncembed._decide.texts import TextLike, Texts
    from asyncembed._models import EmbedBlock, Matrix, Scalar

FIRST_ROWS: Final = 1_024
"""Initial rows of a matrix if the number of texts is unknown. A full matrix grows by half."""


class GrowingMatrix:
    """A matrix that grows while rows are written into it, in any order.

    It grows in place. The allocator remaps the pages of large arrays, so memory never holds two copies.

    Args:
        dtype: Type of the rows.
        expected: Number of rows, if known. The matrix then does not need to grow.
    """

    def __init__(self, dtype: Dtype, expected: int | None = None) -> None:
        self._dtype = dtype
        self._expected = FIRST_ROWS if expected is None else expected
        self._matrix: Matrix | None = None
        self._rows = 0
        self._missing: list[int] = []

    def put(self, first: int, rows: Matrix) -> None:
        """Write an array of shape (rows, width) at row `first`."""
        end = first + len(rows)
        if self._matrix is None:
            self._matrix = self._first_matrix(end, rows)
        if end > len(self._matrix):
            self._resize(max(end, len(self._matrix) * 3 // 2))
        self._matrix[first:end] = rows
        self._rows = max(self._rows, end)

    def leave_out(self, row: int) -> None:
        """Mark a row that has no vector."""
        self._missing.append(row)
        self._rows = max(self._rows, row + 1)

    def done(self, dimension: int | None) -> Matrix:
        """Return the matrix of shape (rows, width), with NaN (float32) or zeros in rows that have no vector.

        Args:
            dimension: Dimension of the vectors, which determines the width if no row has a vector.
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
        except (MemoryError, ValueError):  # the `len` of your texts may be wrong
            return np.empty((max(FIRST_ROWS, needed), width), rows.dtype)

    def _resize(self, rows: int) -> None:
        assert self._matrix is not None
        self._matrix.resize((rows, self._matrix.shape[1]), refcheck=False)  # no other reference exists yet


async def collect(
    texts: Texts, stream: EmbedStream[EmbedBlock[Scalar] | EmbedFailure], run: Run
) -> EmbedResponse[Scalar]:
    """Collect an unordered stream of blocks into one response, without a list of vectors in between.

    Args:
        texts: The texts, for their number.
        stream: The stream of blocks and failures.
        run: The run behind the stream.

    Raises:
        AsyncEmbedError: the error that ended the run. A `BudgetExceededError` has the response of what arrived.
    """
    exceeded: BudgetExceededError | None = None
    matrix = GrowingMatrix(run.options.dtype, length(texts))
    inputs_by_index: dict[int, Sequence[EmbedInput]] = {}
    failures: list[EmbedFailure] = []
    truncated: dict[int, Sequence[bool | None]] = {}
    try:
        async with stream:
            async for item in stream:
                if isinstance(item, EmbedFailure):
                    failures.append(item)
                    inputs_by_index[item.index] = [EmbedInput(item.text, item.id)]
                    truncated[item.index] = [None]
                else:
                    matrix.put(item.index, item.embeddings)
                    inputs_by_index[item.index] = item.inputs
                    truncated[item.index] = item.truncated
    except BudgetExceededError as error:
        exceeded = error
        for failure in _unsent(texts, inputs_by_index, copy.copy(error)):
            failures.append(failure)
            inputs_by_index[failure.index] = [EmbedInput(failure.text, failure.id)]
            truncated[failure.index] = [None]
    for failure in failures:
        matrix.leave_out(failure.index)
    inputs = [item for first in sorted(inputs_by_index) for item in inputs_by_index[first]]
    response = EmbedResponse(
        embeddings=matrix.done(run.dimension),
        texts=[item.text for item in inputs],
        ids=[item.id for item in inputs],
        usage=run.usage,
        model=run.options.model,
        failures=sorted(failures, key=attrgetter("index")),
        truncated=[flag for first in sorted(truncated) for flag in truncated[first]],
    )
    if exceeded and (run.on_error == "raise" or not _can_list(texts)):
        exceeded.response = response
        raise exceeded
    return response


def _can_list(texts: Texts) -> TypeGuard[Iterable[TextLike]]:
    """Return whether the texts that were not sent can still be read."""
    return not isinstance(texts, AsyncIterable) and is_repeatable(texts)


def _unsent(
    texts: Texts, inputs_by_index: Mapping[int, Sequence[EmbedInput]], error: BudgetExceededError
) -> list[EmbedFailure]:
    """Return failures for the texts that have neither a vector nor an error.

    If the texts can be read only once, these are those before the last one that has a vector, without their words.
    """
    known = {index for first, items in inputs_by_index.items() for index in range(first, first + len(items))}
    rest: Iterable[EmbedInput]
    if _can_list(texts):
        rest = (as_input_or_refused(item, index) for index, item in enumerate(lines(texts)))
    else:
        rest = repeat(EmbedInput(""), max(known, default=-1) + 1)
    return [
        EmbedFailure(index, item.text, item.id, error, item.metadata)
        for index, item in enumerate(rest)
        if index not in known
    ]
