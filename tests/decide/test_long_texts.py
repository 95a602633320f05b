"""Finding, cutting and learning about texts that are too long, without any request."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncembed._decide import estimate_tokens
from asyncembed._decide.long_texts import (
    MAX_CUT_KNOWN,
    LongTexts,
    TextLimit,
    between_words,
    read_too_long,
    shortened,
)
from asyncembed._exceptions import APIStatusError
from asyncembed._models import EmbedInput, EmbedResult

LONG = "The quick brown fox jumps over the lazy dog. " * 200


def refusal(message: str) -> APIStatusError:
    return APIStatusError(message, status=400, provider_message=message)


def texts_of_run(**settings: object) -> LongTexts:
    given = {"limit": 100, "prompt": "", "cuts": True, "api_cuts": False, "refuses": False} | settings
    return LongTexts(given.pop("learned", TextLimit()), **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("message", "numbers"),
    [
        ("This model's maximum context length is 8192 tokens, however you requested 10000 tokens", (8192, 10000)),
        ("input[371] has 11539 tokens; the limit is 512", (512, 11539)),
        ("Input id 12 has 9000 tokens, exceeding max 8192 tokens.", (8192, 9000)),
        ("input (3002 tokens) is too large to process. increase the batch size (current batch size: 512)", (512, 3002)),
        ("`inputs` must have less than 512 tokens. Given: 600", (512, 600)),
        ("Invalid 'input[3]': maximum input length is 8192 tokens.", (8192, None)),
        ("You passed 4000 input characters, but the maximum context length is 256 tokens.", (256, None)),
        ("the input length exceeds the context length", (None, None)),
        ("too many tokens: total number of tokens in the prompt cannot exceed 512 - received 900.", (512, 900)),
    ],
)
def test_a_refusal_names_limit_and_size(message, numbers):
    excess = read_too_long(refusal(message), ["a text"])
    assert excess
    assert (excess.limit, excess.size) == numbers


@pytest.mark.parametrize("message", ["the text was flagged by the content filter", "input cannot be an empty string"])
def test_other_refusals_of_a_text_are_not_about_its_length(message):
    assert read_too_long(refusal(message), ["a text"]) is None


def test_what_a_message_quotes_of_a_text_decides_nothing():
    text = "the maximum context length is 12 tokens, says this text of the caller"
    assert read_too_long(refusal(f"was flagged: {text}"), [text]) is None


@pytest.mark.parametrize("text", [LONG, "Donaudampfschiff " * 900, "x" * 9_000, "\u6f22\u5b57" * 2_000, " \n" * 4_000])
@pytest.mark.parametrize("tokens", [1, 10, 500])
def test_a_start_has_no_more_tokens_than_asked_for(text, tokens):
    start = shortened(text, tokens)
    assert text.startswith(start)
    assert start
    assert estimate_tokens(start) <= max(tokens, 3)


def test_a_cut_is_between_words():
    assert between_words("one two three", 9) == "one two"
    assert between_words("one two three", 7) == "one two"
    assert between_words("a_word_without_any_space", 9) == "a_word_wi"
    assert between_words("short", 9) == "short"


@given(st.text(min_size=1), st.integers(0, 50))
def test_a_cut_is_a_start_of_the_text(text, length):
    start = between_words(text, length)
    assert start
    assert text.startswith(start)
    assert len(start) <= max(length, 1)


def test_an_estimate_finds_long_texts():
    texts = texts_of_run()
    assert texts.is_long(LONG)
    assert not texts.is_long("a short text")
    assert not texts_of_run(limit=None).is_long(LONG)
    assert not texts_of_run(api_cuts=True).separates


TWICE = refusal("maximum context length is 100 tokens, however you requested 200 tokens")
VECTOR = np.zeros(2, np.float32)


def test_a_refusal_teaches_how_wrong_the_estimate_is():
    """When the API has taken a shorter start, the texts of other runs with the same model are cut by it at once."""
    learned = TextLimit()
    texts, item = texts_of_run(learned=learned), EmbedInput(LONG)
    first = texts.begin(0, LONG)
    assert estimate_tokens(first) <= 100
    assert texts.cut_again(TWICE, {0: item}, [], apart=True)
    assert texts_of_run(learned=learned).begin(5, LONG) == first
    texts.mark([EmbedResult(0, VECTOR, LONG)])
    again = texts_of_run(learned=learned).begin(5, LONG)
    assert len(again) < 0.6 * len(first)


def test_within_a_run_a_refusal_counts_at_once_as_far_as_it_is_likely():
    texts = texts_of_run()
    first = texts.begin(0, LONG)
    error = refusal("maximum context length is 100 tokens, however you requested 2000 tokens")
    assert texts.cut_again(error, {0: EmbedInput(LONG)}, [], apart=True)
    assert 0.5 * len(first) < len(texts.begin(1, LONG)) < 0.7 * len(first)
    texts.failed([0])
    assert texts.begin(2, LONG) == first


@pytest.mark.parametrize("error", [TWICE, refusal("the input length exceeds the context length")], ids=["size", "none"])
def test_a_text_that_fails_in_the_end_teaches_nothing(error):
    learned = TextLimit()
    texts, item = texts_of_run(learned=learned, limit=None), EmbedInput(LONG)
    while texts.cut_again(error, {0: item}, [], apart=False):
        pass
    texts.failed([0])
    assert (learned.refused, learned.scale) == (None, 1.0)
    assert texts.as_sent(_Attempt(), [LONG]) == [LONG]


def test_what_is_cut_is_known_of_the_last_texts_only():
    """Of the others, only the estimate says so: they are never called whole."""
    texts = texts_of_run(refuses=True)
    for index in range(MAX_CUT_KNOWN + 1):
        text = f"{LONG} {index}"
        texts._sent[index] = "the"
        texts.mark([EmbedResult(index, VECTOR, text)])
    assert texts.was_cut(f"{LONG} {MAX_CUT_KNOWN}") is True
    assert texts.was_cut(f"{LONG} 0") is None
    assert texts.was_cut("short") is False


def test_without_numbers_a_text_is_cut_until_it_is_taken_or_given_up():
    texts, item, sizes = texts_of_run(limit=None), EmbedInput(LONG), []
    error = refusal("the input length exceeds the context length")
    while texts.cut_again(error, {0: item}, [], apart=False):
        sizes.append(len(texts.as_sent(_Attempt(), [LONG])[0]))
    assert sizes == sorted(sizes, reverse=True)
    assert len(LONG) / sizes[-1] > 50


class _Attempt:
    missing = (0,)


def test_without_cutting_a_refusal_teaches_only():
    learned = TextLimit()
    texts = texts_of_run(learned=learned, cuts=False, limit=None)
    error = refusal("maximum context length is 300 tokens, however you requested 2000 tokens")
    assert not texts.cut_again(error, {0: EmbedInput(LONG)}, [], apart=False)
    assert learned.tokens == 300
    assert texts.limit == 300


def test_what_is_known_of_a_text():
    """An API that refuses long texts has cut none; where it cuts, an estimate far from the limit says what it did."""
    assert texts_of_run(refuses=True).was_cut(LONG) is False
    cutting = texts_of_run(api_cuts=True)
    assert cutting.was_cut(LONG) is True
    assert cutting.was_cut("short") is False
    assert cutting.was_cut("word " * 90) is None
    assert texts_of_run(limit=None, api_cuts=True).was_cut(LONG) is None


def test_a_prompt_takes_its_part_of_the_limit():
    assert texts_of_run(prompt="search_document: ").limit < 100
