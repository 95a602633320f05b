"""`asyncembed embed --to`."""

from __future__ import annotations

import gzip
import json
import sqlite3

import pyarrow as pa
import pyarrow.parquet as pq
import pytest


@pytest.fixture
def rows_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"id": f"r{n}", "text": f"text {n}"}) + "\n" for n in range(30)))
    return path


def test_rows_go_into_a_table_and_the_same_command_asks_for_nothing_more(run, rows_file, tmp_path):
    store = f"sqlite:{tmp_path / 'v.db'}#docs"
    ended = run("embed", rows_file, "--to", store)
    assert ended.code == 0, ended.err
    assert "30 texts embedded to SqliteVectors(" in ended.err
    database = sqlite3.connect(tmp_path / "v.db")
    assert database.execute("select count(*), min(text) from docs").fetchone() == (30, "text 0")
    database.close()
    again = run("embed", rows_file, "--to", store)
    assert again.code == 0
    assert "is already complete, with 30 texts; no request was sent" in again.err


def test_changed_rows_are_counted_apart_from_those_that_were_there(run, rows_file, tmp_path):
    store = f"sqlite:{tmp_path / 'v.db'}#docs"
    run("embed", rows_file, "--to", store)
    rows_file.write_text(rows_file.read_text().replace('"text 3"', '"text three"'))
    ended = run("embed", rows_file, "--to", store)
    assert "1 failed" not in ended.err
    assert "1 text embedded to SqliteVectors(" in ended.err
    assert "29 texts were in the store already" in ended.err


@pytest.mark.parametrize("compressed", [False, True])
def test_repeated_ids_are_counted(run, tmp_path, compressed):
    """Also of rows that the event loop waits for."""
    path = tmp_path / "rows.parquet"
    pq.write_table(
        pa.table({"id": [n % 2_000 for n in range(2_003)], "text": [f"text {n}" for n in range(2_003)]}), path
    )
    if compressed:
        path = path.with_suffix(".parquet.gz")
        path.write_bytes(gzip.compress(path.with_suffix("").read_bytes()))
    ended = run("embed", path, "--to", f"sqlite:{tmp_path / 'v.db'}#docs")
    assert ended.code == 0, ended.err
    assert "3 rows had the id of another row; the last row with an id stays" in ended.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "either --output FILE or --to STORE"),
        (["--to", "sqlite:v.db", "-o", "v.npy"], "either --output FILE or --to STORE"),
        (["--to", "sqlite:v.db", "--overwrite"], "--overwrite is for files"),
        (["--to", "mysql://u:s3cret@h"], "a store is one of"),
    ],
)
def test_wrong_use_is_told(run, rows_file, arguments, said):
    ended = run("embed", rows_file, *arguments)
    assert ended.code == 2
    assert said in " ".join(ended.err.split())
    assert "s3cret" not in ended.err


def test_a_password_is_neither_shown_nor_reported(run, rows_file, tmp_path):
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    report = tmp_path / "report.html"
    ended = run("embed", rows_file, "--to", "postgresql://me:s3cret-pw@127.0.0.1:1/db#docs", "--report", report)
    assert ended.code == 1
    assert "no connection for PgVector(public.docs)" in ended.err
    assert "s3cret-pw" not in ended.err + ended.out + report.read_text()


def test_rows_without_an_id_are_told_what_is_missing(run, tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("one\ntwo\n")
    ended = run("embed", path, "--to", f"sqlite:{tmp_path / 'v.db'}#docs")
    assert ended.code == 2
    assert "texts.txt is plain text, which has no ids, and a store needs them; use CSV, JSONL or Parquet" in ended.err
    assert list(tmp_path.iterdir()) == [path]
    rows = tmp_path / "rows.csv"
    rows.write_text("doc,text\n1,one\n")
    ended = run("embed", rows, "--to", f"sqlite:{tmp_path / 'v.db'}#docs")
    assert "texts[0] has no id, which a store needs; name the field or column with --id-field" in ended.err
    assert run("embed", rows, "--to", f"sqlite:{tmp_path / 'v.db'}#docs", "--id-field", "doc").code == 0


def test_a_query_finds_its_row(run, tmp_path):
    path = tmp_path / "rows.jsonl"
    texts = ["the cat sleeps on the sofa", "the bank raised its rates", "a bridge over the river"]
    path.write_text("".join(json.dumps({"id": n, "text": text}) + "\n" for n, text in enumerate(texts)))
    store = f"sqlite:{tmp_path / 'v.db'}#docs"
    run("embed", path, "--to", store)
    ended = run("search", store, "kitten on a couch", "--json", "-k", 1)
    assert ended.code == 0, ended.err
    (hit,) = json.loads(ended.out)
    assert (hit["id"], hit["text"]) == (0, texts[0])
    assert run("search", f"sqlite:{tmp_path / 'none.db'}#docs", "x").code == 2


@pytest.mark.parametrize("kind", ["sqlite", "lancedb"])
def test_info_says_what_a_store_holds(run, rows_file, tmp_path, kind):
    if kind == "lancedb":
        pytest.importorskip("lancedb", reason="lancedb is not installed")
    store = f"{kind}:{tmp_path / 'store'}#docs"
    assert run("info", store).code == 2
    run("embed", rows_file, "--to", store)
    ended = run("info", store)
    assert ended.code == 0, ended.err
    found = dict(line.split(maxsplit=1) for line in ended.out.splitlines() if not line.startswith("input type"))
    assert (found["rows"], found["provider"], found["dtype"]) == ("30", "local", "float32")
    assert int(found["dimension"]) > 0
    assert "docs" in found["store"]


def test_info_shows_no_password(run):
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    ended = run("info", "postgresql://me:s3cret-pw@127.0.0.1:1/db#docs")
    assert ended.code == 1
    assert "no connection for PgVector(public.docs)" in ended.err
    assert "s3cret-pw" not in ended.err + ended.out


@pytest.mark.parametrize("command", [["info"], ["search"]])
def test_what_is_no_database_is_told(run, tmp_path, command):
    (tmp_path / "v.db").write_text("not a database, but a text that is long enough to be looked at " * 100)
    ended = run(*command, f"sqlite:{tmp_path / 'v.db'}#docs", *(["x"] if command == ["search"] else []))
    assert ended.code == 2
    assert "cannot be opened" in ended.err


def test_a_wrong_row_is_skipped_where_that_is_asked(run, rows_file, tmp_path):
    rows_file.write_text(rows_file.read_text() + '{"id": "bad", "text": 7}\n{"text": "no id"}\n')
    store = f"sqlite:{tmp_path / 'v.db'}#docs"
    assert run("embed", rows_file, "--to", store).code != 0
    ended = run("embed", rows_file, "--to", store, "--on-error", "skip")
    assert "2 texts failed" in ended.err
    assert dict(line.split(maxsplit=1) for line in run("info", store).out.splitlines()[:3])["rows"] == "30"
