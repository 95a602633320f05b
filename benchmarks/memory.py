"""`python -m benchmarks memory`: peak memory of a run against its number of texts.

Every run is a process of its own, and the operating system reports its peak. Written files are compared with the
vectors that were sent, and removed. Writes `memory.json`, `memory.md` and `memory.svg`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.measure import RESULTS, describe, draw, installed, machine, write
from benchmarks.server import CANNED, running, vectors

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from benchmarks.measure import Row

WAYS = ("callback", "npy", "parquet")
PEER_COUNT = 10_000
CHECKED_ROWS = 1_000
NAMES = {
    "callback": "`embed_with_callback`",
    "npy": "`embed_to_file`, .npy",
    "parquet": "`embed_to_file`, .parquet",
    "cohere": "cohere SDK, `embed`",
    "imports": "imports alone",
    "imports-pyarrow": "imports alone, with pyarrow",
    "cohere-imports": "cohere SDK, imports alone",
}


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("memory", help="peak memory against the number of texts")
    parser.add_argument("--counts", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    parser.add_argument("--dimension", type=int, default=1_536)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.set_defaults(run=lambda given: asyncio.run(measure(given)))


async def measure(given: argparse.Namespace) -> None:
    """Run everything, and write the results."""
    rows: list[Row] = []
    async with running(given.dimension) as url:
        for way, count in _plan(given.ways, given.counts):
            row = await _run(way, count, url, given.dimension)
            print(f"{NAMES[way]:32} {count:>10,} texts  {row['peak_mb']:7.1f} MB  {row['seconds']:7.1f} s", flush=True)
            rows.append(row)
    on = {"dimension": given.dimension, **machine()}
    write(given.output, "memory", {"machine": on, "rows": rows}, markdown(rows, given.counts, on))
    draw("plot_memory", rows, given.output / "memory.svg", on)


def _plan(ways: Iterable[str], counts: Iterable[int]) -> Iterable[tuple[str, int]]:
    yield from (("imports", 0), ("imports-pyarrow", 0))
    if installed("cohere"):
        yield from (("cohere-imports", 0), ("cohere", PEER_COUNT))
    else:
        print("cohere is left out: its package is not installed")
    for count in counts:
        yield from ((way, count) for way in ways)


async def _run(way: str, count: int, url: str, dimension: int) -> Row:
    with tempfile.TemporaryDirectory(prefix="asyncembed-memory-") as folder:
        file = Path(folder) / f"vectors.{way}"
        program = [sys.executable, "-m", "benchmarks.memory_run", way, str(count), url, str(file)]
        process = await asyncio.create_subprocess_exec(*program, stdout=asyncio.subprocess.PIPE)
        assert process.stdout
        out = await process.stdout.read()
        if await process.wait():
            raise SystemExit(f"{way} with {count} texts failed")
        if file.exists():
            _check(file, count, dimension)
    return {"way": way, "count": count, **json.loads(out)}


def _check(file: Path, count: int, dimension: int) -> None:
    """Fail unless the file has all rows and a sample of them equals what the server sent."""
    expected = vectors(dimension)
    picked = np.unique(np.random.default_rng(0).integers(0, count, CHECKED_ROWS))
    if file.suffix == ".npy":
        matrix = np.load(file, mmap_mode="r")
        rows, found = len(matrix), matrix[picked]
    else:
        import pyarrow.parquet as pq

        rows = pq.ParquetFile(file).metadata.num_rows
        lists = pq.ParquetFile(file).read_row_group(0, ["embedding"])["embedding"].combine_chunks()
        picked = np.arange(len(lists))
        found = lists.flatten().to_numpy().reshape(-1, dimension)
    assert rows == count, f"{file} has {rows} rows"
    assert np.array_equal(found, expected[picked % CANNED]), f"{file} has vectors that the server did not send"


def markdown(rows: list[Row], counts: list[int], on: Row) -> str:
    """Return the table: one line per way, with its peak memory in total and above the imports."""
    peaks = {(row["way"], row["count"]): row["peak_mb"] for row in rows}
    base = peaks["imports", 0]
    lines = [
        "| peak resident memory, MB (above the imports) | " + " | ".join(f"{count:,} texts" for count in counts) + " |",
        "|---|" + "---:|" * len(counts),
    ]
    for way in (*WAYS, "cohere"):
        cells = [
            f"{peaks[way, count]:.0f} (+{peaks[way, count] - base:.0f})" if (way, count) in peaks else ""
            for count in counts
        ]
        if any(cells):
            lines.append(f"| {NAMES[way]} | " + " | ".join(cells) + " |")
    alone = [f"{NAMES[way]}: {peaks[way, 0]:.0f} MB" for way in NAMES if (way, 0) in peaks]
    conditions = f"{on['dimension']} dimensions, Cohere's JSON floats over loopback."
    return "\n".join([*lines, "", "; ".join(alone) + ".", "", conditions, describe(on), ""])
