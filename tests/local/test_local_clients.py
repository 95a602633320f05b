"""Our client and the official SDKs, on one server: the same vectors, whichever way they travel."""

from __future__ import annotations

from itertools import product

import anyio.to_thread
import numpy as np
import pytest

from asyncembed import APIStatusError, ConfigurationError, EmbedClient, EmbedFailure
from asyncembed.local import LocalServer

pytest.importorskip("model2vec")

TEXTS = ["a small domesticated feline", 'brackets [1, 2] and "quotes"', "naïve 😀 text", "line\nbreak"]
PROVIDERS = ["local", "cohere", "cohere-v1", "openai", "ollama", "tei"]
"""Our providers whose formats the server speaks."""


@pytest.fixture
async def server():
    async with LocalServer() as running:
        yield running


def base_url_of(server: LocalServer, provider: str) -> str:
    return server.url + "/v1" * (provider == "openai")


def by_cohere(url: str) -> np.ndarray:
    cohere = pytest.importorskip("cohere")
    with cohere.ClientV2(api_key="k", base_url=url) as client:
        kinds = {"input_type": "search_document", "embedding_types": ["float"]}
        return np.array(client.embed(model="local", texts=TEXTS, **kinds).embeddings.float_, np.float32)


def by_openai(url: str) -> np.ndarray:
    openai = pytest.importorskip("openai")
    with openai.OpenAI(api_key="k", base_url=f"{url}/v1") as client:
        items = client.embeddings.create(model="local", input=TEXTS).data
        return np.array([item.embedding for item in items], np.float32)


def by_ollama(url: str) -> np.ndarray:
    ollama = pytest.importorskip("ollama")
    client = ollama.Client(host=url)
    try:
        return np.array(client.embed(model="local", input=TEXTS).embeddings, np.float32)
    finally:
        client._client.close()


def by_huggingface(path: str):
    """The SDK posts to the address that it gets as a model, and takes one text at a time."""

    def ask(url: str) -> np.ndarray:
        hub = pytest.importorskip("huggingface_hub")
        client = hub.InferenceClient(model=f"{url}{path}", token="k")
        rows = [client.feature_extraction(text, normalize=True, truncate=True) for text in TEXTS]
        return np.concatenate(rows).astype(np.float32)

    return ask


SDKS = {
    "cohere": by_cohere,
    "openai": by_openai,
    "ollama": by_ollama,
    "huggingface_hub": by_huggingface("/embed"),
    "huggingface_hub at the root": by_huggingface(""),
}


@pytest.mark.parametrize("sdk", SDKS)
async def test_an_sdk_gets_what_our_client_gets(server, sdk):
    """To the last bit."""
    theirs = await anyio.to_thread.run_sync(SDKS[sdk], server.url)
    async with EmbedClient("local", base_url=server.url) as client:
        ours = (await client.embed(TEXTS)).embeddings
    assert theirs.dtype == ours.dtype
    assert theirs.tobytes() == ours.tobytes()


@pytest.mark.parametrize(
    ("provider", "encoding"),
    [
        *product(["local", "cohere", "cohere-v1", "openai"], ["auto", "base64", "float"]),
        *product(["ollama", "tei"], ["auto", "float"]),  # these formats have no base64
    ],
)
async def test_every_provider_gets_the_models_vectors(server, model, provider, encoding):
    """To the last bit."""
    expected = model.embed(TEXTS)
    base_url = base_url_of(server, provider)
    async with EmbedClient(provider, api_key="k", base_url=base_url, encoding=encoding) as client:
        response = await client.embed(TEXTS)
        streamed = [result.embedding async for result in client.embed_stream(TEXTS, chunk_size=1)]
        assert await client.dimension() == model.dimension
    assert response.embeddings.tobytes() == np.stack(streamed).tobytes() == expected.tobytes()
    assert response.usage.tokens == sum(model.count_tokens(TEXTS))


async def test_our_client_learns_the_limits_of_a_tei_server(server, model):
    """More texts than `/info` allows in one request."""
    texts = [f"text {number}" for number in range(100)]
    async with EmbedClient("tei", base_url=server.url) as client:
        stream = client.embed_stream(texts)
        results = [result async for result in stream]
    assert np.stack([result.embedding for result in results]).tobytes() == model.embed(texts).tobytes()
    assert stream.summary.requests == 4


@pytest.mark.parametrize(("truncate", "is_whole"), [("END", False), ("NONE", True), (None, True)])
@pytest.mark.parametrize("provider", ["ollama", "tei"])
async def test_a_text_that_is_too_long_is_cut_unless_the_caller_forbids_it(
    server, long_text, provider, truncate, is_whole
):
    texts = ["a cat", long_text, "a dog"]
    async with EmbedClient(provider, base_url=server.url) as client:
        stream = client.embed_stream(texts, on_error="yield", **({"truncate": truncate} if truncate else {}))
        results = [result async for result in stream]
    assert [isinstance(result, EmbedFailure) for result in results] == [False, is_whole, False]


@pytest.mark.parametrize(
    ("provider", "allowed"),
    [
        ("local", "out of 32, 64, 128, 192"),
        ("cohere", "out of 32, 64, 128, 192"),
        ("openai", "from 1 to 192"),
        ("ollama", "from 1 to 192"),
        ("tei", "from 1 to 192"),
    ],
)
async def test_a_dimension_that_the_model_does_not_have_is_told_with_those_it_has(server, provider, allowed):
    """It ends the run, and no text is blamed."""
    async with EmbedClient(provider, api_key="k", base_url=base_url_of(server, provider)) as client:
        with pytest.raises(APIStatusError, match=f"must be an integer {allowed}, not 200") as caught:
            await client.embed(TEXTS, dimensions=200)
    assert (type(caught.value), caught.value.status) == (APIStatusError, 422 if provider == "tei" else 400)
    assert "texts[" not in str(caught.value)
    assert caught.value.request_id.startswith("req_")


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_texts_without_a_known_word_get_vectors_as_others_do(server, provider):
    texts = ["a cat", " ", "\N{GRINNING FACE}", "\t\n"]
    async with EmbedClient(provider, api_key="k", base_url=base_url_of(server, provider)) as client:
        response = await client.embed(texts)
        assert await client.dimension() == response.embeddings.shape[1]
    np.testing.assert_allclose(np.linalg.norm(response.embeddings, axis=1), 1, rtol=1e-6)


async def test_over_openais_api_a_text_that_is_too_long_fails_alone(server, long_text):
    """Over Cohere's it is cut, if you ask for that."""
    texts = ["a cat", long_text, "a dog"]
    async with EmbedClient("openai", api_key="k", base_url=server.url + "/v1") as client:
        results = [result async for result in client.embed_stream(texts, on_error="yield")]
    assert [isinstance(result, EmbedFailure) for result in results] == [False, True, False]
    assert "8292 tokens; the limit is 8192" in str(results[1].error)
    async with EmbedClient("local") as client:
        assert len((await client.embed(texts, long_text="truncate")).embeddings) == 3


async def test_the_client_starts_a_server_of_its_own_and_stops_it():
    """When it is first needed, and as often as there are clients."""
    async with EmbedClient("local") as client, EmbedClient("local") as other:
        one, two = await client.embed(TEXTS), await other.embed(TEXTS)
        address = client._connection._server.url
    assert one.embeddings.tobytes() == two.embeddings.tobytes()
    with pytest.raises(OSError, match="connection attempts failed"):
        await anyio.connect_tcp("127.0.0.1", int(address.rpartition(":")[2]))


async def test_a_server_that_cannot_start_is_told_plainly(monkeypatch, tmp_path):
    """And leaves the client fit to be closed."""
    monkeypatch.setattr("asyncembed.local._model.BUNDLED", tmp_path)
    async with EmbedClient("local") as client:
        with pytest.raises(ConfigurationError, match="holds no readable model2vec model"):
            await client.embed(TEXTS)
