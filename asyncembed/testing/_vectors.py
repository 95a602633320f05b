"""The correct vector of a text, and its forms on the wire.

Numbers are multiples of 1/32768 below 1: exact as float32, in JSON and in base64. The vectors of two texts differ, so a
test notices a vector that is matched to the wrong text.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

import numpy as np

if TYPE_CHECKING:
    from asyncembed._config import Dtype
    from asyncembed._models import Vector

Kind: TypeAlias = Literal["float", "base64", "int8", "uint8", "binary", "ubinary"]
"""The type and encoding of a vector that a request may ask for."""

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
DIMENSION: Final = 8
_HALF: Final = 128
"""Offset between signed and unsigned bytes."""


def vector_of(text: str, dimension: int = DIMENSION, dtype: Dtype = "float32") -> Vector:
    """Return the vector that a `FakeServer` sends for this text.

    Args:
        text: The text; every character of it matters.
        dimension: Number of dimensions; the binary types pack eight of them into a byte.
        dtype: Type of the numbers, as in the options of `EmbedClient`.
    """
    words = np.frombuffer(hashlib.shake_128(text.encode("utf-8", "surrogatepass")).digest(2 * dimension), "<i2")
    if dtype == "float32":
        return (words / np.float32(1 << 15)).astype(np.float32)
    if dtype in {"int8", "uint8"}:
        signed = (words >> 8).astype(np.int8)
        return signed if dtype == "int8" else (signed.astype(np.int16) + _HALF).astype(np.uint8)
    packed = np.packbits(words > 0)
    return packed if dtype == "ubinary" else (packed.astype(np.int16) - _HALF).astype(np.int8)


def value_of(text: str, dimension: int, kind: Kind) -> object:
    """Return the vector of a text as its JSON value."""
    if kind == "base64":
        return base64_of(vector_of(text, dimension))
    numbers: list[float] = vector_of(text, dimension, "float32" if kind == "float" else kind).tolist()
    return numbers


def packed_value_of(text: str, dimension: int, kind: Kind) -> object:
    """Return the vector of a text as base64: of float32 for floats, of bytes for integers."""
    if kind == "float" or kind == "base64":  # noqa: PLR1714  # mypy narrows no sets
        return value_of(text, dimension, "base64")
    numbers = vector_of(text, dimension, kind)
    return base64_of(numbers, numbers.dtype.str)


def base64_of(numbers: Vector, dtype: str = "<f4") -> str:
    """Return the numbers as base64 of the numpy type `dtype`."""
    return base64.b64encode(numbers.astype(dtype).tobytes()).decode()


def tokens_of(text: str) -> int:
    """Return how many tokens a `FakeServer` counts in a text: one per four bytes of UTF-8, at least one."""
    return max(1, len(text.encode("utf-8", "surrogatepass")) // 4)
