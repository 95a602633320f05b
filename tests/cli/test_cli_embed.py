"""`asyncembed embed`: what comes out, where, and what is said about it."""

from __future__ import annotations

import json
import resource

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.blocks import read
from support.scripted import refused, refusing, vector_of

import asyncembed
from asyncembed import EmbedInput
from asyncembed.sinks import FORMATS, Fingerprint

TEXTS = [f"text {number}" for number in range(10)]


@pytest.fixture
def texts_file(tmp_path):
    """Ten texts, a text a line."""
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS) + "\n")
    return path


@pytest.fixture
def rows_file(tmp_path):
    """Two texts with ids."""
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": "a", "text": "one"}\n{"id": "b", "text": "two"}\n')
    return path


def fingerprint_of(pairs):
    fingerprint = Fingerprint()
    fingerprint.add(EmbedInput(text, id_) for id_, text in pairs)
    return fingerprint.hexdigest()


def expected(texts=TEXTS):
    return np.stack([vector_of(text) for text in texts])


def test_parquet_holds_everything_in_columns(run, threaded_server, openai, rows_file, tmp_path):
    out = tmp_path / "v.parquet"
    ended = run("embed", rows_file, "-o", out, *openai(threaded_server))
    assert ended.code == 0, ended.err
    table = pq.read_table(out)
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 8)
    assert table.select(["index", "id", "text"]).to_pylist() == [
        {"index": 0, "id": "a", "text": "one"},
        {"index": 1, "id": "b", "text": "two"},
    ]
    np.testing.assert_array_equal(np.stack(table["embedding"].to_numpy()), expected(["one", "two"]))
    assert json.loads(table.schema.metadata[b"asyncembed"]) == {
        "provider": "openai",
        "model": "scripted",
        "dtype": "float32",
        "input_type": None,
        "dimensions": None,
        "truncate": None,
        "long_text": None,
        "max_text_tokens": None,
        "extra": None,
        "prompt": None,
        "shorten": None,
        "normalize": None,
        "keep_text": True,
        "base_url": f"{threaded_server.url}/v1",
        "texts": 2,
        "fingerprint": fingerprint_of([("a", "one"), ("b", "two")]),
        "dimension": 8,
        "version": asyncembed.__version__,
    }


def test_npy_is_the_matrix_with_its_labels_beside_it(run, threaded_server, openai, rows_file, tmp_path):
    out = tmp_path / "v.npy"
    assert run("embed", rows_file, "-o", out, *openai(threaded_server)).code == 0
    np.testing.assert_array_equal(np.load(out), expected(["one", "two"]))
    labels = [orjson.loads(line) for line in (tmp_path / "v.npy.texts.jsonl").read_bytes().splitlines()]
    assert labels == [{"index": 0, "id": "a", "text": "one"}, {"index": 1, "id": "b", "text": "two"}]
    meta = orjson.loads((tmp_path / "v.npy.meta.json").read_bytes())
    assert (meta["model"], meta["dimension"], meta["rows"]) == ("scripted", 8, 2)


def test_jsonl_has_a_row_a_line(run, threaded_server, openai, rows_file, tmp_path):
    out = tmp_path / "v.jsonl"
    assert run("embed", rows_file, "-o", out, *openai(threaded_server)).code == 0
    rows = [orjson.loads(line) for line in out.read_bytes().splitlines()]
    assert [(row["index"], row["id"], row["text"]) for row in rows] == [(0, "a", "one"), (1, "b", "two")]
    np.testing.assert_array_equal(np.array([row["embedding"] for row in rows], np.float32), expected(["one", "two"]))
    assert orjson.loads((tmp_path / "v.jsonl.meta.json").read_bytes())["provider"] == "openai"


def test_one_line_at_the_end_says_how_it_went(run, threaded_server, openai, texts_file, tmp_path):
    threaded_server.script.append(refused(500, headers={"Retry-After": "0.01"}))
    ended = run("embed", texts_file, "-o", tmp_path / "v.npy", *openai(threaded_server))
    assert ended.err.startswith(f"10 texts embedded to {tmp_path / 'v.npy'} in ")
    assert ended.err.endswith(" texts/s), model scripted, 8 dimensions, 10 tokens, 1 retry (500), 0 failed\n")
    assert ended.err.count("\n") == 1
    assert ended.out == ""


def test_quiet_says_nothing(run, threaded_server, openai, texts_file, tmp_path):
    ended = run("embed", texts_file, "-o", tmp_path / "v.npy", "--quiet", *openai(threaded_server))
    assert (ended.code, ended.out, ended.err) == (0, "", "")


def test_options_reach_the_api(run, threaded_server, openai, texts_file, tmp_path):
    out = tmp_path / "v.parquet"
    run("embed", texts_file, "-o", out, *openai(threaded_server), "--chunk-size", 4, "--dimensions", 8)
    assert sorted(map(len, threaded_server.asked)) == [2, 4, 4]
    assert {request.body["dimensions"] for request in threaded_server.requests} == {8}
    assert json.loads(pq.read_schema(out).metadata[b"asyncembed"])["dimensions"] == 8


def test_an_unknown_suffix_is_refused_before_anything_is_sent(run, threaded_server, openai, texts_file, tmp_path):
    ended = run("embed", texts_file, "-o", tmp_path / "v.xlsx", *openai(threaded_server))
    assert ended.code == 2
    assert (
        "v.xlsx has the suffix .xlsx; the name of a file of vectors ends in .parquet, .npy, .npz, .arrow, .jsonl"
        in ended.err
    )
    assert threaded_server.requests == []


def test_an_existing_output_is_refused_unless_it_may_be_replaced(run, threaded_server, openai, texts_file, tmp_path):
    out = tmp_path / "v.npy"
    out.write_bytes(b"precious")
    ended = run("embed", texts_file, "-o", out, *openai(threaded_server))
    assert ended.code == 2
    assert f"{out} exists; replace it with --overwrite" in ended.err
    assert out.read_bytes() == b"precious"
    assert threaded_server.requests == []
    assert run("embed", texts_file, "-o", out, "--overwrite", *openai(threaded_server)).code == 0
    np.testing.assert_array_equal(np.load(out), expected())


def test_an_input_is_never_the_output(run, threaded_server, openai, rows_file):
    before = rows_file.read_bytes()
    ended = run("embed", rows_file, "-o", rows_file, "--overwrite", *openai(threaded_server))
    assert ended.code == 2
    assert "is an input" in ended.err
    assert rows_file.read_bytes() == before


def test_an_input_is_never_a_file_that_belongs_to_the_output(run, threaded_server, openai, texts_file, tmp_path):
    """As the texts beside a matrix are, which one may want to embed again."""
    out, texts = tmp_path / "v.npy", tmp_path / "v.npy.texts.jsonl"
    assert run("embed", texts_file, "-o", out, *openai(threaded_server)).code == 0
    before = texts.read_bytes()
    ended = run("embed", texts, "-o", out, "--overwrite", "--no-keep-text", *openai(threaded_server))
    assert ended.code == 2
    assert f"{texts} is an input; choose another name for the output" in ended.err
    assert texts.read_bytes() == before


@pytest.mark.parametrize("suffix", FORMATS)
def test_what_was_paid_for_before_an_error_is_kept_and_not_replaced_by_accident(
    run, threaded_server, openai, texts_file, tmp_path, suffix
):
    out, partial = tmp_path / f"v{suffix}", tmp_path / f"v{suffix}.partial"
    one_by_one = ("--chunk-size", 2, "--max-concurrency", 1, *openai(threaded_server))
    right = threaded_server.default
    threaded_server.script.extend([right, right, refused(402, "bad key sk-123")])
    ended = run("embed", texts_file, "-o", out, *one_by_one)
    assert ended.code == 1
    error, kept = ended.err.splitlines()
    assert error.startswith("Error: ")
    assert "402" in error
    assert kept == f"4 rows are kept in {partial}; continue with --resume"
    assert not out.exists()
    assert "rows        4\n" in run("info", partial / "vectors.npy").out

    again = run("embed", texts_file, "-o", out, *one_by_one)
    assert again.code == 2
    assert f"{partial} exists, from a run that was stopped" in again.err
    threaded_server.requests.clear()
    ended = run("embed", texts_file, "-o", out, "--resume", *one_by_one)
    assert ended.code == 0
    assert ended.err.endswith("0 failed; 4 of them in 1 earlier run\n")
    assert sorted(text for asked in threaded_server.asked for text in asked) == [f"text {n}" for n in range(4, 10)]
    assert not list(tmp_path.glob("*partial*"))
    _, matrix = read(out)
    np.testing.assert_array_equal(matrix, expected())

    threaded_server.requests.clear()
    ended = run("embed", texts_file, "-o", out, "--resume", *one_by_one)
    assert (ended.code, ended.err) == (0, f"{out} is already complete, with 10 texts; no request was sent\n")
    assert threaded_server.requests == []


def test_an_error_at_the_start_leaves_nothing_behind(run, threaded_server, openai, texts_file, tmp_path):
    threaded_server.default = refused(402, "no")
    ended = run("embed", texts_file, "-o", tmp_path / "v.parquet", *openai(threaded_server))
    assert ended.code == 1
    assert ended.err.splitlines()[-1] == "nothing is kept"
    assert list(tmp_path.iterdir()) == [texts_file]


def test_neither_key_nor_password_is_written_or_said(run, threaded_server, openai, texts_file, tmp_path, monkeypatch):
    url = f"{threaded_server.url}/v1"
    with_password = url.replace("http://", "http://user:hush@")
    ended = run("embed", texts_file, "-o", tmp_path / "v.npy", "--provider", "openai", "--base-url", with_password)
    assert ended.code == 0
    assert orjson.loads((tmp_path / "v.npy.meta.json").read_bytes())["base_url"] == url

    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    threaded_server.default = refused(402, "Incorrect key: sk-very-secret")
    failed = run("embed", texts_file, "-o", tmp_path / "w.npy", "--provider", "openai", "--base-url", url)
    assert threaded_server.requests[-1].headers["authorization"] == "Bearer sk-very-secret"
    assert failed.code == 1
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir()).decode("latin-1")
    for secret in ("sk-very-secret", "hush"):
        assert secret not in ended.err + failed.err + written


def test_skip_leaves_out_what_fails_and_says_so(run, threaded_server, openai, texts_file, tmp_path):
    out = tmp_path / "v.parquet"
    threaded_server.default = refusing(TEXTS[3:6], "too long for the model")
    options = ("--chunk-size", 3, "--max-concurrency", 1, *openai(threaded_server))
    ended = run("embed", texts_file, "-o", out, "--on-error", "skip", *options)
    assert ended.code == 0
    assert pq.read_table(out)["index"].to_pylist() == [0, 1, 2, 6, 7, 8, 9]
    warning, line = ended.err.splitlines()
    assert warning.startswith("3 texts failed, the first with index 3: ")
    assert "too long for the model" in warning
    assert line.endswith("3 failed")


def test_a_run_in_which_everything_fails_is_a_failure(run, threaded_server, openai, texts_file, tmp_path):
    threaded_server.default = refused(400, "the text is too long")
    ended = run("embed", texts_file, "-o", tmp_path / "v.npy", "--on-error", "skip", *openai(threaded_server))
    assert ended.code == 1
    assert "Error: nothing was written" in ended.err


def test_an_input_without_texts_is_an_error(run, threaded_server, openai, tmp_path):
    empty = tmp_path / "empty.txt"
    empty.write_text("\n \n")
    ended = run("embed", empty, "-o", tmp_path / "v.npy", *openai(threaded_server))
    assert ended.code == 1
    assert f"{empty} contains no text; nothing was written" in ended.err
    assert not (tmp_path / "v.npy").exists()


def test_a_full_disk_is_a_plain_error(run, threaded_server, openai, texts_file, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        ended = run("embed", texts_file, "-o", tmp_path / "v.jsonl", *openai(threaded_server))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert ended.code == 1
    assert "File too large" in ended.err
    assert "Traceback" not in ended.err
    assert not (tmp_path / "v.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--provider", "nobody"], "--provider 'nobody' is not known"),
        (["--provider", "openai"], "set OPENAI_API_KEY"),
        (["--provider", "local", "--max-memory", "0"], "--max-memory 0.0 must be a number above 0"),
        *(
            (
                ["--provider", "local", f"--{name}-per-minute", value],
                f"--{name}-per-minute {value} must be a number above 0",
            )
            for name in ("requests", "inputs", "tokens")
            for value in ("0.0", "-1.5", "nan")
        ),
        (["--provider", "openai", "--base-url", "ftp://x"], "is not an http:// or https:// address"),
        (["--provider", "openai", "--base-url", "http://127.0.0.1:1/v1", "--dtype", "int8"], "--dtype 'int8' is not"),
    ],
)
def test_wrong_settings_are_found_before_anything_happens(run, texts_file, tmp_path, arguments, message):
    ended = run("embed", texts_file, "-o", tmp_path / "v.npy", *arguments)
    assert ended.code == 2
    assert message in ended.err
    assert list(tmp_path.iterdir()) == [texts_file]


def test_a_folder_that_cannot_be_written_is_found_before_anything_is_sent(
    run, threaded_server, openai, texts_file, tmp_path
):
    ended = run("embed", texts_file, "-o", tmp_path / "nowhere" / "v.npy", *openai(threaded_server))
    assert ended.code == 2
    assert "cannot be written: No such file or directory" in ended.err
    assert threaded_server.requests == []
