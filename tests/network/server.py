"""A server in a process of its own, which may be killed: `server.py PORT` prints a line when it listens."""

from __future__ import annotations

import asyncio
import os
import sys

from asyncembed.testing import FakeServer, faults


async def serve(port: int) -> None:
    """Serve, in drips; whose parent has died ends by itself."""
    parent = os.getppid()
    drip = faults.Drip(seconds=0.001, size=512)
    async with FakeServer(dimension=64, port=port, default=drip) as server:
        print(server.port, flush=True)
        while os.getppid() == parent:
            await asyncio.sleep(0.5)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
