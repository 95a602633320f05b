"""A fast embedding server in a process of its own: `python bulk_server.py DIMENSION` prints its port and serves.

OpenAI's wire format, base64, on aiohttp's server. Its vectors were made beforehand: the one of a text that ends in a
number is `vector_of_number(number)`, so the client's side can check them without asking.
"""

from __future__ import annotations

import base64
import socket
import sys

import numpy as np
import orjson
from aiohttp import web

CANNED = 64


def vectors(dimension: int) -> np.ndarray:
    """All the vectors there are: shape (CANNED, dimension)."""
    return np.random.default_rng(1).standard_normal((CANNED, dimension), dtype=np.float32)


def main(dimension: int) -> None:
    items = [
        b'"embedding":"%s","object":"embedding"},' % base64.b64encode(vector.tobytes()) for vector in vectors(dimension)
    ]

    async def embed(request: web.Request) -> web.Response:
        texts = orjson.loads(await request.read())["input"]
        numbers = [int(text.rpartition(" ")[2]) for text in texts]
        data = b"".join(b'{"index":%d,' % place + items[number % CANNED] for place, number in enumerate(numbers))
        return web.Response(body=b'{"data":[' + data[:-1] + b'],"usage":{"total_tokens":%d}}' % len(texts))

    async def say_port(app: web.Application) -> None:
        print(app["socket"].getsockname()[1], flush=True)

    app = web.Application(client_max_size=64_000_000)
    app["socket"] = socket.create_server(("127.0.0.1", 0))
    app.router.add_post("/v1/embeddings", embed)
    app.on_startup.append(say_port)
    web.run_app(app, sock=app["socket"], print=None)


if __name__ == "__main__":
    main(int(sys.argv[1]))
