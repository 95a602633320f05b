"""What the client does to vectors itself, because the server does not: cut them, and bring them to length 1."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from asyncembed._models import EmbedBlock

if TYPE_CHECKING:
    from asyncembed._models import EmbedResult, Matrix


@dataclass(frozen=True, slots=True)
class Finish:
    """Makes of vectors as they came those that were asked for.

    Attributes:
        dimension: Numbers that are kept of each vector, None for all; fewer in a vector that has no more.
        normalize: Whether vectors are brought to length 1; those of length 0 stay as they are.
    """

    dimension: int | None
    normalize: bool

    def __call__(self, result: EmbedResult | EmbedBlock) -> EmbedResult | EmbedBlock:
        """Return a result with its vector, or with all of its vectors, finished."""
        if isinstance(result, EmbedBlock):
            return replace(result, embeddings=self.rows(result.embeddings))
        return replace(result, embedding=self.rows(result.embedding[np.newaxis])[0])

    def rows(self, matrix: Matrix) -> Matrix:
        """Return a matrix of its own with the finished rows of another one."""
        kept: Matrix = np.array(matrix[:, : self.dimension])
        if not self.normalize:
            return kept
        lengths = np.linalg.norm(kept.astype(np.float64), axis=1, keepdims=True)
        lengths[lengths == 0] = 1
        finished: Matrix = (kept / lengths).astype(np.float32)
        return finished
