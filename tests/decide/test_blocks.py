"""Batches as matrices: the same vectors as single results, in as few pieces as the gaps allow."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncembed import EmbedInput, ResponseError
from asyncembed._decide import Batch, BlockDelivery
from asyncembed._parser import VectorDecoder

FIRST = 100


def batch_of(*indices: int, refused: tuple[int, ...] = ()) -> Batch:
    return Batch(
        {index: EmbedInput(f"text {index}", index) for index in indices},
        refused=[(index, EmbedInput(""), None) for index in refused],
    )


def new_delivery(batch: Batch) -> BlockDelivery:
    return BlockDelivery(batch, VectorDecoder("float32", 3))


def vector(index: int) -> np.ndarray:
    return np.full(3, index, np.float32)


def flat(blocks) -> list[tuple[int, str, float]]:
    """Index, text and number of each row."""
    return [
        (block.index + row, item.text, float(block.embeddings[row, 0]))
        for block in blocks
        for row, item in enumerate(block.inputs)
    ]


def test_a_batch_comes_as_one_matrix_when_it_is_complete():
    delivery = new_delivery(batch_of(*range(FIRST, FIRST + 4)))
    delivery.begin_attempt()
    assert list(delivery.accept([(2, vector(102)), (0, vector(100))])) == []
    (block,) = delivery.accept([(3, vector(103)), (1, vector(101))])
    assert (block.index, block.span, block.embeddings.shape, block.embeddings.dtype) == (FIRST, 4, (4, 3), np.float32)
    assert block.embeddings.flags.c_contiguous
    assert block.embeddings.flags.writeable
    assert flat([block]) == [(i, f"text {i}", i) for i in range(100, 104)]
    assert list(delivery.flush()) == []


@pytest.mark.parametrize("refused", [(), (101,), (100, 103)])
def test_what_is_missing_for_good_cuts_the_matrix(refused):
    sent = [index for index in range(100, 104) if index not in refused]
    delivery = new_delivery(batch_of(*sent, refused=refused))
    delivery.begin_attempt()
    blocks = delivery.accept([(place, vector(index)) for place, index in enumerate(sent)])
    assert flat(blocks) == [(i, f"text {i}", i) for i in sent]
    assert len(blocks) == (2 if refused == (101,) else 1)


def test_what_arrived_of_a_batch_that_ends_early_is_given():
    delivery = new_delivery(batch_of(*range(100, 105)))
    delivery.begin_attempt()
    delivery.accept([(0, vector(100)), (1, vector(101)), (3, vector(103))])
    assert [index for index, _ in delivery.give_up()] == [102, 104]
    assert [(block.index, block.span) for block in delivery.flush()] == [(100, 2), (103, 1)]


def test_without_a_vector_there_is_no_block():
    delivery = new_delivery(batch_of(refused=(100, 101)))
    assert list(delivery.flush()) == []
    assert delivery.missing == ()


def test_a_position_that_comes_twice_is_refused_here_too():
    delivery = new_delivery(batch_of(100, 101))
    delivery.begin_attempt()
    delivery.accept([(0, vector(100)), (0, vector(100))])
    with pytest.raises(ResponseError, match="two vectors for position 0"):
        delivery.check()


@given(st.integers(1, 12), st.integers(0, 2**32), st.floats(0, 1))
def test_any_order_over_any_attempts_gives_every_row_once(count, seed, lost):
    draw = random.Random(seed)
    indices = sorted(draw.sample(range(FIRST, FIRST + 2 * count), count))
    refused = tuple(sorted(set(range(indices[0], indices[-1])) - set(indices)))
    delivery = new_delivery(batch_of(*indices, refused=refused))
    blocks = []
    while delivery.missing:
        delivery.begin_attempt()
        asked = delivery.missing
        arriving = [(place, vector(index)) for place, index in enumerate(asked) if draw.random() >= lost]
        draw.shuffle(arriving)
        blocks += delivery.accept(arriving)
        if draw.random() < 0.2:
            break
    kept = sorted(set(indices) - {index for index, _ in delivery.give_up()})
    blocks += delivery.flush()
    assert flat(blocks) == [(index, f"text {index}", index) for index in kept]
    assert all(a.index + a.span < b.index for a, b in itertools.pairwise(blocks))


def test_a_position_that_is_no_good_at_first_may_come_again():
    """In one chunk as in two."""
    bad = bytearray(np.full(len(vector(100)), np.nan, np.float32).tobytes())
    for bursts in (
        [[(0, bad)], [(0, vector(100)), (1, vector(101))]],
        [[(0, bad), (0, vector(100)), (1, vector(101))]],
    ):
        delivery = new_delivery(batch_of(100, 101))
        delivery.begin_attempt()
        blocks = [block for burst in bursts for block in delivery.accept(burst)]
        delivery.check()
        assert flat(blocks) == [(index, f"text {index}", index) for index in (100, 101)]
