"""What the caller sees when something cannot be had: plain errors, or failures in the place of results."""

from __future__ import annotations

import asyncio
import io
import logging
import pickle
import ssl
import sys
import traceback

import pytest
from support.results import chain_of, check_plain, numbered, take_all
from support.scripted import Gate, broken_after, changed, raw, refused, right, said
from support.watching import leftovers, turns, until

import asyncembed
from asyncembed import (
    APIStatusError,
    AsyncEmbedError,
    AuthenticationError,
    ConfigurationError,
    EmbedFailure,
    InvalidInputError,
    RequestStarted,
    ResponseError,
    RetryPolicy,
    ServerError,
    TransportError,
)

TEXTS = numbered(6)


FAULTS = {
    "400": refused(400, "no"),
    "401": refused(401, "no"),
    "429": refused(429, "no", headers={"Retry-After": "0"}),
    "500": refused(500, "no"),
    "HTML error": said(b"<html>Bad gateway</html>", 502),
    "error body that is cut off": raw(b"HTTP/1.1 400 No\r\nContent-Length: 99\r\n\r\n{"),
    "error body that is no gzip": said(b"hello", 400, {"Content-Encoding": "gzip"}),
    "redirect": said(b"", 302, {"Location": "http://127.0.0.1:9/"}),
    "redirect to nowhere": said(b"", 307, {"Location": "http://[bad"}),
    "disconnected": raw(b""),
    "not HTTP": raw(b"SSH-2.0-OpenSSH_9.0\r\n"),
    "bad chunks": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    "no gzip": said(b"hello", 200, {"Content-Encoding": "gzip"}),
    "cut off": broken_after(0, part=0.5),
    "reset": broken_after(0, part=0.5, reset=True),
    "garbage": broken_after(0, part=0.5, garbage=b"}{"),
    "HTML": said(b"<html>"),
    "huge whole number": said(b'{"data":[],"usage":{"total_tokens":' + b"9" * 5_000 + b"}}"),
    "huge float": said(b'{"data":[],"usage":{"total_tokens":1e999}}'),
    "half a surrogate": said(b'{"data":[],"x":"\\ud800"}'),
    "wrong count": changed(lambda document: document.update(data=[])),
    "null": changed(lambda document: document["data"][0].update(embedding=None)),
    "numbers beyond any float": changed(lambda document: document["data"][0].update(embedding=[10**400, -(10**400)])),
    "bad base64": changed(lambda document: document["data"][0].update(embedding="ä")),
}


@pytest.mark.parametrize("chunk_size", [6, 1])
@pytest.mark.parametrize("fault", FAULTS)
async def test_errors_are_plain(server, once, fault, chunk_size):
    """Also when several requests fail side by side."""
    server.default = FAULTS[fault]
    with pytest.raises(AsyncEmbedError) as caught:
        await once.embed(TEXTS, chunk_size=chunk_size)
    check_plain(caught.value)
    assert not leftovers(once)


async def test_tls_errors_are_plain(connect):
    """A server that does not speak TLS."""

    async def answer_in_clear(reader, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer_in_clear, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        with pytest.raises(TransportError, match=r"TLS|connection") as caught:
            await connect(base_url=f"https://127.0.0.1:{port}/v1").embed(TEXTS)
    check_plain(caught.value)
    assert not any(isinstance(link, ssl.SSLError) for link in chain_of(caught.value))


async def test_errors_of_our_own_are_pickled_with_their_notes():
    error = ServerError("a", status=500, code="c", request_id="r", retry_after=1.5, provider_message="m", indices=(1,))
    error.add_note("then: something else")
    check_plain(error)
    for name in asyncembed.__all__:
        kind = getattr(asyncembed, name)
        if isinstance(kind, type) and issubclass(kind, BaseException):
            assert str(pickle.loads(pickle.dumps(kind("words")))) == "words"


@pytest.mark.parametrize("text", [None, 5, float("nan"), b"bytes", ("a", "b", "c"), (1.5, "a"), ["x"], {"text": "a"}])
async def test_what_is_no_text_fails_alone_or_is_named(server, client, text):
    """Among millions of rows of data, one may be missing."""
    results, failures = [], []
    async for item in client.embed_stream(["a", text, "b"], on_error="yield", chunk_size=2):
        (failures if isinstance(item, EmbedFailure) else results).append(item)
    assert [result.text for result in results] == ["a", "b"]
    assert [(failure.index, failure.error.indices) for failure in failures] == [(1, (1,))]
    assert isinstance(failures[0].error, InvalidInputError)
    assert str(failures[0].error).startswith("texts[1] is ")
    assert [text for texts in server.asked for text in texts] == ["a", "b"]
    stream = client.embed_stream(["a", text, "b"], on_error="skip")
    assert [result.index async for result in stream] == [0, 2]
    assert stream.summary.failed == 1
    with pytest.raises(ConfigurationError, match=r"texts\[1\]") as caught:
        await take_all(client.embed_stream(["a", text]), [])
    assert caught.value.indices == (1,)


@pytest.mark.parametrize("texts", ["one text", b"bytes", 5, None])
async def test_what_is_no_collection_of_texts(client, texts):
    with pytest.raises(ConfigurationError, match="texts is a"):
        client.embed_stream(texts)
    with pytest.raises(ConfigurationError, match="texts is a"):
        await client.embed(texts)


async def test_a_file_of_bytes(client):
    with pytest.raises(ConfigurationError, match="decode"):
        await client.embed(io.BytesIO(b"a\nb\n"))


@pytest.mark.parametrize("options", [{"on_error": "yield"}, {"ordered": True}, {"no_such": 1}])
async def test_embed_refuses_options_that_it_does_not_have(client, options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        await client.embed(TEXTS, **options)


async def test_a_collection_that_lies_about_its_length(client):
    class Liar:
        def __init__(self, length):
            self.length = length

        def __len__(self):
            return self.length

        def __iter__(self):
            return iter(TEXTS)

    for length in (0, 3, 6, 50, 10**13, 2**62):
        response = await client.embed(Liar(length))
        assert response.texts == TEXTS
        assert response.embeddings.shape == (6, 8)


async def test_the_first_error_is_raised_and_later_ones_are_noted(server, client):
    """The source fails while a request is on its way, and then the request does."""
    gate = Gate()

    def texts():
        yield from TEXTS
        raise LookupError("the database has gone")

    async def reply(exchange):
        await gate.wait()
        await refused(401, "no such key")(exchange)

    server.default = reply
    stream = client.embed_stream(texts(), chunk_size=6)
    taking = asyncio.create_task(take_all(stream, []))
    await until(lambda: stream._run.error and gate.reached.is_set())
    assert not taking.done()  # what is on its way may still arrive
    gate.opened.set()
    with pytest.raises(LookupError, match="database") as caught:
        await taking
    assert [note for note in caught.value.__notes__ if "AuthenticationError" in note and "no such key" in note]


async def test_an_error_does_not_wait_for_another_ones_back_off(server, connect):
    """What is on its way may arrive; what would only be tried again some day is not on its way."""
    client = connect(retry=RetryPolicy(initial_backoff=60, max_backoff=60))
    gate = Gate()

    async def reply(exchange):
        if exchange.request.texts == ["slow"]:
            await refused(500)(exchange)
        else:
            await gate.wait()
            await refused(400, "a bad text")(exchange)

    server.default = reply
    async with client.embed_stream(["slow", "bad"], chunk_size=1) as stream:
        taking = asyncio.create_task(anext(stream))
        await gate.reached.wait()
        await turns(100)  # by now the other one sleeps
        gate.opened.set()
        with pytest.raises(APIStatusError, match="a bad text"):  # a harmless text is refused, too
            await asyncio.wait_for(taking, 2)


async def test_an_exit_inside_the_source_is_no_group(client):
    """`sys.exit` there means the program, and not an error of ours."""

    def texts():
        yield "a"
        sys.exit(3)

    with pytest.raises(SystemExit) as caught:
        await take_all(client.embed_stream(texts()), [])
    assert caught.value.code == 3


@pytest.mark.parametrize("count", [1, 3])
async def test_an_exit_inside_a_listener_is_no_group(connect, count):
    """It gets to the consumer, from whatever task it comes."""

    def exits(event):
        if isinstance(event, RequestStarted):
            sys.exit(3)

    client = connect(on_event=exits)
    with pytest.raises(SystemExit) as caught:
        await take_all(client.embed_stream(TEXTS[:count], chunk_size=2), [])
    assert caught.value.code == 3
    assert not leftovers(client)


async def test_nothing_is_logged_as_an_error(server, once, caplog):
    caplog.set_level(logging.DEBUG)
    server.default = refused(401)
    with pytest.raises(AuthenticationError) as caught:
        await once.embed(TEXTS)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "BaseExceptionGroup" not in "".join(traceback.format_exception(caught.value))


async def test_a_response_error_says_what_is_missing(server, once):
    server.default = broken_after(2, garbage=b"}{")
    with pytest.raises(ResponseError) as caught:
        await once.embed(TEXTS)
    assert caught.value.missing == caught.value.indices == (2, 3, 4, 5)


@pytest.mark.parametrize("status", [401, 404])
@pytest.mark.parametrize("where", ["in the run", "in an earlier run"])
async def test_one_replica_that_refuses_amid_good_answers(server, connect, status, where):
    """It is asked once more, at once; if it refuses again, the run ends."""
    client = connect(retry=RetryPolicy(max_attempts=1), max_concurrency=1)
    texts = [f"text {number}" for number in range(6)]
    if where == "in the run":
        server.script.append(right)
    else:
        await client.embed(["a"])
    server.script.append(refused(status, "no such thing"))
    assert len(await client.embed(texts, chunk_size=3)) == 6
    asked = len(server.requests)
    server.default = refused(status, "no such thing")
    with pytest.raises(APIStatusError):
        await client.embed(texts, chunk_size=6)
    assert len(server.requests) == asked + 2
