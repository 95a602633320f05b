"""`python -m benchmarks overhead`: the cost of a request and of the import, without the cost of vectors.

Requests have one text each, eight at once, and are compared with bare aiohttp and the SDKs. The import is compared with
that of our dependencies. Writes `overhead.json` and `overhead.md`.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import throughput
from benchmarks.job import Job
from benchmarks.measure import RESULTS, cores, describe, in_turn, machine, write
from benchmarks.server import running

if TYPE_CHECKING:
    import argparse

    from benchmarks.measure import Row

WAYS = ("stream-base64", "bare-orjson-base64", "openai", "voyageai", "cohere-embed")
COUNT = 2_000
MAX_RATIO = 1.5
IMPORTS = (
    "import aiohttp, ijson, numpy, anyio",
    "import asyncembed",
    "from cohere import ClientV2",
    "from openai import OpenAI",
)
MAX_IMPORT_RATIO = 1.2
IMPORTING = """
import json, time
started = time.perf_counter(), time.process_time()
{names}
wall, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
from benchmarks.memory_run import peak_mb
print(json.dumps({{"wall_ms": wall * 1e3, "cpu_ms": cpu * 1e3, "peak_mb": peak_mb()}}))
"""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("overhead", help="requests of one text, and the import")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.set_defaults(run=lambda given: asyncio.run(measure(given)))


async def measure(given: argparse.Namespace) -> None:
    """Run everything, and write the results."""
    async with running(Job.dimension, core=cores()[1]) as url:
        rows = await in_turn([(way, Job(url, COUNT, batch=1)) for way in WAYS], given.repetitions)
    imports = await _imports(2 * given.repetitions + 1)
    on = machine()
    write(given.output, "overhead", {"machine": on, "rows": rows, "imports": imports}, markdown(rows, imports, on))


async def _imports(repetitions: int) -> list[Row]:
    runs: dict[str, list[Row]] = {names: [] for names in IMPORTS}
    with tempfile.TemporaryDirectory() as compiled:
        for number in range(repetitions + 1):
            for names, found in runs.items():
                if (row := await _import(names, compiled)) and number:  # run 0 only compiles to bytecode
                    found.append(row)
    return [
        {"names": names, **{figure: round(statistics.median(run[figure] for run in found), 2) for figure in found[0]}}
        for names, found in runs.items()
        if found
    ]


async def _import(names: str, compiled: str) -> Row | None:
    """Return the cost of an import from bytecode, as in an installed package; None if a package is missing."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled, "PYTHONDONTWRITEBYTECODE": ""}
    program = [sys.executable, "-c", IMPORTING.format(names=names)]
    pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*program, stdout=pipe, stderr=null, env=environment)
    out, _ = await process.communicate()
    return None if process.returncode else json.loads(out)


def markdown(rows: list[Row], imports: list[Row], on: Row) -> str:
    """Return both tables."""
    bare = next(row["cpu_us"] for row in rows if row["way"] == "bare-orjson-base64")
    lines = ["| one text in a request, 8 at once | CPU µs | against bare | requests/s |", "|---|---:|---:|---:|"]
    for row in rows:
        name, ratio = throughput.NAMES[row["way"]], row["cpu_us"] / bare
        lines.append(f"| {name} | {row['cpu_us']:,.0f} | {ratio:.2f} × | {1e6 / row['wall_us']:,.0f} |")
    lines += ["", f"Target for `embed_stream`: at most {MAX_RATIO} × bare aiohttp.", ""]
    lines += ["| import | ms | CPU ms | peak MB |", "|---|---:|---:|---:|"]
    lines += [
        f"| {row['names']} | {row['wall_ms']:.0f} | {row['cpu_ms']:.0f} | {row['peak_mb']:.0f} |" for row in imports
    ]
    lines += ["", f"Target for asyncembed: at most {MAX_IMPORT_RATIO} × the first line.", "", describe(on), ""]
    return "\n".join(lines)
