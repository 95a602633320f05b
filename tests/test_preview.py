"""Which text an error is about, in a few words that any log or terminal takes."""

from __future__ import annotations

import pickle

from hypothesis import given
from hypothesis import strategies as st

from asyncembed import EmbedInput, InvalidInputError
from asyncembed._preview import MAX_PREVIEW, name_texts, preview
from asyncembed._redaction import Secrets

ANYTHING = st.text(st.characters(codec=None, categories=None), max_size=200)


@given(ANYTHING)
def test_it_is_short_printable_and_on_one_line(text):
    shown = preview(text)
    assert len(shown) <= MAX_PREVIEW
    assert shown.isprintable()
    shown.encode()


@given(st.text(st.characters(categories=["L", "N"]), max_size=MAX_PREVIEW))
def test_a_short_text_is_shown_as_it_is(text):
    assert preview(text) == text


def test_white_space_is_shortened_and_a_long_text_is_cut():
    assert preview("  a\r\n\tb  ") == "a b"
    assert preview("x" * 41) == "x" * 39 + "\N{HORIZONTAL ELLIPSIS}"
    assert preview("\N{ZERO WIDTH SPACE}\ud800\x1b[31m") == "\ufffd\ufffd\ufffd[31m"


def named(*texts, keys=(), first=3):
    error = InvalidInputError("no", status=400, code="c")
    name_texts(error, [(first + place, EmbedInput(text)) for place, text in enumerate(texts)], Secrets(keys))
    return error


def test_the_first_text_is_named_and_the_others_are_counted():
    assert str(named("a")) == "no; this is about texts[3], 'a'"
    assert str(named("a", "b", "c")) == "no; this is about texts[3], 'a', and 2 more"
    assert str(named()) == "no"


def test_the_error_can_still_be_pickled():
    copy = pickle.loads(pickle.dumps(named("a")))
    assert (str(copy), copy.status, copy.code) == ("no; this is about texts[3], 'a'", 400, "c")


def test_a_key_in_the_text_is_not_shown_even_at_the_cut():
    key = "sk-" + "0123456789" * 10
    for before in range(70):
        assert "0123" not in str(named("x" * before + key, keys=[key]))
