"""The books of all runs of a file: in the last line, beside the file, in `info`, and in the report. Sums add up."""

from __future__ import annotations

import html.parser
import re

import orjson
import pytest
from support.scripted import refused, refusing

from asyncembed.sinks import FORMATS

COUNT, CHUNK = 200, 10
BAD = [f"text {number}" for number in (13, 14, 155)]


class Tables(html.parser.HTMLParser):
    """The rows of a report's tables, and the class of its outcome."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: dict[str, str] = {}
        self.outcome = ""
        self._name = self._value = ""
        self._tag = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self._tag = tag
        if (given := dict(attrs).get("class") or "").startswith("outcome"):
            self.outcome = given

    def handle_data(self, data):
        if self._tag == "th":
            self._name = data
        elif self._tag == "td":
            self.rows[self._name] = data

    def handle_endtag(self, tag):
        self._tag = ""

    def __getitem__(self, name):
        return int(self.rows[name].replace(",", ""))


@pytest.fixture
def texts_file(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"text {number}\n" for number in range(COUNT)))
    return path


@pytest.fixture
def embed(run, threaded_server, openai, texts_file, tmp_path):
    """Run the command, with a report, and return how it ended."""
    threaded_server.default = refusing(BAD, "too long")

    def embed(out, *options):
        fixed = ("--chunk-size", CHUNK, "--max-concurrency", 1, "--on-error", "skip", "--report", tmp_path / "r.html")
        return run("embed", texts_file, "-o", out, *fixed, *options, *openai(threaded_server))

    return embed


def books(out):
    return orjson.loads(out.with_name(f"{out.name}.run.json").read_bytes())


def broken_off(server, embed, out):
    """Run until the key is refused: two texts have failed by then, and one request was tried again."""
    right = server.default
    refusals = [refused(401, "no more")] * 2
    server.script.extend([refused(500, headers={"Retry-After": "0.01"}), *[right] * 9, *refusals])
    assert embed(out).code == 1
    assert not server.script


def facts(run, path):
    lines = run("info", path).out.splitlines()
    return {line[:12].strip(): line[12:] for line in lines}


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_books_of_two_runs_add_up(run, embed, threaded_server, tmp_path, suffix):
    out, server = tmp_path / f"v{suffix}", threaded_server
    broken_off(server, embed, out)
    first = len(server.requests)
    ended = embed(out, "--resume")
    assert ended.code == 0, ended.err
    told = books(out)
    served = COUNT - len(BAD)
    billed = served + sum(request.texts == ["hello"] for request in server.requests)  # which settled who was to blame
    assert (told["runs"], told["texts"], told["rows"], told["failed"]) == (2, COUNT, served, 3)
    assert (told["requests"], told["tokens"]) == (len(server.requests), billed)
    assert told["requests"] > first
    assert told["retries"] >= 1
    failure = told["first_failure"]
    assert (failure["index"], failure["error"], failure["status"]) == (13, "InvalidInputError", 400)
    warning, line = ended.err.splitlines()
    assert warning.startswith("3 texts failed, the first with index 13: ")
    before = re.search(r"; (\d+) of them in 1 earlier run$", line)
    assert f"{served} texts embedded to {out}" in line
    assert f"{billed} tokens, {told['retries']} retries, 3 failed;" in line
    found = facts(run, out)
    assert found["runs"].startswith("2, ")
    assert (found["requests"], found["tokens"]) == (f"{told['requests']}, {told['retries']} retries", str(billed))
    assert found["failed"].startswith("3, the first with index 13: InvalidInputError: ")
    report = Tables((tmp_path / "r.html").read_text())
    assert report["texts in the input"] == report["rows saved"] + report["failed"] + report["texts left"]
    assert report["rows saved"] == report["embedded in this run"] + report["embedded in earlier runs"]
    assert report["embedded in earlier runs"] == int(before[1])
    assert (report["failed"], report["requests"], report["tokens billed"]) == (3, told["requests"], billed)
    assert f"{first} requests" in report.rows["earlier runs"]
    assert report.outcome == "outcome bad"
    assert ">finished, with failures<" in (tmp_path / "r.html").read_text()


def test_a_run_without_failures_is_green(embed, threaded_server, tmp_path):
    threaded_server.default = refusing([])
    assert embed(tmp_path / "v.npy").code == 0
    report = Tables((tmp_path / "r.html").read_text())
    assert report.outcome == "outcome good"
    assert report.rows["earlier runs"] == "none"
    assert report["embedded in this run"] == report["texts in the input"] == COUNT


def test_info_shows_a_file_in_the_making(run, embed, threaded_server, tmp_path):
    out = tmp_path / "v.parquet"
    broken_off(threaded_server, embed, out)
    for path in (out, tmp_path / "v.parquet.partial"):
        found = facts(run, path)
        assert found["folder"] == str(tmp_path / "v.parquet.partial")
        assert found["state"] == "stopped; continue with --resume"
        rows, settled = int(found["rows"]), int(found["texts"].split()[0])
        assert settled == rows + 2
        probes = sum(request.texts == ["hello"] for request in threaded_server.requests)
        assert (found["tokens"], found["dimension"], found["model"]) == (str(rows + probes), "8", "scripted")
        assert found["runs"].startswith("1, ")
        assert found["failed"].startswith("2, the first with index 13")
    report = Tables((tmp_path / "r.html").read_text())
    assert report["texts in the input"] == report["rows saved"] + report["failed"] + report["texts left"]
    assert report["texts left"] == COUNT - settled


def test_info_on_what_another_version_left_names_it(run, embed, threaded_server, tmp_path):
    out = tmp_path / "v.npy"
    broken_off(threaded_server, embed, out)
    note = tmp_path / "v.npy.partial" / "run.json"
    fields = orjson.loads(note.read_bytes())
    note.write_bytes(orjson.dumps({**fields, "journal": 99}))
    ended = run("info", out)
    assert ended.code == 1
    assert "has a journal of format 99, which this version does not know" in ended.err


def test_the_books_of_a_file_that_has_gone_are_replaced(embed, tmp_path):
    out = tmp_path / "v.parquet"
    assert embed(out).code == 0
    out.unlink()
    assert embed(out).code == 0
    assert books(out)["runs"] == 1
    out.unlink()
    (tmp_path / "v.parquet.run.json").write_text('{"mine": 1}')
    ended = embed(out)
    assert ended.code == 2
    assert "v.parquet.run.json exists; replace it with --overwrite" in ended.err
    assert embed(out, "--overwrite").code == 0
    assert books(out)["runs"] == 1


def test_the_books_stay_as_they_are_when_nothing_is_left_to_do(embed, threaded_server, tmp_path):
    out = tmp_path / "v.npy"
    assert embed(out).code == 0
    before, asked = books(out), len(threaded_server.requests)
    ended = embed(out, "--resume")
    assert (ended.code, len(threaded_server.requests), books(out)) == (0, asked, before)
    assert "is already complete, with 197 texts; no request was sent" in ended.err
