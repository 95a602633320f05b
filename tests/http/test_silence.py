"""The time limit on waiting for the next bytes: fair to a loop that stood still, and no longer than that."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager

import pytest
from support.scripted import ScriptedServer
from support.watching import LoopWatch, turns

from asyncembed import EmbedTimeoutError, Timeouts
from asyncembed._http import Session, Transport
from asyncembed._redaction import Secrets

DELAY = 0.2


class Pieces:
    """The body of a response that comes piece by piece, as a test says."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()

    async def __call__(self, exchange) -> None:
        await exchange.head(200, {"Transfer-Encoding": "chunked"})
        while True:
            piece = await self.queue.get()
            await exchange.send(b"%x\r\n%s\r\n" % (len(piece), piece))


@asynccontextmanager
async def answered():
    """A response, and what its pieces are put into."""
    pieces = Pieces()
    async with ScriptedServer(default=pieces) as server, await Session.open(server.url) as session:
        transport = Transport(
            "test",
            session,
            url=server.url,
            headers={},
            secrets=Secrets([]),
            timeouts=Timeouts(read=DELAY),
            read_size=1 << 16,
        )
        response = await transport.post(b"{}", compact=True, max_bytes=1 << 20, on_headers=lambda _: None)
        yield response, pieces.queue
        response.close()


async def time_out(response) -> float:
    """How long it takes until silence is one."""
    begun = time.monotonic()
    with pytest.raises(EmbedTimeoutError, match="the server sent nothing"):
        await response.read()
    return time.monotonic() - begun


async def test_silence_ends_the_wait():
    async with answered() as (response, _):
        assert await time_out(response) >= DELAY - 0.01


async def test_every_wait_has_its_own_time():
    """Waits that follow each other may take longer together, and one that is over counts for nothing."""
    async with answered() as (response, pieces):
        for _ in range(6):
            asyncio.get_running_loop().call_later(DELAY / 3, pieces.put_nowait, b"piece")
            assert await response.read() == b"piece"
        await asyncio.sleep(2 * DELAY)  # in which nobody waits for bytes
        assert await time_out(response) >= DELAY - 0.01


async def test_a_loop_that_stood_still_is_no_silence():
    """What has come meanwhile is read; and the next wait is as long as any."""
    async with answered() as (response, pieces):
        for _ in range(2):
            task = asyncio.create_task(response.read())
            await turns()
            time.sleep(DELAY + 2)  # it is the loop that has to stand still
            pieces.put_nowait(b"piece")
            assert await task == b"piece"
        assert DELAY - 0.01 <= await time_out(response) < 2


async def test_nothing_expires_after_the_end():
    watch = LoopWatch()
    async with answered() as (response, _):
        task = asyncio.create_task(response.read())
        await turns()
        task.cancel()
        await asyncio.wait([task])
        response.close()
        await asyncio.sleep(2 * DELAY)
    await watch.check()
