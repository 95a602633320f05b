"""Everything at once, at random: faults, pauses, nested calls, time limits, and leaving at any moment.

Whatever happens, each text gets its own vector exactly once, or the stream was left and nothing of it remains. A seed
that fails can be run alone: `pytest tests/client/test_chaos.py -k "[7]"`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest
from support.results import check_results, check_vectors, numbered
from support.scripted import broken_after, changed, refused, right, said
from support.watching import LOOP_MODES, leftovers, loop_in_mode, turns, until

from asyncembed import RetryPolicy

SEEDS = range(5)
STUBBORN = RetryPolicy(max_attempts=1_000, initial_backoff=0.0001, max_backoff=0.001)


class Chaos:
    """The decisions of one test."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.choose = self.random.choice

    def percent(self, likelihood):
        return self.random.random() * 100 < likelihood

    async def dawdle(self):
        await turns(self.random.randrange(12))

    async def reply(self, exchange):
        """Answer rightly in most cases."""
        await self.dawdle()
        count = self.random.randrange(len(exchange.request.texts) + 1)
        broken = broken_after(count, part=self.random.random(), chunked=self.percent(50), reset=self.percent(50))
        faults = [
            refused(500),
            refused(429, headers={"Retry-After": "0.001"}),
            said(b"<html>"),
            said(b'{"error": "overloaded"}'),
            broken,
            broken,
            broken_after(count, garbage=self.choose([b"}", b"]", b"\0", b'"'])),
            self._spoiled,
        ]
        await (self.choose(faults) if self.percent(30) else right)(exchange)

    async def _spoiled(self, exchange):
        value = self.choose([None, [], [[1.0]], "x", {}, [1.0], ["a"]])
        if "input" in exchange.request.body:
            await changed(lambda document: self.choose(document["data"]).update(embedding=value))(exchange)
        else:
            await right(exchange)

    def source(self, texts):
        return self.choose([list, iter, self._generate])(texts)

    async def _generate(self, texts):
        for text in texts:
            if self.percent(20):
                await self.dawdle()
            yield text

    def client_settings(self):
        provider = self.choose(["openai", "cohere", "cohere-v1"])
        settings = {
            "max_concurrency": self.choose([1, 2, 8, 32]),
            "max_memory_mb": self.choose([0.01, 0.4, 1, 50]),
            "encoding": self.choose(["auto", "float"]),
            "model": self.choose([None, "some-model"]),
        }
        return provider, settings

    def stream_options(self):
        return {
            "chunk_size": self.choose([1, 3, 16, 96]),
            "ordered": self.percent(50),
            "max_wait": self.choose([0.001, 0.5]),
        }

    async def take(self, client, stream, results):
        """Take everything, in fits and starts."""
        while True:
            if self.percent(20):
                await self.dawdle()
            if self.percent(2):
                await client.embed(numbered(self.random.randrange(1, 20)), chunk_size=4)
            taking = asyncio.ensure_future(anext(stream))
            taking.add_done_callback(lambda task: task.cancelled() or task.exception())  # seen
            if self.percent(10):
                await self.dawdle()
                taking.cancel()
                await asyncio.wait([taking])
            with contextlib.suppress(asyncio.CancelledError):
                try:
                    results.append(await taking)
                except StopAsyncIteration:
                    return

    async def leave(self, client, stream, consumer):
        """Leave in one way or another, or in two at once."""
        ways = [consumer.cancel, stream.aclose, client.aclose]
        for way in self.random.sample(ways, self.choose([1, 1, 2])):
            if (waiting := way()) not in {True, False}:
                await waiting
            await turns(self.random.randrange(3))
        await asyncio.wait([consumer])
        await stream.aclose()


@pytest.fixture(params=SEEDS)
async def chaos(request, watch):
    with loop_in_mode(LOOP_MODES[request.param % len(LOOP_MODES)]):
        yield Chaos(request.param)


@pytest.fixture
def setting(chaos, server, connect):
    """A client of a bad server, texts, and a stream of them."""
    server.default = chaos.reply
    provider, settings = chaos.client_settings()
    client = connect(provider, retry=STUBBORN, **settings)
    texts = numbered(chaos.random.randrange(1, 400), chaos.choose([0, 0, 300]))
    options = chaos.stream_options()
    return client, texts, client.embed_stream(chaos.source(texts), **options), options


async def test_to_the_end(chaos, setting):
    client, texts, stream, options = setting
    results = []
    async with asyncio.timeout(30):
        await chaos.take(client, stream, results)
    check_results(results, texts, ordered=options["ordered"])
    summary = stream.summary
    assert (summary.done, summary.failed) == (len(texts), 0)
    assert not leftovers(client)


async def test_until_it_is_left(chaos, setting):
    client, texts, stream, options = setting
    results = []
    enough = chaos.random.randrange(len(texts))
    consumer = asyncio.create_task(chaos.take(client, stream, results))
    async with asyncio.timeout(30):
        await until(lambda: len(results) >= enough, 15)
        await chaos.dawdle()
        await chaos.leave(client, stream, consumer)
    with contextlib.suppress(asyncio.CancelledError):
        consumer.exception()
    check_vectors(results, texts)
    indices = [result.index for result in results]
    assert len(set(indices)) == len(indices)
    assert indices == sorted(indices) or not options["ordered"]
    assert not leftovers(client)
