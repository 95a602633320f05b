"""The types a vector is sent as, against values computed elsewhere."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from asyncembed.local import _model as _vectors

GOLDEN = np.array([[1, -2.5, 0, 0.25, -0.125, 3, -1, 0.5]], np.float32)


def test_golden_base64():
    assert _vectors.to_base64(GOLDEN) == ["AACAPwAAIMAAAAAAAACAPgAAAL4AAEBAAACAvwAAAD8="]


def test_golden_bits():
    """A component of 0 gives the bit 0; the first dimension is the highest bit; binary is offset by 128."""
    assert _vectors.to_ubinary(GOLDEN).tolist() == [[149]]
    assert _vectors.to_binary(GOLDEN).tolist() == [[21]]


def test_documented_bits():
    """Bits 01001101 are ubinary 77 and binary -51 in Voyage's documentation."""
    vector = np.array([[-1, 1, -1, -1, 1, 1, -1, 1]], np.float32)
    assert _vectors.to_ubinary(vector).tolist() == [[77]]
    assert _vectors.to_binary(vector).tolist() == [[-51]]


def test_integers_are_scaled_by_127_and_clipped():
    vector = np.array([[-1, -0.5, 0, 0.004, 0.25, 1, 1.5, -1.5]], np.float32)
    assert _vectors.to_int8(vector).tolist() == [[-127, -64, 0, 1, 32, 127, 127, -127]]
    assert _vectors.to_uint8(vector).tolist() == [[1, 64, 128, 129, 160, 255, 255, 1]]


@pytest.mark.parametrize(
    ("name", "dtype", "width"),
    [
        ("float", np.float32, 16),
        ("int8", np.int8, 16),
        ("uint8", np.uint8, 16),
        ("binary", np.int8, 2),
        ("ubinary", np.uint8, 2),
    ],
)
def test_shapes_and_dtypes(name, dtype, width):
    vectors = _vectors.normalise(np.random.default_rng(0).normal(size=(3, 16)).astype(np.float32))
    encoded = _vectors.ENCODERS[name](vectors)
    assert encoded.shape == (3, width)
    assert encoded.dtype == dtype


def test_base64_of_a_slice_is_that_of_a_copy():
    """Rows of a shortened array are not adjacent in memory."""
    vectors = np.random.default_rng(0).normal(size=(3, 16)).astype(np.float32)
    decoded = [np.frombuffer(base64.b64decode(text), "<f4") for text in _vectors.to_base64(vectors[:, :5])]
    np.testing.assert_array_equal(decoded, vectors[:, :5])


def test_shorten_keeps_direction_and_restores_length():
    vectors = _vectors.normalise(np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32))
    short = _vectors.shorten(vectors, 8)
    assert short.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(short, axis=1), 1, rtol=1e-6)
    ratio = short / vectors[:, :8]
    np.testing.assert_allclose(ratio, ratio[:, :1].repeat(8, axis=1), rtol=1e-5)


def test_shorten_to_the_full_length_changes_no_bit():
    vectors = _vectors.normalise(np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32))
    np.testing.assert_array_equal(_vectors.shorten(vectors, 16), vectors)


@pytest.mark.parametrize("nothing", [0.0, -0.0, 1e-30])
def test_rows_of_length_zero_become_even_ones(nothing):
    """There is no number beside which a vector of zeros could be near or far."""
    vectors = np.array([[3, 4], [nothing, nothing]], np.float32)
    np.testing.assert_allclose(_vectors.normalise(vectors), [[0.6, 0.8], [0.5**0.5, 0.5**0.5]], rtol=1e-6)


def test_shortened_rows_of_length_zero_become_even_ones():
    vectors = np.array([[0, 0, 1]], np.float32)
    np.testing.assert_allclose(_vectors.shorten(vectors, 2), [[0.5**0.5, 0.5**0.5]], rtol=1e-6)
