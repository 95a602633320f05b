"""The estimate of tokens lies within 20 % of the counts of a real tokenizer, and takes any text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncembed._decide import estimate_tokens

SAMPLES = Path(__file__).parent / "token_samples"
COUNTS = json.loads((SAMPLES / "counts.json").read_text())


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_samples_are_within_a_fifth(name, count):
    assert estimate_tokens((SAMPLES / f"{name}.txt").read_text()) == pytest.approx(count, rel=0.2)


@given(st.text(max_size=300))
def test_any_text_has_a_token_at_least_and_no_more_than_bytes(text):
    assert 1 <= estimate_tokens(text) <= max(1, 2 * len(text.encode("utf-8", "surrogatepass")))
