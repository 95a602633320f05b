"""Which refusals speak of the size of the request, in the words of the services, and which of one text."""

from __future__ import annotations

import pytest

from asyncembed import InvalidInputError
from asyncembed._decide import read_too_large
from asyncembed._decide.too_large import TooLarge
from asyncembed._exceptions import ErrorAnswer

TOO_LARGE = [
    (400, None, "invalid request: total number of texts must be at most 96 - received 97", TooLarge("inputs", 96, 97)),
    (400, "max_tokens_per_request", "Requested 400000 tokens, max 300000 tokens per request",
     TooLarge("tokens", 300_000, 400_000)),
    (400, "array_above_max_length", "Expected an array with maximum length 2048, but got one with length 3000 instead.",
     TooLarge("inputs", 2_048, 3_000)),
    (400, "3210", "Too many inputs in request, split into more batches.", TooLarge("inputs")),
    (400, "3210", "Too many tokens overall, split into more batches.", TooLarge("tokens")),
    (400, None, "Too many tokens in batch. Max is 16384 got 20000", TooLarge("tokens", 16_384, 20_000)),
    (400, None, "The max allowed tokens per submitted batch is 120000. Your batch has 130000 tokens after truncation.",
     TooLarge("tokens", 120_000, 130_000)),
    (400, None, "The batch size limit is 1000. Your batch size is 1001.", TooLarge("inputs", 1_000, 1_001)),
    (422, None, "batch size 64 > maximum allowed batch size 32", TooLarge("inputs", 32, 64)),
    (400, None, "at most 100 requests can be in one batch", TooLarge("inputs", 100)),
    (422, None, "input: List should have at most 512 items after validation, not 600", TooLarge("inputs", 512, 600)),
    (413, None, "413 Request Entity Too Large nginx/1.18.0", TooLarge("bytes")),
    (413, None, "", TooLarge("bytes")),
    (500, None, "input is too large to process. increase the physical batch size",
     TooLarge("inputs", is_of_one_text=True)),
    (500, None, "input (3002 tokens) is too large to process. increase the batch size (current batch size: 512)",
     TooLarge("tokens", 512, 3_002, is_of_one_text=True)),
    (400, None, "input (402 tokens) is larger than the max context size (256 tokens). skipping",
     TooLarge("tokens", 256, 402, is_of_one_text=True)),
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
    assert read_too_large(refusal(status, code, words)) == excess
    codes = (code,) if code else ()
    assert read_too_large(ErrorAnswer(status=status, codes=codes, provider_message=words)) == excess


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
    assert TooLarge("tokens", 1, 4).share == 0.25
    assert TooLarge("tokens", 4).share == TooLarge("bytes").share == 0.5
