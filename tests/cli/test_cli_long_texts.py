"""`embed --long-text truncate` embeds the start of a text that is too long, and says how many there were."""

from __future__ import annotations

import json

import pytest

from asyncembed.testing import FakeServer, faults

LONG = "a very long text " * 1_000


@pytest.fixture
def server():
    rule = faults.ServiceError(service="openai", meaning="long text", most=512)
    with FakeServer(dimension=8, rules=[rule]).run_in_thread() as running:
        yield running


def test_long_texts_are_cut_and_counted(run, server, openai, tmp_path):
    texts, out, report = tmp_path / "texts.txt", tmp_path / "v.jsonl", tmp_path / "report.html"
    texts.write_text(f"one\n{LONG}\ntwo\n")
    options = ["--long-text", "truncate", "--max-text-tokens", "512", "--report", report]
    ended = run("embed", texts, "-o", out, *options, *openai(server))
    assert ended.code == 0, ended.err
    assert ", 1 text truncated" in ended.err
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["truncated"] for row in rows] == [
        False,
        True,
        False,
    ]
    assert "texts cut because they were too long" in report.read_text()
    told = run("info", out)
    assert "truncated" in told.out
    assert json.loads((tmp_path / "v.jsonl.run.json").read_text())["truncated"] == 1


def test_without_the_option_they_fail(run, server, openai, tmp_path):
    texts, out = tmp_path / "texts.txt", tmp_path / "v.jsonl"
    texts.write_text(f"one\n{LONG}\ntwo\n")
    ended = run("embed", texts, "-o", out, "--on-error", "skip", *openai(server))
    assert ", 1 failed" in ended.err
    assert [json.loads(line)["text"] for line in out.read_text().splitlines()] == ["one", "two"]
