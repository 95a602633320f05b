"""`python -m benchmarks engines`: texts per second through each installed engine, from Parquet to Parquet.

Each way runs in a process of its own. Its clock starts after the import of the engine and includes the engine's start.
Every row is compared with the vector that the server sent. Writes `engines.json` and `engines.md`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil

from benchmarks.measure import RESULTS, describe, machine, write
from benchmarks.server import CANNED, running, vectors

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from asyncembed import ClientSpec

COUNT, DIMENSION, FILES, WORKERS = 200_000, 256, 20, 2
SAMPLE_SECONDS = 0.2
KEY = "ASYNCEMBED_BENCH_KEY"


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("engines", help="texts per second through each installed engine")
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--only", choices=list(WAYS))
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.set_defaults(run=lambda given: asyncio.run(main(given)))


def alone(source: str, target: str, spec: ClientSpec) -> None:
    """No engine: one client, one file."""
    import pyarrow.dataset

    from asyncembed import SyncEmbedder

    table = pyarrow.dataset.dataset(source).to_table()
    rows = zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True)
    Path(target).mkdir()
    SyncEmbedder(spec).embed_to_file(rows, Path(target) / "v.parquet")


def daft_arrow(source: str, target: str, spec: ClientSpec) -> None:
    import daft

    from asyncembed.daft import embed

    frame = daft.read_parquet(source)
    frame.with_column("embedding", embed(daft.col("text"), spec, dimensions=DIMENSION)).write_parquet(target)


def daft_provider(source: str, target: str, spec: ClientSpec) -> None:
    import daft
    from daft.functions import embed_text

    from asyncembed.daft import AsyncEmbedProvider

    provider = AsyncEmbedProvider(spec)
    vectors_of = embed_text(daft.col("text"), provider=provider, dimensions=DIMENSION)
    daft.read_parquet(source).with_column("embedding", vectors_of).write_parquet(target)


def ray_data(source: str, target: str, spec: ClientSpec) -> None:
    import ray

    from asyncembed.ray import embed

    ray.init(num_cpus=4, include_dashboard=False, object_store_memory=600_000_000, log_to_driver=False)
    embed(ray.data.read_parquet(source), spec, workers=WORKERS).write_parquet(target)
    ray.shutdown()


def spark(source: str, target: str, spec: ClientSpec) -> None:
    from pyspark import cloudpickle
    from pyspark.sql import SparkSession

    from examples import spark_embed

    cloudpickle.register_pickle_by_value(spark_embed)
    os.environ["PYSPARK_PYTHON"] = sys.executable
    session = (
        SparkSession.builder
        .master(f"local[{WORKERS}]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.memory", "1g")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "1000")
        .getOrCreate()
    )
    spark_embed.embed(session.read.parquet(source), spec, workers=WORKERS).write.parquet(target)
    session.stop()


WAYS: dict[str, tuple[str, Callable[[str, str, ClientSpec], None]]] = {
    "no engine, embed_to_file": ("pyarrow", alone),
    "Daft, embed": ("daft", daft_arrow),
    "Daft, embed_text": ("daft", daft_provider),
    "Ray Data": ("ray", ray_data),
    "Spark": ("pyspark", spark),
}


def write_source(folder: Path, count: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    for file in range(FILES):
        ids = range(file, count, FILES)
        texts = [f"short text about as long as a search query {number}" for number in ids]
        pq.write_table(pa.table({"id": list(ids), "text": texts}), folder / f"{file}.parquet")


def check(target: Path, count: int) -> None:
    import pyarrow.parquet as pq

    canned, seen = vectors(DIMENSION), np.zeros(count, np.int64)
    for file in target.glob("*.parquet"):
        table = pq.read_table(file, columns=["id", "embedding"])
        ids = table["id"].to_numpy().astype(np.int64)
        # Daft, where it is imported, registers a type of its own for vectors.
        chunks = [getattr(chunk, "storage", chunk) for chunk in table["embedding"].chunks]
        found = np.concatenate([chunk.flatten().to_numpy() for chunk in chunks])
        assert (found.reshape(len(ids), -1) == canned[ids % CANNED]).all()
        np.add.at(seen, ids, 1)
    assert (seen == 1).all()


async def watched(process: asyncio.subprocess.Process) -> dict[str, float]:
    """Wait for a process, and add up the time and memory of it and of all processes that it starts."""
    cpu: dict[tuple[int, float], float] = {}
    ended, peak = asyncio.create_task(process.wait()), 0.0
    root = psutil.Process(process.pid)
    while not ended.done():
        private = 0
        with suppress(psutil.Error):
            for each in [root, *root.children(recursive=True)]:
                with suppress(psutil.Error):
                    memory, times = each.memory_info(), each.cpu_times()
                    private += memory.rss - memory.shared
                    cpu[each.pid, each.create_time()] = times.user + times.system
        peak = max(peak, private / 1e6)
        await asyncio.wait([ended], timeout=SAMPLE_SECONDS)
    return {"CPU s of all processes": sum(cpu.values()), "peak private MB of all processes": peak}


async def measure(way: str, count: int, url: str, folder: Path) -> dict[str, float] | None:
    source, target = folder / "in", folder / way.replace(" ", "_").replace(",", "")
    program = [sys.executable, "-m", "benchmarks.engines", way, str(source), str(target), f"{url}/v1"]
    environment = {**os.environ, KEY: "k", "PYTHONPATH": str(Path(__file__).parent.parent)}
    process = await asyncio.create_subprocess_exec(*program, stdout=asyncio.subprocess.PIPE, env=environment)
    assert process.stdout
    (taken, out) = await asyncio.gather(watched(process), process.stdout.read())
    if process.returncode:
        raise SystemExit(f"{way} failed")
    check(target, count)
    seconds = float(out.split()[-1])
    return {"texts/s": count / seconds, "seconds": seconds, **taken}


async def main(given: argparse.Namespace) -> None:
    """Measure each way, and write the results."""
    found, count = {}, given.count
    folder = Path(tempfile.mkdtemp(prefix="asyncembed-engines-"))
    try:
        write_source(folder / "in", count)
        async with running(DIMENSION) as url:
            for way in [given.only] if given.only else WAYS:
                if importlib.util.find_spec(WAYS[way][0]) is None or (way == "Spark" and not shutil.which("java")):
                    print(f"{way} is left out: its package or Java is not installed", file=sys.stderr)
                    continue
                found[way] = await measure(way, count, url, folder)
                print(way, found[way], flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    on = machine()
    columns = list(next(iter(found.values())))
    lines = [f"{count:,} texts, {DIMENSION} dimensions, {WORKERS} workers where an engine has them.\n"]
    lines += ["| way | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    lines += [f"| {way} | " + " | ".join(f"{row[key]:,.1f}" for key in columns) + " |" for way, row in found.items()]
    content = {"machine": on, "count": count, "rows": found}
    write(given.output, "engines", content, "\n".join(lines) + f"\n\n{describe(on)}\n")


def run_one(way: str, source: str, target: str, url: str) -> None:
    from asyncembed import ClientSpec

    spec = ClientSpec("openai", model="bench", base_url=url, api_key_env=KEY, max_memory_mb=64)
    importlib.import_module(WAYS[way][0])
    started = time.perf_counter()
    WAYS[way][1](source, target, spec)
    print(json.dumps(time.perf_counter() - started))


if __name__ == "__main__":
    run_one(*sys.argv[1:])
