"""`python -m benchmarks counted`: what an embedding costs in things that can be counted, on a machine in any mood.

Bytecodes of the Python interpreter, and instructions of the processor where valgrind is installed. Neither is time: an
instruction may wait for memory, and the same number of them may take twice as long. But two runs of the same code give
the same counts within a percent or two, so that a change can be judged by them on a machine where time cannot be
measured. Vectors are not compared here; `throughput` does that. Writes `counted.json` and `counted.md`.

What is counted runs about twenty times as slowly as it would otherwise. What is done by the clock, such as to write
into a file what has come in the last 25 ms, would be counted twenty times too often, so those clocks are slowed, too.
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
    "bare-orjson-int8", "blocks-int8",
)  # fmt: skip
FEW, MANY = 960, 4_800
CACHEGRIND = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")


SLOWER = 20
CLOCKS = (
    ("asyncembed._core.settling", "BATCH_SECONDS"), ("asyncembed._core.run", "FLUSH_SECONDS"),
    ("asyncembed._to_file", "GROUP_SECONDS"),  # of version 0.1, to compare with it
)  # fmt: skip


class Uncompared(Check):
    """Counts vectors, and spends nothing on them."""

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
    """Bytecodes, or the instructions of the whole process, of one run in a process of its own."""
    program = [*around, sys.executable, "-m", "benchmarks.counted", way, json.dumps(asdict(job)), str(not around)]
    pipe = asyncio.subprocess.PIPE
    # Threads of a library for linear algebra, which is not used here, spin while they wait, and are counted.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    process = await asyncio.create_subprocess_exec(*program, stdout=pipe, stderr=pipe, env=environment)
    out, errors = await process.communicate()
    if process.returncode:
        raise SystemExit(f"{way} failed: {errors.decode()}")
    instructions = re.search(rb"I\s+refs:\s+([\d,]+)", errors)
    return int(out), int(instructions[1].replace(b",", b"")) if instructions else 0


async def count(way: str, job: Job) -> int:
    """Bytecodes of a run, after a small one."""
    run, counts = find(way), Counter[str]()

    def trace(frame: FrameType, event: str, _: object) -> object:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        counts[event] += 1
        return trace

    await run(replace(job, count=2 * job.batch), Uncompared(job.dimension))
    sys.settrace(trace)
    await run(job, Uncompared(job.dimension))
    sys.settrace(None)
    return counts["opcode"]


def slow_clocks() -> None:
    for module, name in CLOCKS:
        if find_spec(module) and hasattr(found := import_module(module), name):
            setattr(found, name, getattr(found, name) * SLOWER)


if __name__ == "__main__":
    slow_clocks()
    way, job, is_traced = sys.argv[1], Job(**json.loads(sys.argv[2])), sys.argv[3] == "True"
    if is_traced:
        print(asyncio.run(count(way, job)))
    else:
        asyncio.run(find(way)(job, Uncompared(job.dimension)))
        print(0)
