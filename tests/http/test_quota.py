"""Rate limit headers and waits, in all the forms that providers send, and in forms that make no sense."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from asyncembed._http import read_limit_headers
from asyncembed._http.error_answer import status_error
from asyncembed._http.headers import duration, wait_in_words
from asyncembed._models import LimitHeader, RateLimitHeaders
from asyncembed._redaction import Secrets

OPENAI = {
    "x-ratelimit-limit-requests": "3000",
    "x-ratelimit-remaining-requests": "2999",
    "x-ratelimit-reset-requests": "20ms",
    "x-ratelimit-limit-tokens": "1000000",
    "x-ratelimit-remaining-tokens": "999000",
    "x-ratelimit-reset-tokens": "6m0s",
}
AZURE = {
    "x-ratelimit-remaining-requests": "-1",
    "x-ratelimit-limit-tokens": "120000",
    "x-ratelimit-remaining-tokens": "0",
    "x-ratelimit-reset-tokens": "55",
}
JINA = {"X-RateLimit-Remaining-Requests": "499", "X-RateLimit-Remaining-Tokens": "0"}
MISTRAL = {
    "x-ratelimit-limit-req-minute": "60",
    "x-ratelimit-remaining-req-minute": "0",
    "x-ratelimit-limit-tokens-minute": "500000",
    "x-ratelimit-remaining-tokens-minute": "499990",
}
MISTRAL_2025 = {
    "x-ratelimit-limit-req-10-second": "50",
    "x-ratelimit-remaining-req-10-second": "48",
    "x-ratelimit-limit-tokens-minute": "500000",
    "x-ratelimit-remaining-tokens-minute": "499990",
    "x-ratelimit-limit-tokens-month": "1000000000",
    "x-ratelimit-tokens-query-cost": "4",
}
COHERE_TRIAL = {"x-trial-endpoint-call-limit": "40", "x-trial-endpoint-call-remaining": "38"}


@pytest.mark.parametrize(
    ("headers", "quota"),
    [
        (
            OPENAI,
            RateLimitHeaders(
                LimitHeader(3_000, 2_999, 0.02, refills=True), LimitHeader(1e6, 999_000, 360, refills=True)
            ),
        ),
        (AZURE, RateLimitHeaders(None, LimitHeader(120_000, 0, 55))),
        (JINA, RateLimitHeaders(LimitHeader(None, 499), LimitHeader(None, 0))),
        (MISTRAL, RateLimitHeaders(LimitHeader(60, 0), LimitHeader(500_000, 499_990))),
        (MISTRAL_2025, RateLimitHeaders(LimitHeader(300, 298, 10), LimitHeader(500_000, 499_990))),
        (
            MISTRAL_2025 | {"x-ratelimit-remaining-req-10-second": "0"},
            RateLimitHeaders(LimitHeader(300, 0, 10), LimitHeader(500_000, 499_990)),
        ),
        ({"x-ratelimit-remaining-req-10-second": "3"}, RateLimitHeaders(LimitHeader(None, 3, 10))),
        (COHERE_TRIAL, RateLimitHeaders(LimitHeader(40, 38), None)),
        ({"x-ratelimit-limit-requests": "0", "x-ratelimit-remaining-requests": "0"}, None),
        ({"x-ratelimit-limit-requests": "-1"}, None),
        (
            {"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "soon"},
            RateLimitHeaders(LimitHeader(60)),
        ),
        ({"x-ratelimit-limit-requests": "inf", "x-ratelimit-remaining-requests": "nan"}, None),
        ({"x-ratelimit-reset-requests": "1s"}, None),
        ({"content-type": "application/json"}, None),
    ],
)
def test_headers(headers, quota):
    """Each provider's own."""
    assert read_limit_headers(CIMultiDict(headers)) == quota


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360),
        ("7m12s", 432),
        ("1h2m3.5s", 3_723.5),
        ("12ms", 0.012),
        ("15\u00b5s", 15e-6),
        ("0s", 0),
        ("20", 20),
        (" 1.5 ", 1.5),
        ("33.38s", 33.38),
        ("55 seconds", 55),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("", None),
        ("soon", None),
        ("5x", None),
        ("s", None),
        (None, None),
    ],
)
def test_durations(text, seconds):
    """As Go writes them, as plain seconds, or not at all."""
    assert duration(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Rate limit reached for requests. Limit: 3 / min. Please try again in 20s. Contact us", 20),
        ("Limit 1000000, Used 999000. Please try again in 522ms. Visit https://x", 0.522),
        ("Please try again in 1.156s.", 1.156),
        ("Please try again in 6m0s.", 360),
        ("exceeded the token rate limit. Please retry after 55 seconds. Please contact", 55),
        ("Please retry after 1 second.", 1),
        ("You exceeded your current quota. Please retry in 33.38s.", 33.38),
        ("Please try again in 250 milliseconds", 0.25),
        ("Please wait 20 seconds before you try another request", 20),
        ("The limit resets in 5 minutes", 300),
        ("Please try again in 5 minutes.", 300),
        ("retry your request after 1 minute and 20 seconds", 80),
        ("Try again in 24 hours", 86_400),
        ("try again in 2 days", 172_800),
        ("at most 100 requests in 5 minutes", None),
        ("try again later", None),
        ("retry after 3 more attempts", None),
        ("", None),
    ],
)
def test_messages(message, seconds):
    """In the words of OpenAI, Azure and Google."""
    assert wait_in_words(message) == (None if seconds is None else pytest.approx(seconds))


def error_of(status: int, document: object, **headers: str) -> float | None:
    error = status_error("x", status, CIMultiDict(headers), json.dumps(document).encode(), Secrets([]))
    return error.retry_after


GOOGLE = {
    "error": {
        "code": 429,
        "message": "Resource has been exhausted",
        "details": [7, {"@type": "Help"}, {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "33s"}],
    }
}
OPENAI_BODY = {"error": {"message": "Please try again in 522ms.", "code": "rate_limit_exceeded"}}


@pytest.mark.parametrize(
    ("status", "document", "seconds"),
    [
        (429, [GOOGLE], 33),
        (429, json.dumps(GOOGLE), 33),
        (429, {"error": {"details": [{"retryDelay": "1.5s"}], "message": "retry in 9s"}}, 1.5),
        (503, {"error": "Model m is currently loading", "estimated_time": 20.5}, 20.5),
        (429, {"message": "slow down", "retry_after": 2}, 2),
        (429, {"error": {"message": "slow down", "retryAfter": "3s"}}, 3),
        (429, {"message": "slow down", "retry_after": True}, None),
        (429, {"message": "slow down", "retry_after": "soon"}, None),
        (529, {"message": "try again in 4s"}, 4),
        (500, {"message": "try again in 4s"}, None),
        (429, {"error": {"message": "m", "metadata": {"headers": {"X-RateLimit-Reset": "5"}}}}, 5),
        (429, {"error": {"message": "m", "metadata": {"headers": {"X-RateLimit-Reset": 5}}}}, 5),
    ],
)
def test_bodies(status, document, seconds):
    """In the fields of Google, Hugging Face, OpenRouter and others, before the words."""
    assert error_of(status, document) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize("status", [400, 401, 500, 502])
def test_the_end_of_a_period_is_no_wait_where_no_limit_was_met(status):
    """Many services send it with every answer."""
    assert error_of(status, {"message": "no"}, **{"X-RateLimit-Reset": "30"}) is None
    assert error_of(429, {"message": "no"}, **{"X-RateLimit-Reset": "30"}) == 30
    assert error_of(status, {"message": "no"}, **{"Retry-After": "30"}) == 30


def test_a_body_says_how_long_to_wait_where_no_header_does():
    """And only where waiting is what helps."""
    assert error_of(429, GOOGLE) == 33
    assert error_of(429, OPENAI_BODY) == pytest.approx(0.522)
    assert error_of(503, OPENAI_BODY) == pytest.approx(0.522)
    assert error_of(400, OPENAI_BODY) is None
    assert error_of(429, OPENAI_BODY, **{"Retry-After": "7"}) == 7
    assert error_of(429, {"error": {"message": "no", "details": [{"retryDelay": 5}]}}) is None
    assert error_of(429, {"error": "no"}) is None


@settings(max_examples=200)
@given(
    st.dictionaries(st.sampled_from([*OPENAI, *MISTRAL, *MISTRAL_2025, *COHERE_TRIAL]), st.text(max_size=12)),
    st.text(max_size=40),
)
def test_nothing_is_too_strange(headers, message):
    """What comes out are numbers from 0 up."""
    quota = read_limit_headers(CIMultiDict(headers)) or RateLimitHeaders()
    for allowance in filter(None, (quota.requests, quota.tokens)):
        values = (allowance.limit, allowance.remaining, allowance.reset)
        assert all(value is None or 0 <= value < float("inf") for value in values)
        assert allowance.limit is None or allowance.limit >= 1
    assert (wait_in_words(message) or 0) >= 0
