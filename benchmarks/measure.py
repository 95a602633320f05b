"""Runs each way in its own process, in turn and several times, and keeps the medians.

Ways run in turn because the speed of a machine changes from minute to minute: the ratio of two ways means something
only if both were measured in the same minutes. If there are at least two processor cores, the client gets one and the
server another.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import platform
import statistics
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.job import Job

RESULTS = Path(__file__).parent / "results"
PACKAGES = (
    "asyncembed", "aiohttp", "ijson", "numpy", "orjson", "pysimdjson", "pybase64", "uvloop", "httpx", "cohere",
    "openai", "baseten-performance-client", "voyageai", "litellm", "langchain-openai", "pyarrow", "daft", "ray",
    "pyspark",
)  # fmt: skip
MISSING = 3  # exit status of a way whose package is not installed
Row = dict[str, Any]


def cores() -> tuple[int | None, int | None]:
    """Return the processor core of the client and that of the server, or None for both on a single core."""
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return (available[0], available[1]) if len(available) > 1 else (None, None)


async def run(way: str, job: Job, *, ticks: bool = False, uvloop: bool = False) -> Row | None:
    """Run one way once; return None if its package is not installed."""
    given = {**asdict(job), "core": cores()[0], "ticks": ticks, "uvloop": uvloop}
    program = [sys.executable, "-m", "benchmarks.process", way, json.dumps(given)]
    process = await asyncio.create_subprocess_exec(*program, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    if process.returncode == MISSING:
        return None
    if process.returncode:
        raise SystemExit(f"{way} failed")
    found: Row = json.loads(out)
    return found


async def in_turn(plan: Iterable[tuple[str, Job]], repetitions: int, **options: bool) -> list[Row]:
    """Run the whole plan `repetitions` times, and return the median, minimum and maximum of each figure."""
    runs: dict[tuple[str, Job], list[Row]] = {key: [] for key in plan}
    missing: set[str] = set()
    for repetition in range(repetitions):
        for way, job in runs:
            if way in missing:
                continue
            if found := await run(way, job, **options):
                runs[way, job].append(found)
                print(
                    f"{repetition + 1}/{repetitions}  {way:24} {found['cpu_us']:9.1f} us", file=sys.stderr, flush=True
                )
            else:
                missing.add(way)
                print(f"{way} is left out: its package is not installed", file=sys.stderr, flush=True)
    return [_median(way, job, found) for (way, job), found in runs.items() if found]


def _median(way: str, job: Job, found: list[Row]) -> Row:
    settings = {name: value for name, value in asdict(job).items() if name not in {"url", "certificate"}}
    row: Row = {"way": way, **settings, "tls": job.certificate is not None}
    for figure in found[0]:
        values = [run[figure] for run in found]
        row[figure] = round(statistics.median(values), 3)
        row[f"{figure}_range"] = [min(values), max(values)]
    row["cpu_us_runs"] = [run["cpu_us"] for run in found]
    return row


def ratio(ours: Row, other: Row) -> float:
    """Return our cost per embedding divided by that of another client: the median of the ratios of each round.

    A machine may be twice as fast in one minute as in the next, so only runs of the same round are compared.
    """
    pairs = zip(ours["cpu_us_runs"], other["cpu_us_runs"], strict=False)
    return statistics.median(one / two for one, two in pairs)


def machine() -> Row:
    """Return the machine and the versions of the packages."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := installed(name))},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def installed(name: str) -> str | None:
    """Return the version of a package, or None if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def describe(on: Row) -> str:
    """Return the line about the machine that is written below a table."""
    versions = ", ".join(f"{name} {version}" for name, version in on["versions"].items())
    return f"{on['processor']}, {on['cores']} cores, {on['system']}, Python {on['python']}. {versions}."


def draw(plot: str, rows: list[Row], path: Path, on: Row) -> None:
    """Draw the figures if matplotlib is installed."""
    try:
        from benchmarks import plots
    except ModuleNotFoundError as error:
        print(f"no picture: {error.name} is not installed")
    else:
        getattr(plots, plot)(rows, path, on)


def write(folder: Path, name: str, content: Row, table: str) -> None:
    """Write the figures as JSON and as a table, and print the table."""
    folder.mkdir(exist_ok=True, parents=True)
    (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
    (folder / f"{name}.md").write_text(table)
    print(f"\n{table}")
