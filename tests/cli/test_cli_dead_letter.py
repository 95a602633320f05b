"""`--dead-letter`: what failed goes into a file, and that file is an input again."""

from __future__ import annotations

import asyncio

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest

from asyncembed.testing import FakeServer, faults, vector_of

TEXTS = [f"text {number}" for number in range(10)]
BAD = [3, 8]


@pytest.fixture
def fake():
    """A server, in a thread, that refuses two of the texts."""
    with FakeServer(rules=[faults.Poisoned(TEXTS[index]) for index in BAD]).run_in_thread() as running:
        yield running


@pytest.fixture
def rows_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"".join(orjson.dumps({"id": f"id-{n}", "text": text}) + b"\n" for n, text in enumerate(TEXTS)))
    return path


def skipping(server, letters, *more):
    return ("--on-error", "skip", "--dead-letter", letters, "--chunk-size", 1, *server, *more)


def test_what_failed_can_be_embedded_later(run, fake, openai, rows_file, tmp_path):
    letters, server = tmp_path / "failed.jsonl", openai(fake)
    ended = run("embed", rows_file, "-o", tmp_path / "v.parquet", *skipping(server, letters))
    assert ended.code == 0, ended.err
    assert f"; see {letters}" in ended.err.splitlines()[0]
    assert sorted(pq.read_table(tmp_path / "v.parquet")["index"].to_pylist()) == [0, 1, 2, 4, 5, 6, 7, 9]
    fake.rules.clear()
    ended = run("embed", letters, "-o", tmp_path / "more.parquet", *server)
    assert ended.code == 0, ended.err
    table = pq.read_table(tmp_path / "more.parquet").to_pylist()
    assert [(row["id"], row["text"]) for row in table] == [(f"id-{index}", TEXTS[index]) for index in BAD]
    np.testing.assert_array_equal([row["embedding"] for row in table], [vector_of(TEXTS[index]) for index in BAD])


def test_texts_that_are_not_sent_are_in_it(run, fake, openai, tmp_path):
    rows, letters = tmp_path / "rows.jsonl", tmp_path / "failed.jsonl"
    rows.write_text('{"text": "a"}\n{"text": ""}\n')
    assert run("embed", rows, "-o", tmp_path / "v.npy", *skipping(openai(fake), letters)).code == 0
    (line,) = letters.read_bytes().splitlines()
    assert (orjson.loads(line)["index"], orjson.loads(line)["text"]) == (1, "")


def test_without_skip_it_is_refused(run, fake, openai, rows_file, tmp_path):
    ended = run("embed", rows_file, "-o", tmp_path / "v.npy", "--dead-letter", tmp_path / "f.jsonl", *openai(fake))
    assert ended.code == 2
    assert "--on-error skip" in ended.err
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]


@pytest.mark.parametrize("name", ["rows.jsonl", "v.npy", "v.npy.meta.json", "missing/failed.jsonl", "report.html"])
def test_names_that_will_not_do(run, fake, openai, rows_file, tmp_path, name):
    """An input above all: it would never end."""
    before = rows_file.read_bytes()
    options = skipping(openai(fake), tmp_path / name, "--report", tmp_path / "report.html")
    ended = run("embed", rows_file, "-o", tmp_path / "v.npy", *options)
    assert ended.code == 2, ended.err
    assert name in ended.err
    assert not fake.ledger.asked
    assert rows_file.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]


async def test_a_killed_run_loses_no_failure_and_doubles_none(start, openai, tmp_path):
    """Killed again and again, and resumed; each text that is refused is in the file once."""
    texts = [f"text {number}" for number in range(400)]
    bad = {text for number, text in enumerate(texts) if number % 3 == 0}
    path, letters, out = tmp_path / "texts.txt", tmp_path / "failed.jsonl", tmp_path / "v.npy"
    path.write_text("\n".join(texts))
    async with FakeServer(rules=[faults.Poisoned(text) for text in bad]) as server:
        command = ("embed", path, "-o", out, *skipping(openai(server), letters, "--resume", "--quiet"))
        for kills in (1, 2):
            process = await start(*command)
            end = asyncio.create_task(process.wait())
            while not end.done() and len(letters.read_bytes() if letters.exists() else b"") < kills * 10_000:
                await asyncio.wait([end], timeout=0.002)
            await process.kill()
            await end
        ended = await (await start(*command)).end()
        assert ended.code == 0, ended.err
    found = [orjson.loads(line) for line in letters.read_bytes().splitlines()]
    assert sorted(row["index"] for row in found) == [*range(0, 400, 3)]
    good = [text for text in texts if text not in bad]
    np.testing.assert_array_equal(np.load(out), [vector_of(text) for text in good])
