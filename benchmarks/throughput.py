"""`python -m benchmarks throughput`: processor time of the client per embedding, end to end over loopback.

Every figure is the median of several processes. Ways that are compared run in turn, and the targets compare ratios.
Writes `throughput.json`, `throughput.md` and `throughput.svg`.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.certificate import make_certificate
from benchmarks.job import Job
from benchmarks.measure import RESULTS, cores, describe, draw, in_turn, machine, ratio, write
from benchmarks.server import running

if TYPE_CHECKING:
    import argparse

    from benchmarks.measure import Row

COUNT = 9_600
SLOW = {"cohere-embed": 960, "cohere-stream": 960, "httpx-json": 2_880, "bare-ijson": 2_880}
"""Ways that take milliseconds per embedding get fewer texts."""

NAMES = {  # the order of running: ways that are compared run side by side
    "bare-slice-simdjson": "bare aiohttp + slice + simdjson",
    "stream-floats": "**asyncembed `embed_stream`, floats**",
    "bare-orjson": "bare aiohttp + orjson, whole body",
    "baseten": "Baseten performance client, floats",
    "blocks-floats": "**asyncembed `embed_binary_stream`, floats**",
    "bare-simdjson": "bare aiohttp + simdjson, whole body",
    "bare-ijson": "bare aiohttp + `ijson.items_async`",
    "httpx-json": "httpx + json",
    "cohere-embed": "cohere SDK, `embed`",
    "cohere-stream": "cohere SDK, `embed_stream`",
    "stream-base64": "**asyncembed `embed_stream`, base64**",
    "bare-slice-base64": "bare aiohttp + slice + pybase64",
    "blocks-base64": "**asyncembed `embed_binary_stream`, base64**",
    "baseten-base64": "Baseten performance client, base64",
    "embed-base64": "**asyncembed `embed`, base64**",
    "bare-orjson-base64": "bare aiohttp + orjson + pybase64, whole body",
    "openai": "openai SDK (base64)",
    "voyageai": "voyageai SDK (base64)",
    "litellm": "litellm (base64)",
    "langchain-openai": "langchain-openai (base64)",
    "bare-orjson-int8": "bare aiohttp + orjson, whole body, int8",
    "blocks-int8": "**asyncembed `embed_binary_stream`, int8**",
}
OVER_TLS = ("stream-floats", "bare-slice-simdjson", "stream-base64", "blocks-base64", "bare-slice-base64")


@dataclass(frozen=True)
class Target:
    """The cost of `ours` may be at most `max_ratio` times that of `other`."""

    ours: str
    other: str
    max_ratio: float
    tls: bool = False


TARGETS = (
    Target("stream-floats", "bare-slice-simdjson", 1.20),
    Target("stream-floats", "bare-orjson", 1 / 2),
    Target("stream-floats", "baseten", 1 / 1.5),
    Target("stream-floats", "cohere-stream", 1 / 50),
    Target("stream-base64", "bare-slice-base64", 1.35),
    Target("stream-base64", "bare-orjson-base64", 1.00),
    Target("stream-base64", "baseten-base64", 1 / 1.6),
    Target("stream-base64", "openai", 1 / 10),
    Target("blocks-base64", "bare-slice-base64", 1.10),
    Target("blocks-int8", "bare-orjson-int8", 1 / 3),
    Target("stream-floats", "bare-slice-simdjson", 1.20, tls=True),
    Target("stream-base64", "bare-slice-base64", 1.35, tls=True),
)


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("throughput", help="processor time of an embedding, against everything else")
    parser.add_argument("--ways", nargs="+", default=list(NAMES), choices=list(NAMES), metavar="WAY")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--uvloop", action="store_true", help="run the clients on uvloop")
    parser.add_argument("--no-tls", action="store_true", help="leave out the same over HTTPS")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.set_defaults(run=lambda given: asyncio.run(measure(given)))


async def measure(given: argparse.Namespace) -> None:
    """Run everything, and write the results."""
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(running(Job.dimension, core=cores()[1]))
        plan = [(way, Job(url, min(given.count, SLOW.get(way, given.count)))) for way in given.ways]
        if not given.no_tls:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="asyncembed-benchmarks-"))
            certificate = make_certificate(Path(folder))
            secure = await stack.enter_async_context(running(Job.dimension, certificate, core=cores()[1]))
            plan += [
                (way, replace(job, url=secure, certificate=str(certificate))) for way, job in plan if way in OVER_TLS
            ]
        rows = await in_turn(plan, given.repetitions, uvloop=given.uvloop)
    on = machine()
    write(given.output, "throughput", {"machine": on, "rows": rows}, markdown(rows, on))
    draw("plot_throughput", rows, given.output / "throughput.svg", on)


def markdown(rows: list[Row], on: Row) -> str:
    """Return the table of all ways and the table of the targets."""
    lines = [
        "| client | CPU µs per embedding | range | wall µs | peak resident MB |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        low, high = row["cpu_us_range"]
        name = NAMES[row["way"]] + (", HTTPS" if row["tls"] else "")
        cells = [f"{row['cpu_us']:,.1f}", f"{low:,.1f}–{high:,.1f}", f"{row['wall_us']:,.1f}", f"{row['peak_mb']:,.0f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", *_targets(rows), "", _conditions(rows), describe(on), ""]
    return "\n".join(lines)


def _targets(rows: list[Row]) -> list[str]:
    found = {(row["way"], row["tls"]): row for row in rows}
    lines = ["| what | against | ratio | target | |", "|---|---|---:|---:|---|"]
    for target in TARGETS:
        ours, other = found.get((target.ours, target.tls)), found.get((target.other, target.tls))
        if ours and other:
            measured = ratio(ours, other)
            secure = ", HTTPS" if target.tls else ""
            names = f"{NAMES[target.ours]}{secure} | {NAMES[target.other]}{secure}"
            mark = "met" if measured <= target.max_ratio else "**missed**"
            lines.append(f"| {names} | {_times(measured)} | {_times(target.max_ratio)} | {mark} |")
    return lines


def _times(times: float) -> str:
    return f"{times:.2f} ×" if times > 0.75 else f"{1 / times:.1f} × faster"


def _conditions(rows: list[Row]) -> str:
    row = rows[0]
    sizes = f"{row['dimension']} dimensions, {row['batch']} texts in a request, {row['concurrency']} requests at once"
    return f"{sizes}, loopback; fewer texts for clients that take milliseconds."
