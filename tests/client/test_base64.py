"""base64 is asked for where it is known to work; a server that refuses it is asked for floats from then on."""

from __future__ import annotations

import asyncio
import json

import pytest
from support.results import check_results, numbered
from support.scripted import changed, refused, right, said

from asyncembed import InvalidInputError

TEXTS = numbered(30)
PYDANTIC = {"type": "literal_error", "loc": ["body", "encoding_format"], "msg": "Input should be 'float'", "input": "x"}
REFUSALS = {
    "in words": refused(400, "encoding_format base64 is not supported by this model"),
    "field not known": refused(422, "Unrecognized request argument supplied: encoding_format"),
    "by FastAPI": said(json.dumps({"detail": [PYDANTIC]}).encode(), 422),
    "in plain text": said(b"Failed to deserialize: unknown variant `base64`, expected `float`", 422),
}


def refusing(reply):
    async def answer(exchange):
        await (reply if exchange.request.base64 else right)(exchange)

    return answer


@pytest.mark.parametrize("how", REFUSALS)
async def test_a_refusal_is_remembered(server, connect, how):
    client = connect(max_concurrency=1)
    server.default = refusing(REFUSALS[how])
    stream = client.embed_stream(TEXTS, chunk_size=5)
    check_results([result async for result in stream], TEXTS)
    assert [request.base64 for request in server.requests] == [True] + [False] * 6
    assert [result.embedding.size async for result in client.embed_stream(TEXTS[:1])] == [8]
    assert not server.requests[-1].base64


async def test_a_refusal_is_remembered_by_streams_with_limits_of_their_own(server, connect):
    client = connect()
    server.default = refusing(REFUSALS["in words"])
    for _ in range(3):
        await client.embed(TEXTS, max_memory_mb=5, max_concurrency=1)
    assert [request.base64 for request in server.requests] == [True, False, False, False]


async def test_refusals_side_by_side(server, connect):
    """Requests that were on their way are refused, too; none of them fails."""
    server.default = refusing(REFUSALS["in words"])
    client = connect(max_concurrency=8)
    groups = await asyncio.gather(*(client.embed(TEXTS, chunk_size=5) for _ in range(4)))
    assert [len(group) for group in groups] == [30] * 4
    assert sum(request.base64 for request in server.requests) <= 8


async def test_base64_that_was_demanded_is_not_given_up(server, connect):
    server.default = refusing(REFUSALS["in words"])
    with pytest.raises(InvalidInputError, match="not supported"):
        await connect(encoding="base64", model="m").embed(TEXTS)
    assert len(server.requests) == 1


async def test_another_refusal_is_no_reason_to_ask_for_floats(server, connect):
    server.default = refused(400, "the text is too long")
    with pytest.raises(InvalidInputError, match="too long"):
        await connect().embed(TEXTS[:1])
    assert len(server.requests) == 1


async def test_a_refusal_of_everything_ends(server, connect):
    server.default = refused(400, "neither base64 nor anything else")
    with pytest.raises(InvalidInputError):
        await connect().embed(TEXTS)
    assert [request.base64 for request in server.requests] == [True, False]


async def test_floats_instead_of_base64_are_taken(server, connect):
    """Many servers ignore the word."""

    async def ignore(exchange):
        exchange.request.body["encoding_format"] = "float"
        await right(exchange)

    server.default = ignore
    check_results([result async for result in connect().embed_stream(TEXTS)], TEXTS)
    assert len(server.requests) == 1


async def test_a_mixture_is_taken_value_by_value(server, connect):
    def mix(document):
        for item in document["data"][::2]:
            item["embedding"] = [0.5] * 8

    server.default = changed(mix)
    results = [result async for result in connect().embed_stream(TEXTS)]
    assert [float(result.embedding[0]) == 0.5 for result in results] == [True, False] * 15


async def test_a_server_may_change_its_dimension_between_calls(server, connect):
    client = connect(model="m")
    for dimension in (8, 16, 4):
        server.dimension = dimension
        assert (await client.embed(TEXTS)).embeddings.shape == (len(TEXTS), dimension)
