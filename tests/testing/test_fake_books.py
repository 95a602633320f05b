"""What the ledger says was sent, a client has: neither more nor less, to the byte."""

from __future__ import annotations

import sys
import zlib

import aiohttp
import pytest
from support.heard import hear

from asyncembed.testing import FakeServer, faults

TEXTS = [f"text {number}" for number in range(300)]
PATHS = {"cohere": "/v2/embed", "cohere-v1": "/v1/embed", "openai": "/v1/embeddings"}


def gzipped(data: bytes) -> bytes:
    return zlib.decompressobj(wbits=31).decompress(data)


@pytest.fixture(params=PATHS)
async def body(request):
    """A right answer to three texts."""
    asked = {"input" if request.param == "openai" else "texts": TEXTS[:3]}
    bodies = []

    async def note(exchange):
        exchange.answer.tokens = 123
        bodies.append(exchange.plain())
        await exchange.deliver()

    async with (
        FakeServer(dimension=8, default=note) as server,
        aiohttp.ClientSession(server.url) as http,
        http.post(PATHS[request.param], json=asked) as answer,
    ):
        assert await answer.read() == bodies[0].data
    return bodies[0]


def test_usage_is_told_when_its_number_has_ended(body):
    (mark,) = [mark for mark in body.marks if mark.tokens]
    assert body.data[: mark.end - 1].endswith(b"123")
    assert not body.data[mark.end - 1 : mark.end].isdigit()


def test_compressed_bytes_tell_no_sooner_and_no_later(body):
    packed = body.gzipped()
    assert gzipped(packed.data) == body.data
    for plain, mark in zip(body.marks, packed.marks, strict=True):
        assert len(gzipped(packed.data[: mark.end])) == plain.end
        assert len(gzipped(packed.data[: mark.end - 1])) < plain.end


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not say what has arrived")
async def test_what_was_sent_before_a_reset_has_arrived():
    """Small segments fill the socket's buffers long before their bytes do, and a reset would drop what is in them."""
    async with FakeServer(script=[faults.Reset(after=290)], chunk_bytes=20) as server:
        heard = await hear(server, TEXTS)
        (entry,) = server.ledger.entries
    assert heard.was_reset
    assert heard.body.count(b'"embedding":[') == 291
    assert len(entry.sent) == 290
