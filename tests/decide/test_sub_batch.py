"""Parts of a batch without I/O: every text is settled, and a bad one costs few requests more."""

from __future__ import annotations

from math import ceil, log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncembed import InvalidInputError, Limits
from asyncembed._decide import Chunker, CostModel, SubBatch, apart, fits, halves, smaller

REFUSAL = InvalidInputError("no", status=400)


def part_of(texts: list[str], prefix: int = 0) -> SubBatch:
    (batch,) = Chunker(Limits(inputs=len(texts)), None, CostModel(), 1 << 60, prefix=prefix).take(texts)
    return SubBatch(batch)


def whole(count: int) -> SubBatch:
    return part_of([f"text {index}" for index in range(count)])


def settle(count: int, bad: set[int], *, names: bool = False) -> tuple[int, list[int], list[int]]:
    """Requests made, and which texts were taken and refused, when those in `bad` are refused with all beside them."""
    parts, requests, taken, refused = [whole(count)] if count else [], 0, [], []
    while parts:
        part = parts.pop(0)
        indices = list(part.batch.inputs)
        assert part.is_ready
        if part.is_guilty and len(part) > 1:
            parts = halves(part, part.batch.inputs, REFUSAL) + parts
            continue
        requests += 1
        found = sorted(bad & set(indices))
        if not found:
            part.accepted()
            taken += indices
            refused += part.suspects
        elif names and len(indices) > 1:
            parts = apart(part, part.batch.inputs, found[:1], REFUSAL) + parts
        elif len(indices) > 1 or part.suspects:
            parts = halves(part, part.batch.inputs, REFUSAL) + parts
        else:
            refused += indices
        part.is_settled = True
    return requests, sorted(taken), sorted(refused)


@pytest.mark.parametrize("count", [*range(1, 130), 500, 512, 513, 2048])
def test_one_bad_text_costs_few_requests_more(count):
    places = range(count) if count < 130 else [0, 1, count // 3, count // 2, count - 2, count - 1]
    for bad in places:
        requests, taken, refused = settle(count, {bad})
        assert refused == [bad]
        assert taken == [index for index in range(count) if index != bad]
        assert requests - 1 <= 2 * ceil(log2(count))


@given(st.integers(0, 80), st.sets(st.integers(0, 79)))
def test_any_bad_texts_are_found_and_the_others_taken_once(count, bad):
    requests, taken, refused = settle(count, bad)
    assert refused == sorted(index for index in bad if index < count)
    assert taken == [index for index in range(count) if index not in bad]
    assert requests <= 2 * count


@given(st.integers(2, 80), st.sets(st.integers(0, 79), max_size=6))
def test_a_text_that_is_named_costs_one_request_more(count, bad):
    bad = {index for index in bad if index < count}
    requests, taken, refused = settle(count, bad, names=True)
    assert refused == sorted(bad)
    assert taken == [index for index in range(count) if index not in bad]
    assert requests <= 1 + len(bad) + (2 * count if len(bad) >= count - 1 else 0)


def test_the_other_half_waits_for_the_first():
    """What comes of the first tells whether it must be asked for."""
    part = whole(4)
    first, second = halves(part, part.batch.inputs, REFUSAL)
    assert (first.is_ready, second.is_ready) == (True, False)
    first.is_settled = True  # refused
    assert second.is_ready
    assert not second.is_guilty
    first.accepted()
    assert second.is_guilty


@given(
    st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=60),
    st.integers(1, 40),
    st.integers(1, 300),
    st.integers(0, 50),
)
def test_smaller_parts_keep_to_the_limits(texts, inputs, size, prefix):
    """With what is put before each text."""
    part = part_of(texts, prefix)
    limits = Limits(inputs=inputs, request_bytes=size, tokens=size // 2 + 1)
    parts = smaller(part, part.batch.inputs, limits, None)
    assert [index for each in parts for index in each.batch.inputs] == list(range(len(texts)))
    assert all(fits(each.batch, limits) for each in parts)
    assert len(smaller(part, part.batch.inputs, Limits(inputs=10**6), REFUSAL)) == min(len(texts), 2)


@pytest.mark.parametrize("cut", ["halves", "apart", "smaller"])
def test_parts_count_the_prompt_before_each_text(cut):
    """As the whole does."""
    chunker = Chunker(Limits(inputs=4), None, CostModel(), 10**9, prefix=100)
    (batch,) = chunker.take(["ab", "cd", "ef", "gh"])
    assert batch.request_bytes == 4 * (2 + 3 + 100)
    part = SubBatch(batch)
    parts = {
        "halves": lambda: halves(part, batch.inputs, REFUSAL),
        "apart": lambda: apart(part, batch.inputs, [0], REFUSAL),
        "smaller": lambda: smaller(part, batch.inputs, Limits(inputs=10, request_bytes=220), None),
    }[cut]()
    for each in parts:
        assert each.batch.request_bytes == len(each) * (2 + 3 + 100)
        assert fits(each.batch, Limits(inputs=4, tokens=len(each) * 51))
        assert len(each) == 1 or not fits(each.batch, Limits(inputs=4, tokens=len(each) * 50))
        assert all(again.batch.prefix == 100 for again in (each, *halves(each, each.batch.inputs, REFUSAL)))
