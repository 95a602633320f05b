"""Streams and calls of one client at the same time: none waits for ever for what another one holds."""

from __future__ import annotations

import asyncio

import pytest
from support.results import check_results, numbered
from support.scripted import Gate, right
from support.watching import until

LONG = 3_000
SECONDS = 60


@pytest.mark.parametrize("inner", [1, 8])
@pytest.mark.parametrize("max_concurrency", [1, 3])
async def test_a_call_for_each_result(connect, max_concurrency, inner):
    """A consumer may call the client before it takes the next result, even when its stream has filled the budget."""
    client = connect(max_memory_mb=0.5, max_concurrency=max_concurrency)
    texts = numbered(200, LONG)
    results = []
    async with asyncio.timeout(SECONDS), client.embed_stream(texts, chunk_size=4) as stream:
        async for result in stream:
            results.append(result)
            if result.index % 20 == 0:
                await until(lambda: client._endpoint.budget.waiting or stream.summary.done == len(texts))
            response = await client.embed(numbered(inner, LONG), chunk_size=2)
            assert len(response) == inner
    check_results(results, texts)


async def test_an_idle_consumer_does_not_block_another_stream(connect):
    client = connect(max_memory_mb=0.5)
    texts = numbered(200, LONG)
    async with asyncio.timeout(SECONDS), client.embed_stream(numbered(400, LONG), chunk_size=4) as idle:
        await anext(idle)
        await until(lambda: client._endpoint.budget.waiting)
        check_results([result async for result in client.embed_stream(texts, chunk_size=4)], texts)


async def test_streams_inside_streams(connect):
    """Three deep, in a budget that does not hold two batches."""
    client = connect(max_memory_mb=0.4, max_concurrency=1)
    texts = numbered(6, LONG)
    seen = 0
    async with asyncio.timeout(SECONDS):
        async for _ in client.embed_stream(texts, chunk_size=2):
            async for _ in client.embed_stream(texts, chunk_size=2):
                async for _ in client.embed_stream(texts, chunk_size=2):
                    seen += 1
    assert seen == 6**3


async def test_a_stream_as_the_source_of_another(connect):
    """Three in a row, with one slot for all of them."""
    client = connect(max_memory_mb=0.5, max_concurrency=1)

    async def pass_on(texts, chunk_size):
        async with client.embed_stream(texts, chunk_size=chunk_size, max_wait=0.01) as stream:
            async for result in stream:
                yield result.text

    texts = numbered(100, LONG)
    chain = pass_on(pass_on(texts, 3), 5)
    async with asyncio.timeout(SECONDS):
        check_results([result async for result in client.embed_stream(chain, chunk_size=7, max_wait=0.01)], texts)


async def test_many_consumers_that_also_call_the_client(connect):
    client = connect(max_memory_mb=0.5, max_concurrency=2)

    async def consume(name):
        texts = [f"{name} {text}" for text in numbered(30, LONG)]
        results = []
        async with client.embed_stream(texts, chunk_size=3) as stream:
            async for result in stream:
                results.append(result)
                await client.embed(numbered(4, LONG), chunk_size=2)
        check_results(results, texts)

    async with asyncio.timeout(SECONDS):
        await asyncio.gather(*map(consume, range(6)))


async def test_idle_sources_hold_nothing(server, connect):
    """Streams that wait for texts of a slow source take neither a slot nor memory from the others."""
    client = connect(max_memory_mb=0.5, max_concurrency=1)
    ends = asyncio.Event()

    async def slow(name):
        yield f"{name} begins"
        await ends.wait()
        yield f"{name} ends"

    streams = [client.embed_stream(slow(name), max_wait=0.01) for name in range(40)]
    async with asyncio.timeout(SECONDS):
        first = [await anext(stream) for stream in streams]
        texts = numbered(300, 500)
        check_results([result async for result in client.embed_stream(texts, chunk_size=20)], texts)
        ends.set()
        for name, stream in enumerate(streams):
            rest = [result async for result in stream]
            check_results([first[name], *rest], [f"{name} begins", f"{name} ends"])


async def test_a_half_full_batch_of_a_slow_source_does_not_wait_for_ever(server, client):
    """It goes `max_wait` seconds after its first text, as the source may wait for its results."""
    answered = asyncio.Event()

    async def conversation():
        yield "question"
        await answered.wait()
        yield "reply"

    results = []
    async with asyncio.timeout(SECONDS):
        async for result in client.embed_stream(conversation(), max_wait=0.01):
            results.append(result)
            answered.set()
    check_results(results, ["question", "reply"])
    assert server.asked == [["question"], ["reply"]]


async def test_a_stalled_stream_does_not_block_another(server, connect):
    """A request that the server does not answer keeps its own slot and no more."""
    gate = Gate()

    async def hold(exchange):
        await gate.wait()
        await right(exchange)

    server.script.append(hold)
    client = connect(max_concurrency=2)
    stalled = asyncio.create_task(client.embed(["stalled"]))
    await gate.reached.wait()
    texts = numbered(100)
    check_results([result async for result in client.embed_stream(texts, chunk_size=5)], texts)
    gate.opened.set()
    assert len(await stalled) == 1


async def test_one_text_after_another_in_one_task_group(client):
    """The way a service uses it: many small calls at once."""
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(client.embed([text])) for text in numbered(200)]
    assert [call.result().texts for call in calls] == [[text] for text in numbered(200)]
