"""Values that are made many at a time are like those that are made one by one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from asyncembed import EmbedInput, EmbedResult
from asyncembed._models import FEW, make_many

COUNTS = [0, 1, FEW - 1, FEW, 3 * FEW]


@pytest.mark.parametrize("count", COUNTS)
def test_many_results_are_like_single_ones(count):
    """Frozen, without room for more, and each with its own fields."""
    vectors = [np.full(2, number, np.float32) for number in range(count)]
    texts, ids = (
        [f"text {number}" for number in range(count)],
        [None if number % 2 else number for number in range(count)],
    )
    many = make_many(EmbedResult, range(count), vectors, iter(texts), iter(ids))
    for number, made in enumerate(many):
        single = EmbedResult(number, vectors[number], texts[number], ids[number])
        assert type(made) is EmbedResult
        assert repr(made) == repr(single)
        assert made.embedding is vectors[number]
        assert made.span == 1
        with pytest.raises(dataclasses.FrozenInstanceError):
            made.index = 7  # type: ignore[misc]
    assert len(many) == count


@pytest.mark.parametrize("count", COUNTS)
def test_many_inputs_are_like_single_ones(count):
    texts = [f"text {number}" for number in range(count)]
    many = make_many(EmbedInput, texts, [None] * count)
    assert many == [EmbedInput(text) for text in texts]
    assert list(map(hash, many)) == [hash(EmbedInput(text)) for text in texts]


@pytest.mark.parametrize("count", COUNTS)
def test_each_field_has_its_column(count):
    with pytest.raises((TypeError, ValueError)):
        make_many(EmbedResult, range(max(count, 1)))
