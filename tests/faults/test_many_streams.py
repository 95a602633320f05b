"""A thousand streams on one client: each gets its share of requests, memory and time, and all of them end."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.watching import LoopWatch, leftovers

from asyncembed import EmbedClient, RateLimit, RetryPolicy
from asyncembed import _ratelimit as _rate
from asyncembed.testing import Chaos, FakeServer, Limit, vector_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncembed import EmbedStream
    from asyncembed.testing import Ledger

STREAMS = 1_000
DIMENSION = 4
SLOTS = 16
LEAD = 2
"""Requests that one stream may be ahead of another one: what is on its way, and what was broken on its way."""

SHORT = 1.0
KEY = "k"
FAST = RetryPolicy(max_attempts=30, initial_backoff=0.001, max_backoff=0.01)


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncIterator[None]:
    watch = LoopWatch()
    gc.collect()
    gc.freeze()  # else every garbage collection looks at all objects of pytest
    yield
    gc.unfreeze()
    await watch.check()


class Streams:
    """Streams of one client, all consumed at once.

    Attributes:
        ends: Number of results of all streams together when each stream ended, in that order.
    """

    def __init__(self, client: EmbedClient, batches: int) -> None:
        self._client = client
        self._count = 2 * batches
        self._given = 0
        self.ends: list[int] = []

    async def run(self) -> None:
        async with asyncio.TaskGroup() as consumers:
            for number in range(STREAMS):
                consumers.create_task(self._consume(number))

    async def _consume(self, number: int) -> None:
        texts = [f"{number} {place}" for place in range(self._count)]
        async with self._client.embed_stream(texts, chunk_size=2) as stream:
            await self._check(stream, texts)
        self.ends.append(self._given)

    async def _check(self, stream: EmbedStream, texts: list[str]) -> None:
        indices = []
        async for result in stream:
            self._given += 1
            indices.append(result.index)
            assert result.text == texts[result.index]
            np.testing.assert_array_equal(result.embedding, vector_of(result.text, DIMENSION))
        assert indices == list(range(len(texts)))


def lead(ledger: Ledger) -> int:
    """Return the maximum number of batches by which the first stream was ahead of the last, by first requests."""
    asked: Counter[str] = Counter()
    behind: Counter[int] = Counter({0: STREAMS})  # streams by number of requested batches
    seen: set[tuple[str, ...]] = set()
    most = 0
    for entry in ledger.entries:
        if entry.texts in seen or not entry.texts[0].endswith(tuple("02468")):
            continue  # a retry, or the missing part of a batch
        seen.add(entry.texts)
        stream = entry.texts[0].partition(" ")[0]
        behind[asked[stream]] -= 1
        asked[stream] += 1
        behind[asked[stream]] += 1
        most = max(most, asked[stream] - min(count for count, streams in behind.items() if streams))
    return most


def connect(server: FakeServer, **settings: object) -> EmbedClient:
    return EmbedClient("cohere", base_url=server.url, api_key=KEY, max_concurrency=SLOTS, retry=FAST, **settings)


async def test_a_thousand_streams_share_slots_and_memory():
    """The streams take turns, with some faults, and with memory for a hundredth of them."""
    async with (
        FakeServer(dimension=DIMENSION, default=Chaos(seed=1, share=0.02)) as server,
        connect(server, max_memory_mb=4) as client,
    ):
        streams = Streams(client, batches=2)
        await asyncio.wait_for(streams.run(), 100)
        assert not leftovers(client)
        budget = client._endpoint.budget
    assert len(streams.ends) == STREAMS
    assert streams.ends[0] > 0.45 * 4 * STREAMS  # no stream ends before the others have about half of their results
    assert lead(server.ledger) <= LEAD
    assert server.max_active <= SLOTS
    assert budget.peak > budget.total  # it was short


async def test_a_thousand_streams_share_a_rate_limit(monkeypatch):
    """They use the limit in full, and the server that enforces it refuses almost no request."""
    monkeypatch.setattr(_rate, "PERIOD", SHORT)
    limit = 900
    async with (
        FakeServer(dimension=DIMENSION, limit=Limit(requests=limit, window=SHORT)) as server,
        connect(server, rate_limit=RateLimit(requests_per_minute=limit)) as client,
    ):
        streams = Streams(client, batches=2)
        await asyncio.wait_for(streams.run(), 100)
        assert not leftovers(client)
    assert len(streams.ends) == STREAMS
    assert streams.ends[0] >= 0.45 * 4 * STREAMS
    assert lead(server.ledger) <= LEAD
    assert server.ledger.statuses[429] <= 0.01 * server.ledger.requests
    assert set(server.ledger.asked) == {f"{stream} {place}" for stream in range(STREAMS) for place in range(4)}
    assert server.ledger.asked_again.total() == 0
