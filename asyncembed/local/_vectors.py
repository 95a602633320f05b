"""From unit vectors to the types and lengths a caller may ask for.

Components of a unit vector lie in [-1, 1], so the integer types need no calibration data: int8 is the component times
127, uint8 is int8 + 128, ubinary packs the signs (bit 1 where the component is > 0, first dimension in the highest
bit) and binary is ubinary - 128, the offset binary that Voyage and Mistral document. base64 is little-endian float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import pybase64

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Vectors: TypeAlias = NDArray[np.float32]
    Encoded: TypeAlias = NDArray[np.float32] | NDArray[np.int8] | NDArray[np.uint8] | list[str]


def normalise(vectors: Vectors) -> Vectors:
    """Scale each row of an (n, dim) array to length 1; one of length 0 gets numbers that are all the same.

    A vector of zeros has no cosine with any other, and stores and clients take it for a fault.
    """
    lengths = np.sqrt(np.square(vectors).sum(axis=1, keepdims=True))
    scaled = np.divide(vectors, np.where(lengths > 0, lengths, 1), dtype=np.float32)
    scaled[lengths[:, 0] == 0] = vectors.shape[1] ** -0.5
    return scaled


def shorten(vectors: Vectors, dimension: int) -> Vectors:
    """Keep the first `dimension` columns, scaled to length 1 again; asking for all of them changes no bit."""
    return vectors if dimension == vectors.shape[1] else normalise(vectors[:, :dimension])


def to_float(vectors: Vectors) -> Vectors:
    """Return the (n, dim) float32 array itself."""
    return vectors


def to_int8(vectors: Vectors) -> NDArray[np.int8]:
    """Return (n, dim) int8: round(127 * x), with x clipped to [-1, 1]."""
    return np.rint(np.clip(vectors, -1, 1) * 127).astype(np.int8)


def to_uint8(vectors: Vectors) -> NDArray[np.uint8]:
    """Return (n, dim) uint8: the int8 value plus 128."""
    return (to_int8(vectors).astype(np.int16) + 128).astype(np.uint8)


def to_ubinary(vectors: Vectors) -> NDArray[np.uint8]:
    """Return (n, dim / 8) uint8: one bit a dimension, 1 where x > 0, the first dimension in the highest bit."""
    return np.packbits(vectors > 0, axis=1)


def to_binary(vectors: Vectors) -> NDArray[np.int8]:
    """Return (n, dim / 8) int8: the ubinary value minus 128."""
    return (to_ubinary(vectors).astype(np.int16) - 128).astype(np.int8)


def to_base64(vectors: Vectors) -> list[str]:
    """Return n strings: each row as little-endian float32 in standard base64."""
    return [pybase64.b64encode_as_string(row) for row in np.ascontiguousarray(vectors, dtype="<f4")]


ENCODERS: Final[dict[str, Callable[[Vectors], Encoded]]] = {
    "float": to_float,
    "int8": to_int8,
    "uint8": to_uint8,
    "binary": to_binary,
    "ubinary": to_ubinary,
    "base64": to_base64,
}
PACKED: Final = frozenset({"binary", "ubinary"})
"""Types that hold eight dimensions a number."""
