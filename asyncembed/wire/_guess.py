"""Floats in base64 whose size is not what was asked for, told apart by what numbers they make.

Some servers have sent base64 of float64 or half floats. A wrong reading shows in its numbers, as some of them are made
of the wrong bits: the low halves of float64 have any exponent as float32, and so have the low halves of float32 as
bfloat16. So a reading is taken only if all its numbers are of a believable size, and what is left is told apart by its
norm, which is near 1 for embeddings.
"""

from __future__ import annotations

import math
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from asyncembed._errors import ResponseError

Floats: TypeAlias = npt.NDArray[np.float64 | np.float32 | np.float16]

_SANE_FLOATS: Final = (1e-9, 1e4)
"""Sizes that a number of an embedding has if it is not 0; known models stay within 1e-7 and 1e2."""

_MOST_OF_THEM: Final = 0.99
"""Share of the numbers of a vector that must be of a believable size."""

_LONG: Final = 64
"""Bytes from which on no float32 vector passes for bfloat16 by chance: one in 6 low halves would have to, 16 times."""


def guess_floats(data: bytearray, dimension: int) -> npt.NDArray[np.float32]:
    """Read floats of a size that is not known, or is not the one expected: float32, unless that makes no sense.

    The reading that is returned may have another dimension than expected; that is for the caller to refuse.
    """
    readings = {kind: floats for kind, floats in _readings(data).items() if _believable(floats)}
    double, single, half, brain = map(readings.get, ("float64", "float32", "float16", "bfloat16"))
    may_be_half = len(data) == 2 * dimension
    if brain is not None and (may_be_half or len(data) >= _LONG) and np.mean(brain[::2] != 0) >= _MOST_OF_THEM / 2:
        return brain.astype(np.float32)
    if single is None:
        choice = [half, brain] if may_be_half or double is None else [double]
    elif may_be_half:
        choice = [half, single]
    elif single[::2].any():
        choice = [single]
    else:  # the upper halves of float64, or every other number is 0
        choice = [double] if len(data) == 8 * dimension else [single, double]
    believable = [floats for floats in choice if floats is not None]
    if not believable:
        raise ResponseError(f"a vector of {len(data)} base64 bytes holds no finite floats of a believable size")
    return min(believable, key=_distance_from_unit).astype(np.float32)


def _readings(data: bytearray) -> dict[str, Floats]:
    """Return what the bytes are as floats of each size that divides them."""
    sizes = [size for size in (8, 4, 2) if data and len(data) % size == 0]
    readings: dict[str, Floats] = {f"float{8 * size}": np.frombuffer(data, f"<f{size}") for size in sizes}
    if "float16" in readings:
        # bfloat16 is the upper half of a float32.
        readings["bfloat16"] = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    return readings


def _believable(floats: Floats) -> bool:
    sizes = np.abs(floats)
    low, high = _SANE_FLOATS
    return bool(np.isfinite(floats).all() and np.mean((sizes == 0) | ((low < sizes) & (sizes < high))) >= _MOST_OF_THEM)


def _distance_from_unit(floats: Floats) -> float:
    norm = float(np.linalg.norm(floats.astype(np.float64)))
    return abs(math.log(norm)) if norm else math.inf
