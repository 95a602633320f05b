"""Keys that expire: a function is asked for a new one, once, and the run goes on."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from support.results import check_plain, check_results, numbered, take_all
from support.scripted import ScriptedServer, refused, right

from asyncembed import AuthenticationError, ConfigurationError, RateLimit, RetryPolicy, RetryScheduled
from asyncembed.providers import OpenAI

TEXTS = numbered(100)


class Tokens:
    """A function that returns a new token each time, and a server's reply that takes each one only so often."""

    def __init__(self, server: ScriptedServer, uses: float) -> None:
        self.uses = uses
        self.asked = 0
        self.seen: Counter[str] = Counter()
        server.default = self.reply

    def __call__(self) -> str:
        self.asked += 1
        return f"token-number-{self.asked}"

    async def fetch(self) -> str:
        await asyncio.sleep(0)
        return self()

    async def reply(self, exchange):
        token = exchange.request.headers["authorization"]
        self.seen[token] += 1
        await (right if self.seen[token] <= self.uses else refused(401, "The access token has expired."))(exchange)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(("uses", "concurrency", "asked"), [(1, 1, 10), (4, 1, 3), (4, 8, 3)])
async def test_tokens_that_are_used_up_are_renewed(server, connect, is_async, uses, concurrency, asked):
    """However many requests are in flight; no attempt is counted for it."""
    tokens = Tokens(server, uses)
    client = connect(
        api_key=tokens.fetch if is_async else tokens,
        max_concurrency=concurrency,
        retry=RetryPolicy(max_attempts=1),
    )
    check_results([result async for result in client.embed_stream(TEXTS, chunk_size=10)], TEXTS)
    assert tokens.asked == asked
    assert len(server.requests) == 10 + asked - 1 or concurrency > 1


async def test_one_renewal_serves_all_that_are_in_flight(server, connect):
    """Each refused request is repeated with the new token."""
    tokens = Tokens(server, 10**6)
    tokens.uses = 0
    client = connect(api_key=tokens, max_concurrency=8)
    refusals = asyncio.Event()
    waiting = 0

    async def reply(exchange):
        nonlocal waiting
        if exchange.request.headers["authorization"] == "Bearer token-number-1":
            waiting += 1
            if waiting == 8:
                refusals.set()
            await refusals.wait()
            await refused(401)(exchange)
        else:
            await right(exchange)

    server.default = reply
    await client.embed(TEXTS[:8], chunk_size=1)
    assert (tokens.asked, len(server.requests)) == (2, 16)


@pytest.mark.parametrize("concurrency", [1, 8])
async def test_a_second_refusal_with_a_fresh_key_ends_the_run(server, connect, concurrency):
    tokens = Tokens(server, 0)
    client = connect(api_key=tokens, max_concurrency=concurrency)
    with pytest.raises(AuthenticationError, match="token has expired") as caught:
        await client.embed(TEXTS, chunk_size=10)
    check_plain(caught.value)
    assert tokens.asked == 2
    assert len(server.requests) <= 2 * concurrency
    assert concurrency > 1 or len(server.requests) == 2


async def test_a_function_that_has_no_other_key_is_asked_once_more(server, connect):
    """The same key need not be tried again."""
    asked = []
    server.default = refused(401, "no")
    with pytest.raises(AuthenticationError):
        await connect(api_key=lambda: asked.append(1) or "the-same").embed(TEXTS[:1])
    assert (len(asked), len(server.requests)) == (2, 1)


async def test_a_fixed_key_is_refused_once(server, connect):
    server.default = refused(401, "no")
    with pytest.raises(AuthenticationError):
        await connect(api_key="fixed-key").embed(TEXTS[:1])
    assert len(server.requests) == 1


@pytest.mark.parametrize(("status", "words"), [(403, "The security token is expired"), (400, "API key expired.")])
async def test_services_that_say_it_otherwise(server, connect, status, words):
    tokens = Tokens(server, 10**6)
    server.script += [refused(status, words)]
    await connect(api_key=tokens).embed(TEXTS[:3])
    assert tokens.asked == 2


async def test_a_repetition_keeps_to_the_rate_limit_and_is_told(server, connect):
    """It is a request like any other."""
    events = []
    tokens = Tokens(server, 1)
    limit = RateLimit(requests_per_minute=1_000)
    client = connect(api_key=tokens, rate_limit=limit, on_event=events.append)
    stream = client.embed_stream(TEXTS, chunk_size=50, max_concurrency=1)
    await take_all(stream, [])
    assert (stream.summary.requests, stream.summary.retries) == (3, 1)
    (told,) = [event for event in events if isinstance(event, RetryScheduled)]
    assert (told.status, told.seconds) == (401, 0.0)


@pytest.mark.parametrize("when", ["first", "later"])
@pytest.mark.parametrize("on_error", ["raise", "skip"])
async def test_a_function_that_fails_ends_the_run(server, connect, when, on_error):
    def function():
        if when == "first" or server.requests:
            raise LookupError("the vault is sealed")
        return "token-number-1"

    server.script += [right]
    server.default = refused(401)
    client = connect(api_key=function, max_concurrency=1)
    with pytest.raises(
        ConfigurationError, match=r"^api_key= is a function that raised LookupError \(test_keys.py"
    ) as caught:
        await take_all(client.embed_stream(TEXTS, chunk_size=10, on_error=on_error), [])
    check_plain(caught.value)
    assert len(server.requests) == (0 if when == "first" else 2)


async def test_a_client_is_not_lost_to_one_refusal(server, connect):
    """What the function returns later is used."""
    keys = ["old-key", "old-key", "new-key"]
    server.default = refused(401)
    client = connect(api_key=lambda: keys.pop(0))
    with pytest.raises(AuthenticationError):
        await client.embed(TEXTS[:1])
    client._connection._authorization.key._renewed -= 100
    server.script += [refused(401)]
    server.default = right
    await client.embed(TEXTS[:1])
    assert server.requests[-1].headers["authorization"] == "Bearer new-key"


async def test_no_function_is_asked_before_a_key_is_needed(server, connect):
    asked = []
    client = connect(api_key=lambda: asked.append(1) or "a-key")
    await client.embed([])
    assert asked == []
    await client.embed(["a"])
    assert asked == [1]


class Signing(OpenAI):
    """Signs each request."""

    async def authorize(self, api_key, url, body):
        await asyncio.sleep(0)
        return {"Authorization": f"Sign {api_key}-{len(body)}", "X-Url": url}


async def test_a_provider_may_sign_each_request(server, connect):
    """By address and body, which differ."""
    await connect(Signing(), base_url=f"{server.url}/v1", api_key="a-key").embed(["a", "bb"], chunk_size=1)
    signed = sorted(request.headers["authorization"] for request in server.requests)
    assert signed[0].startswith("Sign a-key-")
    assert len(set(signed)) == 2
    assert {request.headers["x-url"] for request in server.requests} == {f"{server.url}/v1/embeddings"}


@pytest.mark.parametrize(
    ("provider", "advice"),
    [("openai", "no key was sent; set OPENAI_API_KEY, or pass api_key="), ("local", "no key was sent; pass api_key=")],
)
async def test_a_server_that_wants_a_key_and_got_none(server, connect, provider, advice):
    """The message says how to give one."""
    server.default = refused(401, "Unauthorized")
    with pytest.raises(AuthenticationError) as caught:
        await connect(provider, api_key=None).embed(["a"])
    assert advice in str(caught.value)
    for given in ({"headers": {"Api-Key": "a-key"}}, {"api_key": "a-key"}, {"base_url": f"{server.url}/v1?key=a-key"}):
        with pytest.raises(AuthenticationError) as caught:
            await connect(provider, **{"api_key": None, **given}).embed(["a"])
        assert "no key was sent" not in str(caught.value)
