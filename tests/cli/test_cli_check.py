"""`asyncembed check` and `search` where the API cannot be reached: they end soon, and say what to look at."""

from __future__ import annotations

import pytest
from support.scripted import refused

HINT = "Nothing listens at this address: is the server running?"
NOBODY = ("--provider", "openai", "--base-url", "http://127.0.0.1:9/v1", "--model", "m")


def test_a_server_that_does_not_run(run):
    ended = run("check", *NOBODY)
    assert ended.code == 1
    error, hint = ended.err.splitlines()
    assert "(3 attempts in " in error
    assert "texts[0]" not in error
    assert hint == HINT


def test_a_socket_that_nobody_made(run, tmp_path):
    url = f"http+unix://{str(tmp_path / 'none.sock').replace('/', '%2F')}/v1"
    ended = run("check", "--provider", "vllm", "--base-url", url, "--model", "m", "--max-attempts", 1)
    assert ended.err.splitlines()[1:] == [HINT]


@pytest.fixture
def vectors(run, threaded_server, openai, tmp_path):
    """The address of a server, and places with vectors from it."""
    rows = tmp_path / "rows.csv"
    rows.write_text("id,text\n1,one\n")
    places = {"file": tmp_path / "v.npy", "store": f"sqlite:{tmp_path / 'v.db'}#docs"}
    for kind, place in places.items():
        assert run("embed", rows, "--to" if kind == "store" else "-o", place, *openai(threaded_server)).code == 0
    return places


@pytest.mark.parametrize("command", ["check", "file", "store"])
@pytest.mark.parametrize("attempts", [None, 1])
def test_the_number_of_attempts(run, threaded_server, openai, vectors, command, attempts):
    """Few, because a person waits; as many as asked for."""
    threaded_server.requests.clear()
    threaded_server.default = refused(503, "starting")
    options = (*openai(threaded_server), *(() if attempts is None else ("--max-attempts", attempts)))
    ended = run("check", *options) if command == "check" else run("search", vectors[command], "one", *options)
    assert ended.code == 1
    assert HINT not in ended.err
    assert len(threaded_server.requests) == (attempts or 3)
