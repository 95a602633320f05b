"""The server as HTTP: routes, bodies, limits and who may ask."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import logging
import re

import aiohttp
import numpy as np
import pytest

from asyncembed import __version__
from asyncembed.local import LocalModel, LocalServer

pytest.importorskip("model2vec")

COHERE = "/v2/embed"
OPENAI = "/v1/embeddings"
REBINDING = {"Host": "example.com"}
EMBED = {"model": "m", "texts": ["a cat"], "input_type": "search_query"}


async def answer(http, method, path, **options):
    async with http.request(method, path, **options) as reply:
        assert reply.content_type == "application/json"
        assert re.fullmatch("req_[0-9a-f]{32}", reply.headers["x-request-id"])
        return reply.status, await reply.json()


def is_openai(error):
    """Whether an error has OpenAI's form, and not Cohere's."""
    if set(error) == {"error"}:
        assert set(error["error"]) == {"message", "type", "param", "code"}
        assert isinstance(error["error"]["message"], str)
        return True
    assert set(error) == {"id", "message"}
    return False


async def test_health(http, model):
    assert await answer(http, "GET", "/health") == (
        200,
        {
            "status": "ok",
            "model": model.name,
            "dimension": model.dimension,
            "max_tokens": model.max_tokens,
            "fingerprint": model.fingerprint,
            "version": __version__,
        },
    )


async def test_unknown_route(http):
    status, body = await answer(http, "POST", "/v3/embed", json={})
    assert status == 404
    assert body["message"].startswith("Not Found: POST /v3/embed; the routes are POST /v1/embed, ")


@pytest.mark.parametrize(
    ("method", "path", "expects_openai"),
    [
        ("POST", "/v1/embedding", True),
        ("POST", "/v1/chat/completions", True),
        ("GET", "/v1/models/some-model", True),
        ("GET", "/v1", True),
        ("POST", "/v1/models", True),
        ("DELETE", OPENAI, True),
        ("POST", "/v1/embed/", False),
        ("GET", "/v1/embed", False),
        ("POST", "/v2/rerank", False),
        ("POST", "/v10/embeddings", False),
        ("GET", "/nowhere", False),
    ],
)
async def test_what_is_not_there_is_told_in_the_form_of_the_api(http, model, method, path, expects_openai):
    """With a key and without one."""
    status, body = await answer(http, method, path)
    assert status in {404, 405}
    assert is_openai(body) == expects_openai
    async with LocalServer(model=model, api_key="k") as server, aiohttp.ClientSession(server.url) as locked:
        status, body = await answer(locked, method, path)
    assert status == 401
    assert is_openai(body) == expects_openai


@pytest.mark.parametrize("path", ["/v1/models", OPENAI, COHERE])
async def test_a_foreign_host_is_told_in_the_form_of_the_api(http, path):
    status, body = await answer(http, "GET", path, headers=REBINDING)
    assert status == 403
    assert is_openai(body) == (path != COHERE)


async def test_models(http, model):
    status, body = await answer(http, "GET", "/v1/models")
    assert status == 200
    created = body["data"][0].pop("created")
    assert isinstance(created, int)
    assert body == {"object": "list", "data": [{"id": model.name, "object": "model", "owned_by": "asyncembed"}]}


async def test_every_answer_has_an_id_of_its_own(http):
    ids = set()
    requests = (("GET", "/health", None), ("POST", COHERE, EMBED), ("POST", COHERE, {}), ("GET", "/", None))
    for method, path, body in requests:
        async with http.request(method, path, json=body) as reply:
            ids.add(reply.headers["x-request-id"])
    assert len(ids) == 4


@pytest.mark.parametrize("path", ["/v1/embed", COHERE, OPENAI])
async def test_wrong_method(http, path):
    async with http.get(path) as reply:
        assert reply.status == 405
        assert reply.headers["Allow"] == "POST"
        body = await reply.json()
    assert "Method Not Allowed" in (body["error"] if path == OPENAI else body)["message"]


@pytest.mark.parametrize("path", [COHERE, OPENAI])
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is not valid JSON"),
        (b'{"model":', "the body is not valid JSON"),
        (b'{"model": NaN}', "the body is not valid JSON"),
        (b'{"model": "\xff"}', "the body is not valid JSON"),
        (b'{"model": "\\ud83d"}', "the body is not valid JSON"),
        (b'["a"]', "the body must be a JSON object"),
    ],
    ids=["empty", "cut", "nan", "utf-8", "half a surrogate pair", "list"],
)
async def test_body_that_is_no_json_object(http, path, body, message):
    status, error = await answer(http, "POST", path, data=body)
    assert status == 400
    assert is_openai(error) == (path == OPENAI)
    assert message in (error["error"] if path == OPENAI else error)["message"]


async def test_escaped_surrogate_pair_is_one_character(http, model):
    body = b'{"model":"m","texts":["a \\ud83d\\ude00 cat"],"input_type":"search_query"}'
    status, reply = await answer(http, "POST", COHERE, data=body)
    assert status == 200
    assert reply["texts"] == ["a \N{GRINNING FACE} cat"]
    np.testing.assert_array_equal(np.float32(reply["embeddings"]["float"]), model.embed(["a \N{GRINNING FACE} cat"]))


async def test_very_long_text(http, model):
    text = "word " * 199_999 + "end"
    status, reply = await answer(http, "POST", COHERE, json=EMBED | {"texts": [text]})
    assert status == 200
    assert reply["meta"]["billed_units"]["input_tokens"] == model.max_tokens
    np.testing.assert_array_equal(np.float32(reply["embeddings"]["float"]), model.embed(["word " * model.max_tokens]))


@pytest.mark.parametrize("path", [COHERE, OPENAI])
async def test_body_over_the_limit(http, path):
    status, error = await answer(http, "POST", path, data=io.BytesIO(b" " * (32 * 1024 * 1024 + 1)))
    assert status == 413
    assert (error["error"] if path == OPENAI else error)["message"] == "the body is larger than 33554432 bytes"


async def test_compressed_body_over_the_limit(http):
    """What counts is the size after decompression."""
    packed = gzip.compress(b" " * (32 * 1024 * 1024 + 1), compresslevel=1)
    status, _ = await answer(http, "POST", COHERE, data=packed, headers={"Content-Encoding": "gzip"})
    assert status == 413


async def test_compressed_body(http):
    packed = gzip.compress(json.dumps(EMBED).encode())
    status, reply = await answer(http, "POST", COHERE, data=packed, headers={"Content-Encoding": "gzip"})
    assert status == 200
    assert reply["texts"] == EMBED["texts"]


async def test_body_that_is_not_what_its_encoding_says(http):
    status, error = await answer(http, "POST", COHERE, data=b"plain", headers={"Content-Encoding": "gzip"})
    assert status == 400
    assert error["message"] == "the body is incomplete, or does not match its Content-Encoding"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1", "127.1.2.3:9", "[::1]:8080"])
async def test_loopback_hosts_are_answered(http, host):
    assert (await answer(http, "GET", "/health", headers={"Host": host}))[0] == 200


@pytest.mark.parametrize(
    "host", ["example.com", "localhost.example.com", "127.0.0.1.nip.io", "10.0.0.1", "[::1", "a@b:c"]
)
async def test_other_hosts_are_refused(http, host):
    """A name that merely resolves to a loopback address may belong to a page in a browser."""
    status, error = await answer(http, "POST", COHERE, json=EMBED, headers={"Host": host})
    assert status == 403
    assert "answers only for localhost" in error["message"]


async def test_request_without_a_host_is_refused(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /health HTTP/1.0\r\n\r\n")
    assert (await reader.readline()).split()[1] == b"403"
    writer.close()
    await writer.wait_closed()


async def test_any_host_will_do_where_a_key_is_demanded(model):
    """A page in a browser does not know the key, and a proxy keeps the name it was called by."""
    async with LocalServer(model=model, api_key="k") as server, aiohttp.ClientSession(server.url) as http:
        headers = {"Authorization": "Bearer k", **REBINDING}
        assert (await answer(http, "POST", COHERE, json=EMBED, headers=headers))[0] == 200
        assert (await answer(http, "POST", COHERE, json=EMBED, headers=REBINDING))[0] == 401


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer wrong", "sésame", "Bearer sésame ", "Basic c8OpcGFtZQ=="]
)
async def test_key_is_required_everywhere(model, header):
    headers = {} if header is None else {"Authorization": header}
    async with (
        LocalServer(model=model, api_key="sésame-ouvre-toi") as server,
        aiohttp.ClientSession(server.url) as http,
    ):
        for method, path in [("GET", "/health"), ("POST", COHERE), ("POST", OPENAI), ("GET", "/nowhere")]:
            assert (await answer(http, method, path, headers=headers))[0] == 401


async def test_right_key(model):
    headers = {"Authorization": "Bearer sésame-ouvre-toi"}
    async with (
        LocalServer(model=model, api_key="sésame-ouvre-toi") as server,
        aiohttp.ClientSession(server.url) as http,
    ):
        assert (await answer(http, "GET", "/health", headers=headers))[0] == 200


async def test_eight_requests_at_once(http, model):
    batches = [[f"batch {batch} text {text}" for text in range(20)] for batch in range(8)]
    replies = await asyncio.gather(*(answer(http, "POST", COHERE, json=EMBED | {"texts": batch}) for batch in batches))
    for batch, (status, reply) in zip(batches, replies, strict=True):
        assert status == 200
        assert reply["texts"] == batch
        np.testing.assert_array_equal(np.float32(reply["embeddings"]["float"]), model.embed(batch))


class BrokenModel(LocalModel):
    """A model whose table is gone."""

    def pool(self, tokens):
        raise MemoryError("table of secrets")


@pytest.mark.parametrize("path", [COHERE, OPENAI])
async def test_failure_of_the_model_is_logged_and_not_shown(path, caplog):
    request = EMBED if path == COHERE else {"model": "m", "input": "a cat"}
    with caplog.at_level(logging.ERROR, logger="asyncembed.local"):
        async with LocalServer(model=BrokenModel()) as server, aiohttp.ClientSession(server.url) as http:
            status, error = await answer(http, "POST", path, json=request)
    assert status == 500
    assert "secrets" not in json.dumps(error)
    assert "table of secrets" in caplog.text
    assert re.search(rf"POST {path} failed \(request req_[0-9a-f]{{32}}\)", caplog.text)
    assert path == COHERE or error["error"]["type"] == "server_error"
