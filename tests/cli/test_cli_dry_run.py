"""`asyncembed embed --dry-run`: a plain table of what the command would take; nothing is sent, and nothing is made."""

from __future__ import annotations

import pytest

TEXTS = [f"the text with the number {number}" for number in range(1_000)]


@pytest.fixture
def texts_file(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n".join([*TEXTS, *TEXTS[:100]]))
    return path


def table(ended) -> dict[str, str]:
    assert ended.code == 0, ended.err
    return {line[:12].strip(): line[12:] for line in ended.out.splitlines()}


def test_it_says_what_it_would_take(run, texts_file, tmp_path):
    """No key is needed for that; the price has a date."""
    facts = table(run("embed", texts_file, "--dry-run", "--provider", "openai", "--chunk-size", 100))
    assert facts["model"] == "text-embedding-3-small of openai"
    assert (facts["texts"], facts["requests"]) == ("1,100", "10 without retries")
    assert facts["equal"] == "100, which cost nothing"
    assert facts["too long"] == "0 for this model"
    assert "estimated" in facts["tokens"]
    assert facts["cost"].startswith("$0.0001 at $0.02 for a million tokens, the price of 2026-")
    assert sorted(tmp_path.iterdir()) == [texts_file]


def test_nothing_is_sent_and_the_output_stays_as_it_was(run, threaded_server, openai, texts_file, tmp_path):
    output, dead, cache, report = (tmp_path / name for name in ("v.npy", "dead.jsonl", "c.db", "r.html"))
    output.write_bytes(b"of an earlier run")
    facts = table(
        run(
            *("embed", texts_file, "-o", output, "--dry-run", "--no-dedupe", "--tokens-per-minute", 100),
            *("--dead-letter", dead, "--on-error", "skip", "--cache", cache, "--report", report, "--price", 2),
            *openai(threaded_server),
        )
    )
    assert not threaded_server.requests
    assert output.read_bytes() == b"of an earlier run"
    assert not any(path.exists() for path in (dead, cache, report))
    assert facts["equal"] == "100, which are sent, too"
    assert facts["time"].endswith("at the rate limit")
    assert facts["too long"] == "unknown"
    assert "at $2 for a million tokens" in facts["cost"]


def test_without_a_price_it_says_how_to_give_one(run, threaded_server, openai, texts_file):
    facts = table(run("embed", texts_file, "--dry-run", "--limit", 2, *openai(threaded_server)))
    assert facts["texts"] == "2"
    assert "--price" in facts["cost"]
    assert facts["time"] == "no rate limit is known"


def test_wrong_inputs_are_refused_as_they_would_be(run, tmp_path):
    ended = run("embed", tmp_path / "none.txt", "--dry-run")
    assert ended.code == 2
    assert "none.txt" in ended.err


def test_what_an_earlier_run_has_costs_nothing(run, threaded_server, openai, texts_file, tmp_path):
    """Of a file that was stopped, of a finished one, and of a store; a run with other settings is named."""
    command = ("embed", texts_file, "-o", tmp_path / "v.npy", *openai(threaded_server))
    assert run(*command, "--max-tokens", 300, "--chunk-size", 50).code != 0
    asked = len(threaded_server.requests)
    there = len({text for request in threaded_server.requests for text in request.texts})

    facts = table(run(*command, "--resume", "--dry-run"))
    assert (facts["texts"], facts["equal"]) == ("1,100", "100, which cost nothing")
    assert facts["present"].startswith(f"{there:,} in the output already")
    assert len(threaded_server.requests) == asked

    assert run(*command, "--resume").code == 0
    facts = table(run(*command, "--resume", "--dry-run"))
    assert (facts["texts"], facts["requests"]) == ("1,100", "0 without retries")

    ended = run(*command, "--resume", "--dry-run", "--dimensions", 8)
    assert ended.code == 1
    assert "dimensions" in ended.err


def test_what_a_store_has_costs_nothing(run, threaded_server, openai, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"id": {n}, "text": "the text {n}"}}\n' for n in range(30)))
    command = ("embed", rows, "--to", f"sqlite:{tmp_path / 'v.db'}#docs", *openai(threaded_server))
    assert table(run(*command, "--dry-run"))["texts"] == "30"
    assert not (tmp_path / "v.db").exists()
    assert run(*command, "--limit", 20).code == 0
    facts = table(run(*command, "--dry-run"))
    assert (facts["texts"], facts["present"][:2], facts["requests"]) == ("30", "20", "1 without retries")


def test_a_limit_that_is_too_low_is_told(run, threaded_server, openai, texts_file, tmp_path):
    """With what earlier runs of the file have spent."""
    command = ("embed", texts_file, "-o", tmp_path / "v.npy", *openai(threaded_server))
    assert "limit" not in table(run(*command, "--dry-run", "--max-tokens", 1_000_000))
    assert table(run(*command, "--dry-run", "--max-tokens", 10))["limit"] == "--max-tokens 10 is reached before the end"
    facts = table(run(*command, "--dry-run", "--max-cost", 0.001, "--price", 2))
    assert facts["limit"] == "--max-cost 0.001 is reached before the end"

    assert run(*command, "--max-tokens", 300, "--chunk-size", 50).code != 0
    spent = sum(len(request.texts) for request in threaded_server.requests)  # one token for each
    facts = table(run(*command, "--resume", "--dry-run", "--max-tokens", 301))
    assert facts["limit"] == (
        f"--max-tokens 301 is reached before the end, of which earlier runs have spent {spent} tokens"
    )


def test_an_output_that_the_run_would_refuse_is_told(run, threaded_server, openai, texts_file, tmp_path):
    output = tmp_path / "v.npy"
    command = ("embed", texts_file, "-o", output, "--dry-run", *openai(threaded_server))
    assert "output" not in table(run(*command))
    output.write_bytes(b"of an earlier run")
    said = f"the run will refuse it: {output} exists; replace it with --overwrite, or choose another name"
    assert table(run(*command))["output"] == said
    assert "output" not in table(run(*command, "--overwrite"))
    output.unlink()
    assert run(*(part for part in command if part != "--dry-run"), "--max-tokens", 300, "--chunk-size", 50).code != 0
    assert "continue it with --resume, or replace it with --overwrite" in table(run(*command))["output"]
    assert "output" not in table(run(*command, "--resume"))


def test_the_embedded_model_costs_nothing(run, texts_file):
    assert table(run("embed", texts_file, "--dry-run"))["cost"] == "none: the model is embedded"
