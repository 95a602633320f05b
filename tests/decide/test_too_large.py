"""Which refusals speak of the size of the request, in the words of the services, and which of one text."""

from __future__ import annotations

from dataclasses import astuple

import pytest

from asyncembed import InvalidInputError
from asyncembed._decide import read_too_large
from asyncembed._exceptions import ErrorAnswer


def too_large(unit, most=None, size=None, *, is_of_one_text=False):
    """What there was too much of, how much is allowed and how much there was."""
    return unit, most, size, is_of_one_text


TOO_LARGE = [
    (400, None, "invalid request: total number of texts must be at most 96 - received 97", too_large("inputs", 96, 97)),
    (400, "max_tokens_per_request", "Requested 400000 tokens, max 300000 tokens per request",
     too_large("tokens", 300_000, 400_000)),
    (400, "array_above_max_length", "Expected an array with maximum length 2048, but got one with length 3000 instead.",
     too_large("inputs", 2_048, 3_000)),
    (400, "3210", "Too many inputs in request, split into more batches.", too_large("inputs")),
    (400, "3210", "Too many tokens overall, split into more batches.", too_large("tokens")),
    (400, None, "Too many tokens in batch. Max is 16384 got 20000", too_large("tokens", 16_384, 20_000)),
    (400, None, "The max allowed tokens per submitted batch is 120000. Your batch has 130000 tokens after truncation.",
     too_large("tokens", 120_000, 130_000)),
    (400, None, "The batch size limit is 1000. Your batch size is 1001.", too_large("inputs", 1_000, 1_001)),
    (422, None, "batch size 64 > maximum allowed batch size 32", too_large("inputs", 32, 64)),
    (400, None, "at most 100 requests can be in one batch", too_large("inputs", 100)),
    (422, None, "input: List should have at most 512 items after validation, not 600", too_large("inputs", 512, 600)),
    (413, None, "413 Request Entity Too Large nginx/1.18.0", too_large("bytes")),
    (413, None, "", too_large("bytes")),
    (500, None, "input is too large to process. increase the physical batch size",
     too_large("inputs", is_of_one_text=True)),
    (500, None, "input (3002 tokens) is too large to process. increase the batch size (current batch size: 512)",
     too_large("tokens", 512, 3_002, is_of_one_text=True)),
    (400, None, "input (402 tokens) is larger than the max context size (256 tokens). skipping",
     too_large("tokens", 256, 402, is_of_one_text=True)),
]  # fmt: skip
ONE_TEXT = [
    "Invalid 'input[3]': maximum input length is 8192 tokens.",
    "This model's maximum context length is 8192 tokens, however you requested 9000 tokens (9000 in your prompt).",
    "too many tokens: total length is 600, but the model takes 512",
    "texts.2: String should have at most 2048 characters",
    "the input length exceeds the context length",
    "Invalid 'input': the text cannot be embedded.",
    "",
]


def refusal(status: int, code: str | None, words: str) -> InvalidInputError:
    return InvalidInputError(words, status=status, code=code, provider_message=words)


@pytest.mark.parametrize(("status", "code", "words", "excess"), TOO_LARGE)
def test_too_large(status, code, words, excess):
    """Whether the exception is asked about, or what it was made of."""
    assert astuple(read_too_large(refusal(status, code, words))) == excess
    codes = (code,) if code else ()
    assert astuple(read_too_large(ErrorAnswer(status=status, codes=codes, provider_message=words))) == excess


@pytest.mark.parametrize("words", ONE_TEXT)
def test_a_text_is_to_blame(words):
    assert read_too_large(refusal(400, None, words)) is None


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "No API key found in request"),
        (400, "no model in the request"),
        (403, "The key in this request is not valid."),
        (404, "the model of a request was not found"),
    ],
)
def test_words_about_a_request_alone_say_nothing_about_its_size(status, words):
    assert read_too_large(refusal(status, None, words)) is None


def test_the_share_that_is_allowed():
    assert read_too_large(refusal(400, None, "too many tokens in batch: 4 tokens, the limit is 1")).share == 0.25
    assert read_too_large(refusal(413, None, "")).share == 0.5
