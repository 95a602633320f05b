"""Our client and the official SDKs, on one server: the same vectors, whichever way they travel."""

from __future__ import annotations

import anyio.to_thread
import numpy as np
import pytest

from asyncembed import APIStatusError, ConfigurationError, EmbedClient, EmbedFailure
from asyncembed.local import LocalServer

pytest.importorskip("model2vec")
cohere = pytest.importorskip("cohere")
openai = pytest.importorskip("openai")

TEXTS = ["a small domesticated feline", 'brackets [1, 2] and "quotes"', "naïve 😀 text", "line\nbreak"]


@pytest.fixture
async def server():
    async with LocalServer() as running:
        yield running


def by_cohere(url: str) -> np.ndarray:
    with cohere.ClientV2(api_key="k", base_url=url) as client:
        kinds = {"input_type": "search_document", "embedding_types": ["float"]}
        return np.array(client.embed(model="local", texts=TEXTS, **kinds).embeddings.float_, np.float32)


def by_openai(url: str) -> np.ndarray:
    with openai.OpenAI(api_key="k", base_url=f"{url}/v1") as client:
        items = client.embeddings.create(model="local", input=TEXTS).data
        return np.array([item.embedding for item in items], np.float32)


@pytest.mark.parametrize("encoding", ["auto", "base64", "float"])
@pytest.mark.parametrize("provider", ["local", "cohere", "cohere-v1", "openai"])
async def test_our_client_gets_what_the_sdks_get(server, provider, encoding):
    """To the last bit."""
    expected = await anyio.to_thread.run_sync(by_cohere, server.url)
    assert (await anyio.to_thread.run_sync(by_openai, server.url)).tobytes() == expected.tobytes()
    base_url = server.url + "/v1" * (provider == "openai")
    async with EmbedClient(provider, api_key="k", base_url=base_url, encoding=encoding) as client:
        response = await client.embed(TEXTS)
        streamed = [result.embedding async for result in client.embed_stream(TEXTS, chunk_size=1)]
    assert response.embeddings.tobytes() == np.stack(streamed).tobytes() == expected.tobytes()
    assert response.usage.tokens > len(TEXTS)


@pytest.mark.parametrize(
    ("provider", "allowed"), [("local", "32, 64, 128, 192"), ("cohere", "32, 64, 128, 192"), ("openai", "1 to 192")]
)
async def test_a_dimension_that_the_model_does_not_have_is_told_with_those_it_has(server, provider, allowed):
    """It ends the run, and no text is blamed."""
    base_url = server.url + "/v1" * (provider == "openai")
    async with EmbedClient(provider, api_key="k", base_url=base_url) as client:
        with pytest.raises(APIStatusError, match=f"must be an integer out of {allowed}, not 200") as caught:
            await client.embed(TEXTS, dimensions=200)
    assert (type(caught.value), caught.value.status) == (APIStatusError, 400)
    assert "texts[" not in str(caught.value)
    assert caught.value.request_id.startswith("req_")


@pytest.mark.parametrize("provider", ["local", "cohere", "cohere-v1", "openai"])
async def test_texts_without_a_known_word_get_vectors_as_others_do(server, provider):
    texts = ["a cat", " ", "\N{GRINNING FACE}", "\t\n"]
    base_url = server.url + "/v1" * (provider == "openai")
    async with EmbedClient(provider, api_key="k", base_url=base_url) as client:
        response = await client.embed(texts)
        assert await client.dimension() == response.embeddings.shape[1]
    np.testing.assert_allclose(np.linalg.norm(response.embeddings, axis=1), 1, rtol=1e-6)


async def test_over_openais_api_a_text_that_is_too_long_fails_alone(server, long_text):
    """Over Cohere's it is cut, as that API does."""
    texts = ["a cat", long_text, "a dog"]
    async with EmbedClient("openai", api_key="k", base_url=server.url + "/v1") as client:
        results = [result async for result in client.embed_stream(texts, on_error="yield")]
    assert [isinstance(result, EmbedFailure) for result in results] == [False, True, False]
    assert "8292 tokens; the limit is 8192" in str(results[1].error)
    async with EmbedClient("local") as client:
        assert len((await client.embed(texts)).embeddings) == 3


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
