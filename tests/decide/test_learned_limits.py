"""What is learned from requests that were too large."""

from __future__ import annotations

import pytest

from asyncembed._decide import LearnedLimits
from asyncembed._decide.too_large import TooLarge
from asyncembed.providers import Limits

WIDE = Limits(inputs=2_048, tokens=300_000)


@pytest.mark.parametrize(
    ("excess", "parts", "limits"),
    [
        (TooLarge("inputs", 96, 2_000), 21, Limits(inputs=96, tokens=300_000)),
        (TooLarge("inputs", 100), 20, Limits(inputs=100, tokens=300_000)),
        (TooLarge("inputs"), 2, Limits(inputs=1_000, tokens=300_000)),
        (TooLarge("inputs", 96, 97), 2, Limits(inputs=1_000, tokens=300_000)),  # it speaks of something else
        (TooLarge("inputs", 1), 2, Limits(inputs=1_000, tokens=300_000)),
        (TooLarge("inputs", 5_000), 2, Limits(inputs=1_000, tokens=300_000)),
        (TooLarge("tokens", 25_000, 100_000), 5, Limits(inputs=2_048, tokens=22_050)),
        (TooLarge("tokens"), 2, Limits(inputs=2_048, tokens=49_024)),
        (TooLarge("bytes"), 2, Limits(inputs=2_048, tokens=300_000, request_bytes=100_050)),
        (TooLarge("tokens", 1, 10**9), 64, Limits(inputs=2_048, tokens=1_531)),
    ],
)
def test_the_cap_follows_from_what_fits_the_request(excess, parts, limits):
    caps = LearnedLimits()
    assert caps.learn(excess, 2_000, 200_000) == parts
    assert caps.within(WIDE) == limits


def test_caps_only_shrink():
    caps = LearnedLimits()
    caps.learn(TooLarge("inputs", 32), 96, 1_000)
    caps.learn(TooLarge("inputs", 64), 96, 1_000)
    assert caps.within(WIDE).inputs == 32


def test_nothing_learned_changes_nothing():
    assert LearnedLimits().within(WIDE) is WIDE
