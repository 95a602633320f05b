"""`python -m benchmarks scaling`: cost per embedding against each size of a run; the other sizes keep their defaults.

It shows whether the cost grows with the number of texts or jumps beyond some concurrency. Writes `scaling.json`,
`scaling.md` and `scaling.svg`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.job import Job
from benchmarks.measure import RESULTS, cores, describe, draw, in_turn, machine, write
from benchmarks.server import running

if TYPE_CHECKING:
    import argparse

    from benchmarks.measure import Row

WAYS = ("stream-floats", "stream-base64", "blocks-base64")
COUNT = 9_600
SIZES: dict[str, tuple[int, ...]] = {
    "count": (1_000, 10_000, 100_000, 1_000_000),
    "dimension": (256, 768, 1_536, 3_072, 4_096),
    "batch": (1, 8, 32, 96),
    "concurrency": (1, 2, 8, 32, 256),
}
NAMES = {"count": "texts", "dimension": "dimensions", "batch": "texts in a request", "concurrency": "requests at once"}


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("scaling", help="cost against texts, dimension, batch and concurrency")
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--most-texts", type=int, default=1_000_000, help="leave out larger numbers of texts")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.set_defaults(run=lambda given: asyncio.run(measure(given)))


async def measure(given: argparse.Namespace) -> None:
    """Vary one size at a time."""
    rows: list[Row] = []
    for size in given.sizes:
        values = [value for value in SIZES[size] if size != "count" or value <= given.most_texts]
        rows += [{"size": size, **row} for row in await _vary(size, values, given.repetitions)]
    on = machine()
    write(given.output, "scaling", {"machine": on, "rows": rows}, markdown(rows, on))
    draw("plot_scaling", rows, given.output / "scaling.svg", on)


async def _vary(size: str, values: list[int], repetitions: int) -> list[Row]:
    if size == "dimension":
        plans = [await _plan([{"dimension": dimension}], repetitions) for dimension in values]
        return [row for rows in plans for row in rows]
    return await _plan([{size: value, "count": _count(size, value)} for value in values], repetitions)


def _count(size: str, value: int) -> int:
    return value if size == "count" else COUNT if size != "batch" or value > 1 else 2_000


async def _plan(given: list[dict[str, int]], repetitions: int) -> list[Row]:
    dimension = given[0].get("dimension", Job.dimension)
    async with running(dimension, core=cores()[1]) as url:
        jobs = [Job(url, **{"count": COUNT, **sizes}) for sizes in given]
        return await in_turn([(way, job) for job in jobs for way in WAYS], repetitions)


def markdown(rows: list[Row], on: Row) -> str:
    """Return a table for each size."""
    lines: list[str] = []
    for size in dict.fromkeys(row["size"] for row in rows):
        lines += [f"| {NAMES[size]} | " + " | ".join(f"`{way}` µs" for way in WAYS) + " |"]
        lines += ["|---:|" + "---:|" * len(WAYS)]
        some = [row for row in rows if row["size"] == size]
        for value in dict.fromkeys(row[size] for row in some):
            these = {row["way"]: row for row in some if row[size] == value}
            cells = [f"{these[way]['cpu_us']:.1f}" for way in WAYS]
            lines.append(f"| {value:,} | {' | '.join(cells)} |")
        lines.append("")
    usual = (
        f"Otherwise {COUNT:,} texts, {Job.dimension} dimensions, {Job.batch} texts in a request, "
        f"{Job.concurrency} requests at once."
    )
    return "\n".join([*lines, f"Processor time of the client per embedding. {usual}", describe(on), ""])
