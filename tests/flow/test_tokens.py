"""How many tokens there are, without a tokenizer: never too few at first, and then as many as were billed."""

from __future__ import annotations

import random

from asyncembed.flow._tokens import TokenEstimate


def test_a_byte_is_a_token_until_something_is_known():
    """No text has more."""
    assert TokenEstimate().of(100) == 100


def test_it_learns_what_is_billed():
    """And stays above it, by as much as it varies."""
    estimate, draw = TokenEstimate(), random.Random(1)
    for _ in range(200):
        size = draw.randint(100, 10_000)
        estimate.learn(size, round(size * draw.uniform(0.24, 0.26)))
    assert 250 < estimate.of(1_000) < 280


def test_it_follows_a_change():
    """From English to something else, at once by the deviation and then by the mean."""
    estimate = TokenEstimate()
    for _ in range(50):
        estimate.learn(1_000, 250)
    for _ in range(3):
        estimate.learn(1_000, 600)
    assert estimate.of(1_000) >= 600
    for _ in range(100):
        estimate.learn(1_000, 600)
    assert 600 <= estimate.of(1_000) <= 605


def test_an_api_that_never_says_is_reckoned_with_half():
    """Or a quarter of its limit would be used at best."""
    estimate = TokenEstimate()
    for _ in range(50):
        estimate.learn(1_000, None)
    assert 500 <= estimate.of(1_000) <= 505
