"""Everything at once: one matrix, filled as the vectors arrive."""

from __future__ import annotations

from collections.abc import Sized
from typing import TYPE_CHECKING

import numpy as np

from asyncembed._models import EmbedInput, EmbedResponse

if TYPE_CHECKING:
    import numpy.typing as npt

    from asyncembed._models import EmbedResult
    from asyncembed.pipeline._source import Texts
    from asyncembed.pipeline._stream import EmbedStream

    Matrix = npt.NDArray[np.float32 | np.int8 | np.uint8]

FIRST_ROWS = 1_024
"""Rows made room for where the number of texts is not known ahead; doubled when they are full."""


async def collect(texts: Texts, stream: EmbedStream[EmbedResult]) -> EmbedResponse:
    """Take every result of an unordered stream over `texts` into one response.

    Rows are written into their place as they arrive; there is no list of vectors and, where the number of texts is
    known ahead, no second copy.
    """
    matrix: Matrix = np.empty((max(len(texts), 1) if isinstance(texts, Sized) else FIRST_ROWS, 0), np.float32)
    given: dict[int, EmbedInput] = {}
    async with stream:
        async for result in stream:
            matrix = _with_room(matrix, result)
            matrix[result.index] = result.embedding
            given[result.index] = EmbedInput(result.text, result.id)
    inputs = [given[index] for index in range(len(given))]
    summary = stream.summary
    return EmbedResponse(
        embeddings=matrix[: len(inputs)],
        texts=[item.text for item in inputs],
        ids=[item.id for item in inputs],
        usage=summary.usage,
        model=summary.model,
    )


def _with_room(matrix: Matrix, result: EmbedResult) -> Matrix:
    rows, columns = matrix.shape
    if not columns:
        matrix = np.empty((rows, len(result.embedding)), result.embedding.dtype)
    while result.index >= len(matrix):
        matrix = np.concatenate([matrix, np.empty_like(matrix)])
    return matrix
