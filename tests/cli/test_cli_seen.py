"""What a person gets to see: hints instead of riddles, reasons beside counts, and every character that fits."""

from __future__ import annotations

import json
import os

import orjson
import pytest
from support.scripted import refused

ENCODINGS = ["utf-8", "gbk", "ascii"]
ROWS = [{"id": "k1", "text": "party \U0001f600 tonight"}, {"id": "k2", "text": "\u6f22\u5b57 caf\u00e9"}]


@pytest.fixture
def rows_file(tmp_path):
    """Texts with characters that many consoles lack."""
    path = tmp_path / "r\u00f6ws.jsonl"
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in ROWS))
    return path


@pytest.fixture
def spoken(start, monkeypatch):
    """Run a command whose console has an encoding, and return its end and the bytes that it wrote."""

    async def run(encoding, *arguments):
        monkeypatch.setenv("PYTHONIOENCODING", encoding)
        monkeypatch.setenv("PYTHONUTF8", "0")
        process = await start(*arguments)
        out, err = await process._process.communicate()
        assert b"Traceback" not in err, err.decode("latin-1")
        return process._process.returncode, out.decode(encoding), err.decode(encoding)

    return run


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_no_console_ends_a_command(spoken, rows_file, tmp_path, encoding):
    """Neither texts, nor names of files, nor errors, nor the help; and JSON has the same texts on each."""
    out = tmp_path / "v\u00e9ct\u00f6rs \u6f22.parquet"
    code, _, err = await spoken(encoding, "embed", rows_file, "-o", out)
    assert (code, "2 texts embedded to" in err) == (0, True)
    code, table, _ = await spoken(encoding, "search", out, "party")
    assert (code, "k1" in table, "k2" in table) == (0, True, True)
    assert ("\U0001f600" in table) is (encoding == "utf-8")
    code, shown, _ = await spoken(encoding, "search", out, "party", "--json")
    assert code == 0
    assert {hit["text"] for hit in json.loads(shown)} == {row["text"] for row in ROWS}
    code, shown, _ = await spoken(encoding, "info", out)
    assert (code, "rows        2" in shown) == (0, True)
    code, _, err = await spoken(encoding, "embed", tmp_path / "\u6f22.txt", "-o", out, "--overwrite")
    assert code in {1, 2}
    assert err.startswith("Error: ")
    assert (await spoken(encoding, "embed", "--help"))[0] == 0


@pytest.mark.parametrize(
    "command",
    [
        ["embed", "{rows}", "-o", "{out}"],
        ["embed", "{rows}", "-o", "{out}", "--provider", "local"],
        ["check"],
    ],
)
def test_an_address_for_the_embedded_server_is_refused(run, rows_file, tmp_path, command):
    """It is a slip: the server at that address has another API, which has to be named."""
    arguments = [part.format(rows=rows_file, out=tmp_path / "v.npy") for part in command]
    ended = run(*arguments, "--base-url", "http://127.0.0.1:1/v1")
    assert ended.code == 2
    assert "--base-url cannot be combined with --provider local" in ended.err
    assert "--provider openai" in ended.err
    assert not list(tmp_path.glob("v.npy*"))


def test_a_file_of_the_embedded_model_is_not_searched_elsewhere(run, rows_file, tmp_path):
    """Unless a provider is named."""
    out = tmp_path / "v.npy"
    assert run("embed", rows_file, "-o", out).code == 0
    ended = run("search", out, "party", "--base-url", "http://127.0.0.1:1/v1")
    assert ended.code == 2
    assert "--base-url cannot be combined with --provider local" in ended.err


@pytest.mark.parametrize(("provider", "variable"), [("openai", "OPENAI_API_KEY"), ("cohere", "CO_API_KEY")])
def test_a_missing_key_is_named_by_its_variable(run, threaded_server, rows_file, tmp_path, provider, variable):
    """At the provider's own address before anything is sent, and elsewhere when a server wants one."""
    ended = run("embed", rows_file, "-o", tmp_path / "v.npy", "--provider", provider)
    assert (ended.code, f"set {variable}" in ended.err) == (2, True)
    threaded_server.default = refused(401, "Unauthorized")
    for command in (["embed", rows_file, "-o", tmp_path / "v.npy"], ["check"]):
        ended = run(*command, "--provider", provider, "--base-url", f"{threaded_server.url}/v1")
        assert (ended.code, f"no key was sent; set {variable}" in ended.err) == (1, True), ended.err


def test_a_provider_without_a_variable_for_its_key_has_a_way_out(run, threaded_server):
    """Servers of one's own may want a key all the same."""
    threaded_server.default = refused(401, "Unauthorized")
    command = ["check", "--base-url", f"{threaded_server.url}/v1", "--model", "m", "--provider"]
    ended = run(*command, "vllm")
    assert (ended.code, "--provider custom and set EMBED_API_KEY" in ended.err) == (1, True), ended.err
    assert "no key was sent; set EMBED_API_KEY" in run(*command, "custom").err


def test_the_reason_of_retries_is_said_beside_their_count(run, threaded_server, openai, rows_file, tmp_path):
    """At the end, too."""
    wait = {"Retry-After": "0"}
    threaded_server.script.extend([refused(503, "loading", headers=wait), refused(429, "slow down", headers=wait)])
    ended = run("embed", rows_file, "-o", tmp_path / "v.npy", *openai(threaded_server))
    assert ended.code == 0
    assert "2 retries (429, 503), 0 failed" in ended.err


def test_info_reads_what_is_in_the_making(run, threaded_server, openai, rows_file, tmp_path):
    """By the name of the file, and by that of its folder."""
    out = tmp_path / "v.npy"
    threaded_server.script.append(threaded_server.default)
    threaded_server.default = refused(400, "no", param="model")
    ended = run("embed", rows_file, "-o", out, *openai(threaded_server), "--chunk-size", 1, "--max-concurrency", 1)
    assert ended.code == 1
    for name in (out, f"{out}.partial", f"{out}.partial{os.sep}"):
        ended = run("info", name)
        assert ended.code == 0, ended.err
        assert "stopped; continue with --resume" in ended.out
