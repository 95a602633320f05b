"""A canned embedding server in a process of its own, faster than its clients: `python -m benchmarks.server DIMENSION`.

It prints its port and serves Cohere's `/v2/embed` (floats) and OpenAI's `/v1/embeddings` (base64, or floats) with
vectors that were made beforehand: the text that ends in the number n gets `vectors(dimension)[n % CANNED]`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import sys
from typing import TYPE_CHECKING

import numpy as np
import orjson
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CANNED = 64
MAX_BODY = 64_000_000


def vectors(dimension: int) -> np.ndarray:
    """Unit vectors: float32 of shape (CANNED, dimension)."""
    matrix = np.random.default_rng(1).standard_normal((CANNED, dimension))
    return (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)


class Canned:
    """The responses, in pieces that only have to be joined."""

    def __init__(self, dimension: int) -> None:
        matrix = vectors(dimension)
        # As the services write them: the shortest decimals of a float64.
        self.floats = [orjson.dumps(row.astype(np.float64).tolist()) for row in matrix]
        self.base64 = [b'"' + base64.b64encode(row.tobytes()) + b'"' for row in matrix]

    async def cohere(self, request: web.Request) -> web.Response:
        body = orjson.loads(await request.read())
        rows = b",".join([self.floats[number % CANNED] for number in numbers(body["texts"])])
        tokens = len(body["texts"])
        head = b'{"id":"bench","embeddings":{"float":['
        tail = b']},"texts":[],"meta":{"api_version":{"version":"2"},"billed_units":{"input_tokens":%d}}}' % tokens
        return web.Response(body=head + rows + tail, content_type="application/json")

    async def openai(self, request: web.Request) -> web.Response:
        body = orjson.loads(await request.read())
        values = self.base64 if body.get("encoding_format") == "base64" else self.floats
        items = [
            b'{"object":"embedding","index":%d,"embedding":%b}' % (index, values[number % CANNED])
            for index, number in enumerate(numbers(body["input"]))
        ]
        tail = b'],"model":"bench","usage":{"prompt_tokens":%d,"total_tokens":%d}}' % (len(items), len(items))
        return web.Response(
            body=b'{"object":"list","data":[' + b",".join(items) + tail, content_type="application/json"
        )


def numbers(texts: list[str]) -> list[int]:
    return [int(text.rpartition(" ")[2]) for text in texts]


async def serve(dimension: int) -> None:
    canned = Canned(dimension)
    app = web.Application(client_max_size=MAX_BODY)
    app.router.add_post("/v2/embed", canned.cohere)
    app.router.add_post("/v1/embeddings", canned.openai)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def running(dimension: int) -> AsyncIterator[str]:
    """Run the server, and give its address."""
    program = [sys.executable, "-m", "benchmarks.server", str(dimension)]
    process = await asyncio.create_subprocess_exec(*program, stdout=asyncio.subprocess.PIPE)
    assert process.stdout
    port = int(await process.stdout.readline())
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
