"""`asyncembed embed --…-per-minute`: what is declared on the command line holds on the wire."""

from __future__ import annotations

import time

import numpy as np
import pytest
from support.limits import RollingWindow
from support.scripted import refused, right, vector_of

from asyncembed import _ratelimit as _rate

SHORT = 1.0
LIMIT = 8
TEXTS = [f"text {number}" for number in range(12)]  # a minute and a half's worth, a text a request
COSTS = {
    "--requests-per-minute": lambda request: 1,
    "--inputs-per-minute": lambda request: len(request.texts),
    "--tokens-per-minute": lambda request: len(request.texts),  # as the answers of this server say
}


@pytest.fixture
def texts_file(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS))
    return path


@pytest.fixture
def embed(run, threaded_server, openai, texts_file, tmp_path):
    """Embed the texts, each in a request of its own."""

    def embed(*arguments):
        ended = run(
            "embed", texts_file, "-o", tmp_path / "v.npy", "--chunk-size", 1, *openai(threaded_server), *arguments
        )
        assert ended.code == 0, ended.err
        np.testing.assert_array_equal(np.load(tmp_path / "v.npy"), np.stack([vector_of(text) for text in TEXTS]))

    return embed


@pytest.fixture
def enforce(threaded_server):
    """Have the server refuse what exceeds a limit; return the statuses as they come."""

    def enforce(cost):
        statuses, window = [], RollingWindow(LIMIT, 0.75 * SHORT)

        async def reply(exchange):
            is_let = window.take(cost(exchange.request), time.monotonic())
            statuses.append(200 if is_let else 429)
            await (right if is_let else refused(429, headers={"Retry-After": "0.01"}))(exchange)

        threaded_server.default = reply
        return statuses

    return enforce


@pytest.mark.parametrize("option", COSTS)
def test_a_server_that_enforces_the_limit_refuses_nothing(embed, enforce, monkeypatch, option):
    """With minutes of a second; the server's are shorter, by as much as a busy machine may hold up a request."""
    monkeypatch.setattr(_rate, "PERIOD", SHORT)
    statuses = enforce(COSTS[option])
    embed(option, LIMIT)
    assert statuses == [200] * len(TEXTS)


def test_the_report_shows_what_was_declared_and_nothing_else(embed, tmp_path):
    page = tmp_path / "run.html"
    embed("--report", page, "--inputs-per-minute", 3_000)
    assert "<th scope=row>inputs per minute</th><td>3000.0</td>" in page.read_text()
    assert "requests per minute" not in page.read_text()
    embed("--report", page, "--overwrite")
    assert "per minute" not in page.read_text()


def test_the_help_names_them(run):
    shown = run("embed", "--help").out
    assert all(option in shown for option in COSTS)


def test_no_rate_limit_contradicts_a_declared_one(run, threaded_server, openai, texts_file, tmp_path):
    """Nothing is sent."""
    ended = run(
        "embed",
        texts_file,
        "-o",
        tmp_path / "v.npy",
        "--no-rate-limit",
        "--inputs-per-minute",
        5,
        *openai(threaded_server),
    )
    assert ended.code != 0
    assert "--no-rate-limit contradicts --inputs-per-minute; leave out one of them" in ended.err
    assert not threaded_server.requests


def test_no_rate_limit_ignores_what_headers_state(embed, threaded_server):
    named = {"limit": "1", "remaining": "0", "reset": "60s"}
    stated = {f"x-ratelimit-{name}-requests": value for name, value in named.items()}

    async def reply(exchange):
        await exchange.answer(b"".join(exchange.request.pieces), headers=stated)

    threaded_server.default = reply
    embed("--no-rate-limit")
    assert len(threaded_server.requests) == len(TEXTS)
