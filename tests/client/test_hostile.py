"""A server that wants to fill the memory or to keep the processor busy gets an error instead."""

from __future__ import annotations

import asyncio
import zlib

import pytest
from support.results import numbered
from support.scripted import Gate, said
from support.watching import PeakMemory, leftovers

from asyncembed import APIStatusError, ResponseError, RetryPolicy

TEXTS = numbered(50)
MEGABYTE = 1_000_000
BLOCK = 65_536


@pytest.fixture
def once(connect):
    return connect(retry=RetryPolicy(max_attempts=1), max_memory_mb=8, encoding="float")


def endless(start: bytes, block: bytes, headers: str = ""):
    """Begin with `start`, and repeat `block` until nobody listens any more."""

    async def reply(exchange):
        await exchange.send(f"HTTP/1.1 200 OK\r\n{headers}\r\n".encode() + start)
        while not exchange.writer.transport.is_closing():
            await exchange.send(block)
            await asyncio.sleep(0)

    return reply


def gzip_bomb():
    """White space without end, a thousand times smaller on the wire."""
    compressor = zlib.compressobj(wbits=31)
    space = b" " * MEGABYTE
    start = compressor.compress(space) + compressor.flush(zlib.Z_SYNC_FLUSH)
    block = compressor.compress(space) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return endless(start, block, "Content-Encoding: gzip\r\n")


KEY_OF_PATH = b'{"' + b"k" * 60_000 + b'":'

ATTACKS = {
    "endless white space": endless(b"", b" " * BLOCK),
    "endless string": endless(b'{"data":"', b"x" * BLOCK),
    "endless key": endless(b'{"', b"x" * BLOCK),
    "endless vector": endless(b'{"data":[{"embedding":[0.5', b",0.5" * (BLOCK // 4)),
    "endless base64": endless(b'{"data":[{"embedding":"', b"A" * BLOCK),
    "endless number": endless(b'{"data":', b"1" * BLOCK),
    "endless number in a vector": endless(b'{"data":[{"embedding":[', b"1" * BLOCK),
    "endless space in a vector": endless(b'{"data":[{"embedding":[', b" " * BLOCK),
    "endless tabs in a vector": endless(b'{"data":[{"embedding":[1', b"\t" * BLOCK),
    "endless nesting": endless(b'{"data":', b"[" * BLOCK),
    "endless nesting of objects": endless(b"", b'{"a":' * (BLOCK // 5)),
    "endless items": endless(b'{"data":[{}', b",{}" * (BLOCK // 3)),
    "endless empty vectors": endless(b'{"data":[{"embedding":[]}', b',{"embedding":[]}' * (BLOCK // 18)),
    "endless nulls": endless(b'{"data":[null', b",null" * (BLOCK // 5)),
    "endless fields": endless(b'{"a":1', b',"a":1' * (BLOCK // 6)),
    "endless messages": endless(b'{"message":"a"', b',"message":"a"' * (BLOCK // 14)),
    "endless indices": endless(b'{"data":[{"index":1', b',"index":1' * (BLOCK // 10)),
    "long paths": said(KEY_OF_PATH * 4 + b"{" + b",".join([b'"a":1'] * 100_000) + b"}" * 5),
    "endless backslashes": endless(b'{"data":"', b"\\" * BLOCK),
    "endless quotes": endless(b'{"data":"', b'\\"' * (BLOCK // 2)),
    "gzip bomb": gzip_bomb(),
    "chunks of one byte": endless(b"", b"1\r\n \r\n" * 2_000, "Transfer-Encoding: chunked\r\n"),
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_an_attack_ends_in_an_error(server, once, attack):
    """And within the memory that the budget allows."""
    server.default = ATTACKS[attack]
    with PeakMemory() as peak, pytest.raises(ResponseError) as caught:
        async with asyncio.timeout(60):
            await once.embed(TEXTS)
    assert peak.grown < 40 * MEGABYTE
    assert len(str(caught.value)) < 2_000
    assert not leftovers(once)


async def test_places_for_many_times_the_vectors_are_enough_to_end_it(server, once):
    """The server says no more after them, and the client waits for nothing more."""
    gate = Gate()

    async def reply(exchange):
        await exchange.send(b'HTTP/1.1 200 OK\r\n\r\n{"data":[null' + b",null" * (4 * len(TEXTS)))
        await gate.wait()

    server.default = reply
    async with asyncio.timeout(20):
        with pytest.raises(ResponseError, match="it holds more than 201 vectors for 50 texts"):
            await once.embed(TEXTS)
    gate.opened.set()


async def test_an_endless_error_body(server, once):
    """The status is known, and enough of the message."""
    body = endless(b"", b"x" * BLOCK)

    async def reply(exchange):
        exchange.send, send = _with_status(exchange.send), exchange.send
        await body(exchange)
        exchange.send = send

    server.default = reply
    with PeakMemory() as peak, pytest.raises(APIStatusError, match="answered 400: xxx") as caught:
        await once.embed(TEXTS)
    assert peak.grown < 40 * MEGABYTE
    assert len(str(caught.value)) < 2_000


def _with_status(send):
    return lambda data: send(data.replace(b" 200 OK", b" 400 No"))


LONG_VALUES = [attack for attack in ATTACKS if attack.startswith("endless") and not attack.endswith("s")]


@pytest.mark.parametrize("attack", LONG_VALUES)
async def test_a_large_request_does_not_open_the_door(server, connect, attack):
    """The response to it may be large, but one value in it may not, so the end comes long before that of a response."""
    client = connect(retry=RetryPolicy(max_attempts=1), max_memory_mb=100, encoding="float", model="m")
    server.default = ATTACKS[attack]
    stream = client.embed_stream(numbered(2_000, 100))
    with PeakMemory() as peak, pytest.raises(ResponseError):
        async with asyncio.timeout(60):
            await anext(stream)
    assert peak.grown < 40 * MEGABYTE
    assert stream.summary.bytes_received < 12 * MEGABYTE  # 8 requests are answered so
