"""Ollama's native API: its routes, options and errors, by plain HTTP and by the official SDK."""

from __future__ import annotations

import anyio
import numpy as np
import pytest

from asyncembed import __version__

pytest.importorskip("model2vec")


async def embed(http, **request):
    async with http.post("/api/embed", json={"model": "nomic-embed-text", **request}) as reply:
        return reply.status, await reply.json()


async def test_gives_the_models_vectors(http, model, texts):
    status, reply = await embed(http, input=texts)
    assert status == 200
    assert list(reply) == ["model", "embeddings", "total_duration", "load_duration", "prompt_eval_count"]
    np.testing.assert_array_equal(np.float32(reply["embeddings"]), model.embed(texts))
    assert reply["model"] == "nomic-embed-text"
    assert reply["prompt_eval_count"] == sum(model.count_tokens(texts))
    assert isinstance(reply["total_duration"], int)


async def test_one_string(http, model):
    _, reply = await embed(http, input="a cat")
    np.testing.assert_array_equal(np.float32(reply["embeddings"]), model.embed(["a cat"]))


@pytest.mark.parametrize("request_", [{}, {"input": ""}, {"input": []}])
async def test_an_empty_input_has_no_vectors(http, request_):
    status, reply = await embed(http, **request_)
    assert (status, reply["embeddings"]) == (200, [])


@pytest.mark.parametrize("dimension", [1, 64, 192])
async def test_dimensions(http, model, dimension):
    _, reply = await embed(http, input=["a cat", "boats"], dimensions=dimension)
    head = model.embed(["a cat", "boats"])[:, :dimension]
    expected = head / np.linalg.norm(head, axis=1, keepdims=True)
    np.testing.assert_allclose(np.float32(reply["embeddings"]), expected, atol=1e-6)


async def test_a_long_text_is_cut_unless_the_request_forbids_it(http, model, long_text):
    _, reply = await embed(http, input=long_text)
    np.testing.assert_array_equal(np.float32(reply["embeddings"]), model.embed([long_text]))
    assert reply["prompt_eval_count"] == model.max_tokens
    assert await embed(http, input=long_text, truncate=False) == (
        400,
        {"error": "the input length exceeds the context length"},
    )


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"model": None, "input": "a"}, "the field 'model' is required"),
        ({"input": ["a", ""]}, "input[1] is an empty string"),
        ({"input": [1, 2]}, "'input' holds token numbers"),
        ({"input": 7}, "'input' must be a non-empty list"),
        ({"input": ["a"] * 2_049}, "'input' may hold at most 2048 items; received 2049"),
        ({"input": "a", "truncate": "END"}, "'truncate' must be true or false, not 'END'"),
        ({"input": "a", "dimensions": 193}, "'dimensions' must be an integer from 1 to 192, not 193"),
    ],
)
async def test_errors_have_ollamas_form(http, request_, message):
    status, reply = await embed(http, **request_)
    assert status == 400
    assert list(reply) == ["error"]
    assert message in reply["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/api/embed", 405), ("POST", "/api/generate", 404), ("GET", "/api", 404)]
)
async def test_what_the_server_lacks_has_ollamas_form(http, method, path, status):
    async with http.request(method, path) as reply:
        assert (reply.status, list(await reply.json())) == (status, ["error"])


async def test_version_models_and_facts(http, model):
    async with http.get("/api/version") as reply:
        assert await reply.json() == {"version": __version__}
    async with http.get("/api/tags") as reply:
        (entry,) = (await reply.json())["models"]
    assert entry["name"] == entry["model"] == model.name
    async with http.post("/api/show", json={"model": "any"}) as reply:
        shown = await reply.json()
    assert shown["capabilities"] == ["embedding"]
    assert shown["model_info"]["model2vec.embedding_length"] == model.dimension
    assert shown["model_info"]["model2vec.context_length"] == model.max_tokens


async def test_the_sdk_reads_every_answer(server, model, texts):
    ollama = pytest.importorskip("ollama")

    def ask():
        client = ollama.Client(host=server.url)
        try:
            with pytest.raises(ollama.ResponseError, match="empty string") as caught:
                client.embed(model="m", input=["a", ""])
            assert caught.value.status_code == 400
            embedded = client.embed(model="m", input=texts, dimensions=64)
            return embedded, client.list(), client.show("m")
        finally:
            client._client.close()

    embedded, listed, shown = await anyio.to_thread.run_sync(ask)
    assert np.float32(embedded.embeddings).shape == (len(texts), 64)
    assert embedded.prompt_eval_count == sum(model.count_tokens(texts))
    assert [entry.model for entry in listed.models] == [model.name]
    assert shown.capabilities == ["embedding"]
