"""Right answers, to our client and to the official SDKs, in whatever form they come."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from asyncembed import EmbedClient, RetryPolicy
from asyncembed.testing import FakeServer, tokens_of, vector_of

TEXTS = ["a", "naïve 😀 [1, 2]", 'quotes " and \\', "line\nbreak", *map(str, range(20))]
TOKENS = sum(map(tokens_of, TEXTS))
ONCE = RetryPolicy(max_attempts=1)
LAYOUTS = ["cohere", "cohere-v1", "openai"]
STYLES = list(itertools.product([False, True], ["usual", "reversed", "shuffled"], ["usual", "reversed", "shuffled"]))


def client_of(server, provider, **settings):
    base_url = server.url + "/v1" * (provider == "openai")
    return EmbedClient(provider, base_url=base_url, api_key="k", retry=ONCE, **settings)


def expected(dimension=8, dtype="float32"):
    return np.stack([vector_of(text, dimension, dtype) for text in TEXTS])


async def check(server, provider, **settings):
    async with client_of(server, provider, **settings) as client:
        response = await client.embed(TEXTS)
    assert response.embeddings.tobytes() == expected(server.dimension).tobytes()
    assert response.usage.tokens == TOKENS


@pytest.mark.parametrize("gzip", [False, True])
@pytest.mark.parametrize("chunk_bytes", [1, 100, None])
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("encoding", ["float", "base64"])
@pytest.mark.parametrize("layout", LAYOUTS)
async def test_our_client_over_all_framings(layout, encoding, framing, chunk_bytes, gzip):
    async with FakeServer(framing=framing, chunk_bytes=chunk_bytes, gzip=gzip) as server:
        await check(server, layout, encoding=encoding)
        assert server.ledger.sent == dict.fromkeys(TEXTS, 1)
        assert server.ledger.entries[0].kinds == (encoding,)
        assert server.ledger.entries[0].is_whole
        assert server.ledger.billed_tokens == server.ledger.told_tokens == TOKENS


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("pretty", "key_order", "item_order"), STYLES)
async def test_our_client_over_all_styles(layout, pretty, key_order, item_order):
    async with FakeServer(pretty=pretty, key_order=key_order, item_order=item_order, chunk_bytes=50) as server:
        await check(server, layout)
        assert server.ledger.sent == dict.fromkeys(TEXTS, 1)
        assert server.ledger.told_tokens == TOKENS


@pytest.mark.parametrize("dtype", ["int8", "uint8", "binary", "ubinary"])
@pytest.mark.parametrize("layout", ["cohere", "cohere-v1"])
async def test_other_types(server, layout, dtype):
    server.dimension = 16
    async with client_of(server, layout) as client:
        response = await client.embed(TEXTS, dtype=dtype)
    assert response.embeddings.tobytes() == expected(16, dtype).tobytes()


@pytest.mark.parametrize("layout", ["cohere", "openai"])
async def test_a_dimension_is_honoured(server, layout):
    async with client_of(server, layout) as client:
        response = await client.embed(TEXTS, dimensions=3)
    assert response.embeddings.tobytes() == expected(3).tobytes()


def test_the_sdk_of_openai(embedding_server):
    """Also for a single string, and with the base64 that it asks for unasked."""
    openai = pytest.importorskip("openai")
    with openai.OpenAI(api_key="k", base_url=f"{embedding_server.url}/v1") as client:
        for encoding in ("float", "base64", openai.NOT_GIVEN):
            response = client.embeddings.create(model="m", input=TEXTS, encoding_format=encoding)
            if encoding != "base64":
                assert (
                    np.array([item.embedding for item in response.data], np.float32).tobytes() == expected().tobytes()
                )
            assert [item.index for item in response.data] == list(range(len(TEXTS)))
            assert response.usage.total_tokens == TOKENS
        assert (
            client.embeddings.create(model="m", input="a", dimensions=2).data[0].embedding == vector_of("a", 2).tolist()
        )
    assert embedding_server.ledger.asked["a"] == 4
    assert [entry.kinds for entry in embedding_server.ledger.entries] == [
        ("float",),
        ("base64",),
        ("base64",),
        ("base64",),
    ]


def test_the_sdks_of_cohere(embedding_server):
    """Both versions, several types in one answer."""
    cohere = pytest.importorskip("cohere")
    kinds = {"input_type": "search_document", "embedding_types": ["float", "int8", "base64"]}
    with cohere.ClientV2(api_key="k", base_url=embedding_server.url) as client:
        response = client.embed(model="m", texts=TEXTS, **kinds)
    assert np.array(response.embeddings.float_, np.float32).tobytes() == expected().tobytes()
    assert np.array(response.embeddings.int8, np.int8).tobytes() == expected(dtype="int8").tobytes()
    assert response.meta.billed_units.input_tokens == TOKENS
    with cohere.Client(api_key="k", base_url=embedding_server.url) as client:
        response = client.embed(model="m", texts=TEXTS, input_type="search_document")
    assert np.array(response.embeddings, np.float32).tobytes() == expected().tobytes()
    assert embedding_server.ledger.sent == dict.fromkeys(TEXTS, 2)


@pytest.mark.parametrize("dtype", ["float32", "int8", "ubinary"])
def test_vectors_differ(dtype):
    """Also those of texts that are nearly the same."""
    texts = {f"text {'x' * random.Random(number).randrange(5)}{number}" for number in range(2_000)}
    vectors = {vector_of(text, 64, dtype).tobytes() for text in texts}
    assert len(vectors) == len(texts)


def test_vectors_stay_what_they_are():
    """People may have them in their tests."""
    assert vector_of("a", 3).tolist() == VECTOR
    assert vector_of("a", 3, "int8").tolist() == [int(number * 128 // 1) for number in VECTOR]
    assert vector_of("a", 16, "ubinary").tolist() == [byte + 128 for byte in vector_of("a", 16, "binary").tolist()]
    assert vector_of("\ud800", 2).shape == (2,)


VECTOR = [-0.433441162109375, -0.93072509765625, -0.93109130859375]
