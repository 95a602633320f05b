"""What is tried again, how often, how soon, and what is not."""

from __future__ import annotations

import asyncio
import email.utils
import socket
import time

import pytest
from support.results import check_results, numbered
from support.scripted import Gate, broken_after, changed, refused, right, said
from support.watching import pause_of, until

from asyncembed import (
    APIStatusError,
    AuthenticationError,
    InvalidInputError,
    ModelNotFoundError,
    QuotaExceededError,
    ResponseError,
    RetryPolicy,
    ServerError,
    Timeouts,
    TransportError,
)

TEXTS = numbered(6)
TRANSIENT = [408, 409, 425, 429, 500, 502, 503, 504, 520, 529]
FINAL = {
    400: InvalidInputError,
    401: AuthenticationError,
    402: QuotaExceededError,
    403: AuthenticationError,
    404: ModelNotFoundError,
    405: APIStatusError,
    413: InvalidInputError,
    422: InvalidInputError,
    501: ServerError,
    505: ServerError,
}


@pytest.mark.parametrize("status", TRANSIENT)
async def test_transient_statuses_are_retried(server, client, status):
    server.script.extend([refused(status)] * 3)
    stream = client.embed_stream(TEXTS)
    check_results([result async for result in stream], TEXTS)
    assert server.asked == [TEXTS] * 4
    assert (stream.summary.retries, stream.summary.salvaged) == (3, 0)


@pytest.mark.parametrize("status", FINAL)
async def test_final_statuses_are_not(server, client, status):
    server.default = refused(status, "the reason")
    with pytest.raises(FINAL[status], match="the reason") as caught:
        await client.embed(TEXTS)
    assert type(caught.value) is FINAL[status]
    assert caught.value.status == status
    assert len(server.requests) == 1


@pytest.mark.parametrize("fields", [{"code": "insufficient_quota"}, {"type": "insufficient_quota"}])
async def test_a_used_up_quota_is_final(server, client, fields):
    server.default = refused(429, "You exceeded your current quota", **fields)
    with pytest.raises(QuotaExceededError) as caught:
        await client.embed(TEXTS)
    assert (caught.value.code, caught.value.status) == ("insufficient_quota", 429)
    assert len(server.requests) == 1


async def test_attempts_are_limited_and_the_error_says_everything(server, connect):
    client = connect(retry=RetryPolicy(max_attempts=3, initial_backoff=0.001))
    server.default = refused(503, "try later", code="overloaded", headers={"X-Request-Id": "req-7", "Retry-After": "0"})
    with pytest.raises(ServerError) as caught:
        await client.embed(TEXTS)
    error = caught.value
    assert len(server.requests) == 3
    assert (error.status, error.code, error.request_id, error.retry_after) == (503, "overloaded", "req-7", 0.0)
    assert error.provider_message == "try later"
    assert error.indices == tuple(range(6))
    assert all(word in str(error) for word in ("openai", "503", "try later", "req-7"))


async def test_the_indices_are_those_of_the_failed_request(server, connect):
    """Of a long run with ids of its own: the place in the caller's texts."""
    client = connect(max_concurrency=1)
    server.script.extend([right, right, broken_after(2)])
    server.default = refused(500)
    with pytest.raises(ServerError) as caught:
        await client.embed([(f"id {text}", text) for text in numbered(40)], chunk_size=10)
    assert caught.value.indices == tuple(range(22, 30))


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "0.15"},
        {"retry-after-ms": "150"},
        {"Retry-After": "1"},
        {"Retry-After": "date"},
        {"X-RateLimit-Reset": "unix"},
    ],
)
async def test_the_servers_wait_is_kept(server, connect, headers):
    now = time.time()
    values = {"date": email.utils.formatdate(now + 2, usegmt=True), "unix": f"{now + 0.2:.3f}", "1": "0.1"}
    headers = {name: values.get(value, value) for name, value in headers.items()}
    server.script.append(refused(429, headers=headers))
    client = connect(retry=RetryPolicy(initial_backoff=0.001, max_backoff=0.3))
    start = time.monotonic()
    await client.embed(TEXTS)
    assert 0.09 <= time.monotonic() - start < 5


@pytest.mark.parametrize("wait", ["86400", "1e300", "nan", "-5", "soon", "", "Mon, 99 Foo 9999 99:99:99 GMT"])
async def test_absurd_waits_are_capped_or_ignored(server, connect, wait):
    server.script.append(refused(429, headers={"Retry-After": wait}))
    client = connect(retry=RetryPolicy(initial_backoff=0.001, max_backoff=0.05))
    async with asyncio.timeout(5):
        await client.embed(TEXTS)
    assert len(server.requests) == 2


async def test_all_workers_pause_together(server, connect):
    """While one was told to wait, no other request of the client begins; not even of another stream."""
    client = connect(max_concurrency=4, retry=RetryPolicy(initial_backoff=0.001, max_backoff=0.3))
    arrived = []

    async def reply(exchange):
        arrived.append(time.monotonic())
        await right(exchange)

    server.script.append(refused(429, headers={"Retry-After": "0.3"}))
    server.default = reply
    start = time.monotonic()
    first = asyncio.create_task(client.embed(TEXTS[:1]))
    await until(lambda: pause_of(client)._until > start)
    await asyncio.gather(first, client.embed(TEXTS, chunk_size=1), client.embed(TEXTS, max_concurrency=2))
    assert len(arrived) == 1 + 6 + 1
    assert min(arrived) - start >= 0.3


async def test_time_is_limited_too(server, connect):
    client = connect(retry=RetryPolicy(max_attempts=10**6, initial_backoff=0.001, max_backoff=0.01, max_elapsed=0.2))
    server.default = refused(500)
    start = time.monotonic()
    with pytest.raises(ServerError):
        await client.embed(TEXTS)
    assert time.monotonic() - start < 2
    assert len(server.requests) > 5


async def test_overload_lowers_the_concurrency(server, connect):
    client = connect(max_concurrency=8)
    limits = []

    async def reply(exchange):
        limits.append(client._endpoint.concurrency.limit)
        await (refused(429) if len(limits) == 8 else right)(exchange)

    server.default = reply
    await client.embed(numbered(40), chunk_size=1)
    assert max(limits[:8]) == 8 > min(limits[8:])


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

    async def hang_up(exchange):
        exchange.end()

    server.script.extend([right, hang_up])
    await client.embed(TEXTS)
    check_results([result async for result in client.embed_stream(TEXTS)], TEXTS)
    assert (len(server.requests), server.accepted) == (3, 2)


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
    assert server.asked == [TEXTS, TEXTS if where == "before the headers" else TEXTS[2:]]
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

    async def reply(exchange):
        await exchange.send(MISLEADING[answer])
        exchange.end()

    server.default = reply
    with pytest.raises((TransportError, ResponseError)) as caught:
        await client.embed(TEXTS)
    assert caught.value.indices == tuple(range(6))
    assert len(server.requests) == 4
    server.default = right
    assert len(await client.embed(TEXTS)) == 6


async def test_retries_of_side_by_side_requests(server, connect):
    """A server that refuses every other request, for one reason or another."""
    faults = [
        refused(500),
        refused(429),
        broken_after(1),
        broken_after(0, reset=True),
        said(b"<html>"),
        changed(lambda document: {}),
    ]

    async def reply(exchange):
        number = len(server.requests)
        await (faults[number // 2 % len(faults)] if number % 2 else right)(exchange)

    server.default = reply
    texts = numbered(400)
    client = connect(retry=RetryPolicy(max_attempts=50, initial_backoff=0.0001))
    check_results([result async for result in client.embed_stream(texts, chunk_size=7)], texts)
