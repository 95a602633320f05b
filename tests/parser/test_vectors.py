"""Vector decoding: golden vectors in every encoding, what is refused, and arrays that are the caller's own."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncembed import ResponseError
from asyncembed._parser import VectorDecoder, quiet

GOLDEN = [1, -2.5, 0, 0.25, -0.125, 3, -1, 0.5]
GOLDEN_BASE64 = {
    "f4": "AACAPwAAIMAAAAAAAACAPgAAAL4AAEBAAACAvwAAAD8=",
    "f8": "AAAAAAAA8D8AAAAAAAAEwAAAAAAAAAAAAAAAAAAA0D8AAAAAAADAvwAAAAAAAAhAAAAAAAAA8L8AAAAAAADgPw==",
    "f2": "ADwAwQAAADQAsABCALwAOA==",
    "bfloat16": "gD8gwAAAgD4AvkBAgL8APw==",
}
INTEGERS = [
    ("int8", "gP8Afw==", [-128, -1, 0, 127]),
    ("uint8", "AAGA/w==", [0, 1, 128, 255]),
    ("ubinary", "TQ==", [77]),
    ("binary", "zQ==", [-51]),
]
STORED = {"float32": np.float32, "int8": np.int8, "uint8": np.uint8, "binary": np.int8, "ubinary": np.uint8}


@pytest.fixture(autouse=True)
def no_warnings():
    """As around every use of a decoder."""
    with quiet():
        yield


def encoded(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()


def quoted(array: np.ndarray) -> bytearray:
    return bytearray(json.dumps(encoded(array)).encode())


def json_text(numbers: list) -> bytearray:
    return bytearray(json.dumps(numbers).encode())


def unit(size: int, seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=size)
    return vector / np.linalg.norm(vector)


def bfloat16(vector: np.ndarray) -> np.ndarray:
    return (vector.astype("<f4").view("<u4") >> 16).astype("<u2")


def check(vector: np.ndarray, dtype: str, expected: list) -> None:
    assert vector.tolist() == expected
    assert vector.dtype == STORED[dtype]
    assert vector.ndim == 1
    assert vector.flags.writeable
    vector[0] = 0


@pytest.mark.parametrize("form", GOLDEN_BASE64)
def test_base64_floats_of_known_dimension(form):
    """The item size follows from the length."""
    check(VectorDecoder("float32", 8).decode(GOLDEN_BASE64[form]), "float32", GOLDEN)


def test_base64_float32_of_unknown_dimension():
    """The first vector sets the dimension; a second one of another size is refused."""
    decoder = VectorDecoder("float32")
    assert (decoder.dimension, decoder.stored) == (None, np.float32)
    check(decoder.decode(GOLDEN_BASE64["f4"]), "float32", GOLDEN)
    assert decoder.dimension == 8
    check(decoder.decode(GOLDEN_BASE64["f8"]), "float32", GOLDEN)
    with pytest.raises(ResponseError, match="a vector has 3 dimensions instead of 8"):
        decoder.decode(encoded(np.ones(3, "<f4")))


def test_lists_and_base64_may_be_mixed():
    """What came is seen value by value."""
    decoder = VectorDecoder("float32")
    check(decoder.decode(json_text(GOLDEN)), "float32", GOLDEN)
    check(decoder.decode(GOLDEN_BASE64["bfloat16"]), "float32", GOLDEN)


@pytest.mark.parametrize("dimension", [256, 384, 768, 1_024, 1_536, 3_072, 4_096])
@pytest.mark.parametrize("seed", range(3))
def test_realistic_vectors(dimension, seed):
    """float32 and float64 are told apart with the dimension unknown; the half floats need to know it."""
    vector = unit(dimension, seed)
    exact = vector.astype(np.float32)
    for given_, known, tolerance in [
        (exact.astype("<f4"), None, 0),
        ((exact * 20).astype("<f4") / np.float32(20), None, 1e-6),
        (vector.astype("<f8"), None, 0),
        (exact.astype("<f8"), None, 0),
        (vector.astype("<f8"), dimension, 0),
        (vector.astype("<f2"), dimension, 1e-3),
        (bfloat16(vector), dimension, 1e-2),
    ]:
        got = VectorDecoder("float32", known).decode(encoded(given_))
        assert got.shape == (dimension,)
        assert got.dtype == np.float32
        assert np.abs(got - exact).max() <= tolerance


@pytest.mark.parametrize("scale", [1e-4, 0.05, 1, 20, 5_000])
def test_float32_is_believed_first(scale):
    """Vectors need not have length 1."""
    vector = (unit(384, 1) * scale).astype("<f4")
    assert VectorDecoder("float32").decode(encoded(vector)).tobytes() == vector.tobytes()


def test_zeros_are_a_vector():
    """As some servers answer to odd texts."""
    assert VectorDecoder("float32").decode(encoded(np.zeros(8, "<f4"))).tolist() == [0] * 8
    for itemsize in (2, 4, 8):
        assert VectorDecoder("float32", 8).decode(encoded(np.zeros(8 * itemsize, "u1"))).tolist() == [0] * 8


@pytest.mark.parametrize("narrow", ["<f2", "bfloat16"])
def test_float64_made_from_half_floats(narrow):
    """A model that computes in half precision gives float64 whose low words are all zero."""
    vector = unit(384, 1)
    if narrow == "<f2":
        wide = vector.astype("<f2").astype("<f8")
    else:
        wide = (bfloat16(vector).astype("<u4") << 16).view("<f4").astype("<f8")
    assert VectorDecoder("float32").decode(encoded(wide)).tolist() == wide.tolist()


@pytest.mark.parametrize("size", [2, 8, 384])
def test_float32_with_many_zeros_is_float32(size):
    """One-hot vectors, as simple servers and tests have them."""
    vector = np.eye(size, dtype="<f4")[1]
    assert VectorDecoder("float32").decode(encoded(vector)).tolist() == vector.tolist()


@settings(max_examples=100)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=40).map(lambda some: [1.0, *some]))
def test_float32_goes_through_unchanged(numbers):
    """As JSON and as base64, bit by bit."""
    array = np.array(numbers, "<f4")
    for value in (encoded(array), json_text(array.tolist())):
        assert VectorDecoder("float32", len(numbers)).decode(value).tobytes() == array.tobytes()


def test_the_recording_of_doubles_decodes():
    """4,096 doubles, as one server has sent them: with the dimension known, expected or unknown."""
    vector = unit(4_096, 7)
    text = encoded(vector.astype("<f8"))
    for decoder in (
        VectorDecoder("float32", 4_096),
        VectorDecoder("float32", expected=4_096),
        VectorDecoder("float32"),
    ):
        assert decoder.decode(text).tobytes() == vector.astype(np.float32).tobytes()


@pytest.mark.parametrize("known", [True, False])
def test_bytes_in_the_wrong_order_are_no_vector(known):
    """Half floats, widened and written with the highest byte first, are numbers below 1e-9 that are not all 0."""
    swapped = unit(64, 1).astype("<f2").astype(">f4")
    decoder = VectorDecoder("float32", 64 if known else None)
    with pytest.raises(ResponseError, match="wrong order"):
        decoder.decode(encoded(swapped))
    assert decoder.decode_run([quoted(swapped)]) is None
    assert VectorDecoder("float32", 2).decode(json_text([1e-12, 0])).tolist() == [np.float32(1e-12), 0]


@pytest.mark.parametrize(("largest", "is_vector"), [(0, True), (1e-10, False), (1.1e-9, True)])
def test_a_vector_of_base64_has_a_number_above_dust(largest, is_vector):
    """Unless all of them are 0, as some servers answer to odd texts."""
    vector = np.array([largest, -largest / 2, 0, 0], "<f4")
    if is_vector:
        assert VectorDecoder("float32", 4).decode(encoded(vector)).tobytes() == vector.tobytes()
        return
    with pytest.raises(ResponseError, match="no number above 1e-9"):
        VectorDecoder("float32", 4).decode(encoded(vector))


@pytest.mark.parametrize(("dtype", "text", "numbers"), INTEGERS)
@pytest.mark.parametrize("known", [True, False])
def test_integers_from_json_and_base64(dtype, text, numbers, known):
    """Bits count eight dimensions a byte."""
    dimension = len(numbers) * (8 if "binary" in dtype else 1)
    for value in (text, json_text(numbers), json_text([float(n) for n in numbers])):
        decoder = VectorDecoder(dtype, dimension if known else None)
        check(decoder.decode(value), dtype, numbers)
        assert (decoder.dimension, decoder.stored.itemsize) == (dimension, 1)


@pytest.mark.parametrize(
    ("dtype", "numbers"),
    [("int8", [128]), ("int8", [-129]), ("uint8", [-1]), ("uint8", [256]), ("binary", [128]), ("ubinary", [-1])]
    + [(dtype, [0, bad]) for dtype in ("int8", "uint8", "binary", "ubinary") for bad in (0.5, 1e10, -1e300, 10**30)],
)
def test_integers_out_of_range_are_refused(dtype, numbers):
    """They never wrap around."""
    with pytest.raises(ResponseError, match="not integers from"):
        VectorDecoder(dtype).decode(json_text(numbers))


@pytest.mark.parametrize("dtype", STORED)
@pytest.mark.parametrize(
    "value",
    [None, "", "=", "AA", "AA=", "AAA", "====", "AA==AA==", "AA-_", " AA==", "AA==\n", "é===", b"[]", b"[null]"],
)
def test_refused_as_any_type(dtype, value):
    """Nothing, emptiness and what is not base64."""
    with pytest.raises(ResponseError, match=r"^a vector"):
        VectorDecoder(dtype).decode(value)


@pytest.mark.parametrize("dtype", STORED)
@pytest.mark.parametrize("size", [1, 7, 9, 16, 64])
def test_another_dimension_is_refused(dtype, size):
    """Short or long, from JSON or base64."""
    decoder = VectorDecoder(dtype, 64 if "binary" in dtype else 8)
    array = np.ones(size, STORED[dtype])
    for value in (json_text(array.tolist()), encoded(array)):
        if dtype == "float32" and size == 16 and isinstance(value, str):
            continue  # as long as 8 float64, which is what they are then read as
        with pytest.raises(ResponseError, match=r"^a vector"):
            decoder.decode(value)
    assert decoder.dimension == (64 if "binary" in dtype else 8)


@pytest.mark.parametrize("form", ["<f2", "<f4", "<f8", "bfloat16"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_base64_that_is_not_finite_is_refused(form, bad):
    """In any float format."""
    vector = np.array([1, bad, 0.5, 1], np.float32)
    text = encoded(bfloat16(vector) if form == "bfloat16" else vector.astype(form))
    if form not in {"<f2", "bfloat16"}:
        with pytest.raises(ResponseError, match=r"finite|infinity"):
            VectorDecoder("float32", 4).decode(text)
        return
    try:  # the other half float may make sense of the same bytes, but not of all of them as they were meant
        assert np.isfinite(VectorDecoder("float32", 4).decode(text)).all()
    except ResponseError as error:
        assert "finite" in str(error)  # noqa: PT017


def test_float64_beyond_float32_is_refused():
    """It does not become infinite."""
    with pytest.raises(ResponseError, match="not a finite float32"):
        VectorDecoder("float32", 2).decode(encoded(np.array([1, 1e39], "<f8")))


def test_bytes_that_no_float_makes_sense_of_are_refused():
    """Dimension unknown: neither as float32 nor as float64."""
    with pytest.raises(ResponseError, match="not a finite float32"):
        VectorDecoder("float32").decode(encoded(np.full(16, 0xFF, "u1")))
    with pytest.raises(ResponseError, match="does not contain floats"):
        VectorDecoder("float32").decode(encoded(np.ones(3, "u1")))


@pytest.mark.parametrize("value", ["[1e19,1e19]", "[-3.4028234663852886e38,3e38]", "[1e20,1]"])
def test_large_numbers_that_float32_has_are_taken(value):
    """Their squares are beyond it."""
    numbers = json.loads(value)
    assert VectorDecoder("float32").decode(bytearray(value, "ascii")).tolist() == np.array(numbers, np.float32).tolist()


@pytest.mark.parametrize("value", [encoded(np.array([1e30, 1], "<f4")), bytearray(b"[1e200,1]")])
def test_large_numbers_give_no_warning(value):
    """A float32 beyond 1e19 in base64 is taken; a float64 beyond 1e154 is refused."""
    decoder = VectorDecoder("float32", 2)
    if isinstance(value, str):
        assert decoder.decode(value)[0] == np.float32(1e30)
    else:
        with pytest.raises(ResponseError, match="not a finite float32"):
            decoder.decode(value)


def test_a_run_is_decoded_at_once_and_to_the_same():
    """Each array is the caller's own."""
    vectors = [unit(8, seed).astype("<f4") for seed in range(5)]
    contents = [quoted(vector) for vector in vectors]
    decoder = VectorDecoder("float32", 8)
    run = decoder.decode_run(contents)
    assert [vector.tobytes() for vector in run] == [vector.tobytes() for vector in vectors]
    check(run[0], "float32", vectors[0].tolist())
    assert run[1].tobytes() == vectors[1].tobytes()
    assert [row.tobytes() if hasattr(row, "tobytes") else bytes(row) for row in decoder.decode_rows(contents)] == [
        vector.tobytes() for vector in vectors
    ]


@pytest.mark.parametrize(
    "odd",
    [
        json_text([1] * 8),
        None,
        "AAAA",
        bytearray(b'"AAAA"'),
        bytearray(b'"' + b"!" * 44 + b'"'),
        bytearray(b"[" + b"0" * 43 + b"]"),
        quoted(np.ones(8, "<f8")),
        quoted(np.array([1, np.nan] * 4, "<f4")),
    ],
)
def test_a_run_with_anything_odd_in_it_is_not(odd):
    """It is decoded one by one, and then what is wrong is said of the one that is."""
    contents = [quoted(np.ones(8, "<f4")), odd]
    decoder = VectorDecoder("float32", 8)
    assert decoder.decode_run(contents) is None


@pytest.mark.parametrize("decoder", [VectorDecoder("float32"), VectorDecoder("int8", 8), VectorDecoder("binary", 8)])
def test_a_run_of_what_is_not_known_to_be_float32_is_not(decoder):
    assert decoder.decode_run([quoted(np.ones(8, "<f4"))]) is None
