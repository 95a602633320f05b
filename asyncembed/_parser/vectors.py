"""What dimension the vectors of a run have, where nobody has said it: the first one that two of them have.

One vector alone may be the wrong one, and then all right ones would be refused. Without I/O.

Whether float32 numbers can be a vector: all are finite and, if they were base64, they are no dust.

Dust is bytes in the wrong order, or of another type: as float32 they are numbers below 1e-9. No model makes them.

JSON arrays of numbers to float64, by the fastest parser that is installed.

simdjson, else orjson, else the standard library: the same numbers bit by bit, and the same refusals.

Numbers on the wire to numpy: JSON arrays and base64, told apart and checked value by value.

What arrives is not always what was asked for: servers ignore `encoding_format`, and some have sent base64 of float64
or half floats. So a list is read as numbers, a string as base64, and the item size of base64 follows from its length
where the dimension is known. Where it is not, base64 is float32, unless float64 alone makes a believable vector of it.

Bits: "ubinary" holds 8 dimensions a byte, first dimension in the highest bit; "binary" is the same byte minus 128
(offset binary, as Voyage and Mistral document it).
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
    """Notes the dimensions of vectors until two of them are alike.

    There are only so many lengths that a vector can have, so that it does not go on for ever, nor grow.

    Args:
        usual: Dimension that earlier vectors of the same kind had; it counts as that of one vector.
    """

    __slots__ = ("_seen",)

    def __init__(self, usual: int | None = None) -> None:
        self._seen = {usual} if usual else set[int]()

    @property
    def is_disputed(self) -> bool:
        """Whether vectors were of different dimensions."""
        return len(self._seen) > 1

    @property
    def only(self) -> int | None:
        """The dimension of all that were seen, None if they were of different ones or there were none."""
        return None if self.is_disputed else next(iter(self._seen), None)

    def see(self, dimension: int) -> bool:
        """Note the dimension of a vector, and return whether another one had the same, which settles it."""
        is_settled = dimension in self._seen
        self._seen.add(dimension)
        return is_settled


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


try:
    import simdjson
except ImportError:  # no wheel for this Python
    simdjson = None  # type: ignore[assignment]

Numbers: TypeAlias = npt.NDArray[np.float64 | np.int64]
_NOT_A_NUMBER = re.compile(rb"[a-df-zA-DF-Z]")


def number_reader(*, whole: bool = False) -> Callable[[JSONText | bytes], Numbers]:
    """The fastest reader of JSON number arrays that is installed; not to be shared between threads.

    It gives float64, or int64 where only `whole` numbers are expected and it is faster.
    """
    return _simdjson_reader("i" if whole else "d") if simdjson is not None else read_numbers_orjson


def read_numbers_orjson(text: JSONText | bytes) -> Numbers:
    """Read a JSON array of numbers with orjson."""
    return _read_numbers(text, orjson.loads)


def read_numbers_json(text: JSONText | bytes) -> Numbers:
    """Read a JSON array of numbers with the standard library."""
    return _read_numbers(text, lambda text: json.loads(bytes(text)))


def _read_numbers(text: JSONText | bytes, loads: Callable[[JSONText | bytes], object]) -> Numbers:
    if _NOT_A_NUMBER.search(text):
        raise ResponseError("a vector holds null, NaN or something else that is not a number")
    try:
        return np.array(loads(text), dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise ResponseError("a vector is not a JSON list of numbers") from error


def _simdjson_reader(kind: Literal["d", "i"]) -> Callable[[JSONText | bytes], Numbers]:
    parser = simdjson.Parser()
    dtype = np.dtype(np.float64 if kind == "d" else np.int64)

    def read(text: JSONText | bytes) -> Numbers:
        try:
            # The array must be gone before the parser is used again, so it never gets a name.
            return np.frombuffer(cast("simdjson.Array", parser.parse(text)).as_buffer(of_type=kind), dtype)
        except (ValueError, TypeError, RuntimeError):
            return read_numbers_json(text)  # other numbers than expected, or the error in our words

    return read


Value: TypeAlias = "JSONText | str | None"
"""What stands for a vector: an array or a string as JSON text, a short string, or None for anything else."""

RawRow: TypeAlias = "Vector | Numbers | bytearray"
"""One row for a matrix, decoded but not checked: numbers, or the bytes of float32."""

_INTEGER_RANGES: Final = {"int8": (-128, 127), "binary": (-128, 127), "uint8": (0, 255), "ubinary": (0, 255)}
_FLOAT32: Final = np.dtype("<f4")
_BRACKET, _QUOTE = ord("["), ord('"')
_Floats: TypeAlias = npt.NDArray[np.float64 | np.float32 | np.float16]
_BELIEVABLE_NUMBERS: Final = (1e-9, 1e4)
_BELIEVABLE_NORMS: Final = (1e-6, 1e6)
_decode_base64 = partial(pybase64.b64decode_as_bytearray, validate=True)


class VectorDecoder:
    """Decodes the vectors of one run, and holds all of them to one dtype and one dimension.

    Args:
        dtype: Type of the numbers asked for.
        dimension: Dimension of the vectors, if it was asked for or is known.
        usual: Dimension that earlier vectors of the same kind had; base64 of that many float32 is taken for what it is.
        read_numbers: How a JSON array becomes numbers; the fastest reader installed by default.
        agreement: How the dimension is found if it is not known; vectors of any are given until then, for the caller to
            hold back and compare. Without it, the first vector sets the dimension.
        most: Largest dimension that is taken where none was given.
    """

    __slots__ = (
        "_agreement", "_dtype", "_is_demanded", "_is_packed", "_most", "_read_numbers", "_row_bytes", "_usual",
        "dimension", "largest",
    )  # fmt: skip

    def __init__(
        self,
        dtype: Dtype,
        dimension: int | None = None,
        read_numbers: Callable[[JSONText], Numbers] | None = None,
        usual: int | None = None,
        agreement: DimensionVote | None = None,
        *,
        most: int = sys.maxsize,
    ) -> None:
        self._dtype = dtype
        self._is_packed = dtype in {"binary", "ubinary"}
        self._read_numbers = read_numbers or number_reader(whole=dtype != "float32")
        self._is_demanded = dimension is not None  # a server that ignores it will do so again, and be paid for it
        self._usual = usual or 0
        self._agreement = agreement
        self._most = most
        self.largest = 0
        """Largest dimension of a vector while none is agreed on."""
        self._set_dimension(dimension)

    @property
    def stored(self) -> np.dtype[np.float32 | np.int8 | np.uint8]:
        """Type of the numbers of a vector in memory."""
        if self._dtype == "float32":
            return np.dtype(np.float32)
        return np.dtype(np.int8 if _INTEGER_RANGES[self._dtype][0] else np.uint8)

    @property
    def packing(self) -> int:
        """Dimensions that one number in memory holds."""
        return 8 if self._is_packed else 1

    @property
    def width(self) -> int:
        """Numbers that a vector has in memory, once the dimension is known: 8 bits are one of them."""
        return (self.dimension or 0) // self.packing

    @property
    def is_open(self) -> bool:
        """Whether vectors of any dimension are given, as none is agreed on yet."""
        return self.dimension is None and self._agreement is not None

    def decode(self, value: Value) -> Vector:
        """Decode one vector; `quiet` belongs around it, once for many vectors.

        Args:
            value: What stands in its place: a list of numbers or base64.

        Returns:
            A writable 1-D array: float32, int8 or uint8.

        Raises:
            ResponseError: if it is no vector of finite numbers of the asked type and the known dimension.
        """
        if value is None:
            raise ResponseError("a vector is null, nested or an object instead of a list of numbers")
        vector = self._from_json(value) if _is_array(value) else self._from_base64(_base64_bytes(value))
        if len(vector) != self.dimension or self._is_packed:
            self._check_dimension(len(vector))
        return vector

    def decode_run(self, values: Sequence[Value]) -> list[Vector] | None:
        """Decode many vectors at once, if all are base64 of the known length and without fault; else None."""
        data = self.decode_rows(values)
        if data is None:
            return None
        rows = [np.frombuffer(row, _FLOAT32) for row in data]
        return [*rows] if are_vectors(rows) else None

    def decode_rows(self, values: Sequence[Value]) -> list[RawRow] | None:
        """Decode many rows for a matrix at once, if all are base64 of the known length; else None."""
        size = self._row_bytes
        if size < 0 or sys.byteorder != "little" or not _are_strings(values):
            return None
        try:
            rows: list[RawRow] = [_decode_base64(value[1:-1]) for value in values]
        except ValueError:  # of which binascii.Error is one
            return None
        return rows if set(map(len, rows)) == {size} else None

    def decode_row(self, value: Value) -> RawRow:
        """Decode one vector for a row of a matrix; whether its numbers are finite is left to the matrix.

        Raises:
            ResponseError: as `decode` does.
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
        """End the search for the dimension, if all vectors so far agree on it."""
        if self.dimension is None and self._agreement and self._agreement.only:
            self._set_dimension(self._agreement.only)

    def _set_dimension(self, dimension: int | None) -> None:
        self.dimension = dimension
        # As base64 of float32; no length at all where that is not asked for, or not known.
        self._row_bytes = 4 * dimension if dimension and self._dtype == "float32" else -1

    def _check_dimension(self, size: int) -> None:
        dimension = size * self.packing
        if self.dimension is None and 0 < dimension <= self._most:
            self.largest = max(self.largest, dimension)
            if self._agreement and not self._agreement.see(dimension):
                return
            self._set_dimension(dimension)
        if dimension != self.dimension:
            right = self.dimension or (f"at most {self._most}" if dimension else "some")
            words = f"a vector has {dimension} dimensions instead of {right}"
            raise ResponseError(words, retryable=not self._is_demanded)

    def _from_json(self, text: JSONText) -> Vector:
        numbers = self._read_numbers(text)
        if self._dtype == "float32":
            return _checked(numbers.astype(np.float32), is_base64=False)
        low, high = _INTEGER_RANGES[self._dtype]
        is_whole = numbers.dtype == np.int64 or (numbers % 1 == 0).all()
        if numbers.size and not (is_whole and low <= numbers.min() and numbers.max() <= high):
            raise ResponseError(f"a vector holds numbers that are no whole numbers from {low} to {high}")
        return numbers.astype(self.stored)

    def _from_base64(self, data: bytearray) -> Vector:
        if self._dtype != "float32":
            return np.frombuffer(data, self.stored)
        if len(data) == self._row_bytes or len(data) == 4 * self._usual > 0:
            return _checked(np.frombuffer(data, _FLOAT32), is_base64=True)
        return _checked(_read_floats(data, self.dimension), is_base64=True)


def _checked(vector: npt.NDArray[np.float32], *, is_base64: bool) -> npt.NDArray[np.float32]:
    if fault := fault_in(vector, is_base64=is_base64):
        raise ResponseError(fault)
    return vector


def _read_floats(data: bytearray, dimension: int | None) -> npt.NDArray[np.float32]:
    """Read base64 that is not float32 of the expected dimension; what comes may have another dimension."""
    if not data or len(data) % 2:
        raise ResponseError(f"a vector of {len(data)} base64 bytes holds no floats")
    singles = [np.frombuffer(data, _FLOAT32)] if len(data) % 4 == 0 else []
    low, high = _BELIEVABLE_NUMBERS
    if dimension and len(data) == 2 * dimension:
        # bfloat16 is the upper half of a float32; what is not meant for that has numbers of any size.
        brain = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
        sizes = np.abs(brain[brain != 0])
        is_brain = bool(((low < sizes) & (sizes < high)).all())
        return _most_believable(np.frombuffer(data, "<f2"), *([brain] if is_brain else singles))
    if dimension and len(data) == 8 * dimension:
        return _most_believable(np.frombuffer(data, "<f8"), *singles)
    if not singles:
        raise ResponseError(f"a vector of {len(data)} base64 bytes holds no floats")
    single = singles[0]
    if dimension or len(data) % 8 or not single.any():
        return single
    # Doubles made of shorter floats have low halves of 0, and then their high halves alone make a norm.
    if single[::2].any() and math.isfinite(_distance_from_1(single)):
        return single
    return _most_believable(single, np.frombuffer(data, "<f8"))


def _most_believable(*readings: _Floats) -> npt.NDArray[np.float32]:
    """Return the reading whose norm is nearest to 1, as that of most embeddings; the first one if none is believable.

    A wrong reading shows in its norm, because it takes low bits of numbers for exponents.
    """
    return min(readings, key=_distance_from_1).astype(np.float32)


def _distance_from_1(floats: _Floats) -> float:
    """Return how many times the norm is larger or smaller than 1, as a logarithm; infinity if it is not believable."""
    low, high = _BELIEVABLE_NORMS
    norm = float(np.linalg.norm(floats.astype(np.float64)))
    return abs(math.log(norm)) if low < norm < high else math.inf


def _are_strings(values: Sequence[Value]) -> TypeGuard[Sequence[JSONText]]:
    """Whether all are JSON text of strings."""
    return set(map(type, values)) <= {memoryview, bytearray} and are_strings(values)  # type: ignore[arg-type]


def _is_array(value: JSONText | str) -> TypeGuard[JSONText]:
    return not isinstance(value, str) and value[0] == _BRACKET


def _base64_bytes(value: JSONText | str) -> bytearray:
    try:
        return _decode_base64(value if isinstance(value, str) else value[1:-1])
    except (binascii.Error, ValueError) as error:
        if not isinstance(value, str):
            return _base64_bytes(text_of(value))  # JSON may write a slash as \\/
        raise ResponseError("a vector is a string that is not base64") from error
