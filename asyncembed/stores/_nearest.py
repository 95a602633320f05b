"""Exact similarities of a block of vectors to a query."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from asyncembed._models import Matrix, Vector


def similarities(vectors: Matrix, vector: Vector, *, packed: bool) -> npt.NDArray[np.float32]:
    """Return the cosine similarity of each row to `vector`.

    Args:
        vectors: Array of shape (n, width).
        vector: Array of shape (width,) in the same type.
        packed: Whether 8 dimensions of -1 and 1 are packed into each number. Their cosine similarity is
            1 - 2 * (number of differing bits) / (number of bits).
    """
    return _of_bits(vectors, vector) if packed else _cosine(vectors, vector)


def _cosine(vectors: Matrix, vector: Vector) -> npt.NDArray[np.float32]:
    rows, query = vectors.astype(np.float32), vector.astype(np.float32)
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
    similarity: npt.NDArray[np.float32] = rows @ query / np.maximum(lengths, np.finfo(np.float32).tiny)
    return similarity


def _of_bits(vectors: Matrix, vector: Vector) -> npt.NDArray[np.float32]:
    differing = np.bitwise_count(vectors.view(np.uint8) ^ vector.view(np.uint8)).sum(axis=1, dtype=np.int64)
    similarity: npt.NDArray[np.float32] = (1 - 2 * differing / (8 * vectors.shape[1])).astype(np.float32)
    return similarity
