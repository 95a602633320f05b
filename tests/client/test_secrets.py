"""The key goes to the API, and nowhere else: no message, log, representation, pickle or other host gets it."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import traceback
from secrets import token_hex

import pytest
from support.results import numbered
from support.scripted import KEY, ScriptedServer, changed, raw, refused, said

from asyncembed import AsyncEmbedError, ConfigurationError, EmbedClient, RetryPolicy

TEXTS = numbered(3)
ONCE = RetryPolicy(max_attempts=1)


def shown(error):
    """Everything that anybody could be shown of an error."""
    texts = [str(error), repr(error), repr(vars(error)), repr(error.args), "".join(traceback.format_exception(error))]
    return "\n".join([*texts, pickle.dumps(error).decode("latin-1")])


ECHOES = {
    "error message": refused(401, f"Incorrect API key provided: {KEY}."),
    "error code": refused(400, "no", code=KEY),
    "error type": refused(400, "no", type=KEY),
    "id in the body": said(json.dumps({"id": KEY, "message": "no"}).encode(), 400),
    "request id": refused(400, "no", headers={"X-Request-Id": f"for-{KEY}"}),
    "text": said(f"Bearer {KEY} is not allowed".encode(), 403),
    "HTML": said(f"<html><pre>Authorization: Bearer {KEY}</pre></html>".encode(), 502),
    "reason of the status": raw(f"HTTP/1.1 500 {KEY}\r\nContent-Length: 0\r\n\r\n".encode()),
    "not HTTP": raw(f"unknown key {KEY}\r\n\r\n".encode()),
    "bad header": raw(f"HTTP/1.1 200 OK\r\nContent-Length: {KEY}\r\n\r\n".encode()),
    "bad chunk": raw(f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{KEY}\r\n".encode()),
    "compression": said(b"x", 200, {"Content-Encoding": KEY}),
    "location": said(b"", 302, {"Location": f"http://127.0.0.1:9/?key={KEY}"}),
    "error with status 200": said(json.dumps({"error": {"message": f"bad key {KEY}"}}).encode()),
    "not JSON": said(KEY.encode()),
    "not quite JSON": said(f'{{"data": [{KEY}]}}'.encode()),
    "index": changed(lambda document: document["data"][0].update(index=KEY)),
    "vector": changed(lambda document: document["data"][0].update(embedding=KEY)),
    "vector of keys": changed(lambda document: document["data"][0].update(embedding=[KEY])),
    "escaped": said(b'{"error":{"message":"\\u0073' + KEY[1:].encode() + b'"}}', 401),
    "at the cut": refused(401, "x" * 495 + KEY),
}


@pytest.mark.parametrize("place", ECHOES)
async def test_servers_that_repeat_the_key(server, connect, caplog, place):
    caplog.set_level(logging.DEBUG)
    server.default = ECHOES[place]
    client = connect(retry=ONCE, encoding="float" if place != "vector" else "auto")
    with pytest.raises(AsyncEmbedError) as caught:
        await client.embed(TEXTS)
    assert KEY not in shown(caught.value)
    assert KEY not in caplog.text


@pytest.mark.parametrize("place", ECHOES)
async def test_failures_are_clean_too(server, connect, place):
    server.default = ECHOES[place]
    client = connect(retry=ONCE, encoding="float")
    try:
        failures = [item async for item in client.embed_stream(TEXTS, on_error="yield")]
    except AsyncEmbedError as error:
        failures = [error]
    assert KEY not in "".join(map(repr, failures))


async def test_what_comes_before_the_cut_stays_readable(server, connect):
    server.default = refused(401, f"Incorrect API key provided: {KEY}. You can find yours in the settings.")
    with pytest.raises(AsyncEmbedError, match=r"provided: \*\*\*\. You can find"):
        await connect().embed(TEXTS)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer another-secret"},
        {"authorization": "bearer another-secret"},
        {"Authorization": "Basic another-secret"},
        {"api-key": "another-secret"},
        {"X-API-Key": "another-secret"},
        {"Proxy-Authorization": "Basic another-secret"},
    ],
)
async def test_keys_in_the_callers_headers(server, connect, headers):
    server.default = refused(401, "you said: another-secret")
    with pytest.raises(AsyncEmbedError) as caught:
        await connect(headers=headers).embed(TEXTS)
    assert "another-secret" not in shown(caught.value)


@pytest.mark.parametrize("value", ["Bearer ", "", "Bearer"])
async def test_an_empty_key_does_not_garble_messages(server, connect, value):
    server.default = refused(400, "a plain message")
    with pytest.raises(AsyncEmbedError, match="a plain message"):
        await connect(api_key=None, headers={"Authorization": value}).embed(TEXTS)


async def test_representations(server, client):
    stream = client.embed_stream(TEXTS)
    async for _ in stream:
        objects = [client, client._endpoint, client._connection, client._connection._transport, stream, stream._run]
        assert KEY not in "".join(map(repr, [*objects, stream.summary, *asyncio.all_tasks()]))


async def test_logs_of_a_whole_run_in_debug_mode(server, client, caplog):
    """Every logger at its most talkative: asyncio's, aiohttp's, ours."""
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    server.script.extend([refused(500), refused(429, f"slow down, {KEY}")])
    await client.embed(TEXTS)
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in caplog.text


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(server, client, status):
    async with ScriptedServer() as other:
        server.default = said(b"", status, {"Location": other.url + "/v1/embeddings"})
        with pytest.raises(AsyncEmbedError, match=str(status)):
            await client.embed(TEXTS)
        assert len(server.requests) == 1
        assert not other.accepted


async def test_the_key_is_not_kept_in_the_body_or_address(server, client):
    await client.embed(TEXTS)
    (request,) = server.requests
    assert KEY not in request.path + json.dumps(request.body)
    assert [name for name, value in request.headers.items() if KEY in value] == ["authorization"]


@pytest.mark.parametrize("key", ["sk-\nsecret", "sk-secrét", " sk-secret ", "sk\x00secret"])
async def test_a_key_that_no_header_can_carry_is_not_shown(key):
    with pytest.raises(ConfigurationError) as caught:
        EmbedClient("openai", api_key=key)
    assert key not in shown(caught.value)


async def test_a_header_that_cannot_be_sent_is_not_shown(server, connect):
    with pytest.raises(ConfigurationError) as caught:
        connect(headers={"Authorization": f"Bearer {KEY}\r\nX: y"})
    assert KEY not in shown(caught.value)


async def test_a_password_in_the_address_is_not_shown(server, connect):
    password = token_hex()
    base_url = server.url.replace("http://", f"http://user:{password}@") + "/v1"
    server.default = refused(400, f"you are user:{password}")
    with pytest.raises(AsyncEmbedError) as caught:
        await connect(base_url=base_url, api_key=None, retry=ONCE).embed(TEXTS)
    assert password not in shown(caught.value)
    with pytest.raises(ConfigurationError) as caught:
        EmbedClient("openai", base_url=base_url.replace("http:", "ftp:"))
    assert password not in shown(caught.value)
