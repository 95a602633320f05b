"""Where nobody says the dimension, one vector that is wrong does not decide it, not even the very first."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from support.results import check_results, numbered, take_all
from support.scripted import Gate, broken_after, changed, right, stalled
from support.watching import turns

from asyncembed import EmbedClient, EmbedFailure, ResponseError, RetryPolicy
from asyncembed.testing import FakeServer, faults, vector_of

TEXTS = numbered(12)


def sized(*sizes: int | None):
    """Answer rightly but for the sizes of the first vectors; None is the right size."""

    def resize(document):
        for item, size in zip(document["data"], sizes, strict=False):
            item["embedding"] = item["embedding"] if size is None else [0.5] * size

    return changed(resize)


@pytest.fixture
def floats(connect):
    return connect(encoding="float", max_concurrency=1)


@pytest.mark.parametrize("dtype", ["float32", "int8", "uint8", "binary", "ubinary"])
@pytest.mark.parametrize("what", ["short", "long"])
async def test_any_type(dtype, what):
    """Also as base64, and as blocks."""
    async with (
        FakeServer(dimension=16, script=[faults.WrongVector(what, at=0)] * 2) as server,
        EmbedClient("cohere", base_url=server.url, api_key="k", retry=RetryPolicy(initial_backoff=0.001)) as client,
    ):
        response = await client.embed(TEXTS, dtype=dtype, chunk_size=4, max_concurrency=1)
        np.testing.assert_array_equal(response.embeddings, [vector_of(text, 16, dtype) for text in TEXTS])
        assert server.ledger.requests == 3 + 2
        assert not +server.ledger.asked_again


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_blocks(encoding):
    """As matrices, with the first row of each of two requests side by side wrong in its own way."""
    script = [faults.WrongVector("short", at=0), faults.WrongVector("long", at=0)]
    async with (
        FakeServer(script=script) as server,
        EmbedClient("openai", base_url=f"{server.url}/v1", api_key="k", encoding=encoding, model="m") as client,
        client.embed_binary_stream(TEXTS, chunk_size=4, max_concurrency=2) as reader,
    ):
        blocks = [block async for block in reader]
    assert [index for first, rows in blocks for index in range(first, first + len(rows))] == list(range(len(TEXTS)))
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in blocks]), list(map(vector_of, TEXTS)))


@pytest.mark.parametrize("ordered", [True, False])
async def test_many_first_responses_at_once(server, connect, ordered):
    """All of them begin with a vector that is wrong, each in its own way."""
    server.script.extend(sized(size) for size in (1, 2, 3, 4, 5, 6, 7, 9))
    stream = connect(encoding="float", max_concurrency=8).embed_stream(numbered(32), chunk_size=4, ordered=ordered)
    check_results([result async for result in stream], numbered(32), ordered=ordered)
    assert (stream.summary.requests, stream.summary.dimension) == (16, 8)


async def test_requests_of_one_text_wait_for_nobody(server, floats):
    stream = floats.embed_stream(TEXTS, chunk_size=1)
    check_results([result async for result in stream], TEXTS)
    assert stream.summary.requests == len(TEXTS)


async def test_a_single_text_that_is_wrong_at_first_contact_is_believed(server, floats):
    """Nothing speaks against it; then the right ones are refused, and the run ends."""
    server.script.append(sized(7))
    results = []
    with pytest.raises(ResponseError, match="8 dimensions instead of 7"):
        await take_all(floats.embed_stream(TEXTS, chunk_size=1), results)
    assert [result.embedding.size for result in results] == [7]


async def test_a_single_text_is_compared_with_earlier_runs(server, floats):
    await floats.embed(TEXTS)
    server.script.append(sized(7))
    check_results([result async for result in floats.embed_stream(TEXTS[:1])], TEXTS[:1])
    assert server.asked == [TEXTS, TEXTS[:1], TEXTS[:1]]


async def test_a_model_that_has_changed_is_believed_the_second_time(server, floats):
    await floats.embed(TEXTS)
    server.dimension = 4
    for _ in range(2):
        assert (await floats.embed(TEXTS[:1])).embeddings.shape == (1, 4)
    assert server.asked == [TEXTS, *[TEXTS[:1]] * 3]


async def test_a_model_that_has_changed_where_nothing_is_asked_twice(server, once):
    await once.embed(TEXTS)
    server.dimension = 4
    with pytest.raises(ResponseError, match="4 numbers, and no other vector has as many"):
        await once.embed(TEXTS[:1])
    assert (await once.embed(TEXTS[:1])).embeddings.shape == (1, 4)


async def test_a_break_behind_the_first_vector_does_not_lose_it(server, floats):
    server.script.append(broken_after(1))
    stream = floats.embed_stream(TEXTS)
    check_results([result async for result in stream], TEXTS)
    assert server.asked == [TEXTS, TEXTS[1:]]
    assert stream.summary.salvaged == 1


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_a_stream_that_is_left_while_its_server_stalls(server, floats, count):
    """One vector is held back until another one agrees; whoever leaves meanwhile leaves nothing behind."""
    gate = Gate()
    server.default = stalled(gate, count=count)
    async with floats.embed_stream(TEXTS) as stream:
        first = asyncio.ensure_future(anext(stream))
        await gate.reached.wait()
        if count > 1:
            assert (await first).index == 0
        else:
            await turns(50)
            assert not first.done()
            first.cancel()
            await asyncio.wait([first])
    gate.opened.set()


async def test_what_is_held_back_is_handed_over_when_the_run_ends(server, connect):
    """Another request ends it, while the first one stands behind its first vector."""
    gate = Gate()

    async def refuse_later(exchange):
        await gate.reached.wait()
        await exchange.answer(b'{"error":{"message":"no"}}', 401)

    server.script.extend([stalled(gate, count=1), refuse_later])
    results = []
    with pytest.raises(Exception, match="401"):
        await take_all(connect(encoding="float", max_concurrency=2).embed_stream(TEXTS, chunk_size=6), results)
    check_results(results, TEXTS[: len(results)])
    assert len(results) == 1
    gate.opened.set()


@pytest.mark.parametrize("on_error", ["raise", "yield"])
async def test_vectors_that_all_differ_end(server, floats, on_error):
    """None is given, as nobody knows which is right."""
    sizes = iter(range(10, 10_000))
    server.default = changed(lambda document: [item.update(embedding=[1.0] * next(sizes)) for item in document["data"]])
    stream = floats.embed_stream(TEXTS[:6], chunk_size=3, on_error=on_error)
    results = []
    if on_error == "raise":
        with pytest.raises(ResponseError, match="no other vector has as many"):
            await take_all(stream, results)
        assert not results
    else:
        await take_all(stream, results)
        assert [type(result) for result in results] == [EmbedFailure] * 6


async def test_a_demanded_dimension_is_no_matter_of_agreement(server, floats):
    server.default = sized(*[7] * len(TEXTS))
    with pytest.raises(ResponseError, match="7 dimensions instead of 8"):
        await floats.embed(TEXTS, dimensions=8)
    assert len(server.requests) == 1
    server.default = right
