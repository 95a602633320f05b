"""`python -m benchmarks choices`: the measurements behind our defaults.

- The encoding of vectors: JSON floats, base64 or int8, plain or with gzip. Compression saves bytes and costs time.
- The size of the read buffer: processor time against lateness of the event loop.
- The event loop: asyncio or uvloop.

Writes `choices.json` and `choices.md`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.job import Job
from benchmarks.measure import RESULTS, cores, describe, in_turn, machine, write
from benchmarks.server import running

if TYPE_CHECKING:
    import argparse

    from benchmarks.measure import Row

COUNT = 9_600
WAYS = {"stream-floats": "floats", "stream-base64": "base64", "blocks-int8": "int8"}
BUFFERS = (32_768, 65_536, 98_304, 131_072, 262_144)


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("choices", help="the measurements behind our defaults")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.set_defaults(run=lambda given: asyncio.run(measure(given)))


async def measure(given: argparse.Namespace) -> None:
    """Run everything, and write the results."""
    async with running(Job.dimension, core=cores()[1]) as url:
        plain = [(way, Job(url, COUNT)) for way in WAYS]
        zipped = [(way, Job(f"{url}/gzip", COUNT)) for way in WAYS]
        travel = await in_turn([*plain, *zipped], given.repetitions)
        jobs = [(way, Job(url, COUNT, read_bufsize=size)) for size in BUFFERS for way in list(WAYS)[:2]]
        buffers = await in_turn(jobs, given.repetitions, ticks=True)
        loops = {
            name: await in_turn(plain[:2], given.repetitions, uvloop=name == "uvloop") for name in ("asyncio", "uvloop")
        }
    for row, (_, job) in zip(travel, [*plain, *zipped], strict=True):
        row["gzip"] = job.url.endswith("gzip")
    on = machine()
    found = {"machine": on, "travel": travel, "buffers": buffers, "loops": loops}
    write(given.output, "choices", found, markdown(travel, buffers, loops, on))


def markdown(travel: list[Row], buffers: list[Row], loops: dict[str, list[Row]], on: Row) -> str:
    """Return the three tables."""
    lines = ["| vectors travel as | CPU µs | wall µs |", "|---|---:|---:|"]
    for row in travel:
        name = WAYS[row["way"]] + (", gzip" if row["gzip"] else "")
        lines.append(f"| {name} | {row['cpu_us']:.1f} | {row['wall_us']:.1f} |")
    lines += [
        "",
        "| read buffer, bytes | floats: CPU µs | late ms | base64: CPU µs | late ms |",
        "|---:|---:|---:|---:|---:|",
    ]
    for size in BUFFERS:
        floats, base64 = (row for row in buffers if row["read_bufsize"] == size)
        cells = [f"{row['cpu_us']:.1f} | {row['late_ms']:.1f}" for row in (floats, base64)]
        lines.append(f"| {size:,} | {' | '.join(cells)} |")
    lines += ["", "| event loop | floats: CPU µs | base64: CPU µs |", "|---|---:|---:|"]
    for name, rows in loops.items():
        cells = [f"{row['cpu_us']:.1f}" for row in rows]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([
        *lines,
        "",
        "Medians, loopback, 1,536 dimensions, 96 texts in a request, 8 at once.",
        describe(on),
        "",
    ])
