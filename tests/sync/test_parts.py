"""A file for each task: what is repeated pays for nothing that was on the disk."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys

import pytest
from support.plain import wait_until

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")

from asyncembed import ConfigurationError, ServerError  # noqa: E402
from asyncembed.parts import embed_part, parts  # noqa: E402
from asyncembed.testing import faults, vector_of  # noqa: E402


@pytest.fixture
def sources(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for part in range(3):
        texts = [f"text {part} {number}" if number % 7 else None for number in range(100)]
        table = pa.table({"key": [f"{part}-{number}" for number in range(100)], "text": texts})
        pq.write_table(table, folder / f"{part}.parquet")
    return folder


def test_every_part_is_made_and_then_none_is_left(sources, tmp_path, spec, server):
    todo = parts(sources, tmp_path / "out")
    assert [source.name for source, _ in todo] == ["0.parquet", "1.parquet", "2.parquet"]
    for source, target in todo:
        pickle.loads(pickle.dumps(embed_part))(source, target, spec, id="key")
    assert parts(sources, tmp_path / "out") == []
    rows = [row for _, target in todo for row in pq.read_table(target).to_pylist()]
    assert {row["id"] for row in rows} == {f"{p}-{n}" for p in range(3) for n in range(100) if n % 7}
    assert all(row["text"] == "text {} {}".format(*row["id"].split("-")) for row in rows)
    assert all(row["embedding"] == vector_of(row["text"], 8).tolist() for row in rows)
    assert set(server.ledger.asked.values()) == {1}


def test_without_an_id_a_row_is_known_by_its_number(sources, tmp_path, spec):
    embed_part(sources / "0.parquet", tmp_path / "v.parquet", spec)
    ids = pq.read_table(tmp_path / "v.parquet").column("id").to_pylist()
    assert [int(each) for each in ids] == [number for number in range(100) if number % 7]


def test_a_task_that_failed_pays_for_nothing_twice(sources, tmp_path, spec, server):
    server.rules.append(Broken(after=4))
    target = tmp_path / "v.parquet"
    with pytest.raises(ServerError):
        embed_part(sources / "0.parquet", target, spec, chunk_size=10, max_concurrency=1)
    assert parts(sources, tmp_path)[0] == (sources / "0.parquet", tmp_path / "0.parquet")
    server.rules.clear()
    summary = embed_part(sources / "0.parquet", target, spec, chunk_size=10)
    assert summary.saved == pq.read_table(target).num_rows == 85
    assert not server.ledger.asked_again


class Broken:
    """Answers as a server that broke after so many requests."""

    def __init__(self, after):
        self._after = after

    def applies(self, exchange):
        return exchange.entry.number >= self._after

    async def __call__(self, exchange):
        await faults.Refused(500)(exchange)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_a_killed_worker_costs_at_most_what_was_in_flight(tmp_path, spec, server):
    texts = [f"text {number}" for number in range(2_000)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "in.parquet")
    server.latency = 0.02
    script = (
        "import pickle, sys; from asyncembed.parts import embed_part;"
        "spec = pickle.loads(bytes.fromhex(sys.argv[3]));"
        "embed_part(sys.argv[1], sys.argv[2], spec, chunk_size=20, max_concurrency=2)"
    )
    arguments = [str(tmp_path / "in.parquet"), str(tmp_path / "out.parquet"), pickle.dumps(spec).hex()]
    with subprocess.Popen([sys.executable, "-c", script, *arguments], env=os.environ) as worker:
        wait_until(lambda: server.ledger.requests > 20)
        worker.send_signal(signal.SIGKILL)
    server.latency = 0.0
    embed_part(tmp_path / "in.parquet", tmp_path / "out.parquet", spec)
    assert pq.read_table(tmp_path / "out.parquet").column("text").to_pylist() == texts
    # Two requests in flight, and what arrived in the last moment before the next write to the disk.
    assert sum(server.ledger.asked_again.values()) <= 20 * 2 + 20 * 8


@pytest.mark.parametrize(("arguments", "named"), [({"text": "body"}, "body"), ({"id": "number"}, "number")])
def test_a_column_that_is_not_there_is_named(sources, tmp_path, spec, server, arguments, named):
    with pytest.raises(ConfigurationError, match=named):
        embed_part(sources / "0.parquet", tmp_path / "v.parquet", spec, **arguments)
    assert server.ledger.requests == 0


def test_a_part_without_any_text_is_finished_once(tmp_path, spec, server):
    folder = tmp_path / "in"
    folder.mkdir()
    pq.write_table(pa.table({"text": pa.array([None, ""], pa.string())}), folder / "a.parquet")
    ((source, target),) = parts(folder, tmp_path / "out")
    assert embed_part(source, target, spec).saved == 0
    assert parts(folder, tmp_path / "out") == []
    assert server.ledger.requests == 0


def test_a_part_without_a_vector_is_left_if_it_has_texts(tmp_path, spec, server):
    folder = tmp_path / "in"
    folder.mkdir()
    pq.write_table(pa.table({"text": ["a", "b"]}), folder / "a.parquet")
    server.rules.append(Broken(after=0))
    (todo,) = parts(folder, tmp_path / "out")
    with pytest.raises(ServerError):
        embed_part(*todo, spec)
    assert parts(folder, tmp_path / "out") == [todo]


@pytest.mark.parametrize("part", ["all", "footer", "pages"])
def test_a_damaged_source_is_named(tmp_path, spec, part):
    source = tmp_path / "in.parquet"
    pq.write_table(pa.table({"text": [f"text {number}" for number in range(2_000)]}), source)
    whole = source.read_bytes()
    damaged = {"all": b"nope", "footer": whole[:-40], "pages": bytes(4_000) + whole[4_000:]}
    source.write_bytes(damaged[part])
    with pytest.raises(ConfigurationError, match=r"in\.parquet cannot be read as a Parquet file"):
        embed_part(source, tmp_path / "v.parquet", spec)


def test_a_source_that_is_not_there_is_told_as_usual(tmp_path, spec):
    with pytest.raises(FileNotFoundError):
        embed_part(tmp_path / "in.parquet", tmp_path / "v.parquet", spec)


def test_folders_are_checked(sources, tmp_path):
    with pytest.raises(ConfigurationError, match="must not be the folder"):
        parts(sources, sources)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match=r"no \.parquet"):
        parts(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(ConfigurationError, match="suffix"):
        parts(sources, tmp_path / "out", suffix=".csv")
