"""What is learned from requests that were too large."""

from __future__ import annotations

import pytest

from asyncembed._decide.splitting import Caps
from asyncembed._decide.too_large import Excess
from asyncembed.providers import Limits

WIDE = Limits(inputs=2_048, tokens=300_000)


@pytest.mark.parametrize(
    ("excess", "parts", "limits"),
    [
        (Excess("inputs", 96, 2_000), 21, Limits(inputs=96, tokens=300_000)),
        (Excess("inputs", 100), 20, Limits(inputs=100, tokens=300_000)),
        (Excess("inputs"), 2, Limits(inputs=1_000, tokens=300_000)),
        (Excess("inputs", 96, 97), 2, Limits(inputs=1_000, tokens=300_000)),  # it speaks of something else
        (Excess("inputs", 1), 2, Limits(inputs=1_000, tokens=300_000)),
        (Excess("inputs", 5_000), 2, Limits(inputs=1_000, tokens=300_000)),
        (Excess("tokens", 25_000, 100_000), 5, Limits(inputs=2_048, tokens=22_050)),
        (Excess("tokens"), 2, Limits(inputs=2_048, tokens=49_024)),
        (Excess("bytes"), 2, Limits(inputs=2_048, tokens=300_000, request_bytes=100_050)),
        (Excess("tokens", 1, 10**9), 64, Limits(inputs=2_048, tokens=1_531)),
    ],
)
def test_the_cap_follows_from_what_fits_the_request(excess, parts, limits):
    caps = Caps()
    assert caps.learn(excess, 2_000, 200_000) == parts
    assert caps.within(WIDE) == limits


def test_caps_only_shrink():
    caps = Caps()
    caps.learn(Excess("inputs", 32), 96, 1_000)
    caps.learn(Excess("inputs", 64), 96, 1_000)
    assert caps.within(WIDE).inputs == 32


def test_nothing_learned_changes_nothing():
    assert Caps().within(WIDE) is WIDE
