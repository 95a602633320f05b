"""The three readers of JSON number arrays: the same float64, bit by bit, and the same refusals."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import asyncembed
from asyncembed import ResponseError
from asyncembed._parser import VectorDecoder, quiet
from asyncembed._parser import vectors as _numbers
from asyncembed._parser.vectors import number_reader, read_numbers_json, read_numbers_orjson

simdjson = pytest.importorskip("simdjson") and pytest.param(number_reader(), id="simdjson")
READERS = [simdjson, pytest.param(read_numbers_orjson, id="orjson"), pytest.param(read_numbers_json, id="json")]

each_reader = pytest.mark.parametrize("read", READERS)


@pytest.fixture(autouse=True)
def no_warnings():
    """As around every use of a decoder."""
    with quiet():
        yield


def same_bits(read, text: str) -> None:
    got, want = read(text.encode()), np.array([float(number) for number in json.loads(text)], np.float64)
    assert got.dtype == np.float64
    assert got.tobytes() == want.tobytes()  # float64 bit by bit, and so float32 too


@each_reader
@pytest.mark.parametrize(
    "text",
    [
        "[]", "[ ]", "[0]", "[-0]", "[-0.0]", "[ 1 ,\n2\t,\r3 ]", "[1e-05,1E-5,1e+5,1E5,1.5e0]", "[1,2.5,-3]",
        "[0.1,0.30000000000000004,0.012345678901234567,-0.98765432109876543]",
        "[5e-324,4.9406564584124654e-324,2.2250738585072011e-308,2.2250738585072014e-308,1e-400]",
        "[1.401298464324817e-45,1.1754942106924411e-38,7.006492321624085e-46]",
        "[3.4028234663852886e+38,1.7976931348623157e308]",
        "[9007199254740993,18446744073709551615,18446744073709551616,-9223372036854775809,99999999999999999999999]",
        "[1.00000005960464477539062,1.00000005960464477539063,16777217,16777219]",
        "[0.000000000000000000000000000000000000000000001,123456789012345678901234567890.5]",
    ],
)  # fmt: skip
def test_awkward_numbers(read, text):
    """Denormals, ties between two floats, signed zeros, exponents, integers beyond 64 bits."""
    same_bits(read, text)


@each_reader
@settings(max_examples=100)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**25), 10**25), max_size=20))
def test_any_numbers(read, numbers):
    """As Python writes them."""
    same_bits(read, json.dumps(numbers))


@each_reader
def test_numbers_with_17_digits(read):
    """As servers write float64, and longer ones that a float cannot hold."""
    draw = random.Random(7)
    for form in ("{:.17g}", "{:.16e}", "{:.25f}", "{:.3E}", "{:.0f}"):
        same_bits(read, "[" + ",".join(form.format(draw.gauss(0, 10 ** draw.randint(-9, 9))) for _ in range(300)) + "]")


@each_reader
@pytest.mark.parametrize(
    "text",
    [
        "[1,null]", "[1,true]", "[NaN]", "[1,Infinity]", "[-Infinity]", "[01]", "[1.]", "[.5]", "[+1]", "[-]", "[1e]",
        "[1,]", "[1,,2]", "[1 2]", "[1}", "[1", "[0x1]", "[1_0]", "[1\x0b]", "[1\x00]", "[1\xa0]", "[1e5.5]", "[--1]",
        "[1]]", f"[1{'0' * 5_000}]",
    ],
)  # fmt: skip
def test_refused(read, text):
    """What is no JSON number is our error."""
    with pytest.raises(ResponseError, match=r"^a vector"):
        read(text.encode("latin-1"))


@each_reader
@pytest.mark.parametrize("text", [b"[1e400]", b"[-1e400,0]", b"[0,1e39]", b"[-3.5e38]"])
@pytest.mark.parametrize("dtype", ["float32", "int8", "uint8", "binary", "ubinary"])
def test_numbers_beyond_the_type_are_refused(read, text, dtype):
    """Whether the reader refuses them or calls them infinite."""
    with pytest.raises(ResponseError, match=r"^a vector"):
        VectorDecoder(dtype, read_numbers=read).decode(bytearray(text))


@each_reader
def test_a_reader_gives_arrays_of_their_own(read):
    """The one before is not overwritten by the next."""
    first = read(b"[1,2,3]")
    read(b"[4,5,6]")
    assert first.tolist() == [1, 2, 3]


def test_the_fastest_reader_is_chosen(monkeypatch):
    """simdjson where it is installed, else orjson."""
    assert number_reader() is not read_numbers_orjson
    monkeypatch.setattr(_numbers, "simdjson", None)
    assert number_reader() is read_numbers_orjson


def test_simdjson_may_be_missing():
    """As it is where there is no wheel of it."""
    code = (
        "import sys; sys.modules['simdjson'] = None\n"
        "from asyncembed._parser.vectors import number_reader, read_numbers_orjson\n"
        "from asyncembed._parser.vectors import VectorDecoder\n"
        "assert number_reader() is read_numbers_orjson\n"
        "assert VectorDecoder('float32').decode(bytearray(b'[1,-2.5]')).tolist() == [1, -2.5]"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=Path(asyncembed.__file__).parents[1])
