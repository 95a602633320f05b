"""Keys are blotted out of everything that a server says, and nothing else is."""

from __future__ import annotations

import pytest

from asyncembed.wire._secrets import Secrets


@pytest.mark.parametrize("value", ["sk-secret", "Bearer sk-secret", "bearer sk-secret", "  Token sk-secret  "])
def test_a_key_is_found_behind_its_scheme(value):
    """Of whatever name."""
    assert Secrets([value]).blot("no sk-secret, or Bearer sk-secret") == "no ***, or Bearer ***"


def test_a_longer_key_is_blotted_out_before_a_part_of_it():
    """Otherwise the rest of it would be shown."""
    for values in (["secret", "secret-long"], ["secret-long", "secret"]):
        assert Secrets(values).blot("secret-long, secret") == "***, ***"


@pytest.mark.parametrize("value", ["", " ", "x", "Bearer key"])
def test_what_is_no_secret_garbles_nothing(value):
    """Empty and very short keys, as local servers have them."""
    assert Secrets([value]).blot("an extra key of the Bearer") == "an extra key of the Bearer"


def test_words_are_shortened_after_blotting():
    """Or the beginning of a key at the limit would be shown."""
    secrets = Secrets(["sk-verysecret"])
    assert secrets.blot("x" * 495 + "sk-verysecret" + "y" * 500) == "x" * 495 + "***" + "yy"
    assert secrets.blot("x" * 8 + "sk-verysecret", 9) == "x" * 8 + "*"
    assert len(Secrets().blot("x" * 10_000)) == 500
