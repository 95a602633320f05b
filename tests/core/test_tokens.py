"""How many tokens there are, without a tokenizer: never too few at first, and then as many as were billed."""

from __future__ import annotations

import random

import pytest

from asyncembed._core.rate_gate import BESIDES, TokenEstimate, believed


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


@pytest.mark.parametrize(
    ("tokens", "size", "texts", "is_believed"),
    [
        (None, 100, 1, False),
        (0, 100, 1, True),
        (25, 100, 1, True),
        (100, 100, 1, True),
        (2 * BESIDES, 10, 2, True),  # short texts, and a prompt before each
        (100 + BESIDES + 1, 100, 1, False),
        (-1, 100, 1, False),
        (10**12, 8_000_000, 2_048, False),
    ],
)
def test_what_cannot_be_true_is_not_believed(tokens, size, texts, is_believed):
    """A token has a byte at least, but for what a server adds to each text."""
    assert believed(tokens, size, texts) == (tokens if is_believed else None)


def test_what_is_likely_is_neither_too_many_nor_too_few():
    """Unlike what is asked of the rate limit."""
    estimate = TokenEstimate()
    assert estimate.likely(1_000) == 500
    for tokens in (250, 350) * 20:
        estimate.learn(1_000, tokens)
    assert 280 < estimate.likely(1_000) < 320 < estimate.of(1_000)


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
