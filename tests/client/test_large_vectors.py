"""Vectors larger than those of the usual models, and smaller in memory than their dimension says."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.results import check_results, numbered
from support.scripted import changed, vector_of
from support.watching import until

from asyncembed import EmbedClient, ResponseError, RetryPolicy
from asyncembed.testing import FakeServer

TEXTS = numbered(3)


async def compact(exchange):
    """Answer without any white space."""
    document = json.loads(b"".join(exchange.request.pieces))
    await exchange.answer(json.dumps(document, separators=(",", ":")).encode())


async def pretty(exchange):
    """Answer with each number on a line of its own, 16 columns in."""
    document = json.loads(b"".join(exchange.request.pieces))
    await exchange.answer(json.dumps(document, indent=4).encode())


@pytest.fixture
def floats(connect):
    """Tries everything once."""
    return connect(encoding="float", model="m", retry=RetryPolicy(max_attempts=1))


def check(response, texts: list[str], dimension: int) -> None:
    np.testing.assert_array_equal(response.embeddings, [vector_of(text, dimension) for text in texts])


@pytest.mark.parametrize("count", [1, 2, 3, 12])
@pytest.mark.parametrize("layout", [compact, pretty])
@pytest.mark.parametrize("dimension", [3_072, 3_600, 12_288, 16_384])
async def test_large_vectors_arrive_with_the_first_response(server, floats, dimension, layout, count):
    """Also where the dimension of the model is unknown."""
    server.dimension, server.default = dimension, layout
    texts = numbered(count)
    check(await floats.embed(texts), texts, dimension)
    assert len(server.requests) == 1


@pytest.mark.parametrize("layout", [compact, pretty])
async def test_large_vectors_arrive_with_all_that_are_asked_for_at_once(server, floats, layout):
    """None of them is asked for twice."""
    server.dimension, server.default = 16_384, layout
    texts = numbered(24)
    async with floats.embed_stream(texts, chunk_size=3) as stream:
        results = [result async for result in stream]
    assert [result.index for result in results] == list(range(24))
    assert all(np.array_equal(result.embedding, vector_of(result.text, 16_384)) for result in results)
    assert len(server.requests) == 8


async def test_a_model_whose_vectors_become_larger(server, floats):
    """What was usual does not refuse them."""
    await floats.embed(TEXTS)
    server.dimension, server.default = 16_384, pretty
    check(await floats.embed(TEXTS), TEXTS, 16_384)


async def test_small_vectors_before_a_large_one_do_not_refuse_it(server, connect):
    """A first one that is wrong does not say how large the others may be."""
    client = connect(encoding="float", model="m", retry=RetryPolicy(max_attempts=2, initial_backoff=0.001))
    server.dimension, server.default = 16_384, pretty
    server.script.append(changed(lambda document: document["data"][0].update(embedding=[1.0])))
    check(await client.embed(TEXTS), TEXTS, 16_384)
    assert server.asked[1:] == [[TEXTS[0]]]


@pytest.mark.parametrize("count", [65_537, 300_000])
async def test_vectors_larger_than_any_are_refused(server, floats, count):
    """However little each of their numbers takes in the response."""
    server.default = changed(lambda document: [item.update(embedding=[1] * count) for item in document["data"]])
    with pytest.raises(ResponseError, match=r"instead of at most 65536|larger than its vectors can be"):
        await floats.embed(TEXTS)


async def test_the_reservation_grows_to_the_size_of_the_vectors(server, connect):
    """As soon as vectors are there, and before they are taken."""
    server.dimension, server.default = 16_384, compact
    client = connect(encoding="float", model="m")
    texts = numbered(12)
    async with client.embed_stream(texts, chunk_size=12) as stream:
        first = await anext(stream)
        assert stream.summary.reserved_bytes >= 11 * first.embedding.nbytes
        await until(lambda: stream.summary.done == 12)
        rest = [each async for each in stream]
    assert len(rest) == 11
    assert stream.summary.reserved_bytes == 0


async def test_the_reservation_shrinks_to_the_size_of_the_vectors(server, connect):
    """So that other requests do not wait for memory that is not used."""
    client = connect(encoding="float", model="m")
    texts = numbered(200)
    async with client.embed_stream(texts) as stream:
        first = await anext(stream)
        await until(lambda: stream.summary.done == 200 and not stream.summary.in_flight)
        assert stream.summary.reserved_bytes < 200 * (1_000 + first.embedding.nbytes)
        check_results([first, *[each async for each in stream]], texts)


@pytest.mark.parametrize(
    ("dtype", "width"), [("float32", 4 * 1_024), ("int8", 1_024), ("ubinary", 128), ("binary", 128)]
)
@pytest.mark.parametrize("dimensions", [None, 1_024])
async def test_a_batch_reserves_what_its_vectors_take(dtype, width, dimensions):
    """Eight bits are one byte, whether the dimension is known or learned."""
    async with (
        FakeServer(dimension=1_024) as server,
        EmbedClient("cohere", base_url=server.url, api_key="k", model="m") as client,
        client.embed_stream(numbered(960), chunk_size=96, dtype=dtype, dimensions=dimensions) as stream,
    ):
        await anext(stream)
        await until(lambda: stream.summary.done == 960 and not stream.summary.in_flight)
        left = stream.summary.reserved_bytes / 960
        results = [each async for each in stream]
    assert width <= left < width + 1_000
    assert all(each.embedding.nbytes == width for each in results)
