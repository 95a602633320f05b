"""A canned embedding server in its own process, faster than its clients: `python -m benchmarks.server DIMENSION`.

It implements only the HTTP that the benchmarks need, prints its port, and sends responses that it builds once, in the
form in which the services send them. A text that ends in the number n gets `vectors(dimension)[n % CANNED]`, in the
requested type and encoding:

- Cohere's `/v1/embed` and `/v2/embed`: float, int8, base64, and several of them in one response;
- OpenAI's `/v1/embeddings`: float, base64 (also for Voyage and others).

`/drip/SECONDS/...` sends a response in as many equal pieces as it has vectors, spread over that time. `/gzip/...`
sends it compressed. The server caches whole responses, so sending is nearly the only cost of a request.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import functools
import gzip
import os
import ssl
import sys
from typing import TYPE_CHECKING

import numpy as np
import orjson

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CANNED = 64
END_OF_HEAD = b"\r\n\r\n"
HEAD = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{}\r\n"


@functools.cache
def vectors(dimension: int, kind: str = "float") -> np.ndarray:
    """Return unit vectors of shape (CANNED, dimension), as float32 or, for the kind "int8", as int8."""
    matrix = np.random.default_rng(1).standard_normal((CANNED, dimension))
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    if kind == "int8":
        return np.round(matrix / np.abs(matrix).max() * 127).astype(np.int8)
    return matrix.astype(np.float32)


class Canned:
    """Builds whole responses, and caches them."""

    def __init__(self, dimension: int) -> None:
        matrix, integers = vectors(dimension), vectors(dimension, "int8")
        self.rows = {
            # The services write the shortest decimals of a float32, about 12 bytes each.
            "float": [orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY) for row in matrix],
            "int8": [orjson.dumps(row.tolist()) for row in integers],
            "base64": [b'"' + base64.b64encode(row.tobytes()) + b'"' for row in matrix],
        }

    def body(self, path: str, request: bytes) -> bytes:
        """Return the body of the response to a request."""
        asked = orjson.loads(request)
        if path.endswith("/embeddings"):
            texts = asked["input"]
            texts = [texts] if isinstance(texts, str) else texts
            return self._openai(asked.get("encoding_format") or "float", numbers(texts))
        return self._cohere(tuple(asked.get("embedding_types") or ()), numbers(asked["texts"]))

    @functools.lru_cache(maxsize=256)  # noqa: B019  # `self` lives as long as the process
    def _cohere(self, kinds: tuple[str, ...], picked: tuple[int, ...]) -> bytes:
        lists = [
            b"[" + b",".join([self.rows[kind][number] for number in picked]) + b"]" for kind in kinds or ("float",)
        ]
        typed = b",".join([b'"%b":%b' % (kind.encode(), rows) for kind, rows in zip(kinds, lists, strict=False)])
        vectors = b"{" + typed + b"}" if kinds else lists[0]
        tail = b',"texts":[],"meta":{"api_version":{"version":"2"},"billed_units":{"input_tokens":%d}}}' % len(picked)
        response_type = b"embeddings_by_type" if kinds else b"embeddings_floats"
        head = b'{"id":"bench","response_type":"%b","embeddings":' % response_type
        return head + vectors + tail

    @functools.lru_cache(maxsize=256)  # noqa: B019
    def _openai(self, kind: str, picked: tuple[int, ...]) -> bytes:
        items = [
            b'{"object":"embedding","index":%d,"embedding":%b}' % (index, self.rows[kind][number])
            for index, number in enumerate(picked)
        ]
        tail = b'],"model":"bench","usage":{"prompt_tokens":%d,"total_tokens":%d}}' % (len(items), len(items))
        return b'{"object":"list","data":[' + b",".join(items) + tail


def numbers(texts: list[str]) -> tuple[int, ...]:
    return tuple([int(text.rpartition(" ")[2]) % CANNED for text in texts])


class Connection(asyncio.Protocol):
    """One connection, without pipelining: the next request comes after the response to the last one."""

    def __init__(self, canned: Canned) -> None:
        self._canned = canned
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(END_OF_HEAD)
        if end < 0:
            return
        start = end + len(END_OF_HEAD)
        line, _, fields = bytes(self._received[:end]).decode("latin-1").partition("\r\n")
        lengths = [field for field in fields.lower().split("\r\n") if field.startswith("content-length:")]
        size = int(lengths[0].partition(":")[2])
        if len(self._received) < start + size:
            return
        request = bytes(self._received[start : start + size])
        del self._received[: start + size]
        self._answer(line.split()[1], request)

    def _answer(self, path: str, request: bytes) -> None:
        body = self._canned.body(path, request)
        extra = ""
        if path.startswith("/gzip/"):
            body, extra = _zipped(body), "Content-Encoding: gzip\r\n"
        head = HEAD.format(len(body), extra).encode()
        if not path.startswith("/drip/"):
            self._transport.write(head)
            self._transport.write(body)
            return
        pieces = len(numbers(orjson.loads(request).get("texts") or orjson.loads(request)["input"]))
        size, pause = -(-len(body) // pieces), float(path.split("/")[2]) / pieces
        loop = asyncio.get_running_loop()
        self._transport.write(head)
        for piece in range(pieces):
            loop.call_later(piece * pause, self._transport.write, body[piece * size : (piece + 1) * size])


@functools.lru_cache(maxsize=256)
def _zipped(body: bytes) -> bytes:
    return gzip.compress(body, 6)


async def serve(dimension: int, certificate: str | None) -> None:
    canned = Canned(dimension)
    context = None
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(canned), "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def running(dimension: int, certificate: Path | None = None, core: int | None = None) -> AsyncIterator[str]:
    """Run the server, on the given processor core if any, and yield its address."""
    program = [sys.executable, "-m", "benchmarks.server", str(dimension)]
    if certificate:
        program += ["--certificate", str(certificate)]
    process = await asyncio.create_subprocess_exec(*program, stdout=asyncio.subprocess.PIPE)
    assert process.stdout
    if core is not None:
        os.sched_setaffinity(process.pid, {core})
    port = int(await process.stdout.readline())
    try:
        yield f"http{'s' if certificate else ''}://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("dimension", type=int)
    parser.add_argument("--certificate")
    given = parser.parse_args()
    asyncio.run(serve(given.dimension, given.certificate))
