"""What the README and the docstrings promise, where it takes more than one batch or one task to see it."""

from __future__ import annotations

import asyncio
import json

import anyio
import pytest
from support.results import check_results, numbered
from support.scripted import right

from asyncembed import AsyncEmbedError, InvalidInputError, ResponseError, RetryPolicy, TransportError


async def without_the_first(exchange):
    """Cohere's answer, with the first vector left out: every other one moves up."""
    body = json.loads(b"".join(exchange.request.pieces))
    del body["embeddings"]["float"][0]
    await exchange.answer(json.dumps(body).encode())


async def gone(exchange):
    exchange.end(reset=True)


async def refused(exchange):
    await exchange.answer(b'{"error":{"message":"no"}}', 400)


@pytest.mark.parametrize("how", ["raise", "skip", "yield"])
async def test_mixed_up_vectors_end_the_run_however_errors_are_taken(server, connect, how):
    """Or the vectors of one text would be given to its neighbour, all the way."""
    client = connect("cohere")
    server.default = without_the_first
    with pytest.raises(ResponseError, match="cannot be matched to its texts"):
        async with client.embed_stream(numbered(20), chunk_size=5, on_error=how) as stream:
            [item async for item in stream]


@pytest.mark.parametrize("how", ["skip", "yield"])
async def test_a_dead_server_ends_the_run_however_errors_are_taken(server, connect, how):
    """Not only after every text was pulled and lost."""
    client = connect(retry=RetryPolicy(max_attempts=1), max_concurrency=1)
    server.default = gone
    pulled = 0

    def texts():
        nonlocal pulled
        for pulled in range(1_000):  # noqa: B007
            yield "text"

    with pytest.raises(TransportError):
        async with client.embed_stream(texts(), chunk_size=5, on_error=how) as stream:
            [item async for item in stream]
    assert pulled < 100


async def test_batches_on_their_way_arrive_before_the_error_of_another(server, connect):
    """They have been paid for, and they came before it."""
    answered = asyncio.Event()

    async def slow(exchange):
        await answered.wait()
        await right(exchange)

    async def by_text(exchange):
        await (
            refused if exchange.request.texts == ["bad"] else right if exchange.request.texts == ["hello"] else slow
        )(exchange)

    server.default = by_text
    client = connect()
    texts = ["a", "b", "bad"]
    async with client.embed_stream(texts, chunk_size=1) as stream:
        waiting = asyncio.ensure_future(anext(stream))
        while stream.summary.in_flight != 2 or len(server.requests) != 4:
            await asyncio.sleep(0)
        answered.set()
        check_results([await waiting, await anext(stream)], texts[:2])
        with pytest.raises(InvalidInputError) as caught:
            await anext(stream)
    assert caught.value.indices == (2,)


@pytest.mark.parametrize("what", ["stream", "client"])
async def test_texts_may_close_what_they_are_for(server, connect, what):
    """Their task is one that closing waits for; it must not wait for itself."""
    client = connect()

    async def texts():
        yield "a"
        await (stream if what == "stream" else client).aclose()
        yield "b"

    stream = client.embed_stream(texts(), max_wait=0.001)
    with pytest.raises(AsyncEmbedError):
        async with asyncio.timeout(30), stream:
            [item async for item in stream]
    await client.aclose()


async def test_a_large_body_is_sent_without_a_warning(server, client):
    """aiohttp warns of bytes that it would have to send in one piece."""
    texts = [f"{index} " + "x" * 100_000 for index in range(20)]
    check_results([result async for result in client.embed_stream(texts)], texts)


async def test_what_is_in_an_address_or_a_header_is_not_shown(server, connect):
    """It may be a key; a server may repeat it."""
    client = connect(base_url=server.url + "/v1?key=QUERYSECRET", headers={"X-Gateway-Token": "HEADERSECRET"})

    async def repeat(exchange):
        await exchange.answer(b'{"error":{"message":"POST /v1/embeddings?key=QUERYSECRET HEADERSECRET"}}', 404)

    server.default = repeat
    with pytest.raises(AsyncEmbedError, match=r"POST /v1/embeddings\?key=\*\*\* \*\*\*") as caught:
        await client.embed(["a"])
    assert "SECRET" not in repr(caught.value)


async def test_a_server_that_ignores_the_dimension_is_asked_once(server, client):
    """It would do so again, and be paid again."""
    with pytest.raises(ResponseError, match="instead of 3"):
        await client.embed(["a", "b"], dimensions=3)
    assert len(server.requests) == 1


async def test_an_async_file_gives_the_texts_of_a_plain_one(server, client, tmp_path):
    """A text a line, without its end, and no blank ones."""
    (tmp_path / "texts.txt").write_text("one\n\ntwo\n")
    async with await anyio.open_file(tmp_path / "texts.txt") as file:
        results = [result async for result in client.embed_stream(file)]
    check_results(results, ["one", "two"])
    with (tmp_path / "texts.txt").open() as file:
        check_results([result async for result in client.embed_stream(file)], ["one", "two"])
