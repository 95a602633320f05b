"""OpenAI's official SDK, blocking and async, against the embedded server."""

from __future__ import annotations

import anyio
import numpy as np
import pytest

from asyncembed.local import LocalServer

openai = pytest.importorskip("openai")
pytest.importorskip("model2vec")


async def create(kind, url, **request):
    """Embed with a client of the given kind; the blocking one runs in a thread beside the server's loop."""
    settings = {"api_key": "key", "base_url": f"{url}/v1", "max_retries": 0}

    def create_sync():
        with kind(**settings) as client:
            return client.embeddings.create(**request)

    if kind is openai.OpenAI:
        return await anyio.to_thread.run_sync(create_sync)
    async with kind(**settings) as client:
        return await client.embeddings.create(**request)


def vectors_of(reply):
    return np.array([item.embedding for item in reply.data], np.float64).astype(np.float32)


@pytest.mark.parametrize("kind", [openai.OpenAI, openai.AsyncOpenAI])
@pytest.mark.parametrize("options", [{}, {"encoding_format": "float"}], ids=["base64", "float"])
async def test_gives_the_models_vectors(server, model, texts, kind, options):
    """The SDK asks for base64 when no format is given."""
    reply = await create(kind, server.url, model="text-embedding-3-small", input=texts, **options)
    np.testing.assert_array_equal(vectors_of(reply), model.embed(texts))
    assert [item.index for item in reply.data] == list(range(len(texts)))
    assert reply.model == model.name
    assert reply.usage.prompt_tokens == reply.usage.total_tokens == sum(model.count_tokens(texts))


async def test_one_string(server, model):
    reply = await create(openai.AsyncOpenAI, server.url, model="m", input="a cat")
    np.testing.assert_array_equal(vectors_of(reply), model.embed(["a cat"]))


@pytest.mark.parametrize("dimension", [1, 7, 64, 192])
async def test_dimensions(server, model, dimension):
    reply = await create(openai.AsyncOpenAI, server.url, model="m", input=["a cat", "boats"], dimensions=dimension)
    head = model.embed(["a cat", "boats"])[:, :dimension]
    expected = head / np.linalg.norm(head, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors_of(reply), expected, atol=1e-6)


async def test_2048_inputs(server, model):
    texts = [f"input {number}" for number in range(2048)]
    reply = await create(openai.AsyncOpenAI, server.url, model="m", input=texts)
    np.testing.assert_array_equal(vectors_of(reply), model.embed(texts))


@pytest.mark.parametrize(
    ("request_", "param", "message"),
    [
        ({"input": ["a"] * 2049}, "input", "'input' may hold at most 2048 items; received 2049"),
        ({"input": ""}, "input", "input[0] is an empty string"),
        ({"input": ["a", ""]}, "input", "input[1] is an empty string"),
        ({"input": []}, "input", "'input' must be a non-empty list"),
        ({"input": [1, 2, 3]}, "input", "'input' holds token numbers"),
        ({"input": [[1, 2], [3]]}, "input", "'input' holds token numbers"),
        ({"input": [{"text": "a"}]}, "input", "input[0] must be a string"),
        ({"input": "a", "dimensions": 193}, "dimensions", "'dimensions' must be an integer from 1 to 192, not 193"),
        ({"input": "a", "dimensions": 0}, "dimensions", "'dimensions' must be an integer from 1 to 192, not 0"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format", "must be one of float, base64, not 'int8'"),
        ({"input": "a", "extra_body": {"input_type": "query"}}, "input_type", "unknown field 'input_type'"),
        ({"input": "a", "model": ""}, "model", "'model' must be a non-empty string"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_refusals(server, request_, param, message):
    with pytest.raises(openai.BadRequestError) as caught:
        await create(openai.AsyncOpenAI, server.url, **({"model": "m"} | request_))
    assert message in caught.value.body["message"]
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"
    assert caught.value.code is None


@pytest.mark.parametrize("missing", ["model", "input"])
async def test_required_fields(http, missing):
    request = {"model": "m", "input": "a"}
    del request[missing]
    async with http.post("/v1/embeddings", json=request) as reply:
        assert reply.status == 400
        error = (await reply.json())["error"]
    assert error["message"] == f"the field '{missing}' is required"
    assert list(error) == ["message", "type", "param", "code"]


async def test_text_over_the_token_limit(server, long_text):
    with pytest.raises(openai.BadRequestError) as caught:
        await create(openai.AsyncOpenAI, server.url, model="m", input=["short", long_text])
    assert caught.value.body["message"] == "input[1] has 8292 tokens; the limit is 8192"


async def test_request_over_the_token_limit(server, model, long_text):
    """OpenAI takes 300,000 tokens in one request, and says so by code."""
    full = " ".join(long_text.split()[: model.max_tokens])
    with pytest.raises(openai.BadRequestError) as caught:
        await create(openai.AsyncOpenAI, server.url, model="m", input=[full] * 37)
    assert caught.value.code == "max_tokens_per_request"
    assert caught.value.body["message"] == "Requested 303104 tokens, max 300000 tokens per request"


async def test_models(server, model):
    async with openai.AsyncOpenAI(api_key="key", base_url=f"{server.url}/v1") as client:
        assert [entry.id async for entry in client.models.list()] == [model.name]


async def test_wrong_key(model):
    async with LocalServer(model=model, api_key="another") as server:
        with pytest.raises(openai.AuthenticationError) as caught:
            await create(openai.AsyncOpenAI, server.url, model="m", input="a")
    assert caught.value.code == "invalid_api_key"
    assert caught.value.request_id.startswith("req_")


async def test_right_key(model):
    async with LocalServer(model=model, api_key="key") as server:
        reply = await create(openai.AsyncOpenAI, server.url, model="m", input="a cat")
    np.testing.assert_array_equal(vectors_of(reply), model.embed(["a cat"]))


async def test_unknown_route_is_not_found(server):
    """A base URL without /v1 is the usual slip; the message lists the routes there are."""
    async with openai.AsyncOpenAI(api_key="key", base_url=server.url, max_retries=0) as client:
        with pytest.raises(openai.NotFoundError, match=r"POST /v1/embeddings"):
            await client.embeddings.create(model="m", input="a")


async def test_key_order_of_recorded_replies(http, model):
    async with http.post("/v1/embeddings", json={"model": "m", "input": ["cat", "boats"], "dimensions": 1}) as reply:
        raw = await reply.read()
    item = b'{"object":"embedding","index":%d,"embedding":[%s]}'
    signs = [b"%.1f" % np.sign(vector[0]) for vector in model.embed(["cat", "boats"])]
    data = b",".join(item % (index, sign) for index, sign in enumerate(signs))
    usage = b'{"prompt_tokens":2,"total_tokens":2}'
    assert raw == b'{"object":"list","data":[%s],"model":"%s","usage":%s}' % (data, model.name.encode(), usage)
