"""JSON arrays of numbers to float64, by the fastest parser that is installed.

simdjson, else orjson, else the standard library: the same numbers bit by bit, and the same refusals.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import orjson

from asyncembed._errors import ResponseError

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncembed.wire._scan import JSONText

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
