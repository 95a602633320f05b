"""Error messages for refusals of proxies, gateways and firewalls, and the number of retries."""

from __future__ import annotations

import pytest
from support.services import fault_of

from asyncembed import (
    APIStatusError,
    AsyncEmbedError,
    AuthenticationError,
    EmbedClient,
    InvalidInputError,
    RateLimitError,
    ResponseError,
    RetryPolicy,
    ServerError,
)
from asyncembed.testing import FakeServer
from asyncembed.testing.faults import KNOWN_ERRORS

ATTEMPTS = 3
GATEWAYS = {
    "akamai", "apache", "api gateway", "application gateway", "aws alb", "aws waf", "big-ip", "captive portal",
    "cloudflare", "cloudfront", "envoy", "front door", "google iap", "google load balancer", "haproxy", "heroku", "iis",
    "imperva", "kong", "modsecurity", "nginx", "ngrok", "squid", "traefik", "varnish", "vercel",
}  # fmt: skip
OF_GATEWAYS = [
    known for known in KNOWN_ERRORS if known.service in GATEWAYS and known.meaning not in {"model", "option"}
]


def expected_class(known):
    """Return the expected class: the status decides it, because gateways say no more."""
    if known.status == 200:
        return ResponseError
    if known.meaning == "address":
        return ServerError if known.status >= 500 else (APIStatusError, AuthenticationError)
    if known.meaning == "many bytes":
        return InvalidInputError
    if known.status >= 500:
        return ServerError
    special = {401: AuthenticationError, 403: AuthenticationError, 429: RateLimitError}
    return special.get(known.status, APIStatusError)


def most_requests(known):
    """Return how often one text may be requested: all attempts for transient errors, else twice."""
    return ATTEMPTS + 1 if known.meaning in {"busy", "slow", "bad text"} else 2


@pytest.mark.parametrize("known", OF_GATEWAYS, ids=lambda known: known.name)
async def test_what_is_said_of_it(known):
    """The message has the status and the title of the page on one line, without markup; no retry is in vain."""
    fault = fault_of(
        known,
        only=(lambda _: True) if known.meaning == "bad text" else None,
        most=0 if known.meaning.startswith("many") else None,
    )
    retry = RetryPolicy(max_attempts=ATTEMPTS, initial_backoff=0.0005, max_backoff=0.001)
    async with (
        FakeServer(rules=[fault]) as server,
        EmbedClient("cohere", base_url=server.url, api_key="k", retry=retry) as client,
    ):
        with pytest.raises(AsyncEmbedError) as caught:
            await client.embed(["a text"])
    message = str(caught.value)
    assert isinstance(caught.value, expected_class(known))
    is_page = isinstance(known.body, str) and known.body.startswith("<")
    assert "\n" not in message or not is_page  # plain text appears unchanged in the message
    assert "<" not in message
    assert len(message) < 400
    if known.status != 200:
        assert f"answered {known.status}: " in message
        assert caught.value.status == known.status
    if known.meaning in {"busy", "slow"}:
        assert server.ledger.requests == ATTEMPTS
    assert server.ledger.requests <= most_requests(known)
