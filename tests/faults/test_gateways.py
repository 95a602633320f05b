"""What the client says of the refusals of proxies, gateways and firewalls, and how often it asks again."""

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
    """The status decides it, as gateways say no more."""
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
    """How often one text is asked for: what passes until the attempts are used up, and the rest twice at most."""
    return ATTEMPTS + 1 if known.meaning in {"busy", "slow", "bad text"} else 2


@pytest.mark.parametrize("known", OF_GATEWAYS, ids=lambda known: known.name)
async def test_what_is_said_of_it(known):
    """The status and the title of a page, on one line, without markup; and nothing is asked again without need."""
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
    assert "\n" not in message or not is_page  # plain text is passed on as it is
    assert "<" not in message
    assert len(message) < 400
    if known.status != 200:
        assert f"answered {known.status}: " in message
        assert caught.value.status == known.status
    if known.meaning in {"busy", "slow"}:
        assert server.ledger.requests == ATTEMPTS
    assert server.ledger.requests <= most_requests(known)
