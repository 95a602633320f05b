"""`asyncembed providers`, and every provider from the command line against the fake server."""

from __future__ import annotations

import json

import numpy as np
import pytest

from asyncembed import PROVIDERS
from asyncembed.testing import FakeServer, vector_of

NEEDED = {
    "vertex": ["project=p", "location=l"],
    "bedrock-titan": ["region=r"],
    "bedrock-cohere": ["region=r"],
    "bedrock-nova": ["region=r"],
    "azure-openai": ["api_version=2024-10-21"],
}


@pytest.fixture
def server():
    fake = FakeServer(dimension=16, key="k")
    with fake.run_in_thread():
        yield fake


def test_the_table_has_every_provider(run):
    """Each on one line, with its key."""
    ended = run("providers")
    assert ended.code == 0
    heading, *lines = ended.out.splitlines()
    assert heading.split()[:3] == ["provider", "default", "model"]
    assert [line.split()[0] for line in lines] == list(PROVIDERS)
    assert "CO_API_KEY or COHERE_API_KEY" in lines[0]


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_provider_is_shown_with_its_models(run, name):
    ended = run("providers", name)
    assert ended.code == 0
    assert all(model in ended.out for model in PROVIDERS[name].models)
    assert PROVIDERS[name].path in ended.out


def test_a_provider_that_is_not_known_is_named(run):
    ended = run("providers", "coher")
    assert (ended.code, ended.out) == (2, "")
    assert "provider 'coher' is not known; use one of cohere, " in ended.err


@pytest.mark.parametrize("name", [name for name in PROVIDERS if name != "local"])
def test_every_provider_embeds_from_the_command_line(run, server, monkeypatch, tmp_path, name):
    kind = PROVIDERS[name]
    for variable in kind.key_variables[:1]:
        monkeypatch.setenv(variable, "k")
    server.key = "k" if kind.key_variables else None
    texts = tmp_path / "in.jsonl"
    texts.write_text('{"text": "a"}\n{"text": "b"}\n')
    out = tmp_path / "out.npy"
    model = kind.default_model or "m"
    settings = [part for setting in NEEDED.get(name, []) for part in ("--setting", setting)]
    base_url = server.url + ("/v1" if kind.path == "/embeddings" else "")
    ended = run(
        "embed", texts, "-o", out, "--provider", name, "--model", model, "--base-url", base_url, "-q", *settings
    )
    assert (ended.code, ended.err) == (0, "")
    assert np.array_equal(np.load(out), [vector_of("a", 16), vector_of("b", 16)])


def test_prompts_and_lengths_from_the_command_line(run, server, monkeypatch, tmp_path):
    server.key = None
    texts = tmp_path / "in.txt"
    texts.write_text("a\n")
    out = tmp_path / "out.jsonl"
    ended = run(
        "embed", texts, "-o", out, "--provider", "vllm", "--model", "m", "--base-url", f"{server.url}/v1",
        "--prompts", "e5", "--dimensions", 8, "--shorten", "client", "-q",
    )  # fmt: skip
    assert (ended.code, ended.err) == (0, "")
    vector = vector_of("passage: a", 16)[:8].astype(np.float64)
    (line,) = out.read_text().splitlines()
    assert np.allclose(json.loads(line)["embedding"], vector / np.linalg.norm(vector), atol=1e-7)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("region", "--setting 'region' must be written as name=value"),
        ("zone=1", "--setting zone is unknown to this provider; it has: region"),
    ],
)
def test_wrong_settings_are_refused(run, tmp_path, setting, words):
    texts = tmp_path / "in.txt"
    texts.write_text("a\n")
    ended = run("embed", texts, "-o", tmp_path / "o.npy", "--provider", "bedrock-titan", "--setting", setting)
    assert ended.code == 2
    assert words in ended.err
