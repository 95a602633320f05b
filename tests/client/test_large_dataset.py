"""`embed_large_dataset`: the whole process stays below a limit, whatever its consumer does."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import orjson
import psutil
import pytest
from support import bulk_server, large_consumer
from support.results import check_results, numbered, take_all
from support.watching import until

from asyncembed import ConfigurationError, EmbedFailure

COUNT = 12_000
TEXTS = numbered(30)


@pytest.fixture
async def bulk_url():
    """A fast server in another process, so that its memory is not counted."""
    program = [sys.executable, bulk_server.__file__, str(large_consumer.DIMENSION)]
    process = await asyncio.create_subprocess_exec(*program, stdout=asyncio.subprocess.PIPE)
    port = int(await process.stdout.readline())
    yield f"http://127.0.0.1:{port}/v1"
    process.terminate()
    await process.wait()
    process._transport.close()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc is not there to ask for the peak of memory")
@pytest.mark.parametrize(("limit", "keep"), [(150, 0), (150, 40), (300, 120), (500, 120)])
async def test_the_process_stays_below_the_limit(bulk_url, limit, keep):
    """The consumer sleeps a tenth of a second per thousand results, and keeps some of them for good."""
    program = [sys.executable, "-m", "support.large_consumer", bulk_url, str(limit), str(COUNT), str(keep)]
    tests = Path(__file__).parents[1]
    process = await asyncio.create_subprocess_exec(*program, stdout=asyncio.subprocess.PIPE, cwd=tests)
    out, _ = await asyncio.wait_for(process.communicate(), 100)
    assert process.returncode == 0
    seen = orjson.loads(out)
    assert seen["done"] == COUNT
    row_bytes = 4 * large_consumer.DIMENSION
    assert seen["kept"] * row_bytes >= min(keep * 1e6, COUNT * row_bytes)
    assert seen["peak_mb"] < limit, seen


async def test_a_consumer_that_keeps_more_than_the_limit_is_slowed_and_never_stuck(server, client):
    """There is no room from the first result on, so one small request runs at a time."""
    results = []
    limit = psutil.Process().memory_info().rss / 1e6 / 0.9 + 3
    hoard = []
    async with client.embed_large_dataset(TEXTS, max_memory_mb=limit, chunk_size=3) as stream:
        async for result in stream:
            if not hoard:
                server.max_active = 0
            hoard.append(b"x" * 5_000_000)
            results.append(result)
    check_results(results, TEXTS, ordered=False)
    assert len(hoard) == 30
    assert server.max_active <= 1


async def test_results_come_as_they_arrive_or_in_order(server, client):
    gate = asyncio.Event()

    async def late(exchange):
        await gate.wait()
        await server.default(exchange)

    server.script.append(late)
    seen = []
    unordered = client.embed_large_dataset(TEXTS, max_memory_mb=2_000, chunk_size=10, ordered=False)
    async for result in unordered:
        seen.append(result)
        if len(seen) == 20:
            gate.set()
    check_results(seen, TEXTS, ordered=False)
    assert {result.index for result in seen[-10:]} == set(range(10))
    server.script.append(late)
    gate.clear()
    sent, in_order = len(server.requests), []
    ordered = client.embed_large_dataset(iter(TEXTS), max_memory_mb=2_000, chunk_size=10)
    taking = asyncio.create_task(take_all(ordered, in_order))
    await until(lambda: len(server.requests) == sent + 3)
    gate.set()
    await taking
    check_results(in_order, TEXTS)


async def test_failures_take_part(client):
    items = [item async for item in client.embed_large_dataset(["a", ""], max_memory_mb=2_000, on_error="yield")]
    assert sorted((item.index, isinstance(item, EmbedFailure)) for item in items) == [(0, False), (1, True)]


async def test_a_limit_below_what_the_process_holds_is_refused_before_anything_is_sent(server, client):
    with pytest.raises(ConfigurationError, match=r"max_memory_mb=20 is a limit for the whole process"):
        client.embed_large_dataset(TEXTS, max_memory_mb=20)
    assert server.requests == []
