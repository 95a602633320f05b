"""`asyncembed embed` killed with SIGKILL at random instants, and resumed each time.

Two formats, one kill each; `ASYNCEMBED_KILLS=20` kills the run of every format that often, a hundred times in all, and
`ASYNCEMBED_SEED` chooses other instants.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from typing import TYPE_CHECKING

import pytest

from asyncembed import EmbedInput
from asyncembed.sinks import FORMATS, TOTALS_SUFFIX, KnownTexts, read_partial

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 20_000
INPUTS = [EmbedInput(f"text {number}") for number in range(COUNT)]
KILLS = int(os.environ.get("ASYNCEMBED_KILLS", "1"))
SEED = int(os.environ.get("ASYNCEMBED_SEED", "7"))
CHUNK = 96
OPTIONS = ("--chunk-size", CHUNK, "--max-concurrency", 4, "--max-memory", 2, "--resume", "--quiet")

WINDOW = 3_000
"""Texts that may be asked for twice: in flight, waiting in 2 MB, and come since the last commit."""


@pytest.fixture
def texts_file(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"text {number}\n" for number in range(COUNT)))
    return path


def number_of(text: str) -> int:
    return int(text.rpartition(" ")[2])


def sent(server) -> list[int]:
    """What the server was asked for since its log was cleared."""
    return [number_of(text) for request in server.requests for text in request.texts]


def settled(out: Path) -> set[int]:
    """The texts that were durable when the process was killed; there may be gaps between them."""
    if out.exists():
        return set(range(COUNT))
    found = read_partial(out)
    if not found or not found.commit.reach:
        return set()
    known = KnownTexts(found.folder, found.commit, found.provenance.number)
    return set(range(known.reach)).difference(known.recognise(0, INPUTS[: known.reach]))


def content(out: Path) -> dict[str, bytes]:
    """What the files hold, but for the books of the runs."""
    files = (file for file in out.parent.glob(f"{out.name}*") if not file.name.endswith(TOTALS_SUFFIX))
    return {file.name.removeprefix(out.name): file.read_bytes() for file in files}


async def reached(server, process, share: float, left: int) -> None:
    """Wait for an instant: a share of the work, or if it is above 1, a moment after all of it; or for the end."""
    end = asyncio.create_task(process.wait())
    try:
        while not end.done() and len(sent(server)) < min(share, 1) * left:
            await asyncio.wait([end], timeout=0.002)
        if share > 1:
            await asyncio.wait([end], timeout=(share - 1) / 2)
    finally:
        end.cancel()


@pytest.mark.parametrize("suffix", FORMATS if "ASYNCEMBED_KILLS" in os.environ else [".npy", ".parquet"])
@pytest.mark.timeout(120 + 20 * KILLS)
async def test_killed_at_any_instant_it_goes_on_and_gives_the_same_file(
    start, server, openai, texts_file, tmp_path, suffix
):
    whole, out = tmp_path / "whole" / f"v{suffix}", tmp_path / "killed" / f"v{suffix}"
    for path in (whole, out):
        path.parent.mkdir()
    process = await start("embed", texts_file, "-o", whole, *OPTIONS, *openai(server))
    assert (await process.end()).code == 0
    draw = random.Random(f"{SEED} {suffix}")
    durable, killed, asked_twice = set(), 0, []
    for attempt in range(KILLS + 1):
        before = {number for number in sent(server) if attempt}
        server.requests.clear()
        process = await start("embed", texts_file, "-o", out, *OPTIONS, *openai(server))
        if attempt < KILLS:
            # Evenly over what is left, so that a run is not finished long before the last kill.
            await reached(server, process, draw.uniform(0, 1.2) / (KILLS - attempt) ** 0.5, COUNT - len(durable))
            process.signal(signal.SIGKILL)
        ended = await process.end()
        killed += ended.code == -signal.SIGKILL
        assert ended.code in {0, -signal.SIGKILL}, ended.err
        again = sent(server)
        assert not durable.intersection(again), f"seed {SEED}, attempt {attempt}"
        asked_twice.append(len(before.intersection(again)))
        assert settled(out) >= durable
        durable = settled(out)
    assert ended.code == 0, ended.err
    assert killed >= KILLS // 2
    assert max(asked_twice) <= WINDOW, asked_twice
    assert content(out) == content(whole)
    print(f"{suffix}: killed {killed} times, at most {max(asked_twice)} texts asked for twice")
