"""A few over-long texts among many cost few additional requests, and fewer if the answer names the text."""

from __future__ import annotations

import os
from random import Random

import pytest
from support.blame import LONG, PATIENCE, provider_at
from support.blame_outcomes import FULL_ATTEMPTS, PASSING, bisection
from support.blame_table import NOT_TOLD_APART
from support.results import numbered
from support.services import fault_of

from asyncembed import EmbedClient, EmbedFailure
from asyncembed.testing import FakeServer
from asyncembed.testing.faults import KNOWN_ERRORS

COUNT = 20_000
CHUNK = 2_048
NEEDED = -(-COUNT // CHUNK)
"""Requests where nothing is wrong."""
BAD = sorted(Random(21).sample(range(COUNT), 21))
MOST_WHERE_NAMED = 25
LONG_TEXTS = [known for known in KNOWN_ERRORS if known.meaning == "long text" and known.name not in NOT_TOLD_APART]
USUAL = [known for known in LONG_TEXTS if known.names_position or known.service in {"vllm", "llama.cpp", "tei"}]


async def embed(*rules, bad):
    """Embed all texts, and return the indices of those that failed and the number of requests."""
    texts = numbered(COUNT)
    for index in bad:
        texts[index] = f"{index} {LONG}"
    async with FakeServer(dimension=4, rules=list(rules)) as server:
        async with EmbedClient(provider_at(server.url, "openai"), api_key="any", model="m", retry=PATIENCE) as client:
            stream = client.embed_stream(texts, chunk_size=CHUNK, on_error="yield")
            results = [result async for result in stream]
        assert [result.index for result in results] == list(range(COUNT))
        assert server.ledger.asked_again.total() <= 1, "texts whose vectors had arrived were asked for again"
        assert stream.summary.requests == server.ledger.requests
        return [result.index for result in results if isinstance(result, EmbedFailure)], server.ledger.requests


async def test_what_it_costs_without_them():
    assert await embed(bad=[]) == ([], NEEDED)


@pytest.mark.parametrize(
    "known", LONG_TEXTS if "ASYNCEMBED_FAULTS" in os.environ else USUAL, ids=lambda known: known.name
)
async def test_21_over_long_texts(known):
    """Exactly these texts fail; each may cost as much as a single one."""
    each = bisection(CHUNK) + FULL_ATTEMPTS * (known.status in PASSING)
    failed, requests = await embed(fault_of(known), bad=BAD)
    assert failed == BAD
    assert requests - NEEDED <= (MOST_WHERE_NAMED if known.names_position else len(BAD) * each)
