"""An ETL worker: it reads rows from a queue and writes vectors in blocks; a slow database slows the producer down.

    producer -> bounded queue -> drain() -> embed_stream -> next_block() -> database

Memory is bounded at every step. While the database is busy, the worker takes no results. When waiting results fill
`max_memory_mb`, the client starts no request and reads no row, so the queue fills up and the producer waits. A partly
filled batch is sent after `max_wait` seconds and a partly filled block is written after `FLUSH_SECONDS`, so rows get
through while the producer is silent.

Run it without a key. If you stop it with Ctrl-C and run it again, it continues after the last row written:

    pip install "asyncembed[local]"
    python examples/etl_worker.py vectors.db 5000

`EMBED_PROVIDER`, `EMBED_MODEL` and `EMBED_BASE_URL` choose another API; its key comes from its usual variable.
"""

import asyncio
import os
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Final, TypeAlias

from asyncembed import AsyncEmbedError, EmbedClient, EmbedResult, EmbedStream

QUEUE_ROWS: Final = 100
BLOCK_ROWS: Final = 250
FLUSH_SECONDS: Final = 0.5
WRITE_SECONDS: Final = 0.1
MEMORY_MB: Final = 2

Row: TypeAlias = tuple[int, str]
Queue: TypeAlias = asyncio.Queue[Row | None]
"""Rows to embed; None marks the end."""


@dataclass
class Progress:
    """How many rows were produced and written, and the largest difference so far."""

    produced: int
    written: int
    largest_lead: int = 0

    @property
    def ahead(self) -> int:
        return self.produced - self.written


async def produce(queue: Queue, rows: int, progress: Progress) -> None:
    for number in range(progress.produced, rows):
        await queue.put((number, f"Order {number}: tea for {number % 7 + 1} guests, to be served at {number % 12}."))
        progress.produced += 1
        progress.largest_lead = max(progress.largest_lead, progress.ahead)
    await queue.put(None)


async def drain(queue: Queue) -> AsyncIterator[Row]:
    while (row := await queue.get()) is not None:
        yield row


async def next_block(stream: EmbedStream[EmbedResult]) -> list[EmbedResult]:
    """Return the next block of results: a smaller one if the rest does not arrive in time, an empty one at the end."""
    block = [result] if (result := await anext(stream, None)) else []
    with suppress(TimeoutError, StopAsyncIteration):
        async with asyncio.timeout(FLUSH_SECONDS):  # a timeout or a cancellation never loses a result
            while 0 < len(block) < BLOCK_ROWS:
                block.append(await anext(stream))
    return block


def write(database: sqlite3.Connection, block: list[EmbedResult]) -> None:
    time.sleep(WRITE_SECONDS)  # simulates a slow database
    with database:
        rows = [(result.id, result.embedding.tobytes()) for result in block]
        database.executemany("INSERT INTO vectors VALUES (?, ?)", rows)


async def transfer(queue: Queue, database: sqlite3.Connection, progress: Progress) -> None:
    provider, model, base_url = (os.environ.get(f"EMBED_{name}") for name in ("PROVIDER", "MODEL", "BASE_URL"))
    async with (
        EmbedClient(provider or "local", model=model, base_url=base_url, max_memory_mb=MEMORY_MB) as client,
        client.embed_stream(drain(queue), max_wait=0.2) as stream,
    ):
        while block := await next_block(stream):
            await asyncio.to_thread(write, database, block)
            progress.written += len(block)
            print(f"{progress.written:6,} rows written; the producer is {progress.ahead:,} ahead", flush=True)


async def work(database: sqlite3.Connection, rows: int, progress: Progress) -> None:
    queue: Queue = asyncio.Queue(maxsize=QUEUE_ROWS)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(produce(queue, rows, progress))
        tasks.create_task(transfer(queue, database, progress))


def open_database(path: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, check_same_thread=False)
    database.execute("CREATE TABLE IF NOT EXISTS vectors (id INTEGER PRIMARY KEY, embedding BLOB)")
    return database


def count(database: sqlite3.Connection) -> int:
    return int(database.execute("SELECT count(*) FROM vectors").fetchone()[0])


def main(path: str = "vectors.db", rows: str = "5000") -> int | str:
    status: int | str = 0
    with closing(open_database(path)) as database:
        progress = Progress(produced=count(database), written=count(database))
        try:
            asyncio.run(work(database, int(rows), progress))
        except* KeyboardInterrupt:
            status = 130
        except* AsyncEmbedError as errors:
            status = f"stopped: {errors.exceptions[0]}"
        print(f"{count(database):,} of {int(rows):,} written; the producer was at most {progress.largest_lead:,} ahead")
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
