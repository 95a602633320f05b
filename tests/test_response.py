"""`StreamingEmbedResponse`: responses that somebody else holds, from async chunks and from files."""

from __future__ import annotations

import io
import json

import aiohttp
import numpy as np
import pytest
from support.formats import Request, vector_of
from support.scripted import ScriptedServer

from asyncembed import ConfigurationError, ResponseError, StreamingEmbedResponse

TEXTS = ["one", "two [1, 2]", 'three "x"']
BODIES = {
    "cohere": {"texts": TEXTS, "embedding_types": ["float"]},
    "cohere-v1": {"texts": TEXTS},
    "openai": {"input": TEXTS},
}


def response_of(provider, *, base64=False):
    body = dict(BODIES[provider])
    if base64:
        body |= {"encoding_format": "base64"} if provider == "openai" else {"embedding_types": ["base64"]}
    return b"".join(Request("", {}, body, 8).pieces)


async def chunks(data, size):
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def take(found, positions):
    """Add the positions to `positions`, where those stay that come before an error."""
    async for position, _ in found:
        positions.append(position)


def check(found):
    assert [position for position, _ in found] == [0, 1, 2]
    np.testing.assert_array_equal(np.stack([vector for _, vector in found]), np.stack(list(map(vector_of, TEXTS))))


@pytest.mark.parametrize("size", [1, 7, 10**6])
@pytest.mark.parametrize("base64", [False, True])
@pytest.mark.parametrize("provider", BODIES)
async def test_both_ways_give_the_vectors_of_every_provider(provider, base64, size):
    data = response_of(provider, base64=base64)
    response = StreamingEmbedResponse(chunks(data, size), provider)
    check([found async for found in response])
    assert (response.count, response.usage.tokens, response.message) == (3, 3, "")
    check(list(StreamingEmbedResponse(io.BytesIO(data), provider).iter_embeddings()))


async def test_a_vector_is_given_as_soon_as_its_array_has_closed():
    data = response_of("openai")
    second = data.index(b"]", data.index(b"]") + 1) + 2  # the item of the second vector ends here

    async def breaks():
        yield data[:second]
        raise ConnectionResetError

    seen: list[int] = []
    with pytest.raises(ConnectionResetError):
        await take(StreamingEmbedResponse(breaks(), "openai"), seen)
    assert seen == [0, 1]


async def test_it_reads_a_response_of_aiohttp():
    async with (
        ScriptedServer() as server,
        aiohttp.ClientSession() as session,
        session.post(f"{server.url}/v1/embeddings", json={"input": TEXTS, "model": "m"}) as response,
    ):
        check([found async for found in StreamingEmbedResponse(response.content.iter_any(), "openai")])


def test_it_reads_a_file_bit_by_bit():
    class File(io.BytesIO):
        reads = 0

        def read(self, size=-1):
            self.reads += 1
            return super().read(50)

    file = File(response_of("cohere"))
    vectors = StreamingEmbedResponse(file, "cohere").iter_embeddings()
    next(vectors)
    assert file.reads < len(file.getvalue()) / 50
    vectors.close()


@pytest.mark.parametrize(
    ("data", "before", "words"),
    [
        (b'{"data":[{"index":0,"embedding":[1,2]},{"ind', [0], "is not JSON, or is cut off"),
        (b"<html>", [], "is not JSON"),
        (b"", [], "is not JSON"),
        (
            b'{"data":[{"index":0,"embedding":[1,2]},{"index":1,"embedding":[1,null]}]}',
            [0],
            "could not be read: a vector",
        ),
        (b'{"data":[{"index":0,"embedding":[1,2]},{"index":1,"embedding":[1,2,3]}]}', [0], "3 dimensions instead of 2"),
    ],
)
async def test_what_is_wrong_is_raised_after_what_is_right(data, before, words):
    for read in (
        lambda: StreamingEmbedResponse(chunks(data, 10), "openai"),
        lambda: in_file(StreamingEmbedResponse(io.BytesIO(data), "openai")),
    ):
        seen: list[int] = []
        with pytest.raises(ResponseError, match=words):
            await take(read(), seen)
        assert seen == before


async def in_file(response):
    for found in response.iter_embeddings():
        yield found


async def test_types_and_dimension_are_held_to():
    body = {"embeddings": {"int8": [[1, -2]], "ubinary": [[255]]}}
    data = json.dumps(body).encode()
    ((_, vector),) = StreamingEmbedResponse(io.BytesIO(data), "cohere", dtype="int8").iter_embeddings()
    assert (vector.dtype, vector.tolist()) == (np.int8, [1, -2])
    ((_, vector),) = StreamingEmbedResponse(io.BytesIO(data), "cohere", dtype="ubinary").iter_embeddings()
    assert (vector.dtype, vector.tolist()) == (np.uint8, [255])
    with pytest.raises(ResponseError, match="a vector has 2 dimensions instead of 3"):
        list(StreamingEmbedResponse(io.BytesIO(data), "cohere", dtype="int8", dimension=3).iter_embeddings())


def test_an_error_inside_a_response_can_be_read():
    response = StreamingEmbedResponse(io.BytesIO(b'{"error":{"message":"no such model"}}'), "openai")
    assert list(response.iter_embeddings()) == []
    assert (response.count, response.message) == (0, "no such model")


def test_wrong_arguments_are_refused():
    with pytest.raises(ConfigurationError, match="provider='nobody' is not known"):
        StreamingEmbedResponse(io.BytesIO(), "nobody")
    with pytest.raises(ConfigurationError, match="dtype='float64' is not known"):
        StreamingEmbedResponse(io.BytesIO(), "openai", dtype="float64")
    with pytest.raises(ConfigurationError, match=r"use iter_embeddings\(\)"):
        aiter(StreamingEmbedResponse(io.BytesIO(), "openai"))
    with pytest.raises(ConfigurationError, match="use `async for`"):
        list(StreamingEmbedResponse(chunks(b"", 1), "openai").iter_embeddings())


def test_a_second_encoding_of_the_same_vectors_is_left_out():
    """Cohere sends all types that were asked for."""
    body = {"embeddings": {"float": [[1, 2], [3, 4]], "base64": ["AACAPwAAAEA=", "AABAQAAAgEA="]}}
    response = StreamingEmbedResponse(io.BytesIO(json.dumps(body).encode()), "cohere")
    assert [(position, vector.tolist()) for position, vector in response.iter_embeddings()] == [
        (0, [1, 2]),
        (1, [3, 4]),
    ]
    assert response.count == 2


async def test_a_second_loop_goes_on():
    data = response_of("openai")
    for response in (StreamingEmbedResponse(chunks(data, 10), "openai"),):
        async for _ in response:
            break
        assert [position async for position, _ in response] == [1, 2]
    response = StreamingEmbedResponse(io.BytesIO(data), "openai")
    for _ in response.iter_embeddings():
        break
    assert [position for position, _ in response.iter_embeddings()] == [1, 2]


async def test_text_instead_of_bytes_is_refused():
    with pytest.raises(ConfigurationError, match="source= yields a str, but must yield bytes"):
        list(StreamingEmbedResponse(io.StringIO("{}"), "openai").iter_embeddings())
    with pytest.raises(ConfigurationError, match="source= yields a str, but must yield bytes"):
        await take(StreamingEmbedResponse(chunks("{}", 1), "openai"), [])
    with pytest.raises(ConfigurationError, match="dimension=0 must be a whole number"):
        StreamingEmbedResponse(io.BytesIO(), "openai", dimension=0)
