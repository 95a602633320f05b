"""The dimension that is not known: two vectors decide it, and nobody waits for more than there can be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncembed import ResponseError
from asyncembed._parser import DimensionVote, VectorDecoder

RIGHT = 8


@pytest.mark.parametrize(
    ("dimensions", "settled_at"),
    [([8, 8], 1), ([7, 8, 8], 2), ([8, 7, 8], 2), ([7, 6, 5, 8, 8], 4), ([7, 7, 8, 8, 8], 1), ([7, 8, 9], None)],
)
def test_the_first_that_two_have_is_taken(dimensions, settled_at):
    vote = DimensionVote()
    settled = [vote.add(dimension) for dimension in dimensions]
    assert (settled.index(True) if True in settled else None) == settled_at


def test_what_is_usual_counts_as_one_vector():
    assert DimensionVote(expected=8).add(8)
    vote = DimensionVote(expected=8)
    assert not vote.add(7)
    assert vote.is_disputed
    assert vote.add(7)


def test_what_nobody_contradicts():
    vote = DimensionVote()
    assert vote.unanimous is None
    vote.add(8)
    assert (vote.unanimous, vote.is_disputed) == (8, False)
    vote.add(7)
    assert (vote.unanimous, vote.is_disputed) == (None, True)


@given(st.sets(st.integers(1, 5_000).filter(lambda size: size != RIGHT)), st.integers(2, 20), st.randoms())
def test_vectors_that_are_wrong_each_in_its_own_way_do_not_decide(wrong, count, draw):
    """However many there are, and wherever they come."""
    sizes = [*wrong, *[RIGHT] * count]
    draw.shuffle(sizes)
    vote = DimensionVote()
    assert next(size for size in sizes if vote.add(size)) == RIGHT


@pytest.mark.parametrize(("dtype", "bits"), [("float32", 1), ("int8", 1), ("binary", 8), ("ubinary", 8)])
def test_a_decoder_gives_any_dimension_until_it_is_agreed_on(dtype, bits):
    decoder = VectorDecoder(dtype, vote=DimensionVote())
    assert [len(decoder.decode(value)) for value in (bytearray(b"[1]"), bytearray(b"[1,0,1]"))] == [1, 3]
    assert (decoder.is_open, decoder.dimension, decoder.width) == (True, None, 0)
    assert len(decoder.decode(bytearray(b"[0,1,0]"))) == 3
    assert (decoder.is_open, decoder.dimension, decoder.width) == (False, 3 * bits, 3)
    with pytest.raises(ResponseError, match=f"{bits} dimensions instead of {3 * bits}"):
        decoder.decode(bytearray(b"[1]"))


def test_an_empty_vector_is_none_also_while_the_dimension_is_open():
    decoder = VectorDecoder("float32", vote=DimensionVote())
    with pytest.raises(ResponseError, match="0 dimensions"):
        decoder.decode(bytearray(b"[]"))
    decoder.conclude()
    assert decoder.is_open


def test_a_known_dimension_needs_no_agreement():
    decoder = VectorDecoder("float32", 3, vote=DimensionVote(expected=2))
    assert not decoder.is_open
    with pytest.raises(ResponseError, match="2 dimensions instead of 3"):
        decoder.decode(bytearray(b"[1,2]"))
