"""The one right vector of a text, and its forms on the wire.

Numbers are multiples of 1/32768 below 1: exact as float32, as JSON and as base64, and different for every text, so
that a vector given to the wrong text is noticed.
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
"""What a request may ask for."""

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
DIMENSION: Final = 8
_HALF: Final = 128
"""Between signed and unsigned bytes."""


def vector_of(text: str, dimension: int = DIMENSION, dtype: Dtype = "float32") -> Vector:
    """Return the vector that a `FakeServer` has for this text.

    Args:
        text: The text, of which every character counts.
        dimension: How many numbers; eight of them make a byte of the binary types.
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
    """Return the same vector as what stands for it in the JSON document."""
    if kind == "base64":
        return base64_of(vector_of(text, dimension))
    numbers: list[float] = vector_of(text, dimension, "float32" if kind == "float" else kind).tolist()
    return numbers


def packed_value_of(text: str, dimension: int, kind: Kind) -> object:
    """Return the same vector as base64, of bytes where it is made of integers."""
    if kind == "float" or kind == "base64":  # noqa: PLR1714  # mypy narrows no sets
        return value_of(text, dimension, "base64")
    numbers = vector_of(text, dimension, kind)
    return base64_of(numbers, numbers.dtype.str)


def base64_of(numbers: Vector, dtype: str = "<f4") -> str:
    """Return the numbers as base64 of this numpy type."""
    return base64.b64encode(numbers.astype(dtype).tobytes()).decode()


def tokens_of(text: str) -> int:
    """Return how many tokens a `FakeServer` counts in a text: one for four bytes of UTF-8, and at least one."""
    return max(1, len(text.encode("utf-8", "surrogatepass")) // 4)
