"""Memory depends on the budget, and not on the number of texts, the consumer's pace or the size of a vector."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import tracemalloc
import weakref

import numpy as np
import psutil
import pytest
from support import bulk_server
from support.formats import DIMENSION
from support.results import numbered
from support.watching import turns, until

from asyncembed import EmbedClient

DIMENSIONS = 256
BUDGET = 8_000_000
MEGABYTE = 1_000_000


@pytest.fixture
async def bulk_url():
    """A fast server in another process, so that its memory is not counted."""
    program = [sys.executable, bulk_server.__file__, str(DIMENSIONS)]
    process = await asyncio.create_subprocess_exec(*program, stdout=asyncio.subprocess.PIPE)
    port = int(await process.stdout.readline())
    yield f"http://127.0.0.1:{port}/v1"
    process.terminate()
    await process.wait()
    process._transport.close()


class Texts:
    """Numbered texts, made when they are pulled."""

    def __init__(self, count):
        self.count = count
        self.pulled = 0

    def __iter__(self):
        for number in range(self.count):
            self.pulled += 1
            yield f"text {number}"


@pytest.mark.parametrize(("count", "ordered"), [(60_000, True), (30_000, False)])
async def test_many_texts_in_eight_megabytes(bulk_url, count, ordered):
    """The consumer is fast first, then slow, then fast again."""
    resident = psutil.Process(os.getpid()).memory_info
    expected = bulk_server.vectors(DIMENSIONS)
    texts = Texts(count)
    seen = np.zeros(count, bool)
    sizes, ahead, reserved = [], [], []
    async with (
        EmbedClient("openai", base_url=bulk_url, max_memory_mb=BUDGET / MEGABYTE) as client,
        client.embed_stream(iter(texts), ordered=ordered) as stream,
    ):
        taken = 0
        async for result in stream:
            assert not seen[result.index]
            seen[result.index] = True
            assert np.array_equal(result.embedding, expected[result.index % bulk_server.CANNED])
            taken += 1
            if 20_000 <= taken < 20_100:
                await asyncio.sleep(0.01)
            if taken % 50 == 0:
                ahead.append(texts.pulled - taken)
                reserved.append(stream.summary.reserved_bytes)
            if taken % 1_000 == 0:
                sizes.append(resident().rss)
        summary = stream.summary
    assert seen.all()
    assert (summary.done, summary.retries, summary.usage.tokens) == (count, 0, count)
    assert max(reserved) <= summary.peak_reserved_bytes <= BUDGET
    assert max(ahead) < BUDGET / (4 * DIMENSIONS) + 2_048
    assert max(sizes) - max(sizes[:10]) < 8 * MEGABYTE
    assert summary.reserved_bytes == 0


@pytest.mark.parametrize("dimension", [DIMENSION, 512])
async def test_results_that_wait_really_fit_into_the_budget(server, connect, dimension):
    """Also small vectors, whose Python objects take more than their numbers."""
    server.dimension = dimension
    budget = 2 * MEGABYTE
    client = connect(max_memory_mb=budget / MEGABYTE, model="m")
    texts = (f"text {number}" for number in range(10**9))
    async with client.embed_stream(texts, chunk_size=16, dimensions=dimension) as stream:
        await anext(stream)
        tracemalloc.start()
        try:
            before = stream.summary.done
            await until(lambda: client._endpoint.budget.waiting and not client._endpoint.slots.in_use)
            server.requests.clear()
            gc.collect()
            used, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert stream.summary.done - before > 300
        assert used < budget


class WatchedTexts(list):
    """A list that can be seen to be let go."""


@pytest.mark.parametrize("way", ["embed", "to the end", "left early"])
async def test_the_texts_are_let_go(server, client, way):
    """Nothing that lives on, such as an open connection, keeps what the caller gave."""
    texts = WatchedTexts(numbered(20))
    alive = weakref.ref(texts)
    if way == "embed":
        await client.embed(texts)
    else:
        async with client.embed_stream(texts, chunk_size=2) as stream:
            async for _ in stream:
                if way == "left early":
                    break
        del stream
    del texts
    await turns()
    gc.collect()
    assert server.connections or way == "left early"
    assert alive() is None


async def test_nothing_grows_from_stream_to_stream(server, client):
    """A service that calls the client for ever."""

    async def call_often():
        for _ in range(20):
            await client.embed(texts)
            await client.embed(["a"], max_memory_mb=1)
            async with client.embed_stream(texts, chunk_size=2) as stream:
                await anext(stream)
        server.requests.clear()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    texts = numbered(20)
    tracemalloc.start()
    try:
        before = await call_often()
        after = await call_often()
    finally:
        tracemalloc.stop()
    assert after - before < 100_000
