"""A server that is killed in the middle of a run and comes back on the same port, or hangs, or stays away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest
from support.watching import LoopWatch, leftovers

from asyncembed import EmbedClient, RetryPolicy, Timeouts, TransportError
from asyncembed.testing import vector_of

if TYPE_CHECKING:
    from asyncembed import EmbedStream

SERVER = Path(__file__).parent / "server.py"
DIMENSION, BATCH = 64, 10
TEXTS = [f"text {number}" for number in range(1_500)]
PATIENT = RetryPolicy(max_attempts=200, initial_backoff=0.02, max_backoff=0.2)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")


class Server:
    """A server that can be killed, and started again on the same port."""

    port = 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._process.returncode is None:
            await self.kill()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, str(SERVER), str(self.port), stdout=asyncio.subprocess.PIPE, env=env
        )
        self.port = int(await self._process.stdout.readline())

    async def kill(self) -> None:
        self._process.kill()
        await self._process.wait()

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)


@pytest.fixture(autouse=True)
async def nothing_is_left():
    watch = LoopWatch()
    yield
    await watch.check()


@contextlib.asynccontextmanager
async def running(**settings: object):
    """A server, and a stream of its vectors; neither leaves anything behind."""
    async with Server() as server:
        settings = {"retry": PATIENT, **settings}
        client = EmbedClient("cohere", base_url=server.url, api_key="k", **settings)
        async with client, client.embed_stream(TEXTS, chunk_size=BATCH) as stream:
            yield server, stream
        assert not leftovers(client)


async def take(stream: EmbedStream, indices: list[int], count: int = len(TEXTS)) -> None:
    """Take results until there are so many; each must be right."""
    while len(indices) < count:
        result = await anext(stream)
        assert (result.embedding == vector_of(TEXTS[result.index], DIMENSION)).all()
        indices.append(result.index)


async def test_a_server_that_is_killed_and_started_again():
    """Twice, with responses on their way: all that was whole is kept, and the rest asked for again."""
    indices: list[int] = []
    async with running() as (server, stream):
        for count in (200, 700):
            await take(stream, indices, count)
            await server.kill()
            await server.start()
        await asyncio.wait_for(take(stream, indices), 60)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
    assert indices == list(range(len(TEXTS)))
    assert stream.summary.retries > 0
    assert stream.summary.done == len(TEXTS)


async def test_a_server_that_is_away_for_a_while():
    """Connections are refused meanwhile; the consumer waits, and nothing else happens."""
    indices: list[int] = []
    async with running() as (server, stream):
        await take(stream, indices, 200)
        await server.kill()
        rest = asyncio.create_task(take(stream, indices))
        retries = stream.summary.retries
        while stream.summary.retries < retries + 20:  # so often it was refused
            await asyncio.sleep(0.01)
        await server.start()
        await asyncio.wait_for(rest, 60)
    assert indices == list(range(len(TEXTS)))


async def test_a_server_that_hangs_for_a_while():
    """It is stopped like a machine that swaps: connections stay open, and new ones are even accepted by its system."""
    indices: list[int] = []
    timeouts = Timeouts(connect=0.5, first_byte=0.5, read=0.5)
    async with running(timeouts=timeouts) as (server, stream):
        await take(stream, indices, 200)
        server.send(signal.SIGSTOP)
        rest = asyncio.create_task(take(stream, indices))
        retries = stream.summary.retries
        while stream.summary.retries < retries + 10:
            await asyncio.sleep(0.01)
        server.send(signal.SIGCONT)
        await asyncio.wait_for(rest, 60)
    assert indices == list(range(len(TEXTS)))


async def test_a_server_that_never_comes_back():
    """The run ends with a plain error that names what is missing, after everything that had arrived."""
    indices: list[int] = []
    brief = RetryPolicy(max_attempts=4, initial_backoff=0.01, max_backoff=0.05)
    async with running(retry=brief) as (server, stream):
        await take(stream, indices, 200)
        await server.kill()
        with pytest.raises(TransportError) as caught:
            await asyncio.wait_for(take(stream, indices), 60)
    assert indices == list(range(len(indices)))
    assert caught.value.indices
    assert not set(caught.value.indices) & set(indices)
