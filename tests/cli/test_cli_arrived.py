"""`asyncembed embed` stopped and killed at random moments: what has arrived is not asked for again.

Requests of 2,048 texts take 0.2 to 1.5 seconds. A few moments each; `ASYNCEMBED_STOPS=20` takes as many of each way to
stop, `ASYNCEMBED_KILLS=20` as many of SIGKILL for each format, and `ASYNCEMBED_SEED` chooses other ones.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time

import numpy as np
import pytest
from support.arrivals import PROGRAM, Vectors

from asyncembed.sinks import FORMATS, TOTALS_SUFFIX, open_vectors
from asyncembed.testing import FakeServer, vector_of

STOPS = int(os.environ.get("ASYNCEMBED_STOPS", "1"))
KILLS = int(os.environ.get("ASYNCEMBED_KILLS", "1"))
SEED = int(os.environ.get("ASYNCEMBED_SEED", "7"))
COUNT, DIMENSION, LONGEST = 30_000, 8, 1.5
TEXTS = [f"text {number}" for number in range(COUNT)]
VECTORS = Vectors(TEXTS, DIMENSION)

YOUNGEST = 0.05
"""Seconds after which what has arrived is safe from SIGKILL..."""
LATE = 1.0
"""...and for how much longer a busy machine may have held up the process."""


@pytest.fixture
async def slow():
    """The server."""
    async with FakeServer(dimension=DIMENSION, latency=lambda draw: draw.uniform(0.2, LONGEST)) as server:
        yield server


@pytest.fixture
def run_own(slow, start, tmp_path):
    """Start the command against the server as a provider's own address."""
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"{text}\n" for text in TEXTS))

    async def run_own(out, *options):
        arguments = (f"{slow.url}/v1", tmp_path / "notes", "embed", path, "-o", out, "--provider", "own", "--resume")
        return await start("-c", PROGRAM, *arguments, *options)

    return run_own


def asked_again(server, arrived):
    return arrived.intersection(server.ledger.asked)


def forget(server):
    type(server.ledger).__init__(server.ledger)


def content(out):
    """What the files hold, but for the books of the runs."""
    files = (file for file in out.parent.glob(f"{out.name}*") if not file.name.endswith(TOTALS_SUFFIX))
    return {file.name.removeprefix(out.name): file.read_bytes() for file in files}


async def passed(process, seconds):
    """Wait so long, or until the end of the process; whether it goes on."""
    end = asyncio.create_task(process.wait())
    await asyncio.wait([end], timeout=seconds)
    end.cancel()
    return not end.done()


async def signalled(process, server, draw, number):
    """Wait for a moment by chance between the first request and the end, and send a signal; return when."""
    texts, pause = draw.uniform(0, 0.95) * COUNT, draw.uniform(0, 0.3)
    while not server.ledger.requests or len(server.ledger.sent) < texts:
        assert await passed(process, 0.003)
    if await passed(process, pause):
        process.signal(number)
    return time.monotonic()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("wait", [10, 0])
@pytest.mark.timeout(120 + 20 * STOPS)
async def test_stopped_by_a_signal_it_asks_for_nothing_again(slow, run_own, tmp_path, number, wait):
    """With time to wait, what is in flight arrives as well, and is not asked for again either."""
    draw = random.Random(f"{SEED} {number} {wait}")
    for attempt in range(STOPS):
        out = tmp_path / f"{attempt}.npy"
        forget(slow)
        process = await run_own(out, "--stop-wait", wait)
        await signalled(process, slow, draw, number)
        ended = await process.end()
        arrived = set(VECTORS.arrived(tmp_path / "notes"))
        # A signal that comes when the run is over, while the interpreter shuts down, ends the process in the usual way.
        assert ended.code in ({0, 130, -number} if out.exists() else {130}), ended.err
        asked = set(slow.ledger.asked)
        assert wait == 0 or arrived == asked
        forget(slow)
        again = await (await run_own(out)).end()
        assert again.code == 0, again.err
        assert not asked_again(slow, arrived), f"seed {SEED}, attempt {attempt}"
        np.testing.assert_array_equal(np.load(out), [vector_of(text) for text in TEXTS])


async def test_a_second_signal_ends_the_wait_at_once(slow, run_own, tmp_path):
    slow.latency = 60
    process = await run_own(tmp_path / "v.npy", "--stop-wait", 60)
    while not slow.ledger.requests:
        assert await passed(process, 0.003)
    process.signal(signal.SIGINT)
    assert await passed(process, 0.5)
    process.signal(signal.SIGINT)
    ended = await asyncio.wait_for(process.end(), 30)
    assert (ended.code, ended.err) == (130, "stopped: nothing is kept\n")


@pytest.mark.parametrize("suffix", FORMATS if "ASYNCEMBED_KILLS" in os.environ else [".npy"])
@pytest.mark.timeout(120 + 30 * KILLS)
async def test_killed_it_loses_at_most_what_came_a_moment_before(slow, run_own, tmp_path, suffix):
    draw = random.Random(f"{SEED} {suffix}")
    whole = tmp_path / f"whole{suffix}"
    assert (await (await run_own(whole)).end()).code == 0
    lost, killed = [], 0
    for attempt in range(KILLS):
        out = tmp_path / f"{attempt}{suffix}"
        forget(slow)
        process = await run_own(out)
        moment = await signalled(process, slow, draw, signal.SIGKILL)
        ended = await process.end()
        assert ended.code in {0, -signal.SIGKILL}, ended.err
        killed += ended.code != 0
        arrived = VECTORS.arrived(tmp_path / "notes")
        forget(slow)
        again = await (await run_own(out)).end()
        assert again.code == 0, again.err
        ages = [moment - arrived[text] for text in asked_again(slow, set(arrived))]
        lost.append((sum(age > YOUNGEST for age in ages), round(max(ages, default=0), 3)))
        assert max(ages, default=0) <= YOUNGEST + LATE, f"seed {SEED}, attempt {attempt}"
        assert content(out) == content(whole)
        assert open_vectors(out).rows == COUNT
    print(f"{suffix}: killed {killed} times; asked again after {YOUNGEST} s, and the oldest: {lost}")
