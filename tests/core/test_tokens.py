"""How many tokens there are, without a tokenizer: never too few at first, and then as many as were billed."""

from __future__ import annotations

import random

from asyncembed import RetryPolicy
from asyncembed._core import CircuitBreaker, EndpointState


def new_estimate():
    """Of a model that was never asked for anything."""
    return EndpointState(CircuitBreaker(RetryPolicy())).tokens["model"]


def test_a_byte_is_a_token_until_something_is_known():
    """No text has more."""
    assert new_estimate().of(100) == 100


def test_it_learns_what_is_billed():
    """And stays above it, by as much as it varies."""
    estimate, draw = new_estimate(), random.Random(1)
    for _ in range(200):
        size = draw.randint(100, 10_000)
        estimate.learn(size, round(size * draw.uniform(0.24, 0.26)))
    assert 250 < estimate.of(1_000) < 280


def test_what_is_likely_is_neither_too_many_nor_too_few():
    """Unlike what is asked of the rate limit."""
    estimate = new_estimate()
    assert estimate.likely(1_000) == 500
    for tokens in (250, 350) * 20:
        estimate.learn(1_000, tokens)
    assert 280 < estimate.likely(1_000) < 320 < estimate.of(1_000)


def test_it_follows_a_change():
    """From English to something else, at once by the deviation and then by the mean."""
    estimate = new_estimate()
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
    estimate = new_estimate()
    for _ in range(50):
        estimate.learn(1_000, None)
    assert 500 <= estimate.of(1_000) <= 505
