"""Floods that do not come in the JSON: of bytes, headers, chunks and what unpacks to them. Memory stays where it was.

The client is in a process of its own, whose memory is its alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import zlib
from pathlib import Path

import pytest

from asyncembed.testing import FakeServer, faults

TESTS = Path(__file__).parents[1]
PROVIDERS = {"openai": "/v1", "cohere": "", "cohere-v1": ""}
MEGABYTE = 1_000_000
MOST = 32 * MEGABYTE
"""What a flood of a hundred megabytes may cost: read buffers, and blocks that are unpacked."""


def flood(start: bytes, block: bytes, size: int = 100 * MEGABYTE):
    """Send a beginning, and then the same block for as long as the client takes it."""

    async def reply(exchange):
        await exchange.write(start)
        for _ in range(size // len(block)):
            await exchange.write(block)
        exchange.close()

    return reply


def bomb(status: int, encoding: str):
    """Spaces without end, packed; as large on the wire as it has to be to unpack to a gigabyte."""
    packer = zlib.compressobj(wbits=31 if encoding == "gzip" else 15)
    spaces = b" " * MEGABYTE
    start = packer.compress(spaces) + packer.flush(zlib.Z_SYNC_FLUSH)
    block = packer.compress(spaces) + packer.flush(zlib.Z_SYNC_FLUSH)
    head = f"HTTP/1.1 {status} Reason\r\nContent-Encoding: {encoding}\r\n\r\n".encode()
    return flood(head + start, block, 1_000 * len(block))


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
FLOODS = {
    "HugeBody": (faults.HugeBody(), "NoneType", ""),  # what follows the last vector costs nobody a vector
    "GzipBomb": (faults.GzipBomb(1 << 27), "ResponseError", "larger than its vectors can be"),
    "HugeHeader": (faults.HugeHeader(), "TransportError", "the response is not valid HTTP"),
    "zlib bomb": (bomb(200, "deflate"), "ResponseError", "larger than its vectors can be"),
    "bomb of an error": (bomb(400, "gzip"), "InvalidInputError", "answered 400"),
    "body of an error": (flood(b"HTTP/1.1 500 No\r\n\r\n", b"x" * 65_536), "ServerError", "answered 500: xxx"),
    "nested error": (flood(b"HTTP/1.1 400 No\r\n\r\n", b"[" * 65_536), "InvalidInputError", "answered 400"),
    "status line": (flood(b"HTTP/1.1 200 ", b"O" * 65_536), "TransportError", ""),
    "name of a header": (flood(OK, b"x" * 65_536), "TransportError", ""),
    "many headers": (flood(OK, b"X-Name: value\r\n" * 4_000), "TransportError", ""),
    "100 Continue": (flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2_000), "TransportError|EmbedTimeoutError", ""),
    "length of a chunk": (flood(CHUNKED, b"0" * 65_536), "TransportError", ""),
    "extension of a chunk": (flood(CHUNKED + b"5;", b"x" * 65_536), "TransportError", ""),
    "trailers": (flood(CHUNKED + b"1\r\n \r\n0\r\n", b"X-Name: value\r\n" * 4_000), "TransportError|ResponseError", ""),
    "answers unasked": (flood(b"", OK + b"Content-Length: 2\r\n\r\n{}" + OK), "TransportError|ResponseError", ""),
}


class ByNumber:
    """Answers "text 3" with the third flood, also if the client sends it again on another connection."""

    def applies(self, exchange):
        return exchange.request.texts[0].startswith("text ")

    async def __call__(self, exchange):
        reply, _, _ = [*FLOODS.values()][int(exchange.request.texts[0].removeprefix("text "))]
        await reply(exchange)


@pytest.mark.parametrize("provider", PROVIDERS if "ASYNCEMBED_FAULTS" in os.environ else ["openai"])
async def test_no_flood_fills_the_memory(provider):
    """Each ends in a plain error, and leaves neither memory nor a connection behind."""
    async with FakeServer(rules=[ByNumber()]) as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "support.flooded", provider, server.url + PROVIDERS[provider], str(len(FLOODS))),
            env={**os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"},
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
    assert process.returncode == 0
    lines = map(json.loads, out.splitlines())
    wrong = []
    for (name, (_, kind, words)), line in zip(FLOODS.items(), lines, strict=True):
        found, message, grown, connections = line
        if found not in kind.split("|") or words not in message or len(message) > 1_000 or grown > MOST or connections:
            wrong.append((name, *line))
    assert not wrong
