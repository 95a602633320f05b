"""The API of text-embeddings-inference: its routes, options and errors, by plain HTTP and by Hugging Face's SDK."""

from __future__ import annotations

import aiohttp
import anyio
import numpy as np
import pytest

from asyncembed.local import LocalServer

pytest.importorskip("model2vec")


async def embed(http, path="/embed", **request):
    async with http.post(path, json=request) as reply:
        return reply.status, await reply.json(), reply.headers


@pytest.mark.parametrize("path", ["/embed", "/"])
async def test_gives_the_models_vectors_and_counts_tokens(http, model, texts, path):
    status, rows, headers = await embed(http, path, inputs=texts)
    assert status == 200
    np.testing.assert_array_equal(np.float32(rows), model.embed(texts))
    assert int(headers["x-compute-tokens"]) == sum(model.count_tokens(texts))
    assert int(headers["x-compute-characters"]) == sum(map(len, texts))
    assert headers["x-compute-type"] == "cpu"


async def test_one_string_gets_a_list_of_one_vector(http, model):
    _, rows, _ = await embed(http, inputs="a cat", normalize=True)
    np.testing.assert_array_equal(np.float32(rows), model.embed(["a cat"]))


async def test_dimensions(http, model):
    _, rows, _ = await embed(http, inputs=["a cat", "boats"], dimensions=64)
    head = model.embed(["a cat", "boats"])[:, :64]
    np.testing.assert_allclose(np.float32(rows), head / np.linalg.norm(head, axis=1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize("side", ["Left", "Right", "left", "right"])
async def test_a_long_text_is_cut_at_either_end_unless_the_request_forbids_it(http, model, long_text, side):
    words = long_text.split()
    kept = words[-model.max_tokens :] if side.lower() == "left" else words[: model.max_tokens]
    _, rows, headers = await embed(http, inputs=long_text, truncation_direction=side)
    np.testing.assert_array_equal(np.float32(rows), model.embed([" ".join(kept)]))
    assert int(headers["x-compute-tokens"]) == model.max_tokens
    status, error, _ = await embed(http, inputs=["a", long_text], truncate=False)
    message = "Input validation error: `inputs` must have less than 8192 tokens. Given: 8292"
    assert (status, error) == (422, {"error": message, "error_type": "Validation"})


@pytest.mark.parametrize(
    ("request_", "status", "message", "kind"),
    [
        ({"inputs": []}, 400, "`inputs` cannot be empty", "Empty"),
        ({"inputs": ["a"] * 33}, 422, "batch size 33 > maximum allowed batch size 32", "Validation"),
        ({"inputs": ["a", ""]}, 422, "inputs[1] is an empty string", "Validation"),
        ({}, 422, "the field 'inputs' is required", "Validation"),
        ({"inputs": [[1, 2]]}, 422, "'inputs' holds token numbers", "Validation"),
        ({"inputs": "a", "normalize": False}, 422, "'normalize' must be true", "Validation"),
        ({"inputs": "a", "prompt_name": "query"}, 422, "this model has no prompts", "Validation"),
        ({"inputs": "a", "dimensions": 193}, 422, "from 1 to 192, not 193", "Validation"),
        (
            {"inputs": "a", "truncation_direction": "END"},
            422,
            "must be one of Left, Right, left, right, not 'END'",
            "Validation",
        ),
        ({"inputs": "a", "truncate": 1}, 422, "'truncate' must be true or false, not 1", "Validation"),
    ],
)
async def test_errors_have_teis_form(http, request_, status, message, kind):
    answered, error, _ = await embed(http, **request_)
    assert (answered, list(error)) == (status, ["error", "error_type"])
    assert message in error["error"]
    assert error["error_type"] == kind


@pytest.mark.parametrize(("method", "path"), [("GET", "/embed"), ("GET", "/"), ("POST", "/info")])
async def test_a_wrong_method_has_teis_form(http, method, path):
    async with http.request(method, path) as reply:
        assert (reply.status, list(await reply.json())) == (405, ["error", "error_type"])


async def test_info_and_health(http, model):
    async with http.get("/info") as reply:
        told = await reply.json()
    assert told["model_id"] == model.name
    assert (told["max_client_batch_size"], told["max_batch_tokens"]) == (32, 16_384)
    assert told["max_input_length"] == model.max_tokens
    async with http.get("/health") as reply:
        assert reply.status == 200


async def test_a_missing_key_is_told_in_teis_form(model):
    async with LocalServer(model=model, api_key="k") as server, aiohttp.ClientSession(server.url) as http:
        status, error, _ = await embed(http, inputs="a")
        assert (status, list(error)) == (401, ["error", "error_type"])


async def test_the_sdk_gets_vectors_and_errors(server, model):
    hub = pytest.importorskip("huggingface_hub")
    from huggingface_hub.errors import HfHubHTTPError

    def ask():
        client = hub.InferenceClient(model=f"{server.url}/embed", token="k")
        with pytest.raises(HfHubHTTPError, match="422"):
            client.feature_extraction("a", prompt_name="query")
        return client.feature_extraction("a cat", normalize=True, truncate=True, truncation_direction="left")

    np.testing.assert_array_equal(await anyio.to_thread.run_sync(ask), model.embed(["a cat"]))
