"""No text ever gets another one's vector: what does not fit is refused, asked for again, or ends the run."""

from __future__ import annotations

import asyncio
import base64
import json
import random

import numpy as np
import pytest
from support.results import check_results, check_vectors, numbered, take_all
from support.scripted import Gate, broken_after, changed, refused, right, said, vector_of
from support.watching import until

from asyncembed import AuthenticationError, ResponseError
from asyncembed.sinks import read_partial

TEXTS = numbered(6)


@pytest.fixture
def floats(connect):
    """A client whose vectors are lists of numbers, which the tests can change."""
    return connect(encoding="float")


@pytest.fixture
def cohere(connect):
    return connect("cohere")


async def expect_error(client):
    """Take everything; whatever came before the error must be right."""
    results = []
    with pytest.raises(ResponseError) as caught:
        await take_all(client.embed_stream(TEXTS), results)
    check_vectors(results, TEXTS)
    return caught.value


def shuffle(document):
    random.Random(3).shuffle(document["data"])


def drop_index(document):
    for item in document["data"]:
        del item["index"]


def index_last(document):
    for item in document["data"]:
        item["index"] = item.pop("index")


FINE = {
    "shuffled": shuffle,
    "without index": drop_index,
    "index behind the vector": index_last,
    "usage first": lambda document: document.update(data=document.pop("data")),
    "further fields": lambda document: document["data"][2].update(object={"embedding": [1, 2]}, extra=[[1, 2], "x"]),
    "further vectors elsewhere": lambda document: document.update(
        embeddings=[[1.0, 2.0]], other={"data": [{"index": 1}]}
    ),
}


@pytest.mark.parametrize("change", FINE)
async def test_unusual_but_right(server, floats, change):
    server.default = changed(FINE[change])
    check_results([result async for result in floats.embed_stream(TEXTS)], TEXTS)
    assert len(server.requests) == 1


def set_item(place, **fields):
    return lambda document: document["data"][place].update(fields)


def set_vector(place, value):
    return set_item(place, embedding=value)


REPAIRED = {
    "one vector left out": lambda document: document["data"].pop(2),
    "one index left out, the count is right": set_item(2, index=99),
    "negative index": set_item(2, index=-1),
    "index is a string": set_item(2, index="2"),
    "index is a float": set_item(2, index=2.0),
    "index is true": set_item(2, index=True),
    "null": set_vector(2, None),
    "empty": set_vector(2, []),
    "nested": set_vector(2, [[1.0] * 8]),
    "nested deeper": set_vector(2, [[[1.0] * 8]]),
    "object": set_vector(2, {"values": [1.0] * 8}),
    "number": set_vector(2, 1.5),
    "not base64": set_vector(2, "!!!!"),
    "strings": set_vector(2, ["1.0"] * 8),
    "null inside": set_vector(2, [1.0, None] * 4),
    "true inside": set_vector(2, [1.0, True] * 4),
    "NaN inside": set_vector(2, [1.0, float("nan")] * 4),
    "infinity inside": set_vector(2, [1.0, float("inf")] * 4),
    "too large for float32": set_vector(2, [1.0, 1e39] * 4),
    "other dimension": set_vector(2, [1.0] * 7),
    "no vector in the item": lambda document: document["data"][2].pop("embedding"),
    "an item that is null": lambda document: document["data"].__setitem__(2, None),
}
"""Faults of one answer that leave no doubt which text is concerned: it is asked for again."""


@pytest.mark.parametrize("change", REPAIRED)
async def test_faults_that_are_asked_for_again(server, floats, change):
    server.script.append(changed(REPAIRED[change]))
    try:
        results = [result async for result in floats.embed_stream(TEXTS)]
    except ResponseError as error:
        assert not error.retryable  # noqa: PT017  # refused is as good as repaired
    else:
        check_results(results, TEXTS)
        assert len(server.requests) == 2


async def test_a_vector_alone_is_that_of_a_single_text(server, connect):
    """Some models at Hugging Face leave out the list around it."""
    server.default = said(b"[0.5, -0.5, 0.25]")
    response = await connect("huggingface", base_url=server.url).embed(TEXTS[:1])
    assert response.embeddings.tolist() == [[0.5, -0.5, 0.25]]
    assert len(server.requests) == 1


async def test_a_vector_alone_is_that_of_none_of_several_texts(server, connect):
    """As many numbers as texts are no vectors either."""
    server.default = said(b"[0.5, -0.5]")
    with pytest.raises(ResponseError, match="2 of 2 vectors did not arrive"):
        await connect("huggingface", base_url=server.url).embed(TEXTS[:2])


@pytest.mark.parametrize("body", [b"[]", b"[ ]", b"0.5", b"null", b'"0.5"', b"[[[0.5]]]"])
async def test_what_is_no_vector_alone_is_none(server, connect, body):
    server.default = said(body)
    with pytest.raises(ResponseError, match="1 of 1 vectors did not arrive"):
        await connect("huggingface", base_url=server.url).embed(TEXTS[:1])


def make_token_matrices(document):
    for item in document["data"]:
        item["embedding"] = [item["embedding"]] * 3


async def test_matrices_in_the_place_of_all_vectors_are_not_asked_for_again(server, floats):
    """A model without pooling returns one vector per token, each time, and each time it is paid for."""
    server.default = changed(make_token_matrices)
    error = await expect_error(floats)
    assert "one vector per token" in str(error)
    assert (error.retryable, error.indices) == (False, tuple(range(len(TEXTS))))
    assert len(server.requests) == 1


@pytest.mark.parametrize("change", REPAIRED)
async def test_faults_that_stay(server, floats, change):
    server.default = changed(
        lambda document: REPAIRED[change](document) if len(document["data"]) == 6 else set_vector(0, None)(document)
    )
    error = await expect_error(floats)
    assert 2 in error.indices


DOUBTFUL = {
    "doubled index": set_item(3, index=2),
    "one vector too many": lambda document: document["data"].append({"index": 6, "embedding": [1.0] * 8}),
    "all twice": lambda document: document.update(data=document["data"] * 2),
    "without index, one left out": lambda document: (drop_index(document), document["data"].pop(2)),
    "without index, one too many": lambda document: (
        drop_index(document),
        document["data"].append({"embedding": [0.5] * 8}),
    ),
}
"""Faults after which nobody knows which vector belongs to which text: not asked for again."""


@pytest.mark.parametrize("change", DOUBTFUL)
async def test_faults_that_end_the_run(server, floats, change):
    server.default = changed(DOUBTFUL[change])
    results = []
    with pytest.raises(ResponseError, match="cannot be matched") as caught:
        await take_all(floats.embed_stream(TEXTS), results)
    assert not caught.value.retryable
    assert len(server.requests) == 1


@pytest.mark.parametrize("change", DOUBTFUL)
@pytest.mark.parametrize("times", [1, 2, 3])
async def test_where_nothing_was_handed_over_they_are_asked_for_again_twice(server, floats, tmp_path, change, times):
    """All at once, or into a file, which never holds a vector of such an answer."""
    expected = np.stack([vector_of(text) for text in TEXTS])
    path = tmp_path / "v.npy"
    for verb in (floats.embed, lambda texts: floats.embed_to_file(texts, path)):
        server.requests.clear()
        server.script.extend([changed(DOUBTFUL[change])] * times)
        if times <= 2:
            found = await verb(TEXTS)
            np.testing.assert_array_equal(np.load(path) if path.exists() else found.embeddings, expected)
        else:
            with pytest.raises(ResponseError, match=r"cannot be matched.* its vectors were dropped") as caught:
                await verb(TEXTS)
            assert not caught.value.retryable
            assert caught.value.indices == tuple(range(6))
        assert server.asked == [TEXTS] * min(times + 1, 3)
        assert not list(tmp_path.glob("*.partial"))


async def test_what_was_safe_already_is_taken_back(server, floats, tmp_path):
    """An answer that takes its time is on the disk before its end shows that it is wrong."""
    path, gate = tmp_path / "v.npy", Gate()

    async def slow(exchange):
        document = json.loads(b"".join(exchange.request.pieces))
        del document["usage"]
        drop_index(document)
        body = json.dumps({**document, "data": document["data"] + document["data"][:1]}).encode()
        cut = body.rindex(b"{")
        await exchange.head(200, {"Content-Length": str(len(body))})
        await exchange.send(body[:cut])
        await gate.wait()
        await exchange.send(body[cut:])

    server.script.extend([broken_after(2), slow, refused(401, "no more")])
    task = asyncio.create_task(floats.embed_to_file(TEXTS, path))
    await until(lambda: (found := read_partial(path)) and found.commit.settled == 6)
    gate.opened.set()
    with pytest.raises(AuthenticationError):
        await task
    assert read_partial(path).commit.settled == 2
    server.requests.clear()
    summary = await floats.embed_to_file(TEXTS, path, resume=True)
    assert server.asked == [TEXTS[2:]]
    assert (summary.resumed, summary.done, summary.saved) == (2, 4, 6)
    np.testing.assert_array_equal(np.load(path), np.stack([vector_of(text) for text in TEXTS]))


def set_cohere(change):
    return lambda document: change(document["embeddings"]["float"])


@pytest.mark.parametrize("count", [1, 5, 7])
async def test_wrong_count_in_order(server, cohere, count):
    """Cohere sends no index, so a wrong count means that nothing can be trusted."""
    server.default = changed(
        lambda document: document["embeddings"].update(float=(document["embeddings"]["float"] * 2)[:count])
    )
    with pytest.raises(ResponseError, match="cannot be matched") as caught:
        await cohere.embed(TEXTS)
    assert not caught.value.retryable
    assert len(server.requests) == 3  # twice more, as nothing was handed over


async def test_bad_vectors_in_order_keep_their_place(server, cohere):
    server.script.append(changed(set_cohere(lambda vectors: vectors.__setitem__(2, None))))
    check_results([result async for result in cohere.embed_stream(TEXTS)], TEXTS)
    assert server.asked == [TEXTS, TEXTS[2:3]]


def resized(document, dimension):
    """Give every vector another dimension, in the encoding that it has."""
    for item in document["data"]:
        numbers = np.linspace(0.1, 0.9, dimension, dtype=np.float32)
        is_text = isinstance(item["embedding"], str)
        item["embedding"] = base64.b64encode(numbers).decode() if is_text else numbers.tolist()


@pytest.mark.parametrize("encoding", ["float", "base64"])
@pytest.mark.parametrize("later", [4, 7, 9, 16])
async def test_the_dimension_does_not_change_in_a_run(server, connect, later, encoding):
    """Also not between two requests of one run, and not to one whose base64 could be floats of another size."""
    server.default = changed(lambda document: resized(document, later) if len(server.requests) > 1 else None)
    results = []
    with pytest.raises(ResponseError) as caught:
        await take_all(
            connect(encoding=encoding, max_concurrency=1, model="m").embed_stream(TEXTS, chunk_size=3), results
        )
    check_results(results, TEXTS[:3])
    assert caught.value.indices == (3, 4, 5)


@pytest.mark.parametrize("encoding", ["float", "base64"])
@pytest.mark.parametrize("dimensions", [4, 5, 16])
async def test_the_asked_dimension_is_demanded(server, connect, dimensions, encoding):
    """A server that ignores `dimensions` is found out, whatever its vectors could be taken for."""
    with pytest.raises(ResponseError):
        await connect(encoding=encoding).embed(TEXTS, dimensions=dimensions)


NOT_VECTORS = {
    "error with status 200": b'{"error": {"message": "the model is loading", "type": "server_error"}}',
    "text error with status 200": b'{"error": "an unexpected error"}',
    "HTML": b"<!DOCTYPE html><html><body>Welcome to the Wi-Fi of this hotel</body></html>",
    "empty body": b"",
    "white space": b"  \n ",
    "null": b"null",
    "a number": b"42",
    "an empty object": b"{}",
    "an empty list": b"[]",
    "no vectors": b'{"data": []}',
    "vectors elsewhere": json.dumps({"embeddings": [[1.0] * 8] * 6}).encode(),
    "data is null": b'{"data": null}',
    "data is a string": b'{"data": "x"}',
    "data is a bare list": json.dumps({"data": [[1.0] * 8] * 6}).encode(),
    "UTF-16": '{"data": []}'.encode("utf-16"),
    "invalid UTF-8": b'{"x": "\xff\xfe"}',
    "byte order mark": b'\xef\xbb\xbf{"data": []}',
}


@pytest.mark.parametrize("body", NOT_VECTORS)
async def test_what_is_no_embedding_response(server, floats, body):
    server.default = said(NOT_VECTORS[body])
    error = await expect_error(floats)
    assert error.indices == error.missing == tuple(range(6))
    assert len(server.requests) == 4  # it might be a passing state of the server
    assert "loading" in str(error) or body != "error with status 200"


async def test_a_wrong_address_may_answer_200(server, floats):
    """LM Studio does; nothing that is asked there goes well."""
    server.default = said(b'{"error": "Unexpected endpoint or method. (POST /embeddings)"}')
    error = await expect_error(floats)
    assert error.indices == error.missing == tuple(range(6))
    assert len(server.requests) == 1


@pytest.mark.parametrize("body", NOT_VECTORS)
async def test_after_that_the_right_answer_counts(server, floats, body):
    server.script.extend([said(NOT_VECTORS[body])] * 2)
    server.default = right
    check_results([result async for result in floats.embed_stream(TEXTS)], TEXTS)
