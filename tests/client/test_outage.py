"""An API that goes down in the middle of a run: few retries, nothing lost, and an end if it stays away."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from support.watching import until

from asyncembed import EmbedClient, RetryPolicy, ServerError
from asyncembed.testing import FakeServer, right, vector_of
from asyncembed.testing.faults import Refused

TEXTS = [f"text {number}" for number in range(400)]


def connect(server: FakeServer, **retry: float) -> EmbedClient:
    policy = RetryPolicy(**{"initial_backoff": 0.001, "max_backoff": 0.05, **retry})
    return EmbedClient("openai", api_key="k", base_url=server.url + "/v1", retry=policy, max_concurrency=16)


async def test_retries_are_a_small_part_of_what_an_api_gets_while_it_is_down():
    async with FakeServer(dimension=4) as server, connect(server, max_attempts=1_000) as client:
        stream = client.embed_stream(TEXTS, chunk_size=1)
        results = [await anext(stream) for _ in range(200)]
        server.default = Refused(503)
        before = len(server.ledger.entries)
        await until(lambda: server.ledger.statuses[503] >= 30)
        assert server.active <= 1
        server.default = right
        results += [result async for result in stream]
    assert [result.index for result in results] == list(range(len(TEXTS)))
    for result, text in zip(results, TEXTS, strict=True):
        np.testing.assert_array_equal(result.embedding, vector_of(text, 4))
    assert before >= 200
    assert stream.summary.retries <= 0.2 * stream.summary.requests
    assert all(times == 1 for times in server.ledger.sent.values())


async def test_an_api_that_stays_away_ends_the_run_and_the_error_says_what_was_tried():
    async with FakeServer(dimension=4, default=Refused(503)) as server, connect(server, max_elapsed=1.5) as client:
        with pytest.raises(ServerError, match=r"answered 503: .* \(\d+ attempts? in \d+\.\d s\)"):
            await client.embed(TEXTS, chunk_size=1)
    assert len(server.ledger.entries) < 120


async def test_a_stream_that_is_closed_while_it_finds_out_does_not_hold_up_another():
    async with FakeServer(dimension=4, default=Refused(503)) as server, connect(server, max_attempts=1_000) as client:
        first = client.embed_stream(TEXTS, chunk_size=1)
        waiting = asyncio.ensure_future(anext(first))
        await until(lambda: server.ledger.statuses[503] >= 20)
        second = asyncio.ensure_future(client.embed(["one", "two"]))
        waiting.cancel()
        await asyncio.wait([waiting])
        await first.aclose()
        server.default = right
        response = await second
    assert len(response) == 2
