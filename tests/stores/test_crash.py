"""A process that fills a store is killed with SIGKILL at random instants, and started again each time.

`ASYNCEMBED_KILLS=50` kills it that often, and `ASYNCEMBED_SEED` chooses other instants.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import uuid
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from support.postgres import postgres
from support.scripted import vector_of
from support.stores import asked_for

from asyncembed.stores import open_store

KILLS = int(os.environ.get("ASYNCEMBED_KILLS", "3"))
SEED = int(os.environ.get("ASYNCEMBED_SEED", "7"))
COUNT = 12_000
WINDOW = 2 * 1_000 + 4 * 100
"""Rows that may be paid for again: the batch being written, the one being filled, and what is in flight."""

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["sqlite", "lancedb", "postgresql"])
async def address(request, tmp_path):
    if request.param == "postgresql":
        return f"{postgres()}#crash_{uuid.uuid4().hex}"
    if request.param == "lancedb":
        pytest.importorskip("lancedb", reason="lancedb is not installed")
    return f"{request.param}:{tmp_path / 'store'}#docs"


async def stored(address):
    """The texts and vectors that are in a store, by id."""
    store = open_store(address)
    found = {}
    for hit in await store.search(vector_of("text 0"), COUNT + 1) if await has_rows(store) else []:
        assert hit.id not in found
        found[hit.id] = hit.text
    await store.aclose()
    return found


async def has_rows(store):
    return await store.fingerprint() is not None and await store.count() > 0


@pytest.mark.timeout(120 + 20 * KILLS)
async def test_killed_at_any_instant_every_row_is_right_and_once(server, address):
    dice, paid, before = random.Random(SEED), Counter(), {}
    for _ in range(KILLS):
        server.requests.clear()
        process = await asyncio.create_subprocess_exec(
            sys.executable, ROOT / "tests/stores/crash_run.py", address, f"{server.url}/v1", str(COUNT), cwd=ROOT
        )
        goal = dice.uniform(0, 1) * (COUNT - len(before))
        end = asyncio.create_task(process.wait())
        while not end.done() and len(asked_for(server)) < goal:
            await asyncio.wait([end], timeout=0.005)
        await asyncio.wait([end], timeout=dice.uniform(0, 0.1))
        with suppress(ProcessLookupError):
            process.kill()
        await end
        paid.update(asked_for(server))
        now = await stored(address)
        assert before.items() <= now.items()
        assert len(asked_for(server)) - (len(now) - len(before)) <= WINDOW
        before = now
    process = await asyncio.create_subprocess_exec(
        sys.executable, ROOT / "tests/stores/crash_run.py", address, f"{server.url}/v1", str(COUNT), cwd=ROOT
    )
    assert await process.wait() == 0
    assert await stored(address) == {number: f"text {number}" for number in range(COUNT)}
    store = open_store(address)
    for number in random.Random(SEED).sample(range(COUNT), 20):
        (hit,) = await store.search(np.float32(vector_of(f"text {number}")), 1)
        assert (hit.id, hit.score) == (number, pytest.approx(1, abs=1e-4))
    await store.aclose()
