"""Bisecting without I/O: every text is settled, and a bad one costs few requests more."""

from __future__ import annotations

from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncembed.pipeline._parts import Parts


def bisect(count: int, bad: set[int]) -> tuple[int, list[int], list[int]]:
    """Requests made, and which texts were taken and refused, when those in `bad` are refused with all beside them."""
    parts, requests, taken, refused = Parts(range(count)), 0, [], []
    while part := parts.next():
        if part.is_refused:
            assert len(part) > 1
            parts.halve(part)
            continue
        requests += 1
        if not bad & set(part.indices):
            taken += part.indices
            parts.taken(part)
        elif len(part) == 1:
            refused += part.indices
        else:
            parts.halve(part)
    return requests, taken, refused


@pytest.mark.parametrize("count", [*range(1, 130), 500, 512, 513, 2048])
def test_one_bad_text_costs_few_requests_more(count):
    places = range(count) if count < 130 else [0, 1, count // 3, count // 2, count - 2, count - 1]
    for bad in places:
        requests, taken, refused = bisect(count, {bad})
        assert refused == [bad]
        assert taken == [index for index in range(count) if index != bad]
        assert requests - 1 <= 2 * log2(count) + 1


@given(st.integers(0, 80), st.sets(st.integers(0, 79)))
def test_any_bad_texts_are_found_and_the_others_taken_once_in_order(count, bad):
    requests, taken, refused = bisect(count, bad)
    assert refused == sorted(index for index in bad if index < count)
    assert taken == [index for index in range(count) if index not in bad]
    assert requests <= 2 * count


@given(st.integers(1, 200), st.integers(1, 300))
def test_what_is_too_large_is_cut_evenly(count, parts):
    cut = Parts(range(count))
    whole = cut.next()
    cut.cut(whole, parts)
    sizes, indices = [], []
    while part := cut.next():
        sizes.append(len(part))
        indices += part.indices
        cut.taken(part)  # which says nothing of the next one
    assert indices == list(range(count))
    assert len(sizes) <= parts
    assert max(sizes) == -(-count // parts)
