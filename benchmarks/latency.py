"""`python -m benchmarks latency`: how long a caller waits, and how late the event loop is.

- The time to the first vector of a response of 64 × 3,072 floats that is sent over two seconds. A first request to an
  unknown address has at most 64 texts.
- The time of a call for a single text, median and 99th percentile.
- The maximum lateness of a ticker of one millisecond during a bulk run.

Clients that read whole bodies are measured beside it. Writes `latency.json` and `latency.md`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import throughput
from benchmarks.job import Job
from benchmarks.measure import RESULTS, cores, describe, in_turn, machine, write
from benchmarks.server import running

if TYPE_CHECKING:
    import argparse

    from benchmarks.measure import Row

DRIP_SECONDS = 2.0
DRIP_TEXTS = 64
FIRST = ("stream-floats", "bare-orjson")
SINGLE = ("embed-single", "bare-single")
LOAD = ("stream-floats", "bare-slice-simdjson", "bare-orjson", "cohere-embed")
LOAD_BASE64 = ("stream-base64", "bare-slice-base64", "openai")
COUNT = 19_200
SLOW = {"cohere-embed": 960}
TARGETS_MS = {"stream-floats": 10, "stream-base64": 6}
NAMES = {
    **throughput.NAMES,
    "embed-single": "**asyncembed `embed([text])`**",
    "bare-single": "bare aiohttp + orjson + pybase64",
}


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("latency", help="time to the first vector, of a single call, and of the event loop")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.set_defaults(run=lambda given: asyncio.run(measure(given)))


async def measure(given: argparse.Namespace) -> None:
    """Run everything, and write the results."""
    async with running(3_072, core=cores()[1]) as url:
        job = Job(f"{url}/drip/{DRIP_SECONDS}", DRIP_TEXTS, dimension=3_072, batch=DRIP_TEXTS, concurrency=1)
        first = await in_turn([(way, job) for way in FIRST], given.repetitions)
    async with running(Job.dimension, core=cores()[1]) as url:
        single = await in_turn([(way, Job(url, 2_000, batch=1, concurrency=1)) for way in SINGLE], given.repetitions)
        plan = [(way, Job(url, SLOW.get(way, COUNT))) for way in (*LOAD, *LOAD_BASE64)]
        load = await in_turn(plan, given.repetitions, ticks=True)
    on = machine()
    found = {"machine": on, "first": first, "single": single, "load": load}
    write(given.output, "latency", found, markdown(first, single, load, on))


def markdown(first: list[Row], single: list[Row], load: list[Row], on: Row) -> str:
    """Return the three tables."""
    lines = [
        f"| {DRIP_TEXTS} × 3,072 floats over {DRIP_SECONDS:g} s | ms to the first vector | ms to the last |",
        "|---|---:|---:|",
    ]
    for row in first:
        last = row["wall_us"] * row["count"] / 1e3
        lines.append(f"| {NAMES[row['way']]} | {row['first_ms']:,.0f} | {last:,.0f} |")
    lines += ["", "| one text, 1,536 dimensions | median µs | 99th percentile µs | CPU µs |", "|---|---:|---:|---:|"]
    for row in single:
        lines.append(f"| {NAMES[row['way']]} | {row['p50_us']:,.0f} | {row['p99_us']:,.0f} | {row['cpu_us']:,.0f} |")
    lines += [
        "",
        "| bulk run, 96 texts in a request, 8 at once | maximum lateness of a ticker, ms | target |",
        "|---|---:|---:|",
    ]
    for row in load:
        lines.append(f"| {NAMES[row['way']]} | {row['late_ms']:,.1f} | {TARGETS_MS.get(row['way'], '')} |")
    return "\n".join([*lines, "", "Medians; every run is a process of its own; loopback.", describe(on), ""])
