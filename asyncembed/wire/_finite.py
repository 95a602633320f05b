"""Whether the numbers of vectors are finite, by the fastest look at all of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from asyncembed._errors import ResponseError

if TYPE_CHECKING:
    from asyncembed._models import Matrix

NOT_FINITE: Final = "a vector holds NaN or infinity"
"""What is said of rows that `not_finite` finds."""


def quiet() -> np.errstate:
    """Keep numpy from warning of numbers beyond float32, which are looked for here anyway."""
    return np.errstate(over="ignore", invalid="ignore")


def not_finite(matrix: Matrix) -> npt.NDArray[np.intp]:
    """Which rows of a matrix hold NaN or infinity."""
    numbers = matrix.reshape(-1)
    # One pass settles the usual case: the sum of squares is finite.
    if matrix.dtype != np.float32 or math.isfinite(numbers.dot(numbers)):
        return np.empty(0, np.intp)
    return np.flatnonzero(~np.isfinite(matrix).all(axis=1))


def checked(vector: npt.NDArray[np.float32], words: str) -> npt.NDArray[np.float32]:
    """Return a vector; raise `ResponseError` with these words if a number of it is not finite."""
    if not _is_finite(vector):
        raise ResponseError(words)
    return vector


def _is_finite(vector: npt.NDArray[np.float32]) -> bool:
    # A dot product is the fastest look at all numbers; that of large ones overflows.
    return math.isfinite(vector.dot(vector)) or bool(np.isfinite(vector).all())
