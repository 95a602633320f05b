"""The canned server with faults: `python -m benchmarks.faulty DIMENSION SHARE SEED` serves and prints its port.

A `FakeServer` of `asyncembed.testing` has more faults, but needs more time per answer than the client does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import socket
import struct
import sys
from typing import TYPE_CHECKING

from benchmarks.server import HEAD, Canned, Connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

REFUSAL = b'{"message":"try again"}'
NO_LINGER = struct.pack("ii", 1, 0)  # close with a reset and drop unsent bytes


class FaultyConnection(Connection):
    """A connection that answers a share of its requests with a fault."""

    def __init__(self, canned: Canned, share: float, draw: random.Random) -> None:
        super().__init__(canned)
        self._share = share
        self._draw = draw
        self._faults: tuple[Callable[[bytes], None], ...] = (
            self._refuse, self._limit, self._reset, self._reset_within, self._cut_off, self._truncate, self._spoil,
        )  # fmt: skip

    def _answer(self, path: str, request: bytes) -> None:
        if self._draw.random() < self._share:
            self._draw.choice(self._faults)(self._canned.body(path, request))
        else:
            super()._answer(path, request)

    def _write(self, body: bytes, *, size: int | None = None, status: str = "200 OK") -> None:
        head = HEAD.format(len(body) if size is None else size, "").replace("200 OK", status)
        self._transport.write(head.encode() + body)

    def _cut(self, body: bytes) -> bytes:
        return body[: self._draw.randrange(len(body))]

    def _refuse(self, body: bytes) -> None:
        self._write(REFUSAL, status="503 Service Unavailable")

    def _limit(self, body: bytes) -> None:
        self._write(REFUSAL, status="429 Too Many Requests")

    def _reset(self, body: bytes) -> None:
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        self._transport.abort()

    def _reset_within(self, body: bytes) -> None:
        self._write(self._cut(body), size=len(body))
        self._reset(body)

    def _cut_off(self, body: bytes) -> None:
        self._write(self._cut(body), size=len(body))
        self._transport.close()

    def _truncate(self, body: bytes) -> None:
        self._write(self._cut(body))

    def _spoil(self, body: bytes) -> None:
        self._write(self._cut(body) + b"}{")


async def serve(dimension: int, share: float, seed: int) -> None:
    """Serve until the process is terminated or its parent has died."""
    canned, draw, parent = Canned(dimension), random.Random(seed), os.getppid()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: FaultyConnection(canned, share, draw), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    while os.getppid() == parent:  # noqa: ASYNC110  # no event signals this
        await asyncio.sleep(1)


@contextlib.asynccontextmanager
async def running(dimension: int, share: float, seed: int) -> AsyncIterator[str]:
    """Run the server, and yield its address."""
    program = [sys.executable, "-m", "benchmarks.faulty", str(dimension), str(share), str(seed)]
    process = await asyncio.create_subprocess_exec(*program, stdout=asyncio.subprocess.PIPE)
    assert process.stdout
    port = int(await process.stdout.readline())
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("dimension", type=int)
    parser.add_argument("share", type=float)
    parser.add_argument("seed", type=int)
    given = parser.parse_args()
    asyncio.run(serve(given.dimension, given.share, given.seed))
