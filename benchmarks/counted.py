"""`python -m benchmarks counted`: bytecodes and processor instructions per embedding, on a machine of any speed.

It counts bytecodes of the Python interpreter, and processor instructions if valgrind is installed. Counts are not time:
an instruction may wait for memory, so the same number of them may take twice as long. But two runs of the same code
give the same counts within a percent or two, so you can judge a change even on a machine whose speed varies. This
command does not compare vectors; `throughput` does. Writes `counted.json` and `counted.md`.

Counting slows a program down about twenty times. Work that a timer starts, such as writing the rows of the last 25 ms
to a file, would be counted twenty times too often, so the command slows these timers down by the same factor.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from collections import Counter
from dataclasses import asdict, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.job import Check, Job
from benchmarks.measure import RESULTS, describe, machine, write
from benchmarks.process import find
from benchmarks.server import running

if TYPE_CHECKING:
    import argparse
    from types import FrameType

    import numpy as np

    from benchmarks.measure import Row

WAYS = (
    "bare-slice-base64", "stream-base64", "blocks-base64", "file-base64", "bare-slice-simdjson", "stream-floats",
    "bare-orjson-int8", "blocks-int8", "stream-cohere-floats", "stream-cohere-auto",
)  # fmt: skip
FEW, MANY = 960, 4_800
CACHEGRIND = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")


SLOWDOWN = 20
TIMERS = (
    ("asyncembed._core.settling", "BATCH_SECONDS"), ("asyncembed._core.flusher", "FLUSH_SECONDS"),
    ("asyncembed._to_file", "GROUP_SECONDS"),  # exists in version 0.1, for comparisons with it
)  # fmt: skip


class CountOnly(Check):
    """Counts vectors without comparing them."""

    def __call__(self, index: int, vector: np.ndarray) -> None:
        self.count += 1

    def rows(self, first: int, matrix: np.ndarray) -> None:
        self.count += len(matrix)


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("counted", help="bytecodes and instructions of an embedding")
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.set_defaults(run=lambda given: asyncio.run(measure(given)))


async def measure(given: argparse.Namespace) -> None:
    """Count everything, and write the results."""
    rows: list[Row] = []
    async with running(Job.dimension) as url:
        for way in given.ways:
            few, many = Job(url, FEW), Job(url, MANY)
            row: Row = {"way": way, "bytecodes": round((await _run((), way, many))[0] / MANY)}
            if shutil.which(CACHEGRIND[0]):
                found = [(await _run(CACHEGRIND, way, job))[1] for job in (few, many)]
                row["instructions"] = round((found[1] - found[0]) / (MANY - FEW))
            print(row, file=sys.stderr, flush=True)
            rows.append(row)
    on = machine()
    lines = ["| for each embedding | bytecodes | instructions |", "|---|---:|---:|"]
    lines += [f"| `{row['way']}` | {row['bytecodes']:,} | {row.get('instructions', 0):,} |" for row in rows]
    note = "1,536 dimensions, 96 texts in a request, 8 at once. 0 instructions: valgrind is not installed."
    write(given.output, "counted", {"machine": on, "rows": rows}, "\n".join([*lines, "", note, describe(on), ""]))


async def _run(around: tuple[str, ...], way: str, job: Job) -> tuple[int, int]:
    """Run a way in its own process; return the bytecodes that it printed and the instructions of the process."""
    program = [*around, sys.executable, "-m", "benchmarks.counted", way, json.dumps(asdict(job)), str(not around)]
    pipe = asyncio.subprocess.PIPE
    # OpenBLAS is not used here, but its threads spin while they wait, and valgrind would count that.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    process = await asyncio.create_subprocess_exec(*program, stdout=pipe, stderr=pipe, env=environment)
    out, errors = await process.communicate()
    if process.returncode:
        raise SystemExit(f"{way} failed: {errors.decode()}")
    instructions = re.search(rb"I\s+refs:\s+([\d,]+)", errors)
    return int(out), int(instructions[1].replace(b",", b"")) if instructions else 0


async def count(way: str, job: Job) -> int:
    """Return the bytecodes of a run, after a small run to warm up."""
    run, counts = find(way), Counter[str]()

    def trace(frame: FrameType, event: str, _: object) -> object:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        counts[event] += 1
        return trace

    await run(replace(job, count=2 * job.batch), CountOnly(job.dimension))
    sys.settrace(trace)
    await run(job, CountOnly(job.dimension))
    sys.settrace(None)
    return counts["opcode"]


def slow_timers() -> None:
    for module, name in TIMERS:
        if find_spec(module) and hasattr(found := import_module(module), name):
            setattr(found, name, getattr(found, name) * SLOWDOWN)


if __name__ == "__main__":
    slow_timers()
    way, job, is_traced = sys.argv[1], Job(**json.loads(sys.argv[2])), sys.argv[3] == "True"
    if is_traced:
        print(asyncio.run(count(way, job)))
    else:
        asyncio.run(find(way)(job, CountOnly(job.dimension)))
        print(0)
