"""Cohere's official SDK, in its four forms, against the embedded server."""

from __future__ import annotations

import base64

import anyio
import numpy as np
import pytest

from asyncembed.local import LocalModel, LocalServer
from asyncembed.local import _model as _vectors

cohere = pytest.importorskip("cohere")
pytest.importorskip("model2vec")

V2 = {"model": "embed-v4.0", "input_type": "search_document"}
ALL_TYPES = ["float", "int8", "uint8", "binary", "ubinary", "base64"]


def embed_sync(kind, url, **request):
    with kind(api_key="key", base_url=url, max_retries=0) as client:
        return client.embed(**request)


async def embed(kind, url, **request):
    """Embed with a client of the given kind; the blocking ones run in a thread beside the server's loop."""
    if "Async" not in kind.__name__:
        return await anyio.to_thread.run_sync(lambda: embed_sync(kind, url, **request))
    async with kind(api_key="key", base_url=url, max_retries=0) as client:
        return await client.embed(**request)


def as_float32(rows):
    return np.array(rows, np.float64).astype(np.float32)


def from_base64(rows):
    return np.array([np.frombuffer(base64.b64decode(row), "<f4") for row in rows])


@pytest.mark.parametrize("kind", [cohere.ClientV2, cohere.AsyncClientV2])
async def test_v2_gives_the_models_vectors(server, model, texts, kind):
    reply = await embed(kind, server.url, texts=texts, embedding_types=["float"], **V2)
    np.testing.assert_array_equal(as_float32(reply.embeddings.float_), model.embed(texts))
    assert reply.texts == texts
    assert reply.response_type == "embeddings_by_type"
    assert reply.meta.api_version.version == "2"
    assert reply.meta.billed_units.input_tokens == sum(model.count_tokens(texts))


@pytest.mark.parametrize("kind", [cohere.ClientV2, cohere.AsyncClientV2])
async def test_v2_all_types_at_once(server, model, texts, kind):
    reply = await embed(kind, server.url, texts=texts, embedding_types=ALL_TYPES, **V2)
    vectors = model.embed(texts)
    np.testing.assert_array_equal(as_float32(reply.embeddings.float_), vectors)
    np.testing.assert_array_equal(from_base64(reply.embeddings.base64), vectors)
    np.testing.assert_array_equal(reply.embeddings.int8, np.rint(vectors * 127))
    np.testing.assert_array_equal(reply.embeddings.uint8, np.rint(vectors * 127) + 128)
    bits = np.packbits(vectors > 0, axis=1).astype(int)
    np.testing.assert_array_equal(reply.embeddings.ubinary, bits)
    np.testing.assert_array_equal(reply.embeddings.binary, bits - 128)


@pytest.mark.parametrize("kind", [cohere.Client, cohere.AsyncClient])
async def test_v1_floats(server, model, texts, kind):
    """Without embedding_types the vectors lie in a bare list."""
    reply = await embed(kind, server.url, texts=texts)
    np.testing.assert_array_equal(as_float32(reply.embeddings), model.embed(texts))
    assert reply.response_type == "embeddings_floats"
    assert reply.meta.api_version.version == "1"


# To put batches together, the SDK uses two things pydantic has deprecated.
@pytest.mark.filterwarnings("ignore:The `parse_obj` method is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Accessing the 'model_fields' attribute on the instance:DeprecationWarning")
@pytest.mark.parametrize("kind", [cohere.Client, cohere.AsyncClient])
async def test_v1_by_type(server, model, texts, kind):
    reply = await embed(kind, server.url, texts=texts, embedding_types=["int8", "float"], **V2)
    vectors = model.embed(texts)
    np.testing.assert_array_equal(as_float32(reply.embeddings.float_), vectors)
    np.testing.assert_array_equal(reply.embeddings.int8, np.rint(vectors * 127))
    assert reply.response_type == "embeddings_by_type"


async def test_v1_batches_of_the_sdk(server, model):
    """The SDK cuts 200 texts into requests of 96 and puts the replies together."""
    texts = [f"text number {number} about {'cats' if number % 2 else 'boats'}" for number in range(200)]
    reply = await embed(cohere.AsyncClient, server.url, texts=texts)
    np.testing.assert_array_equal(as_float32(reply.embeddings), model.embed(texts))


@pytest.mark.parametrize("dimension", [32, 64, 128, 192])
async def test_output_dimension(server, model, texts, dimension):
    request = {"texts": texts, "output_dimension": dimension, "embedding_types": ["float", "ubinary"]}
    reply = await embed(cohere.AsyncClientV2, server.url, **request, **V2)
    head = model.embed(texts)[:, :dimension]
    lengths = np.linalg.norm(head, axis=1, keepdims=True)
    np.testing.assert_allclose(as_float32(reply.embeddings.float_), head / lengths, atol=1e-6)
    np.testing.assert_array_equal(reply.embeddings.ubinary, np.packbits(head > 0, axis=1))


async def test_output_dimension_out_of_the_set(server):
    with pytest.raises(cohere.BadRequestError) as caught:
        await embed(cohere.AsyncClientV2, server.url, texts=["a"], output_dimension=100, **V2)
    assert caught.value.body["message"] == "'output_dimension' must be an integer out of 32, 64, 128, 192, not 100"


@pytest.mark.parametrize("path", ["/v1/embed", "/v2/embed"])
async def test_dimensions_as_openai_calls_it_is_not_passed_over(http, path):
    request = V2 if path == "/v2/embed" else {}
    async with http.post(path, json={**request, "texts": ["a"], "dimensions": 64}) as reply:
        assert reply.status == 400
        message = (await reply.json())["message"]
    assert message.endswith("use 'output_dimension' of /v2/embed, one of 32, 64, 128, 192")


@pytest.mark.parametrize("truncate", ["START", "END"])
async def test_truncation(server, model, long_text, truncate):
    """Cutting at a side gives the vector of the text that is left, and bills what is left."""
    words = long_text.split()
    left = " ".join(words[-model.max_tokens :] if truncate == "START" else words[: model.max_tokens])
    request = {"texts": [long_text], "truncate": truncate, "embedding_types": ["float"]}
    reply = await embed(cohere.AsyncClientV2, server.url, **request, **V2)
    np.testing.assert_array_equal(as_float32(reply.embeddings.float_), model.embed([left]))
    assert reply.meta.billed_units.input_tokens == model.max_tokens


@pytest.mark.parametrize(("truncate", "left"), [("START", slice(-3, None)), ("END", slice(3)), (None, slice(3))])
async def test_max_tokens_caps_each_text(server, model, long_text, truncate, left):
    """Left out or null, truncate means END."""
    words = long_text.split()[:10]
    request = {
        "texts": [" ".join(words), words[0]],
        "truncate": truncate,
        "max_tokens": 3,
        "embedding_types": ["float"],
    }
    reply = await embed(cohere.AsyncClientV2, server.url, **request, **V2)
    np.testing.assert_array_equal(as_float32(reply.embeddings.float_), model.embed([" ".join(words[left]), words[0]]))


@pytest.mark.parametrize("kind", [cohere.Client, cohere.ClientV2])
async def test_truncate_none_refuses_by_index(server, long_text, kind):
    with pytest.raises(cohere.BadRequestError) as caught:
        await embed(kind, server.url, texts=["short", long_text], truncate="NONE", **V2)
    assert "texts[1] has 8292 tokens; the limit is 8192" in caught.value.body["message"]


async def test_truncate_none_takes_what_fits(server, model, long_text):
    fitting = " ".join(long_text.split()[: model.max_tokens])
    reply = await embed(cohere.AsyncClient, server.url, texts=[fitting], truncate="NONE")
    np.testing.assert_array_equal(as_float32(reply.embeddings), model.embed([fitting]))


async def test_inputs_of_text(server, model):
    """Several pieces of text in one input are lines of one text."""
    inputs = [
        {"content": [{"type": "text", "text": "a cat"}]},
        {"content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
    ]
    reply = await embed(cohere.AsyncClientV2, server.url, inputs=inputs, embedding_types=["float"], **V2)
    np.testing.assert_array_equal(as_float32(reply.embeddings.float_), model.embed(["a cat", "one\ntwo"]))


IMAGE = "data:image/png;base64,iVBORw0KGgo="
IMAGE_INPUT = {"content": [{"type": "image_url", "image_url": {"url": IMAGE}}]}
TEXT_INPUT = {"content": [{"type": "text", "text": "a"}]}


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"texts": ["a"] * 97}, "'texts' may hold at most 96 items; received 97"),
        ({"texts": ["a", "", "b"]}, "texts[1] is an empty string"),
        ({"texts": ["a", 5]}, "texts[1] must be a string, not 5"),
        ({"texts": []}, "'texts' must be a non-empty list"),
        ({"texts": ["x" * 1_000_001]}, "texts[0] has 1000001 characters; the limit is 1000000"),
        ({}, "the field 'texts' is required"),
        ({"texts": ["a"], "input_type": "passage"}, "'input_type' must be one of search_document"),
        ({"texts": ["a"], "input_type": None}, "the field 'input_type' is required"),
        ({"texts": ["a"], "input_type": "image"}, "embeds text only"),
        ({"texts": ["a"], "model": None}, "the field 'model' is required"),
        ({"texts": ["a"], "truncate": "MIDDLE"}, "'truncate' must be one of NONE, START, END, not 'MIDDLE'"),
        ({"texts": ["a"], "embedding_types": ["float", "int4"]}, "'embedding_types' must be one of float"),
        ({"texts": ["a"], "embedding_types": []}, "'embedding_types' must be a non-empty list"),
        ({"texts": ["a"], "max_tokens": 0}, "'max_tokens' must be an integer from 1 to"),
        ({"texts": ["a"], "output_dimension": "64"}, "must be an integer out of 32, 64, 128, 192, not '64'"),
        ({"texts": ["a"], "max_tokens": True}, "'max_tokens' must be an integer from 1 to"),
        ({"images": [IMAGE]}, "'images' is not supported: this model embeds text only"),
        ({"inputs": [TEXT_INPUT, IMAGE_INPUT]}, "inputs[1] holds content that is not text"),
        ({"inputs": [{"content": []}]}, "inputs[0] is an empty string"),
        ({"inputs": [{"content": "a"}]}, "inputs[0] must be an object with 'content', a list of objects"),
        ({"inputs": [TEXT_INPUT] * 97}, "'inputs' may hold at most 96 items; received 97"),
        ({"inputs": [TEXT_INPUT], "texts": ["a"]}, "send either 'texts' or 'inputs', not both"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_v2_refusals(server, request_, message):
    with pytest.raises(cohere.BadRequestError) as caught:
        await embed(cohere.AsyncClientV2, server.url, **(V2 | request_))
    assert message in caught.value.body["message"]
    assert set(caught.value.body) == {"id", "message"}


async def test_v1_refuses_fields_of_v2(http):
    async with http.post("/v1/embed", json={"texts": ["a"], "output_dimension": 64}) as reply:
        assert reply.status == 400
        assert (await reply.json())["message"] == "'output_dimension' belongs to the v2 API: send it to /v2/embed"


async def test_v1_limits_the_number_of_texts(http):
    async with http.post("/v1/embed", json={"texts": ["a"] * 97}) as reply:
        assert reply.status == 400
        assert (await reply.json())["message"] == "'texts' may hold at most 96 items; received 97"


async def test_key_order_of_recorded_replies(http):
    async with http.post("/v2/embed", json={"texts": ["a"], "embedding_types": ["ubinary", "int8"], **V2}) as reply:
        body = await reply.json()
        raw = await reply.read()
    assert list(body) == ["id", "texts", "embeddings", "meta", "response_type"]
    assert list(body["embeddings"]) == ["ubinary", "int8"]
    assert b'"meta":{"api_version":{"version":"2"},"billed_units":{"input_tokens":1}}' in raw


async def test_wrong_key_is_an_authentication_error(model):
    async with LocalServer(model=model, api_key="another") as server:
        with pytest.raises(cohere.UnauthorizedError) as caught:
            await embed(cohere.AsyncClientV2, server.url, texts=["a"], **V2)
    assert "Authorization: Bearer" in caught.value.body["message"]


async def test_right_key_is_let_in(model):
    async with LocalServer(model=model, api_key="key") as server:
        reply = await embed(cohere.AsyncClientV2, server.url, texts=["a"], embedding_types=["int8"], **V2)
    np.testing.assert_array_equal(reply.embeddings.int8, _vectors.to_int8(model.embed(["a"])))


async def test_bits_need_whole_bytes(small_model_folder):
    """A model of five dimensions has no binary form; the server says so instead of padding."""
    async with LocalServer(model=LocalModel(small_model_folder)) as server:
        with pytest.raises(cohere.BadRequestError) as caught:
            await embed(cohere.AsyncClientV2, server.url, texts=["a"], embedding_types=["binary"], **V2)
    assert "multiple of 8, not 5" in caught.value.body["message"]
