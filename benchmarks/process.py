"""One run in its own process: `python -m benchmarks.process WAY JOB` prints its figures as JSON.

The clocks start after the imports and a small run to warm up. The memory is the peak of the process.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from benchmarks.job import Check, Job
from benchmarks.measure import MISSING
from benchmarks.memory_run import peak_mb

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TICK = 0.001


def find(way: str) -> Callable[[Job, Check], Awaitable[None]]:
    if way.startswith(("stream", "blocks", "file", "embed")):
        from benchmarks import ours

        return ours.WAYS[way]
    if way.startswith(("bare", "httpx")):
        from benchmarks import bare

        return bare.WAYS[way]
    from benchmarks import peers

    return peers.WAYS[way]


async def lateness(found: list[float]) -> None:
    """Sleep for a millisecond repeatedly, and record the maximum delay beyond it."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + TICK
        await asyncio.sleep(TICK)
        found[0] = max(found[0], loop.time() - due)


async def main(way: str, job: Job, *, ticks: bool) -> dict[str, float]:
    run = find(way)
    await run(replace(job, count=min(job.count, 2 * job.batch)), Check(job.dimension))
    gc.collect()
    check, late = Check(job.dimension), [0.0]
    ticker = asyncio.create_task(lateness(late)) if ticks else None
    started, cpu = time.perf_counter(), time.process_time()
    await run(job, check)
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    if ticker:
        ticker.cancel()
    assert check.count == job.count, f"{check.count} vectors instead of {job.count}"
    waits = sorted(check.latencies) or [0.0]
    return {
        "first_ms": ((check.first or started) - started) * 1e3,
        "p50_us": waits[len(waits) // 2] * 1e6,
        "p99_us": waits[int(len(waits) * 0.99)] * 1e6,
        "cpu_us": (cpu - check.spent) / job.count * 1e6,
        "wall_us": wall / job.count * 1e6,
        "peak_mb": peak_mb(),
        "late_ms": late[0] * 1e3,
    }


if __name__ == "__main__":
    given = json.loads(sys.argv[2])
    core, ticks, uvloop = (given.pop(name) for name in ("core", "ticks", "uvloop"))
    if core is not None:
        os.sched_setaffinity(0, {core})
    factory = None
    if uvloop:
        import uvloop as faster

        factory = faster.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        try:
            result = runner.run(main(sys.argv[1], Job(**given), ticks=ticks))
        except ModuleNotFoundError:
            raise SystemExit(MISSING) from None
    print(json.dumps({name: round(value, 3) for name, value in result.items()}))
