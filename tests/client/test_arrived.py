"""What had arrived when a connection broke is kept, although nobody had read it yet."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import struct
import termios

import aiohttp
import pytest
from support.scripted import KEY, raw, said

from asyncembed import EmbedTimeoutError, QuotaExceededError, Timeouts, TransportError
from asyncembed._http import Session, Transport
from asyncembed._redaction import Secrets

PIECES = [b"x" * 1_000, b"y" * 50_000, b"z" * 7]


@pytest.fixture
async def transport(server):
    async with await Session.open(server.url) as session:
        yield Transport(
            "test", session, url=server.url, headers={}, secrets=Secrets([KEY]), timeouts=Timeouts(), read_size=1 << 20
        )


async def acknowledged(exchange) -> None:
    """Wait until the other end has everything: a reset takes back what has not left yet."""
    socket = exchange.writer.get_extra_info("socket")
    while struct.unpack("i", fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, bytes(4)))[0]:
        await asyncio.sleep(0)


async def read_all(response) -> bytes:
    found = b""
    while chunk := await response.read():
        found += chunk
    return found


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_reset_does_not_take_back_what_had_come(server, transport, chunked):
    async def reply(exchange):
        await exchange.head(200, {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": "1000000"})
        for piece in PIECES:
            await exchange.send(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
        await acknowledged(exchange)
        exchange.end(reset=True)

    server.default = reply
    response = await transport.post(b"{}", compact=True, max_bytes=1 << 30, on_headers=lambda _: None)
    while response._content.exception() is None:
        await asyncio.sleep(0)
    found = b""
    while len(found) < len(b"".join(PIECES)):
        found += await response.read()
    assert found == b"".join(PIECES)
    with pytest.raises(TransportError, match="broke off"):
        await response.read()
    response.close()


@pytest.mark.parametrize(
    ("error", "is_time_out"),
    [
        (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), True),
        (aiohttp.ClientOSError(errno.ETIMEDOUT, "Connection timed out"), True),
        (aiohttp.SocketTimeoutError("Timeout on reading data from socket"), True),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), False),
    ],
    ids=["of the system", "while reading", "of aiohttp", "a reset"],
)
async def test_a_connection_that_the_system_gives_up_is_a_time_out(server, transport, error, is_time_out):
    """The kernel gives up a connection after minutes without an answer. One that was reset did not take too long."""
    server.default = said(b"{}")
    response = await transport.post(b"{}", compact=True, max_bytes=1 << 30, on_headers=lambda _: None)
    assert await read_all(response) == b"{}"
    response._content.set_exception(error)
    with pytest.raises(TransportError, match="connection failed") as caught:
        await response.read()
    assert isinstance(caught.value, EmbedTimeoutError) == isinstance(caught.value, TimeoutError) == is_time_out
    assert getattr(caught.value, "phase", None) == ("body" if is_time_out else None)
    response.close()


@pytest.mark.parametrize("sizes", [[1], [1, 2, 3], [100_000, 100_000, 1], [300_000, 1]])
async def test_chunks_of_any_size_are_read_to_the_end(server, transport, sizes):
    body = b"".join(b"%x\r\n%s\r\n" % (size, bytes([65 + at]) * size) for at, size in enumerate(sizes))
    server.default = raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n")
    response = await transport.post(b"{}", compact=True, max_bytes=1 << 30, on_headers=lambda _: None)
    assert await read_all(response) == b"".join(bytes([65 + at]) * size for at, size in enumerate(sizes))
    response.close()


@pytest.mark.parametrize(
    "pieces", [[b"\xef\xbb\xbf{}"], [b"\xef", b"\xbb", b"\xbf", b"{", b"}"], [b"\xef\xbb\xbf", b"{}"]]
)
async def test_a_byte_order_mark_is_no_part_of_the_body(server, transport, pieces):
    """Wherever it is cut; half of one is."""

    async def reply(exchange):
        await exchange.head(200, {"Transfer-Encoding": "chunked"})
        for piece in pieces:
            await exchange.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            await acknowledged(exchange)
        await exchange.send(b"0\r\n\r\n")

    server.default = reply
    response = await transport.post(b"{}", compact=True, max_bytes=1 << 30, on_headers=lambda _: None)
    assert await read_all(response) == b"{}"
    response.close()


@pytest.mark.parametrize("body", [b"", b"\xef", b"\xef\xbb", b"\xef\xbbx", b"{}\xef\xbb\xbf", b"\xff\xfe"])
async def test_what_is_no_byte_order_mark_is_left_as_it_is(server, transport, body):
    server.default = said(body)
    response = await transport.post(b"{}", compact=True, max_bytes=1 << 30, on_headers=lambda _: None)
    assert await read_all(response) == body
    response.close()


QUOTA = json.dumps({"error": {"message": "You exceeded your current quota.", "code": "insufficient_quota"}}).encode()
CUT_ANSWERS = {
    "whole, but shorter than declared": b"Content-Length: %d\r\n\r\n" % (len(QUOTA) + 1) + QUOTA,
    "without the last chunk": b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(QUOTA), QUOTA),
    "inside the JSON": b"Content-Length: %d\r\n\r\n" % len(QUOTA) + QUOTA[:-1],
}


@pytest.mark.parametrize("how", CUT_ANSWERS)
async def test_an_error_answer_that_breaks_keeps_what_it_said(server, client, how):
    """Its code may decide whether another attempt makes sense."""
    server.default = raw(b"HTTP/1.1 429 Reason\r\n" + CUT_ANSWERS[how])
    with pytest.raises(QuotaExceededError, match="exceeded your current quota") as caught:
        await client.embed(["a"])
    assert caught.value.code == "insufficient_quota"
    assert len(server.requests) == 1
