"""Keys are blotted out of everything that a server says, and nothing else is."""

from __future__ import annotations

import pytest

from asyncembed._redaction import MAX_RECENT, Secrets


@pytest.mark.parametrize("value", ["sk-secret", "Bearer sk-secret", "bearer sk-secret", "  Token sk-secret  "])
def test_a_key_is_found_behind_its_scheme(value):
    """Of whatever name."""
    assert Secrets([value]).redact("no sk-secret, or Bearer sk-secret") == "no ***, or Bearer ***"


def test_a_longer_key_is_blotted_out_before_a_part_of_it():
    """Otherwise the rest of it would be shown."""
    for values in (["secret", "secret-long"], ["secret-long", "secret"]):
        assert Secrets(values).redact("secret-long, secret") == "***, ***"


@pytest.mark.parametrize("value", ["", " ", "x", "Bearer key"])
def test_what_is_no_secret_garbles_nothing(value):
    """Empty and very short keys, as local servers have them."""
    assert Secrets([value]).redact("an extra key of the Bearer") == "an extra key of the Bearer"


def test_words_are_shortened_after_blotting():
    """Or the beginning of a key at the limit would be shown."""
    secrets = Secrets(["sk-verysecret"])
    assert secrets.redact("x" * 495 + "sk-verysecret" + "y" * 500) == "x" * 495 + "***" + "yy"
    assert secrets.redact("x" * 8 + "sk-verysecret", 9) == "x" * 8 + "*"
    assert len(Secrets().redact("x" * 10_000)) == 500


def test_keys_may_come_later():
    """And those before stay hidden."""
    secrets = Secrets(["first-key"])
    secrets.add("Bearer second-key")
    secrets.add("second-key")
    secrets.add("first-key-longer")
    secrets.add("a/key+1")
    assert secrets.redact("first-key second-key first-key-longer a%2Fkey%2B1 third-key") == "*** *** *** *** third-key"


@pytest.mark.parametrize("value", ["", " ", "x", "Bearer key", "Bearer", "Bearer "])
def test_what_is_no_secret_garbles_nothing_later_either(value):
    """As at the beginning."""
    secrets = Secrets()
    secrets.add(value)
    assert secrets.redact("an extra key of the Bearer") == "an extra key of the Bearer"


def test_only_so_many_later_ones_are_remembered():
    """A signature a request, for days, fills no memory; what was there first is not forgotten."""
    secrets = Secrets(["first-key"])
    for number in range(10 * MAX_RECENT):
        secrets.add(f"signature-{number:05}")
    assert secrets.redact("first-key, signature-02559, signature-02400") == "***, ***, ***"
    assert secrets.redact("signature-00001") == "signature-00001"
    assert len(secrets._keys) == MAX_RECENT + 1
