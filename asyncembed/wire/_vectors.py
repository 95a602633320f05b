"""Numbers on the wire to numpy: JSON arrays and base64, told apart and checked value by value.

What arrives is not always what was asked for: servers ignore `encoding_format`, and some have sent base64 of float64
or half floats. So a list is read as numbers, a string as base64, and the item size of base64 follows from its length
and the dimension as soon as that is known; before, float32 is assumed unless its numbers make no sense.

Bits: "ubinary" holds 8 dimensions a byte, first dimension in the highest bit; "binary" is the same byte minus 128
(offset binary, as Voyage and Mistral document it).
"""

from __future__ import annotations

import binascii
import json
import math
import re
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import orjson
import pybase64

from asyncembed._errors import ResponseError

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncembed._models import Vector
    from asyncembed._settings import Dtype

try:
    import simdjson
except ImportError:  # no wheel for this Python
    simdjson = None  # type: ignore[assignment]

Float64s: TypeAlias = npt.NDArray[np.float64]
Floats: TypeAlias = npt.NDArray[np.float64 | np.float32 | np.float16]

_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)
_INTEGER_RANGES: Final = {"int8": (-128, 127), "binary": (-128, 127), "uint8": (0, 255), "ubinary": (0, 255)}
_NOT_A_NUMBER = re.compile(rb"[a-df-zA-DF-Z]")
_SANE_FLOATS: Final = (1e-9, 1e4)
"""Sizes that a number of an embedding has if it is not 0; known models stay within 1e-7 and 1e2."""

_MOST_OF_THEM: Final = 0.99
"""Share of the numbers of a vector that must be of a believable size."""

_LONG: Final = 64
"""Bytes from which on no float32 vector passes for bfloat16 by chance: one in 6 low halves would have to, 16 times."""


class VectorDecoder:
    """Decodes the vectors of one run, and holds all of them to one dtype and one dimension.

    Args:
        dtype: Type of the numbers asked for.
        dimension: Dimension of the vectors, if it was asked for or is known; else the first vector sets it.
        read_numbers: How a JSON array becomes float64; the fastest decoder installed by default.
    """

    __slots__ = ("_dtype", "_is_demanded", "_read_numbers", "dimension")

    def __init__(
        self, dtype: Dtype, dimension: int | None = None, read_numbers: Callable[[bytes], Float64s] | None = None
    ) -> None:
        self._dtype = dtype
        self._read_numbers = read_numbers or number_reader()
        self._is_demanded = dimension is not None  # a server that ignores it will do so again, and be paid for it
        self.dimension = dimension

    @property
    def itemsize(self) -> int:
        """Bytes of one number of the asked dtype."""
        return 4 if self._dtype == "float32" else 1

    def decode(self, value: bytes | str | None) -> Vector:
        """Decode one vector.

        Args:
            value: A JSON array as bytes, base64 as a string, or None for anything else that stood in its place.

        Returns:
            A writable 1-D array: float32, int8 or uint8.

        Raises:
            ResponseError: if it is no vector of finite numbers of the asked type and the known dimension.
        """
        if value is None:
            raise ResponseError("a vector is null, nested or an object instead of a list of numbers")
        vector = self._from_base64(value) if isinstance(value, str) else self._from_json(value)
        dimension = self._dimension_of(len(vector))
        if self.dimension is None and dimension:
            self.dimension = dimension
        if dimension != self.dimension or not dimension:
            words = f"a vector has {dimension} dimensions instead of {self.dimension or 'some'}"
            raise ResponseError(words, retryable=not self._is_demanded)
        return vector

    def _dimension_of(self, size: int) -> int:
        return size * 8 if self._dtype in {"binary", "ubinary"} else size

    def _from_json(self, text: bytes) -> Vector:
        numbers = self._read_numbers(text)
        if self._dtype == "float32":
            return _to_float32(numbers)
        low, high = _INTEGER_RANGES[self._dtype]
        if numbers.size and not (low <= numbers.min() and numbers.max() <= high and (numbers % 1 == 0).all()):
            raise ResponseError(f"a vector holds numbers that are no whole numbers from {low} to {high}")
        return numbers.astype(np.int8 if low else np.uint8)

    def _from_base64(self, text: str) -> Vector:
        try:
            data = pybase64.b64decode_as_bytearray(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ResponseError("a vector is a string that is not base64") from error
        if self._dtype != "float32":
            return np.frombuffer(data, np.int8 if self._dtype in {"int8", "binary"} else np.uint8)
        if len(data) == 4 * (self.dimension or 0):
            return _checked(np.frombuffer(data, "<f4"))
        return _guess_floats(data, self.dimension or 0)


def number_reader() -> Callable[[bytes], Float64s]:
    """The fastest reader of JSON number arrays that is installed; not to be shared between threads."""
    return _simdjson_reader() if simdjson is not None else read_numbers_orjson


def read_numbers_orjson(text: bytes) -> Float64s:
    """Read a JSON array of numbers with orjson."""
    return _read_numbers(text, orjson.loads)


def read_numbers_json(text: bytes) -> Float64s:
    """Read a JSON array of numbers with the standard library."""
    return _read_numbers(text, json.loads)


def _read_numbers(text: bytes, loads: Callable[[bytes], object]) -> Float64s:
    if _NOT_A_NUMBER.search(text):
        raise ResponseError("a vector holds null, NaN or something else that is not a number")
    try:
        return np.array(loads(text), dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise ResponseError("a vector is not a JSON list of numbers") from error


def _simdjson_reader() -> Callable[[bytes], Float64s]:
    parser = simdjson.Parser()

    def read(text: bytes) -> Float64s:
        try:
            # The array must be gone before the parser is used again, so it never gets a name.
            return np.frombuffer(cast("simdjson.Array", parser.parse(text)).as_buffer(of_type="d"), np.float64)
        except (ValueError, TypeError, RuntimeError):
            return read_numbers_json(text)  # whole numbers of more than 64 bits, or the error in our words

    return read


@np.errstate(over="ignore", invalid="ignore")
def _sum_of_squares(numbers: Float64s | npt.NDArray[np.float32]) -> float:
    return float(np.dot(numbers, numbers))


def _to_float32(numbers: Float64s) -> npt.NDArray[np.float32]:
    # One pass settles the usual case: the sum of squares of floats beyond float32 is larger, and NaN compares false.
    if not _sum_of_squares(numbers) <= _FLOAT32_MAX and not (np.abs(numbers) <= _FLOAT32_MAX).all():
        raise ResponseError("a vector holds a number that is not a finite float32")
    return numbers.astype(np.float32)


def _checked(vector: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    if not math.isfinite(_sum_of_squares(vector)) and not np.isfinite(vector).all():
        raise ResponseError("a vector holds NaN or infinity")
    return vector


def _guess_floats(data: bytearray, dimension: int) -> npt.NDArray[np.float32]:
    """Read floats of a size that is not known, or is not the one expected: float32, unless that makes no sense.

    A wrong reading shows in its numbers, as some of them are made of the wrong bits: the low halves of float64 have
    any exponent as float32, and so have the low halves of float32 as bfloat16. So a reading is taken only if all its
    numbers are of a believable size, and what is left is told apart by its norm, which is near 1 for embeddings.

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
