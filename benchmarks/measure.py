"""Runs ways in processes of their own, in turn and several times over, and keeps the medians.

In turn, because a machine is not as fast in one minute as in the next: a ratio of two ways is only worth something if
both were measured in the same minutes. Where there is more than one processor core, clients get one for themselves
and the server another.
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
    "openai", "baseten-performance-client", "voyageai", "litellm", "langchain-openai", "pyarrow",
)  # fmt: skip
MISSING = 3  # exit code of a way whose package is not installed
Row = dict[str, Any]


def cores() -> tuple[int | None, int | None]:
    """The processor cores of the clients and of the server."""
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return (available[0], available[1]) if len(available) > 1 else (None, None)


async def run(way: str, job: Job, *, ticks: bool = False, uvloop: bool = False) -> Row | None:
    """Run one way once; None if its package is not installed."""
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
    """Run all of `plan`, again and again, and return the median of each figure with its smallest and largest."""
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
    """What an embedding costs us, against what it costs another: the median over the rounds, each with its own ratio.

    A machine may be twice as fast in one minute as in the next, so only runs of the same round are compared.
    """
    pairs = zip(ours["cpu_us_runs"], other["cpu_us_runs"], strict=False)
    return statistics.median(one / two for one, two in pairs)


def machine() -> Row:
    """What it was measured on, and with."""
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
    """The version of a package, if it is installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def describe(on: Row) -> str:
    """The line that stands below a table."""
    versions = ", ".join(f"{name} {version}" for name, version in on["versions"].items())
    return f"{on['processor']}, {on['cores']} cores, {on['system']}, Python {on['python']}. {versions}."


def draw(plot: str, rows: list[Row], path: Path, on: Row) -> None:
    """Draw a picture of the figures, if matplotlib is there."""
    try:
        from benchmarks import plots
    except ModuleNotFoundError as error:
        print(f"no picture: {error.name} is not installed")
    else:
        getattr(plots, plot)(rows, path, on)


def write(folder: Path, name: str, content: Row, table: str) -> None:
    """Write the figures as JSON and as a table, and show the table."""
    folder.mkdir(exist_ok=True, parents=True)
    (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
    (folder / f"{name}.md").write_text(table)
    print(f"\n{table}")
