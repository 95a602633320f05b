"""Keys are blotted out of everything that a server says, and nothing else is."""

from __future__ import annotations

import html
import json
import re
from urllib.parse import quote

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


AWKWARD = """sk-A/b+c=d"e&f<g>h'i%j\\k"""
SHORT = "a/B+c=&"


def lower_hex(text: str) -> str:
    return re.sub(r"%..", lambda found: found[0].lower(), text)


def in_json(text: str) -> str:
    return json.dumps(text)[1:-1]


ESCAPES = {
    "address": lambda key: quote(key, safe=""),
    "address that keeps slashes": quote,
    "lower-case hexadecimal": lambda key: lower_hex(quote(key, safe="")),
    "address in an address": lambda key: quote(quote(key)),
    "HTML": html.escape,
    "HTML without quotes": lambda key: html.escape(key, quote=False),
    "HTML in decimal": lambda key: "".join(f"&#{ord(char)};" for char in key),
    "HTML in hexadecimal": lambda key: "".join(f"&#x{ord(char):04X};" for char in key),
    "JSON": in_json,
    "JSON in JSON": lambda key: in_json(in_json(key)),
    "JSON that escapes slashes": lambda key: in_json(key).replace("/", "\\/"),
    "JSON in code points": lambda key: "".join(f"\\u{ord(char):04x}" for char in key),
    "HTML in JSON": lambda key: in_json(html.escape(key)),
}


@pytest.mark.parametrize("key", [AWKWARD, SHORT])
@pytest.mark.parametrize("escape", ESCAPES)
def test_a_key_is_found_however_it_is_escaped(key, escape):
    """And nothing besides it."""
    escaped = ESCAPES[escape](key)
    assert Secrets([key]).redact(f"100%, <{escaped}> &amp; {key}") == "100%, <***> &amp; ***"


def test_a_long_key_is_found_in_any_case():
    """Some servers write ids in small letters. A short key could be a word."""
    assert Secrets([AWKWARD]).redact(f"no {AWKWARD.lower()}, {quote(AWKWARD).lower()}") == "no ***, ***"
    assert Secrets(["Token-1"]).redact("token-1, İ, Token-1") == "token-1, İ, ***"
    assert Secrets(["sk-verysecret-0123"]).redact("İİİ SK-VERYSECRET-0123 İ") == "İİİ *** İ"


def test_a_long_key_that_is_cut_is_found():
    """As at the end of an answer that broke."""
    secrets = Secrets(["sk-verysecret-0123"])
    assert secrets.redact("wrong key sk-verysecret-01") == "wrong key ***"
    assert secrets.redact("wrong key sk-verysec") == "wrong key ***"
    assert secrets.redact("wrong key sk-very") == "wrong key sk-very"
    assert secrets.redact("sk-verysecret, sk-very") == "sk-verysecret, sk-very"


def test_overlapping_keys_leave_nothing_visible():
    """Whichever comes first, escaped or not."""
    secrets = Secrets(["secret", "secret/long", "cret/longer"])
    assert secrets.redact("secret%2Flong, secret/longer; secretsecret") == "***, ***; ******"


def test_what_holds_no_key_is_not_changed():
    """Whatever escapes it has."""
    words = "50% of &#12345; &#99999; \\ud83d \\\\ %ZZ &unknown; %41%42"
    assert Secrets(["sk-secret", "AB%41"]).redact(words) == words
