"""What the client does to vectors if the server does not: it truncates them, and normalizes them to length 1."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from asyncembed._models import EmbedBlock

if TYPE_CHECKING:
    from asyncembed._models import EmbedResult, Matrix, Scalar


@dataclass(frozen=True, slots=True)
class Postprocessor:
    """Truncates and normalizes vectors on the client.

    Attributes:
        dimension: Numbers to keep of each vector; None for all. A shorter vector stays as it is.
        normalize: Whether to scale vectors to length 1; zero vectors stay as they are.
    """

    dimension: int | None
    normalize: bool

    def __call__(self, result: EmbedResult[Scalar] | EmbedBlock[Scalar]) -> EmbedResult[Scalar] | EmbedBlock[Scalar]:
        """Return a copy of a result with postprocessed vectors."""
        if isinstance(result, EmbedBlock):
            return replace(result, embeddings=self.rows(result.embeddings))
        return replace(result, embedding=self.rows(result.embedding[np.newaxis])[0])

    def rows(self, matrix: Matrix) -> Matrix:
        """Return a new matrix with the postprocessed rows of `matrix`."""
        kept: Matrix = np.array(matrix[:, : self.dimension])
        if not self.normalize:
            return kept
        lengths = np.linalg.norm(kept.astype(np.float64), axis=1, keepdims=True)
        lengths[lengths == 0] = 1
        normalized: Matrix = (kept / lengths).astype(np.float32)
        return normalized
