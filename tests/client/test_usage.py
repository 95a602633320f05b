"""What was billed: what the API says, as far as that can be true, and an estimate of what it did not get to say."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from support.results import numbered
from support.scripted import broken_after, changed, refused, right
from support.watching import until

from asyncembed import EmbedClient, RateLimit, RequestEnded, RetryPolicy, StreamingEmbedResponse, Usage

TEXTS = numbered(6)


def saying(tokens: object):
    """Answer rightly, and report this number of tokens."""
    return changed(lambda document: document.update(usage={"prompt_tokens": tokens, "total_tokens": tokens}))


def silent(document: dict) -> None:
    del document["usage"]


NONSENSE = [10**12, 1e300, 100_000, -1, -(10**12), -0.5e9]


@pytest.mark.parametrize("tokens", NONSENSE)
async def test_usage_that_cannot_be_true_holds_up_nothing(server, connect, tokens):
    """Neither by what it would take of the limit nor by what it would teach."""
    client = connect(rate_limit=RateLimit(tokens_per_minute=10_000))
    server.default = saying(tokens)
    start = time.monotonic()
    async with asyncio.timeout(60):
        for _ in range(3):
            response = await client.embed(TEXTS)
            assert response.usage == Usage(0)
    assert time.monotonic() - start < 30
    assert 0 < client._endpoint.learned.tokens[client.model].of(1_000) <= 1_000
    assert client._endpoint.limiter._windows[1]._used > 0


@pytest.mark.parametrize("tokens", NONSENSE)
async def test_usage_that_cannot_be_true_is_not_reported(server, connect, tokens):
    """An event says the same as the summary."""
    told = []
    client = connect(on_event=told.append)
    server.script.append(saying(tokens))
    stream = client.embed_stream(TEXTS, chunk_size=3)
    assert len([each async for each in stream]) == 6
    assert stream.summary.usage == Usage(3)
    assert {event.tokens for event in told if isinstance(event, RequestEnded)} == {None, 3}


@pytest.mark.parametrize("tokens", [0, 6, 60, 6 * 100])
async def test_usage_that_may_be_true_is_believed(server, client, tokens):
    """Servers may put a prompt before each text."""
    server.default = saying(tokens)
    assert (await client.embed(TEXTS)).usage == Usage(tokens)


USAGES = {
    "only the second field": ({"prompt_tokens": 5}, 5),
    "a first field of 0": ({"total_tokens": 0, "prompt_tokens": 5}, 5),
    "no number": ({"total_tokens": None, "prompt_tokens": 5}, 5),
    "no field but 0": ({"total_tokens": 0, "prompt_tokens": 0}, 0),
    "the total": ({"total_tokens": 7, "prompt_tokens": 5}, 7),
}


@pytest.mark.parametrize("usage", USAGES)
async def test_the_first_field_above_0_counts(server, client, usage):
    """Some servers leave the other one at 0."""
    fields, tokens = USAGES[usage]
    server.default = changed(lambda document: document.update(usage=fields))
    assert (await client.embed(TEXTS)).usage == Usage(tokens)


async def test_tokens_of_texts_that_are_not_of_the_usual_length_are_believed(server, connect):
    """Long and short ones lie in a batch, and the long one is asked for alone."""
    client = connect()
    long = "word " * 1_000
    server.script.append(broken_after(5))
    server.script.append(saying(1_001))
    response = await client.embed([*numbered(5), long])
    assert [len(texts) for texts in server.asked] == [6, 1]
    assert response.usage.tokens == 1_001


async def test_an_answer_that_breaks_is_estimated(server, connect):
    """By what the others said of texts as long."""
    client = connect()
    await client.embed(numbered(60, 40))
    server.script.append(broken_after(3))
    response = await client.embed(numbered(60, 40))
    assert response.usage.tokens == 57
    assert 54 < response.usage.unreported_tokens < 66


@pytest.mark.parametrize(
    "reply",
    [
        broken_after(0),
        broken_after(2, part=0.5, reset=True),
        broken_after(6, chunked=True),  # nothing is missing but the usage
        broken_after(3, garbage=b"garbage"),
    ],
)
async def test_an_answer_that_breaks_before_its_usage(server, client, reply):
    """Its vectors are billed, whether they came or not."""
    server.script.append(reply)
    response = await client.embed(TEXTS)
    assert 0 < response.usage.unreported_tokens < sum(map(len, TEXTS)) * 2
    told = sum(map(len, server.asked[1:]))
    assert response.usage.tokens == told


async def test_an_answer_that_is_left_is_estimated(server, client):
    """The API bills what was on its way when the stream was closed."""
    gate = asyncio.Event()

    async def reply(exchange):
        pieces = exchange.request.pieces
        send = await exchange.start()
        await send(b"".join(pieces[:5]))
        await gate.wait()

    server.default = reply
    async with client.embed_stream(TEXTS) as stream:
        await anext(stream)
    gate.set()
    assert stream.summary.usage.tokens == 0
    assert stream.summary.usage.unreported_tokens > 0
    await until(lambda: not server.active)


async def test_an_answer_that_has_said_it_before_it_breaks_is_no_estimate(server, client):
    """Some servers say it first."""

    async def reply(exchange):
        document = json.loads(b"".join(exchange.request.pieces))
        body = json.dumps({"usage": document["usage"], "data": document["data"]}).encode()
        send = await exchange.start()
        await send(body[:-20])
        exchange.end()

    server.script.append(reply)
    response = await client.embed(TEXTS)
    assert response.usage == Usage(7, 0)


@pytest.mark.parametrize("reply", [changed(silent), right])
async def test_a_whole_answer_is_no_estimate(server, client, reply):
    """Whether it says its usage or not."""
    server.default = reply
    assert (await client.embed(TEXTS)).usage == Usage(6 if reply is right else 0, 0)


async def test_what_was_refused_or_never_answered_is_no_estimate(server, connect):
    """It is not billed."""
    client = connect(retry=RetryPolicy(max_attempts=3, initial_backoff=0.001, max_backoff=0.01))

    async def hung_up(exchange):
        exchange.end()

    server.script.extend([refused(503), hung_up])
    assert (await client.embed(TEXTS)).usage == Usage(6, 0)


async def test_a_broken_answer_teaches_nothing_of_tokens(server, connect):
    """It might have said how many there were."""
    client: EmbedClient = connect()
    await client.embed(numbered(50, 100))
    before = client._endpoint.learned.tokens[client.model].of(1_000)
    server.script.append(broken_after(50, chunked=True))
    await client.embed(numbered(50, 100))
    assert client._endpoint.learned.tokens[client.model].of(1_000) <= before


def test_a_response_of_ones_own_has_no_usage_below_nothing():
    """How large it may be cannot be known here."""
    chunks = StreamingEmbedResponse(_File(b'{"data":[],"usage":{"total_tokens":-5}}'), "openai")
    assert list(chunks.iter_embeddings()) == []
    assert chunks.usage == Usage(0)


class _File:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int = -1) -> bytes:
        data, self._data = self._data, b""
        return data
