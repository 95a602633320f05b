"""`python -m benchmarks service`: how long queries wait, alone and beside a bulk run, and what bulk keeps.

- 100 concurrent queries at a latency of 0.5 s, in rounds: latencies of the server until all have their vectors.
- 10 searchers, each of whom waits for a second (exponential) between two queries, beside a bulk run without an end: on
  an idle server, on one worker and on two workers (20 ms a request + 1 ms a text), and at a rate limit that is used up.

The server is a `FakeServer` in its own process. Each figure compares phases of the same run, so the speed of the
machine matters only where client or server need much of it. Writes `service.json` and `service.md`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from asyncembed import EmbedClient, RateLimit
from asyncembed.testing import FakeServer, Workers
from benchmarks.measure import RESULTS, describe, machine, write

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Iterator

    from benchmarks.measure import Row

SEARCHERS, THINK_SECONDS, BATCH = 10, 1.0, 96
ROUNDS, QUERIES, ROUND_LATENCY = 4, 100, 0.5
SETTLE_SECONDS = 10.0
"""Seconds at the beginning of a phase that are not counted."""

ONE = {"count": 1, "seconds": 0.02, "seconds_per_text": 0.001}
SERVERS: dict[str, dict[str, object]] = {
    "idle": {"latency": 0.1},
    "one worker": {"workers": ONE},
    "two workers": {"workers": {**ONE, "count": 2}},
}
TARGETS = {  # p50, p99 as multiples of alone, share of bulk's own rate
    "idle": (1.1, 1.5, None),
    "one worker": (3.5, None, 0.4),
    "two workers": (3.0, None, 0.55),
    "limit": (1.5, None, 0.95),
}
REQUESTS_PER_MINUTE = 1_200


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("service", help="queries alone and beside bulk")
    parser.add_argument("--seconds", type=float, default=30.0, help="seconds of each phase")
    parser.add_argument("--without-limit", action="store_true", help="leave out the rate limit, which takes 4 minutes")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.set_defaults(run=lambda given: asyncio.run(measure(given)))


async def measure(given: argparse.Namespace) -> None:
    """Run everything, and write the results."""
    load = os.getloadavg()[0]
    rounds = await joined()
    rows = [await beside_bulk(name, settings, given.seconds) for name, settings in SERVERS.items()]
    if not given.without_limit:
        rows.append(await used_up(given.seconds))
    on = machine()
    loads = f"Load of the machine: {load:.1f} before, {os.getloadavg()[0]:.1f} after."
    found = {"machine": on, "rounds": rounds, "rows": rows, "load": loads}
    write(given.output, "service", found, f"{table(rounds, rows)}\n\n{loads} {describe(on)}\n")


def table(rounds: list[float], rows: list[Row]) -> str:
    """Return both tables."""
    lines = ["| 100 concurrent queries at 0.5 s | latencies | target |", "|---|---:|---:|"]
    for number, latencies in enumerate(rounds):
        lines.append(f"| round {number + 1} | {latencies:.2f} | {1.2 if number else 2.2} |")
    lines += ["", "| 10 searchers beside bulk | p50 | p99 | bulk's share | targets |", "|---|---:|---:|---:|---|"]
    for row in rows:
        p50, p99, share = TARGETS[row["server"]]
        wanted = [f"p50 ≤ {p50} ×"] + [f"p99 ≤ {p99} ×"] * bool(p99) + [f"share ≥ {share:.0%}" if share else ""]
        lines.append(
            f"| {row['server']} | {row['p50']:.2f} × | {row['p99']:.2f} × | {row['share']:.0%} | "
            f"{', '.join(filter(None, wanted))} |"
        )
    return "\n".join(lines)


async def joined() -> list[float]:
    """Return how many latencies each round of concurrent queries took."""
    found: list[float] = []
    async with running({"latency": ROUND_LATENCY}) as url, open_client(url) as client:
        for number in range(ROUNDS):
            began = time.perf_counter()
            await asyncio.gather(*(client.embed_query(f"query {number} {each}") for each in range(QUERIES)))
            found.append((time.perf_counter() - began) / ROUND_LATENCY)
    return found


async def beside_bulk(name: str, settings: dict[str, object], seconds: float) -> Row:
    """Measure searchers alone, bulk alone, and both together."""
    async with running(settings) as url:
        async with open_client(url) as client:
            alone = await searching(client, seconds)
        async with open_client(url) as client, Bulk(client) as bulk:
            own = await bulk.rate(seconds)
        async with open_client(url) as client, Bulk(client) as bulk:
            both, rate = await asyncio.gather(searching(client, seconds), bulk.rate(seconds))
    return row_of(name, alone, both, rate / own)


async def used_up(seconds: float) -> Row:
    """Measure searchers at a rate limit that bulk has used up, and what bulk uses of it a minute after them."""
    limit = RateLimit(requests_per_minute=REQUESTS_PER_MINUTE)
    async with running({"latency": 0.1}) as url:
        async with open_client(url) as client:
            alone = await searching(client, seconds)
        async with open_client(url, limit) as client, Bulk(client) as bulk:
            await asyncio.sleep(65)
            both = await searching(client, seconds, settle=False)
            await asyncio.sleep(125)
            requests = await bulk.rate(60, settle=False) * 60 / BATCH
    return row_of("limit", alone, both[1:], requests / REQUESTS_PER_MINUTE)


def row_of(server: str, alone: list[float], both: list[float], share: float) -> Row:
    """Compare the latencies of two phases."""
    parts = [statistics.quantiles(latencies, n=100) for latencies in (alone, both)]
    row = {
        "server": server,
        "alone_p50_ms": parts[0][49] * 1e3,
        "p50": parts[1][49] / parts[0][49],
        "p99": parts[1][98] / parts[0][98],
        "share": share,
        "queries": len(both),
    }
    print(row, file=sys.stderr, flush=True)
    return row


async def searching(client: EmbedClient, seconds: float, *, settle: bool = True) -> list[float]:
    """Let the searchers search, and return how long each query took."""
    found: list[float] = []
    began = time.perf_counter()

    async def search(number: int) -> None:
        dice = random.Random(number)
        for query in itertools.count():
            await asyncio.sleep(dice.expovariate(1 / THINK_SECONDS))
            asked = time.perf_counter()
            if asked - began > seconds:
                return
            await client.embed_query(f"query {number} {query}")
            if asked - began > settle * SETTLE_SECONDS:
                found.append(time.perf_counter() - asked)

    await asyncio.gather(*map(search, range(SEARCHERS)))
    return found


class Bulk:
    """A bulk run without an end."""

    def __init__(self, client: EmbedClient) -> None:
        self._client = client
        self._done = 0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._task
        self._task.cancel()
        await asyncio.wait([self._task])

    async def rate(self, seconds: float, *, settle: bool = True) -> float:
        """Return the texts a second in the next seconds."""
        await asyncio.sleep(settle * min(SETTLE_SECONDS, seconds))
        before, began = self._done, time.perf_counter()
        await asyncio.sleep(max(seconds - settle * SETTLE_SECONDS, 1.0))
        return (self._done - before) / (time.perf_counter() - began)

    async def _run(self) -> None:
        blocks = self._client.embed_binary_stream(endless(), chunk_size=BATCH, ordered=False)
        async with blocks:
            async for _, matrix in blocks:
                self._done += len(matrix)


def endless() -> Iterator[str]:
    return (f"text {number}" for number in itertools.count())


def open_client(url: str, limit: RateLimit | None = None) -> EmbedClient:
    return EmbedClient("openai", base_url=f"{url}/v1", api_key="any", query_cache=0, rate_limit=limit or "off")


@contextlib.asynccontextmanager
async def running(settings: dict[str, object]) -> AsyncIterator[str]:
    """Run a server in its own process, and yield its address."""
    program = [sys.executable, "-m", "benchmarks.service", json.dumps(settings)]
    process = await asyncio.create_subprocess_exec(*program, stdout=asyncio.subprocess.PIPE)
    assert process.stdout
    url = (await process.stdout.readline()).decode().strip()
    try:
        yield url
    finally:
        process.terminate()
        await process.wait()


async def serve(settings: dict[str, object]) -> None:
    """Serve until the process is terminated or its parent has died."""
    workers, parent = settings.pop("workers", None), os.getppid()
    server = FakeServer(dimension=8, **settings)  # type: ignore[arg-type]  # plain values of its fields
    server.workers = Workers(**workers) if workers else None  # type: ignore[arg-type]
    server.ledger.keep = False
    async with server:
        print(server.url, flush=True)
        while os.getppid() == parent:  # noqa: ASYNC110  # no event signals this
            await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1])))
