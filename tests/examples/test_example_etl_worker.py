"""The ETL worker as a process of its own, and its pipe between a queue and a database that the test holds."""

from __future__ import annotations

import asyncio
import re
import runpy
import signal
import sqlite3
import sys
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "key-that-nobody-may-see"
LAST_LINE = r"([\d,]+) of ([\d,]+) written; the producer was at most ([\d,]+) ahead"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vectors.db"


@pytest.fixture
def start(examples: Path, environment: dict[str, str], path: Path):
    """Start the worker; an unfinished one is killed at the end."""

    @asynccontextmanager
    async def start(rows: int, **settings: str) -> AsyncIterator[asyncio.subprocess.Process]:
        handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # a process inherits that it is ignored
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-W", "error", examples / "etl_worker.py", path, str(rows)),
                env=environment | settings,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        finally:
            signal.signal(signal.SIGINT, handler)
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    return start


async def end(process: asyncio.subprocess.Process) -> tuple[int, list[int], str]:
    """Return exit status, the numbers of the last line, and what went to stderr."""
    out, err = await asyncio.wait_for(process.communicate(), 60)
    numbers = re.fullmatch(LAST_LINE, out.decode().splitlines()[-1]).groups()
    return process.returncode, [int(number.replace(",", "")) for number in numbers], err.decode()


def written(path: Path) -> list[tuple[int, bytes]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT id, embedding FROM vectors ORDER BY id").fetchall()


@pytest.mark.usefixtures("local_model")
async def test_every_row_is_written_and_the_producer_does_not_run_away(start, path: Path) -> None:
    async with start(6_000) as process:
        status, (done, rows, furthest), err = await end(process)

    assert (status, done, rows, err) == (0, 6_000, 6_000, "")
    assert [row for row, _ in written(path)] == list(range(6_000))
    assert {np.frombuffer(vector, np.float32).shape for _, vector in written(path)} == {(192,)}
    assert 100 < furthest < 3_000


@pytest.mark.usefixtures("local_model")
async def test_ctrl_c_ends_it_cleanly_and_it_goes_on_from_there(start, path: Path) -> None:
    async with start(50_000) as process:
        assert b"rows written" in await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        status, (done, *_), err = await end(process)
    assert (status, err) == (130, "")
    assert 0 < done < 50_000
    assert [row for row, _ in written(path)] == list(range(done))

    async with start(done + 500) as process:
        status, (done_later, *_), err = await end(process)
    assert (status, done_later, err) == (0, done + 500, "")
    assert [row for row, _ in written(path)] == list(range(done + 500))


async def test_an_error_of_the_api_is_said_in_one_line(start, upstream) -> None:
    upstream.refusal = (401, f"invalid key {KEY}", {})
    async with start(1_000, EMBED_PROVIDER="cohere", EMBED_BASE_URL=upstream.url, CO_API_KEY=KEY) as process:
        status, (done, *_), err = await end(process)

    assert (status, done) == (1, 0)
    assert err == f"stopped: cohere at {upstream.url.rstrip('/')}/v2/embed answered 401: invalid key ***\n"


async def test_rows_are_written_while_the_queue_is_silent(examples: Path, path: Path, upstream, monkeypatch) -> None:
    worker = runpy.run_path(str(examples / "etl_worker.py"))
    monkeypatch.setenv("EMBED_PROVIDER", "cohere")
    monkeypatch.setenv("EMBED_BASE_URL", upstream.url)
    monkeypatch.setenv("CO_API_KEY", KEY)
    arrived = asyncio.Event()

    class Progress(worker["Progress"]):
        def __setattr__(self, name: str, value: int) -> None:
            super().__setattr__(name, value)
            if name == "written" and value:
                arrived.set()

    queue = asyncio.Queue()
    for row in enumerate(["a", "bb", "ccc"]):
        queue.put_nowait(row)
    with closing(worker["open_database"](str(path))) as database:
        transfer = asyncio.create_task(worker["transfer"](queue, database, Progress(produced=3, written=0)))
        await asyncio.wait_for(arrived.wait(), 60)
        assert not transfer.done()

        queue.put_nowait(None)
        await asyncio.wait_for(transfer, 60)
    assert upstream.requests == [["a", "bb", "ccc"]]
    vectors = {row: np.frombuffer(vector, np.float32).tolist() for row, vector in written(path)}
    assert vectors == {row: upstream.vector_of(text) for row, text in enumerate(["a", "bb", "ccc"])}
