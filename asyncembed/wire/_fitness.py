"""Whether float32 numbers can be a vector: all are finite and, if they were base64, they are no dust.

Dust is bytes in the wrong order, or of another type: as float32 they are numbers below 1e-9. No model makes them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

NOT_FINITE: Final = "a vector holds NaN, infinity or a number that is not a finite float32"
DUST: Final = "a vector of base64 holds no number above 1e-9, as if its bytes were in the wrong order"

SMALLEST: Final = 1e-9
"""Size that the largest number of a vector has at least, if it is not 0."""

# The sum of squares is the fastest look at all numbers. From here on one of them is above `SMALLEST`, in a vector of up
# to a million.
_SURE: Final = 1e-12
_INFINITE: Final = float("inf")


def quiet() -> np.errstate:
    """Keep numpy from warning of numbers beyond float32, which are looked for here anyway."""
    return np.errstate(over="ignore", invalid="ignore")


def doubtful_rows(matrix: npt.NDArray[np.float32 | np.int8 | np.uint8]) -> list[int]:
    """Return which rows of a matrix are to be looked at by `fault_in`."""
    if matrix.dtype != np.float32:
        return []
    squares = np.einsum("ij,ij->i", matrix, matrix)
    are_sure = (squares >= _SURE) & (squares < _INFINITE)
    return [] if are_sure.all() else np.flatnonzero(~are_sure).tolist()


def are_vectors(rows: Sequence[npt.NDArray[np.float32]]) -> bool:
    """Whether `fault_in` finds nothing in any of these, as far as their sums of squares tell."""
    squares = [*map(np.ndarray.dot, rows, rows)]
    return all(map(math.isfinite, squares)) and min(squares) >= _SURE


def fault_in(vector: npt.NDArray[np.float32], *, is_base64: bool) -> str:
    """Return why float32 numbers are no vector; empty if they are one."""
    if _SURE <= vector.dot(vector) < _INFINITE:
        return ""
    largest = float(np.abs(vector).max(initial=0.0))  # NaN, if one of them is
    if not largest < _INFINITE:
        return NOT_FINITE
    return DUST if is_base64 and 0 < largest < SMALLEST else ""
