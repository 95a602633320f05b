"""The command line shows no key: not on the screen, not in its report, and not in the files it makes or leaves."""

from __future__ import annotations

import pytest
from support.scripted import KEY, refused, right

QUERY = "query-secret+1"


def lying_in(folder):
    """What all files of a folder hold, and their names."""
    return [(file.name, file.read_bytes().decode("latin-1")) for file in folder.rglob("*") if file.is_file()]


@pytest.mark.parametrize("name", ["v.npy", "v.parquet"])
def test_a_run_that_fails_and_goes_on(run, threaded_server, tmp_path, monkeypatch, name):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = threaded_server
    (tmp_path / "texts.txt").write_text("".join(f"text {number}\n" for number in range(12)))
    command = ["embed", tmp_path / "texts.txt", "-o", tmp_path / name, "--report", tmp_path / "run.html"]
    command += ["--provider", "openai", "--base-url", f"{server.url}/v1?key=query-secret%2B1", "--model", "m"]
    command += ["--chunk-size", "3", "--max-concurrency", "1"]
    server.script += [right, right, refused(402, f"wrong key {KEY}, {QUERY}, query-secret%2B1")]
    failed = run(*command)
    kept = lying_in(tmp_path)
    ended = [failed, run(*command, "--resume"), run("info", tmp_path / name)]
    assert [end.code for end in ended] == [1, 0, 0], ended
    assert "wrong key ***, ***, ***" in failed.err
    assert {"run.html", "run.json", "commits.jsonl"} <= {name for name, _ in kept}
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    everything = repr([ended, kept, lying_in(tmp_path)])
    assert not [secret for secret in (KEY, QUERY, "query-secret%2B1") if secret in everything]


def test_a_wrong_address(run, monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    (tmp_path / "texts.txt").write_text("a")
    url = "ftp://user:hidden@host/?key=hidden"
    ended = run("embed", tmp_path / "texts.txt", "-o", tmp_path / "v.npy", "--provider", "openai", "--base-url", url)
    assert ended.code == 2
    assert "***@host/?***" in ended.err
    assert "hidden" not in repr(ended)
