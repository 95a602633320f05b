"""Connections that are refused, die, stay silent or speak another language are tried again, and then given up."""

from __future__ import annotations

import asyncio
import socket

import pytest
from support.results import check_results, numbered
from support.scripted import Gate, raw, right
from support.watching import until

from asyncembed import ResponseError, RetryPolicy, Timeouts, TransportError

TEXTS = numbered(6)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


async def test_a_server_that_starts_late(server, connect):
    """Connections are refused first."""
    port = free_port()
    client = connect(
        base_url=f"http://127.0.0.1:{port}/v1",
        retry=RetryPolicy(initial_backoff=0.001, max_backoff=0.02, max_attempts=10**6),
    )
    stream = client.embed_stream(TEXTS)
    first = asyncio.create_task(anext(stream))
    await until(lambda: stream.summary.retries >= 2)
    late = type(server)(port=port)
    async with late:
        check_results([await first] + [result async for result in stream], TEXTS)


async def test_a_server_that_never_starts(connect):
    client = connect(base_url=f"http://127.0.0.1:{free_port()}/v1")
    with pytest.raises(TransportError, match="connection failed") as caught:
        await client.embed(TEXTS)
    assert caught.value.indices == tuple(range(6))


async def test_a_host_that_does_not_exist(connect):
    client = connect(base_url="http://no-such-host.invalid/v1", retry=RetryPolicy(max_attempts=1))
    with pytest.raises(TransportError):
        await client.embed(TEXTS)


async def test_a_stale_connection(server, client):
    """The server closed a kept connection just as it is used again, which aiohttp does not repeat for a POST."""
    server.script.extend([right, raw(b"")])
    await client.embed(TEXTS)
    stream = client.embed_stream(TEXTS)
    check_results([result async for result in stream], TEXTS)
    assert (len(server.requests), server.accepted) == (3, 2)
    assert (stream.summary.requests, stream.summary.retries) == (2, 0)


async def reset(exchange):
    exchange.end(reset=True)


STALE = {"closed": raw(b""), "reset": reset}


@pytest.mark.parametrize("how", STALE)
async def test_a_stale_connection_costs_no_attempt(server, connect, how):
    """Nor a wait, and with a body that is sent in pieces."""
    large = ["x" * 400_000]
    client = connect(retry=RetryPolicy(max_attempts=1))
    for texts in (TEXTS, large):
        server.script.extend([right, STALE[how]])
        await client.embed(texts[:1])
        assert len(await client.embed(texts)) == len(texts)
        assert server.asked[-2:] == [texts, texts]


@pytest.mark.parametrize("how", STALE)
async def test_it_is_sent_again_once(server, connect, how):
    """A server that has accepted the request and fails over it does not get it for ever."""
    client = connect(retry=RetryPolicy(max_attempts=2, initial_backoff=0.001))
    server.script.append(right)
    await client.embed(TEXTS)
    server.default = STALE[how]
    with pytest.raises(TransportError):
        await client.embed(TEXTS)
    assert len(server.requests) == 1 + 3  # the second attempt has no connection to use again


FIRST = {
    "a new connection": (0, b""),
    "a part of an answer": (1, b"HTTP/1.1 200"),
    "a whole line": (1, b"HTTP/1.1 200 OK\r\n"),
}


@pytest.mark.parametrize("what", FIRST)
async def test_other_connections_that_close_cost_an_attempt(server, connect, what):
    before, data = FIRST[what]
    client = connect(retry=RetryPolicy(max_attempts=1))
    for _ in range(before):
        await client.embed(TEXTS)
    server.script.append(raw(data))
    with pytest.raises(TransportError):
        await client.embed(TEXTS)
    assert len(server.requests) == before + 1


@pytest.mark.parametrize("where", ["before the headers", "inside the body"])
async def test_a_silent_server_is_given_up_in_time(server, connect, where):
    gate = Gate()

    async def stall(exchange):
        if where == "inside the body":
            send = await exchange.start()
            await send(b"".join(exchange.request.pieces[:3]))
        await gate.wait()

    server.script.append(stall)
    client = connect(timeouts=Timeouts(first_byte=0.1, read=0.1))
    check_results([result async for result in client.embed_stream(TEXTS)], TEXTS)
    halves = [TEXTS[:3], TEXTS[3:]]  # it took too long for as many
    assert server.asked == [TEXTS, *(halves if where == "before the headers" else [TEXTS[2:]])]
    gate.opened.set()


async def test_a_slow_but_steady_server_is_not_given_up(server, connect):
    """The limit is for the time between two chunks, not for a response."""

    async def drip(exchange):
        send = await exchange.start()
        for piece in exchange.request.pieces:
            await send(piece)
            await asyncio.sleep(0.06)

    server.default = drip
    stream = connect(timeouts=Timeouts(first_byte=0.2, read=0.2)).embed_stream(TEXTS)
    check_results([result async for result in stream], TEXTS)
    assert stream.summary.retries == 0


MISLEADING = {
    "not HTTP": b"SSH-2.0-OpenSSH_9.0\r\n\r\n",
    "nothing at all": b"",
    "chunks of no size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    "not gzip": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
    "broken gzip": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 20\r\n\r\n\x1f\x8b\x08" + bytes(17),
    "unknown compression": b"HTTP/1.1 200 OK\r\nContent-Encoding: zstd\r\nContent-Length: 5\r\n\r\nhello",
    "endless header": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    "length is no number": b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
}


@pytest.mark.parametrize("answer", MISLEADING)
async def test_answers_that_are_no_answers(server, client, answer):
    """Retried, as a proxy may have sent them, and then one of our errors."""

    server.default = raw(MISLEADING[answer])
    with pytest.raises((TransportError, ResponseError)) as caught:
        await client.embed(TEXTS)
    assert caught.value.indices == tuple(range(6))
    assert len(server.requests) == 4
    server.default = right
    assert len(await client.embed(TEXTS)) == 6
