"""`asyncembed embed --max-tokens` and `--max-cost`: an orderly end, and a run that goes on with a higher cap."""

from __future__ import annotations

import numpy as np
import pytest

from asyncembed.testing import FakeServer, tokens_of, vector_of

TEXTS = [f"the text with the number {number}, and some more words" for number in range(500)]
ALL = sum(map(tokens_of, TEXTS))


@pytest.fixture
def fake():
    with FakeServer(dimension=8).run_in_thread() as server:
        yield server


@pytest.fixture
def embed(run, fake, tmp_path):
    texts, output = tmp_path / "texts.txt", tmp_path / "v.npy"
    texts.write_text("\n".join(TEXTS))
    options = ("--provider", "openai", "--base-url", f"{fake.url}/v1", "--price", 100, "--chunk-size", 50)
    return lambda *more: run("embed", texts, "-o", output, *options, *more)


def test_a_run_ends_at_the_cap_and_goes_on_with_a_higher_one(embed, run, fake, tmp_path):
    report = tmp_path / "report.html"
    ended = embed("--max-tokens", ALL // 2)
    assert ended.code == 1
    assert f"--max-tokens {ALL // 2} is reached" in ended.err
    assert "--resume" in ended.err
    assert 0.9 * ALL / 2 <= fake.ledger.billed_tokens <= ALL / 2
    ended = embed("--resume", "--max-cost", 100 * ALL / 1_000_000 + 0.01, "--report", report)
    assert ended.code == 0, ended.err
    cost = f"${100 * ALL / 1_000_000:.4f}"
    assert f"{ALL:,} tokens for {cost}" in ended.err
    np.testing.assert_array_equal(np.load(tmp_path / "v.npy"), [vector_of(text) for text in TEXTS])
    assert not fake.ledger.asked_again
    assert f"<b>{cost}</b><span>cost</span>" in report.read_text()
    assert cost in run("info", tmp_path / "v.npy").out


def test_money_needs_a_price(run, fake, tmp_path):
    (tmp_path / "texts.txt").write_text("one")
    ended = run(
        *("embed", tmp_path / "texts.txt", "-o", tmp_path / "v.npy", "--max-cost", 1),
        *("--provider", "openai", "--base-url", f"{fake.url}/v1"),
    )
    assert ended.code == 2
    assert "--price" in ended.err
