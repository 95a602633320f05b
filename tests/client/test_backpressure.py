"""A consumer that stops taking results stops new requests, and then the pulling of texts; nothing times out."""

from __future__ import annotations

import asyncio
import time

import pytest
from support.results import check_results, numbered
from support.scripted import Gate, right
from support.watching import turns, until

from asyncembed import RetryPolicy, Timeouts, TransportError

IMPATIENT = Timeouts(first_byte=0.1, read=0.1)
CHUNK = 10


class Counted:
    """Texts that count how many of them were pulled."""

    def __init__(self, texts):
        self._texts = texts
        self.pulled = 0

    def __iter__(self):
        for text in self._texts:
            self.pulled += 1
            yield text

    async def agenerate(self):
        for text in self:
            yield text

    def in_form(self, form):
        return self.agenerate() if form == "async" else iter(self)


def stopped(client):
    """Whether the stream can do nothing more until its consumer takes a result."""
    return client._endpoint.budget.waiting == 1 and client._endpoint.slots.in_use == 0


@pytest.mark.parametrize("form", ["plain", "async"])
@pytest.mark.parametrize("ordered", [True, False])
async def test_a_paused_consumer_stops_everything(server, connect, form, ordered):
    client = connect(max_memory_mb=1, timeouts=IMPATIENT)
    texts = numbered(1_000, length=3_000)
    source = Counted(texts)
    async with client.embed_stream(source.in_form(form), chunk_size=CHUNK, ordered=ordered) as stream:
        results = [await anext(stream)]
        await until(lambda: stopped(client))
        requests, pulled = len(server.requests), source.pulled
        assert requests * CHUNK < len(texts) / 2
        # The batch that waits for memory, and one text more, as an async generator has already been asked for it.
        assert pulled <= (requests + 1) * CHUNK + 1
        assert stream.summary.reserved_bytes <= stream.summary.budget_bytes

        await asyncio.sleep(3 * IMPATIENT.read)  # time that counts for nobody
        assert (len(server.requests), source.pulled) == (requests, pulled)

        results += [result async for result in stream]
        assert stream.summary.retries == 0
    check_results(results, texts, ordered=ordered)
    assert client._endpoint.budget.peak <= client._endpoint.budget.total


async def test_each_result_taken_lets_a_little_more_in(server, connect):
    """What was pulled is never further ahead of what was taken than the budget allows, over the whole run."""
    client = connect(max_memory_mb=1)
    length = 3_000
    texts = numbered(600, length)
    source = Counted(texts)
    async with client.embed_stream(iter(source), chunk_size=CHUNK) as stream:
        distances = []
        async for result in stream:
            await until(lambda: stopped(client) or source.pulled == len(texts))
            distances.append(source.pulled - result.index)
    assert max(distances) < 1_000_000 / length + 2 * CHUNK


async def test_pulling_waits_for_a_slot(server, connect):
    """With one request at a time, no more texts are pulled than for that one and the next."""
    gate = Gate()

    async def hold(exchange):
        await gate.wait()
        await right(exchange)

    server.default = hold
    texts = numbered(100)
    source = Counted(texts)
    client = connect(max_concurrency=1)
    async with client.embed_stream(iter(source), chunk_size=CHUNK) as stream:
        first = asyncio.create_task(anext(stream))
        await gate.reached.wait()
        await turns()
        assert source.pulled == 2 * CHUNK
        assert len(server.requests) == 1
        gate.opened.set()
        check_results([await first] + [result async for result in stream], texts)


async def test_a_stream_that_nobody_iterates_pulls_nothing(server, client):
    source = Counted(numbered(10))
    stream = client.embed_stream(iter(source))
    await turns()
    assert source.pulled == 0
    assert not server.accepted
    await stream.aclose()


async def test_a_batch_too_large_for_the_budget_runs_alone(server, connect):
    texts = numbered(5, length=400_000)
    client = connect(max_memory_mb=0.1)
    check_results([result async for result in client.embed_stream(texts)], texts)
    assert server.asked == [[text] for text in texts]
    assert server.max_active == 1


async def test_a_consumer_that_blocks_the_event_loop_causes_no_timeouts(server, connect):
    """Time in which nothing could be read is not the server's."""
    client = connect(timeouts=IMPATIENT)
    texts = numbered(60)
    results = []
    async with client.embed_stream(texts, chunk_size=2) as stream:
        async for result in stream:
            results.append(result)
            if len(results) % 10 == 1:
                time.sleep(2 * IMPATIENT.read)
    check_results(results, texts)
    assert stream.summary.retries == 0


async def test_a_loop_that_is_always_late_still_notices_a_silent_server(server, connect, watch):
    """Other work of the process keeps the event loop busy; that must not hide a dead server for ever."""
    gate = Gate()
    server.default = lambda exchange: gate.wait()
    client = connect(timeouts=IMPATIENT, retry=RetryPolicy(max_attempts=1))

    async def keep_busy():
        while True:
            time.sleep(0.06)
            await asyncio.sleep(0)

    busy = asyncio.create_task(keep_busy())
    try:
        with pytest.raises(TransportError, match="no response within"):
            await asyncio.wait_for(client.embed(["a"]), 60)
    finally:
        busy.cancel()
        await asyncio.wait([busy])


async def test_refused_texts_are_not_pulled_without_limit(connect):
    """Failures wait for the consumer, too."""
    source = Counted("" for _ in range(50_000))
    client = connect(max_memory_mb=1)
    async with client.embed_stream(iter(source), on_error="yield") as stream:
        await anext(stream)
        await turns()
        assert source.pulled < 25_000
