"""What is learned from requests that were too large."""

from __future__ import annotations

import pytest

from asyncembed import InvalidInputError, Limits
from asyncembed._decide import LearnedLimits, read_too_large

WIDE = Limits(inputs=2_048, tokens=300_000)


def said(words: str):
    """What an API is understood to have said with these words."""
    return read_too_large(InvalidInputError(words, status=400, provider_message=words))


@pytest.mark.parametrize(
    ("words", "parts", "limits"),
    [
        ("number of texts must be at most 96 - received 2000", 21, Limits(inputs=96, tokens=300_000)),
        ("at most 100 requests can be in one batch", 20, Limits(inputs=100, tokens=300_000)),
        ("Too many inputs in request, split into more batches.", 2, Limits(inputs=1_000, tokens=300_000)),
        (
            "number of texts must be at most 96 - received 97",
            2,
            Limits(inputs=1_000, tokens=300_000),
        ),  # it speaks of something else
        ("at most 1 requests can be in one batch", 2, Limits(inputs=1_000, tokens=300_000)),
        ("at most 5000 requests can be in one batch", 2, Limits(inputs=1_000, tokens=300_000)),
        ("Too many tokens in batch. Max is 25000 got 100000", 5, Limits(inputs=2_048, tokens=22_050)),
        ("Too many tokens overall, split into more batches.", 2, Limits(inputs=2_048, tokens=49_024)),
        ("Payload Too Large", 2, Limits(inputs=2_048, tokens=300_000, request_bytes=100_050)),
        ("Too many tokens in batch. Max is 1 got 1000000000", 64, Limits(inputs=2_048, tokens=1_531)),
    ],
)
def test_the_cap_follows_from_what_fits_the_request(words, parts, limits):
    caps = LearnedLimits()
    assert caps.learn(said(words), 2_000, 200_000) == parts
    assert caps.within(WIDE) == limits


def test_caps_only_shrink():
    caps = LearnedLimits()
    caps.learn(said("at most 32 requests can be in one batch"), 96, 1_000)
    caps.learn(said("at most 64 requests can be in one batch"), 96, 1_000)
    assert caps.within(WIDE).inputs == 32


def test_nothing_learned_changes_nothing():
    assert LearnedLimits().within(WIDE) is WIDE
