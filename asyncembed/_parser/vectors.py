"""Decodes JSON arrays and base64 into NumPy vectors, and checks every number and the dimension. No I/O.

- `number_reader` turns a JSON array into numbers with simdjson, or orjson without it. Both give the same numbers bit by
  bit and reject the same arrays.
- `VectorDecoder` does not rely on the requested encoding: servers ignore `encoding_format`, and some have sent base64
  of float64 or half floats. It reads a list as numbers and a string as base64. If the dimension is known, the length of
  the base64 gives the type. Otherwise it reads float32, unless only float64 gives a plausible vector.
- `fault_in` accepts a vector if all its numbers are finite. It rejects base64 whose numbers are all below 1e-9, as no
  model produces them: its bytes are in the wrong order or of another type.
- `DimensionVote` decides the dimension of a run if nothing else does: it is the first one that two vectors share. A
  single wrong vector would otherwise cause all correct ones to be rejected.

Bits: "ubinary" packs 8 dimensions into a byte, the first dimension in the highest bit. "binary" is the same byte minus
128 (offset binary, as documented by Voyage and Mistral).
"""

from __future__ import annotations

import binascii
import json
import math
import re
import sys
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypeGuard, cast

import numpy as np
import numpy.typing as npt
import orjson
import pybase64

from asyncembed._exceptions import ResponseError
from asyncembed._parser.splitter import are_strings, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asyncembed._config import Dtype
    from asyncembed._models import Vector
    from asyncembed._parser.splitter import JSONText


class DimensionVote:
    """Collects the dimensions of vectors until two of them are equal.

    Args:
        expected: Dimension of earlier vectors of the same kind; it counts as one vote.
    """

    __slots__ = ("_seen",)

    def __init__(self, expected: int | None = None) -> None:
        self._seen = {expected} if expected else set[int]()

    @property
    def is_disputed(self) -> bool:
        """Whether the votes differ."""
        return len(self._seen) > 1

    @property
    def unanimous(self) -> int | None:
        """The dimension that all votes share; None if they differ or there are none."""
        return None if self.is_disputed else next(iter(self._seen), None)

    def add(self, dimension: int) -> bool:
        """Add the dimension of a vector and return whether an earlier vote was the same, which decides."""
        is_decided = dimension in self._seen
        self._seen.add(dimension)
        return is_decided


NOT_FINITE: Final = "a vector contains NaN, infinity or a number that is not a finite float32"
TOO_SMALL: Final = "a base64 vector contains no number above 1e-9; its bytes may be in the wrong order"

MIN_LARGEST: Final = 1e-9
"""Lower bound of the largest number in a base64 vector, unless all are 0."""

# The sum of squares is the fastest check of all numbers. From this value on one of them is above `MIN_LARGEST`, in a
# vector of up to a million numbers.
_MIN_SQUARES: Final = 1e-12
_INFINITE: Final = float("inf")


def quiet() -> np.errstate:
    """Silence numpy's warnings about numbers beyond float32, which the checks here find."""
    return np.errstate(over="ignore", invalid="ignore")


def doubtful_rows(matrix: npt.NDArray[np.float32 | np.int8 | np.uint8]) -> list[int]:
    """Return the rows of a matrix that need a check by `fault_in`."""
    if matrix.dtype != np.float32:
        return []
    squares = np.einsum("ij,ij->i", matrix, matrix)
    are_valid = (squares >= _MIN_SQUARES) & (squares < _INFINITE)
    return [] if are_valid.all() else np.flatnonzero(~are_valid).tolist()


def are_vectors(rows: Sequence[npt.NDArray[np.float32]]) -> bool:
    """Whether the sums of squares alone show that all rows are valid. If False, `fault_in` decides."""
    squares = [*map(np.ndarray.dot, rows, rows)]
    return all(map(math.isfinite, squares)) and min(squares) >= _MIN_SQUARES


def fault_in(vector: npt.NDArray[np.float32], *, is_base64: bool) -> str:
    """Return why a float32 vector is invalid; empty if it is valid."""
    if _MIN_SQUARES <= vector.dot(vector) < _INFINITE:
        return ""
    largest = float(np.abs(vector).max(initial=0.0))  # NaN if any number is NaN
    if not largest < _INFINITE:
        return NOT_FINITE
    return TOO_SMALL if is_base64 and 0 < largest < MIN_LARGEST else ""


try:
    import simdjson
except ImportError:  # no wheel for this Python
    simdjson = None  # type: ignore[assignment]

Numbers: TypeAlias = npt.NDArray[np.float64 | np.int64]
_NOT_A_NUMBER = re.compile(rb"[a-df-zA-DF-Z]")


def number_reader(*, integers: bool = False) -> Callable[[JSONText | bytes], Numbers]:
    """Return the fastest installed reader of JSON number arrays. Do not share it between threads.

    It returns float64, or possibly int64 if `integers` are expected.
    """
    return _simdjson_reader("i" if integers else "d") if simdjson is not None else read_numbers_orjson


def read_numbers_orjson(text: JSONText | bytes) -> Numbers:
    """Read a JSON array of numbers with orjson."""
    return _read_numbers(text, orjson.loads)


def read_numbers_json(text: JSONText | bytes) -> Numbers:
    """Read a JSON array of numbers with the standard library."""
    return _read_numbers(text, lambda text: json.loads(bytes(text)))


def _read_numbers(text: JSONText | bytes, loads: Callable[[JSONText | bytes], object]) -> Numbers:
    if _NOT_A_NUMBER.search(text):
        raise ResponseError("a vector contains null, NaN or something else that is not a number")
    try:
        return np.array(loads(text), dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise ResponseError("a vector is not a JSON list of numbers") from error


def _simdjson_reader(kind: Literal["d", "i"]) -> Callable[[JSONText | bytes], Numbers]:
    parser = simdjson.Parser()
    dtype = np.dtype(np.float64 if kind == "d" else np.int64)

    def read(text: JSONText | bytes) -> Numbers:
        try:
            # No variable holds the array, as it must be released before the parser is used again.
            return np.frombuffer(cast("simdjson.Array", parser.parse(text)).as_buffer(of_type=kind), dtype)
        except (ValueError, TypeError, RuntimeError):
            return read_numbers_json(text)  # numbers of another type, or our own error message

    return read


Value: TypeAlias = "JSONText | str | None"
"""A vector in the response: JSON text of an array or a string, a short string, or None for anything else."""

RawRow: TypeAlias = "Vector | Numbers | bytearray"
"""A decoded but unchecked row of a matrix: numbers, or the bytes of float32."""

_INTEGER_RANGES: Final = {"int8": (-128, 127), "binary": (-128, 127), "uint8": (0, 255), "ubinary": (0, 255)}
_FLOAT32: Final = np.dtype("<f4")
_BRACKET, _QUOTE = ord("["), ord('"')
_Floats: TypeAlias = npt.NDArray[np.float64 | np.float32 | np.float16]
_PLAUSIBLE_NUMBERS: Final = (1e-9, 1e4)
_PLAUSIBLE_NORMS: Final = (1e-6, 1e6)
_decode_base64 = partial(pybase64.b64decode_as_bytearray, validate=True)


class VectorDecoder:
    """Decodes the vectors of one run. All must have the same dtype and dimension.

    Args:
        dtype: Requested type of the numbers.
        dimension: Dimension of the vectors, if it was requested or is known.
        read_numbers: Parses a JSON array; by default the fastest installed reader.
        expected: Dimension of earlier vectors of the same kind. Base64 of that length is read as float32.
        vote: Decides an unknown dimension. Until then the decoder accepts any dimension, and the caller holds the
            vectors back. Without a vote, the first vector decides.
        max_dimension: Highest accepted dimension if `dimension` is None.
    """

    __slots__ = (
        "_dtype", "_expected", "_is_demanded", "_is_packed", "_max_dimension", "_read_numbers", "_row_bytes", "_vote",
        "dimension", "largest",
    )  # fmt: skip

    def __init__(
        self,
        dtype: Dtype,
        dimension: int | None = None,
        read_numbers: Callable[[JSONText], Numbers] | None = None,
        expected: int | None = None,
        vote: DimensionVote | None = None,
        *,
        max_dimension: int = sys.maxsize,
    ) -> None:
        self._dtype = dtype
        self._is_packed = dtype in {"binary", "ubinary"}
        self._read_numbers = read_numbers or number_reader(integers=dtype != "float32")
        self._is_demanded = dimension is not None  # a server that ignores it would ignore, and charge, a retry too
        self._expected = expected or 0
        self._vote = vote
        self._max_dimension = max_dimension
        self.largest = 0
        """Largest dimension of a vector until the dimension is decided."""
        self._set_dimension(dimension)

    @property
    def stored(self) -> np.dtype[np.float32 | np.int8 | np.uint8]:
        """Type of the numbers of a vector in memory."""
        if self._dtype == "float32":
            return np.dtype(np.float32)
        return np.dtype(np.int8 if _INTEGER_RANGES[self._dtype][0] else np.uint8)

    @property
    def packing(self) -> int:
        """Dimensions per number in memory: 8 for packed bits, otherwise 1."""
        return 8 if self._is_packed else 1

    @property
    def width(self) -> int:
        """Numbers of a vector in memory; 0 until the dimension is known."""
        return (self.dimension or 0) // self.packing

    @property
    def is_open(self) -> bool:
        """Whether the dimension is undecided, so that the decoder accepts any."""
        return self.dimension is None and self._vote is not None

    def decode(self, value: Value) -> Vector:
        """Decode one vector. Call it inside `quiet`, once for many vectors.

        Args:
            value: A list of numbers or base64.

        Returns:
            A writable 1-D array: float32, int8 or uint8.

        Raises:
            ResponseError: if the value is not a vector of finite numbers with the requested type and known dimension.
        """
        if value is None:
            raise ResponseError("a vector is null, nested or an object instead of a list of numbers")
        vector = self._from_json(value) if _is_array(value) else self._from_base64(_base64_bytes(value))
        if len(vector) != self.dimension or self._is_packed:
            self._check_dimension(len(vector))
        return vector

    def decode_run(self, values: Sequence[Value]) -> list[Vector] | None:
        """Decode many vectors at once; None unless all are valid base64 of the known length."""
        data = self.decode_rows(values)
        if data is None:
            return None
        rows = [np.frombuffer(row, _FLOAT32) for row in data]
        return [*rows] if are_vectors(rows) else None

    def decode_rows(self, values: Sequence[Value]) -> list[RawRow] | None:
        """Decode many rows of a matrix at once, unchecked; None unless all are base64 of the known length."""
        size = self._row_bytes
        if size < 0 or sys.byteorder != "little" or not _are_strings(values):
            return None
        try:
            rows: list[RawRow] = [_decode_base64(value[1:-1]) for value in values]
        except ValueError:  # includes binascii.Error
            return None
        return rows if set(map(len, rows)) == {size} else None

    def decode_row(self, value: Value) -> RawRow:
        """Decode one row of a matrix. The caller checks the numbers in the matrix.

        Raises:
            ResponseError: like `decode`, except for numbers that are not finite.
        """
        if value is None or self._dtype != "float32" or self.dimension is None:
            return self.decode(value)
        if _is_array(value):
            row: RawRow = self._read_numbers(value)
            size = len(row)
        else:
            row = _base64_bytes(value)
            if len(row) == self._row_bytes and sys.byteorder == "little":
                return row
            row = self._from_base64(row)
            size = len(row)
        if size != self.dimension:
            self._check_dimension(size)
        return row

    def conclude(self) -> None:
        """Accept the dimension if all vectors so far share it."""
        if self.dimension is None and self._vote and self._vote.unanimous:
            self._set_dimension(self._vote.unanimous)

    def _set_dimension(self, dimension: int | None) -> None:
        self.dimension = dimension
        # Bytes of a row as base64 of float32; -1 if the type or the dimension is another or unknown.
        self._row_bytes = 4 * dimension if dimension and self._dtype == "float32" else -1

    def _check_dimension(self, size: int) -> None:
        dimension = size * self.packing
        if self.dimension is None and 0 < dimension <= self._max_dimension:
            self.largest = max(self.largest, dimension)
            if self._vote and not self._vote.add(dimension):
                return
            self._set_dimension(dimension)
        if dimension != self.dimension:
            right = self.dimension or (f"at most {self._max_dimension}" if dimension else "at least 1")
            words = f"a vector has {dimension} dimensions instead of {right}"
            raise ResponseError(words, retryable=not self._is_demanded)

    def _from_json(self, text: JSONText) -> Vector:
        numbers = self._read_numbers(text)
        if self._dtype == "float32":
            return _checked(numbers.astype(np.float32), is_base64=False)
        low, high = _INTEGER_RANGES[self._dtype]
        is_whole = numbers.dtype == np.int64 or (numbers % 1 == 0).all()
        if numbers.size and not (is_whole and low <= numbers.min() and numbers.max() <= high):
            raise ResponseError(f"a vector contains numbers that are not integers from {low} to {high}")
        return numbers.astype(self.stored)

    def _from_base64(self, data: bytearray) -> Vector:
        if self._dtype != "float32":
            return np.frombuffer(data, self.stored)
        if len(data) == self._row_bytes or len(data) == 4 * self._expected > 0:
            return _checked(np.frombuffer(data, _FLOAT32), is_base64=True)
        return _checked(_read_floats(data, self.dimension), is_base64=True)


def _checked(vector: npt.NDArray[np.float32], *, is_base64: bool) -> npt.NDArray[np.float32]:
    if fault := fault_in(vector, is_base64=is_base64):
        raise ResponseError(fault)
    return vector


def _read_floats(data: bytearray, dimension: int | None) -> npt.NDArray[np.float32]:
    """Decode base64 whose type is unclear: float32, float64, float16 or bfloat16. The dimension may be a wrong one."""
    if not data or len(data) % 2:
        raise ResponseError(f"a vector of {len(data)} base64 bytes does not contain floats")
    singles = [np.frombuffer(data, _FLOAT32)] if len(data) % 4 == 0 else []
    low, high = _PLAUSIBLE_NUMBERS
    if dimension and len(data) == 2 * dimension:
        # bfloat16 is the upper half of a float32. Other types read as bfloat16 give numbers of any size.
        bfloats = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
        sizes = np.abs(bfloats[bfloats != 0])
        is_plausible = bool(((low < sizes) & (sizes < high)).all())
        return _most_plausible(np.frombuffer(data, "<f2"), *([bfloats] if is_plausible else singles))
    if dimension and len(data) == 8 * dimension:
        return _most_plausible(np.frombuffer(data, "<f8"), *singles)
    if not singles:
        raise ResponseError(f"a vector of {len(data)} base64 bytes does not contain floats")
    single = singles[0]
    if dimension or len(data) % 8 or not single.any():
        return single
    # Doubles converted from shorter floats have low halves of 0, and their high halves alone have a plausible norm.
    if single[::2].any() and math.isfinite(_distance_from_1(single)):
        return single
    return _most_plausible(single, np.frombuffer(data, "<f8"))


def _most_plausible(*readings: _Floats) -> npt.NDArray[np.float32]:
    """Return the reading whose norm is nearest to 1, like that of most embeddings; the first if none is plausible.

    A wrong reading shows in its norm, because it takes low bits of numbers for exponents.
    """
    return min(readings, key=_distance_from_1).astype(np.float32)


def _distance_from_1(floats: _Floats) -> float:
    """Return the absolute logarithm of the norm; infinity if the norm is not plausible."""
    low, high = _PLAUSIBLE_NORMS
    norm = float(np.linalg.norm(floats.astype(np.float64)))
    return abs(math.log(norm)) if low < norm < high else math.inf


def _are_strings(values: Sequence[Value]) -> TypeGuard[Sequence[JSONText]]:
    """Whether all values are JSON text of strings."""
    return set(map(type, values)) <= {memoryview, bytearray} and are_strings(values)  # type: ignore[arg-type]


def _is_array(value: JSONText | str) -> TypeGuard[JSONText]:
    return not isinstance(value, str) and value[0] == _BRACKET


def _base64_bytes(value: JSONText | str) -> bytearray:
    try:
        return _decode_base64(value if isinstance(value, str) else value[1:-1])
    except (binascii.Error, ValueError) as error:
        if not isinstance(value, str):
            return _base64_bytes(text_of(value))  # JSON may escape a slash
        raise ResponseError("a vector is a string that is not base64") from error
