"""A client that keeps every byte it hears, and how the connection ended."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

PATHS = {"cohere": "/v2/embed", "cohere-v1": "/v1/embed", "openai": "/v1/embeddings"}


@dataclass
class Heard:
    """All that came over a connection until the server ended it."""

    data: bytes
    was_reset: bool

    @property
    def head(self):
        return self.data.partition(b"\r\n\r\n")[0].decode()

    @property
    def body(self):
        return self.data.partition(b"\r\n\r\n")[2]

    @property
    def status(self):
        return int(self.head.split()[1])

    @property
    def headers(self):
        lines = (line.partition(": ") for line in self.head.split("\r\n")[1:])
        return {name.lower(): value for name, _, value in lines}

    @property
    def document(self):
        return json.loads(self.body)


def request_bytes(texts, layout="openai", headers=(), **fields):
    """A request, after which the connection is to end."""
    name = "input" if layout == "openai" else "texts"
    body = json.dumps({"model": "m", name: texts, **fields}).encode()
    lines = [f"POST {PATHS[layout]} HTTP/1.1", "Connection: close", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def connect(server):
    return await asyncio.open_connection("127.0.0.1", server.port)


async def hear(server, texts=("a", "b", "c"), layout="openai", headers=(), **fields):
    """Send a request, and read until the connection ends."""
    reader, writer = await connect(server)
    data, was_reset = bytearray(), False
    try:
        writer.write(request_bytes(list(texts), layout, headers, **fields))
        while chunk := await reader.read(1 << 16):
            data += chunk
    except ConnectionError:
        was_reset = True
    finally:
        writer.transport.abort()
    return Heard(bytes(data), was_reset)
