"""Other columns that are kept beside the vectors, and the types of ids, in each format of output."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.blocks import read

from asyncembed.sinks import FORMATS

ROWS = [
    {"id": 1, "text": "one", "lang": "de", "score": 1, "n": 7, "ok": True, "tags": ["a"], "mixed": 1, "big": 2**60},
    {
        "id": 2,
        "text": "two",
        "lang": None,
        "score": 0.5,
        "n": None,
        "ok": False,
        "tags": None,
        "mixed": "1",
        "big": 2**60 + 1,
    },
    {
        "id": 3,
        "text": "three",
        "lang": "en",
        "score": None,
        "n": -7,
        "ok": None,
        "tags": {"k": 1},
        "mixed": None,
        "big": 1,
    },
]
KEPT = [name for name in ROWS[0] if name not in {"id", "text"}]
KEEP = [word for name in KEPT for word in ("--keep-column", name)]


@pytest.fixture
def rows_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.mark.parametrize("suffix", FORMATS)
def test_columns_are_kept_in_every_format(run, threaded_server, openai, rows_file, tmp_path, suffix):
    out = tmp_path / f"v{suffix}"
    ended = run("embed", rows_file, "-o", out, *openai(threaded_server), *KEEP, "--chunk-size", 1)
    assert ended.code == 0, ended.err
    labels, _ = read(out)
    assert [(label.id, label.text) for label in labels] == [(row["id"], row["text"]) for row in ROWS]
    assert [label.metadata for label in labels] == [{name: row[name] for name in KEPT} for row in ROWS]


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_columns_have_the_type_of_their_values(run, threaded_server, openai, rows_file, tmp_path, suffix):
    out = tmp_path / f"v{suffix}"
    assert run("embed", rows_file, "-o", out, *openai(threaded_server), *KEEP).code == 0
    table = pq.read_table(out) if suffix == ".parquet" else pa.ipc.open_file(str(out)).read_all()
    table.validate(full=True)
    assert {field.name: str(field.type) for field in table.schema if field.name != "embedding"} == {
        "index": "int64",
        "id": "int64",
        "text": "string",
        "big": "int64",
        "lang": "string",
        "mixed": "string",
        "n": "int64",
        "ok": "bool",
        "score": "double",
        "tags": "string",
    }
    assert table["big"].to_pylist() == [2**60, 2**60 + 1, 1]
    assert table["mixed"].to_pylist() == ["1", '"1"', None]
    assert table["tags"].to_pylist() == ['["a"]', None, '{"k":1}']


@pytest.mark.parametrize(
    ("ids", "kind", "found"),
    [
        ([1, 2, -3], "int64", [1, 2, -3]),
        ([-(2**63), None, 2**63 - 1], "int64", [-(2**63), None, 2**63 - 1]),
        ([1, -(2**63) - 1], "string", ["1", str(-(2**63) - 1)]),
        ([1, 2**63, 2**128], "string", ["1", str(2**63), str(2**128)]),
        (["a", 1, "b"], "string", ["a", "1", "b"]),
        ([1, "1", "01"], "string", ["1", '"1"', '"01"']),
        ([2**70, str(2**70 - 1), None], "string", None),
        (["1", "2", "a"], "string", ["1", "2", "a"]),
    ],
)
def test_ids_are_whole_numbers_where_all_are_and_never_become_one(
    run, threaded_server, openai, tmp_path, ids, kind, found
):
    path, out = tmp_path / "x.jsonl", tmp_path / "v.parquet"
    path.write_text("".join(json.dumps({"id": id_, "text": f"t{place}"}) + "\n" for place, id_ in enumerate(ids)))
    assert run("embed", path, "-o", out, *openai(threaded_server), "--chunk-size", 1).code == 0
    column = pq.read_table(out)["id"]
    assert str(column.type) == kind
    assert len(set(column.to_pylist())) == len(ids)
    if found:
        assert column.to_pylist() == found
    assert run("embed", path, "-o", tmp_path / "v.npz", *openai(threaded_server)).code == 0
    array = np.load(tmp_path / "v.npz")["ids"]
    assert len(set(array.tolist())) == len(ids)


def test_columns_of_parquet_become_what_json_has(run, threaded_server, openai, tmp_path):
    when = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
    table = pa.table({
        "text": ["a"],
        "when": [when],
        "price": pa.array([Decimal("1.50")]),
        "u": pa.array([2**64 - 1], pa.uint64()),
        "nan": [float("nan")],
        "old": pa.array([b"utf-8 \xc3\xa4"], pa.binary()),
    })
    pq.write_table(table, tmp_path / "x.parquet")
    out = tmp_path / "v.jsonl"
    names = ["when", "price", "u", "nan", "old"]
    ended = run(
        "embed", tmp_path / "x.parquet", "-o", out, *openai(threaded_server), *(f"--keep-column={n}" for n in names)
    )
    assert ended.code == 0, ended.err
    row = json.loads(out.read_text())
    assert [row[name] for name in names] == [when.isoformat(), "1.50", str(2**64 - 1), None, "utf-8 ä"]


def test_a_resumed_run_with_other_columns_is_refused(run, threaded_server, openai, rows_file, tmp_path):
    options = [rows_file, "-o", tmp_path / "v.parquet", *openai(threaded_server)]
    assert run("embed", *options, "--keep-column", "lang").code == 0
    assert run("embed", *options, "--keep-column", "lang", "--resume").code == 0
    for other in ([], ["--keep-column", "score"], ["--keep-column", "lang", "--keep-column", "n"]):
        ended = run("embed", *options, *other, "--resume")
        assert (ended.code, "belongs to other texts" in ended.err) == (1, True)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("index", "reserved for a column of the output"),
        ("embedding", "reserved for a column"),
        ("text", "reserved for a column"),
        ("lang", "this name is the text or the id, which is kept anyway"),
        ("nothing", "there is no field 'nothing'"),
    ],
)
def test_columns_that_cannot_be_kept_are_refused_before_anything_is_sent(
    run, threaded_server, openai, rows_file, tmp_path, name, words
):
    options = [rows_file, "-o", tmp_path / "v.npy", *openai(threaded_server)]
    ended = run("embed", *options, "--id-field", "lang", "--keep-column", name)
    assert ended.code in {1, 2}
    assert words in ended.err
    assert threaded_server.asked == []


def test_a_kept_value_that_is_no_value_fails_with_its_row(run, threaded_server, openai, tmp_path):
    pq.write_table(
        pa.table({"text": ["a", "b"], "raw": pa.array([b"\xff", b"x"], pa.binary())}), tmp_path / "x.parquet"
    )
    options = [tmp_path / "x.parquet", "-o", tmp_path / "v.npy", *openai(threaded_server), "--keep-column", "raw"]
    ended = run("embed", *options, "--on-error", "skip")
    assert ended.code == 0, ended.err
    assert "x.parquet, row 1: field 'raw' is bytes" in ended.err
    assert "1 failed" in ended.err
