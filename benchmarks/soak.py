"""`python -m benchmarks soak`: millions of embeddings against a server with occasional faults.

The server is a process of its own. During the run, the client's process samples its resident memory, open descriptors
and asyncio tasks, and compares every vector with the one that was sent. The command fails if memory grows by 1 MB or
more per million embeddings, if descriptors or tasks grow, or if a task is left at the end. Writes `soak.json` and
`soak.md`.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil

from asyncembed import EmbedClient, RetryPolicy
from benchmarks.faulty import running
from benchmarks.measure import RESULTS, describe, machine, write
from benchmarks.server import CANNED, vectors

if TYPE_CHECKING:
    import argparse

    from benchmarks.measure import Row

SAMPLES = 500
WARM_UP = 0.1
"""Share of the run that is ignored while caches and pools fill up."""

MAX_SLOPE = 1.0
"""Megabytes per million embeddings."""

SLACK = 4
"""Allowed growth of descriptors and of tasks in the second half, because a broken connection closes late."""

BATCH = 96
CONCURRENCY = 8
"""The number of requests that a client starts with, so it does not grow during the run."""

BACKOFF = RetryPolicy(initial_backoff=0.01, max_backoff=0.1)
FIGURES = ("resident_mb", "descriptors", "tasks")


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("soak", help="memory, descriptors and tasks over millions of embeddings with faults")
    parser.add_argument("--count", type=int, default=5_000_000)
    parser.add_argument("--dimension", type=int, default=8)
    parser.add_argument("--share", type=float, default=0.01, help="share of requests that get a fault")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.set_defaults(run=lambda given: asyncio.run(measure(given)))


async def measure(given: argparse.Namespace) -> None:
    """Run the soak, write the results, and fail if something grew."""
    async with running(given.dimension, given.share, given.seed) as url:
        samples, run = await soak(url, given.count, given.dimension)
    found = judged(samples, given.count)
    settings = {name: getattr(given, name) for name in ("count", "dimension", "share", "seed")}
    on = machine()
    content = {"machine": on, "settings": settings, "run": run, "found": found, "samples": samples}
    write(given.output, "soak", content, markdown(settings, run, found, on))
    if run["tasks_left"]:
        raise SystemExit(f"{run['tasks_left']} tasks were left")
    if problems := [name for name, grew in found["grew"].items() if grew]:
        raise SystemExit(f"it grew: {', '.join(problems)}")


async def soak(url: str, count: int, dimension: int) -> tuple[list[Row], Row]:
    """Embed `count` texts, and return the samples of the run and its summary."""
    samples: list[Row] = []
    rows = [row.tobytes() for row in vectors(dimension)]
    every, done, started = max(1, count // SAMPLES), 0, time.monotonic()
    tasks = len(asyncio.all_tasks())
    client = EmbedClient("cohere", base_url=url, api_key="k", max_concurrency=CONCURRENCY, retry=BACKOFF)
    stream = client.embed_stream((f"text {number}" for number in range(count)), chunk_size=BATCH)
    async with client, stream:
        async for result in stream:
            if result.index != done or result.embedding.tobytes() != rows[done % CANNED]:
                raise SystemExit(f"vector {result.index} came at place {done}, or is not the one that was sent")
            done += 1
            if done % every == 0:
                samples.append({"done": done, **_sample()})
    if done != count:
        raise SystemExit(f"{done} vectors instead of {count}")
    summary, seconds = stream.summary, time.monotonic() - started
    return samples, {
        "seconds": round(seconds, 1),
        "requests": summary.requests,
        "retries": summary.retries,
        "salvaged": summary.salvaged,
        "tasks_left": len(asyncio.all_tasks()) - tasks,
    }


def _sample() -> Row:
    process = psutil.Process()
    with process.oneshot():
        resident, descriptors = process.memory_info().rss / 1e6, process.num_fds()
    return dict(zip(FIGURES, (round(resident, 3), descriptors, len(asyncio.all_tasks())), strict=True))


def judged(samples: list[Row], count: int) -> Row:
    """Return what grew after the warm-up, and by how much."""
    later = [sample for sample in samples if sample["done"] > WARM_UP * count]
    first, second = later[: len(later) // 2], later[len(later) // 2 :]
    most = {name: [max(each[name] for each in half) for half in (first, second)] for name in FIGURES}
    done, resident = (np.array([each[name] for each in later]) for name in ("done", "resident_mb"))
    slope = float(np.polyfit(done / 1e6, resident, 1)[0])
    grew = {name: most[name][1] > most[name][0] + SLACK for name in ("descriptors", "tasks")}
    return {"slope_mb_per_million": round(slope, 3), "most": most, "grew": {"memory": slope >= MAX_SLOPE, **grew}}


def markdown(settings: Row, run: Row, found: Row, on: Row) -> str:
    """Return a table of one line."""
    slope = found["slope_mb_per_million"]
    halves = {name: " / ".join(f"{value:g}" for value in found["most"][name]) for name in FIGURES}
    head = (
        "| embeddings | requests | retried | salvaged | wall time, s | resident memory, MB per million "
        "| its maximum, MB | maximum of descriptors | maximum of tasks |"
    )
    line = (
        f"| {settings['count']:,} | {run['requests']:,} | {run['retries']:,} | {run['salvaged']:,} "
        f"| {run['seconds']:g} | {slope:+.2f} | {' | '.join(halves[name] for name in FIGURES)} |"
    )
    conditions = (
        f"{settings['dimension']} dimensions, Cohere's JSON floats over loopback, {settings['share']:.0%} of requests "
        "get a transient fault. The first tenth is left out; two numbers are for the first and for the second half of "
        "the rest. Every vector was compared with the one that was sent."
    )
    return "\n".join([head, "|" + "---:|" * 9, line, "", conditions, "", describe(on), ""])
