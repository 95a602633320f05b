"""Daft: by its own `embed_text`, and by the Arrow expression."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys

import pytest
from support.engines import check_rows, listed, paid_again, text_of, write_texts
from support.plain import wait_until
from support.threaded_clients import KEY

daft = pytest.importorskip("daft", reason="daft is not installed")

from daft.functions import embed_text  # noqa: E402

from asyncembed import AuthenticationError, ClientSpec, ConfigurationError, InvalidInputError  # noqa: E402
from asyncembed.daft import AsyncEmbedProvider, embed  # noqa: E402
from asyncembed.testing import Limit, faults, vector_of  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")  # those of Daft are its own


def by_arrow(spec, **options):
    return embed(daft.col("text"), spec, **options)


def by_provider(spec, **options):
    return embed_text(daft.col("text"), provider=AsyncEmbedProvider(spec), **options)


WAYS = pytest.mark.parametrize("way", [by_arrow, by_provider])


def vectors(frame, column="v"):
    return list(map(listed, frame.to_pydict()[column]))


def frame_of(rows):
    return daft.from_pydict({"id": list(range(rows)), "text": [text_of(number) for number in range(rows)]})


@WAYS
def test_every_row_is_right_and_null_and_empty_are_not_asked_for(way, spec, server):
    frame = frame_of(5_000).with_column("embedding", way(spec, batch_size=500))
    check_rows(frame.to_pylist(), 5_000)
    asked = dict(server.ledger.asked)
    asked.pop("hello", None)  # by which the plan has learned the length of the vectors
    assert asked == {text_of(number): 1 for number in range(5_000) if text_of(number)}


@WAYS
def test_a_batch_without_any_text_has_no_vectors(way, spec):
    frame = daft.from_pydict({"text": [None, "", None]}).with_column("v", way(spec))
    assert vectors(frame) == [None] * 3


@WAYS
def test_two_lengths_in_one_query_stay_apart(way, spec):
    frame = daft.from_pydict({"text": ["a", "b"]})
    frame = frame.with_column("short", way(spec, dimensions=3)).with_column("long", way(spec, dimensions=8))
    assert vectors(frame, "short") == [vector_of(text, 3).tolist() for text in "ab"]
    assert vectors(frame, "long") == [vector_of(text, 8).tolist() for text in "ab"]


@WAYS
def test_the_options_of_a_call_are_passed_on(way, server):
    spec = ClientSpec("cohere", base_url=server.url, api_key_env="EMBEDDINGS_KEY")
    seen = set()

    class Watching:
        def applies(self, exchange):
            seen.add(exchange.request.fields["input_type"])
            return False

    server.rules.append(Watching())
    frame = daft.from_pydict({"text": ["a", "b"]}).with_column("v", way(spec, dtype="int8", input_type="query"))
    assert [vector.dtype for vector in frame.to_pydict()["v"]] == ["int8", "int8"]
    assert seen == {"search_query"}


@WAYS
def test_a_text_that_is_refused_gives_null_unless_it_is_to_raise(way, spec, server):
    server.rules.append(faults.Poisoned("bad"))
    frame = daft.from_pydict({"text": ["good", "bad"]})
    assert vectors(frame.with_column("v", way(spec))) == [vector_of("good", 8).tolist(), None]
    with pytest.raises(Exception, match="cannot be embedded") as caught:
        frame.with_column("v", way(spec, on_error="raise")).collect()
    assert isinstance(caught.value, InvalidInputError) or "InvalidInputError" in repr(caught.value)


@WAYS
def test_a_wrong_key_ends_the_query(way, spec, server, monkeypatch):
    expression = way(spec, dimensions=8)
    server.key = "another"
    with pytest.raises(Exception, match="API key") as caught:
        daft.from_pydict({"text": ["a"]}).with_column("v", expression).collect()
    assert isinstance(caught.value, AuthenticationError) or "AuthenticationError" in repr(caught.value)
    assert KEY not in str(caught.value)


def test_a_provider_is_found_by_the_name_that_it_was_attached_with(spec):
    daft.attach_provider(AsyncEmbedProvider(spec, "mine"), "mine")
    try:
        frame = daft.from_pydict({"text": ["a"]}).with_column("v", embed_text(daft.col("text"), provider="mine"))
        assert vectors(frame) == [vector_of("a", 8).tolist()]
    finally:
        daft.detach_provider("mine")


def test_the_key_is_in_no_plan_and_no_pickle(spec, capfd):
    provider = AsyncEmbedProvider(spec)
    for way in (by_arrow, by_provider):
        frame_of(10).with_column("embedding", way(spec)).explain(True)
    told = capfd.readouterr()
    assert "text" in told.out
    descriptor = provider.get_text_embedder()
    assert pickle.loads(pickle.dumps(descriptor)) == descriptor
    for shown in (told.out, told.err, repr(provider), repr(descriptor), str(descriptor.get_options())):
        assert KEY not in shown
    assert KEY.encode() not in pickle.dumps(provider) + pickle.dumps(descriptor)


def test_wrong_settings_are_told_before_anything_is_sent(spec, server):
    with pytest.raises(ConfigurationError, match="ClientSpec"):
        AsyncEmbedProvider("openai")
    with pytest.raises(ConfigurationError, match="no option"):
        by_provider(spec, dimensions=8, temperature=1)
    with pytest.raises(ConfigurationError, match="on_error"):
        by_arrow(spec, on_error="skip")
    with pytest.raises(ConfigurationError, match="concurrent_batches"):
        by_arrow(spec, concurrent_batches=0)
    assert server.ledger.requests == 0


def test_two_expressions_share_one_client_and_its_limit(spec, server):
    server.limit = Limit(inputs=600)
    limited = ClientSpec("openai", base_url=spec.base_url, api_key_env="EMBEDDINGS_KEY", inputs_per_minute=600)
    frame = daft.from_pydict({"text": [f"text {number}" for number in range(150)]})
    both = frame.with_column("one", by_arrow(limited, dimensions=8)).with_column(
        "two", by_provider(limited, dimensions=8)
    )
    assert (
        vectors(both, "one")
        == vectors(both, "two")
        == [vector_of(f"text {number}", 8).tolist() for number in range(150)]
    )
    assert 429 not in server.ledger.statuses


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_a_query_that_is_killed_is_paid_for_again_and_no_more(spec, server, tmp_path):
    source = write_texts(tmp_path / "in", 4_000)
    script = (
        "import pickle, sys, daft; from asyncembed.daft import embed;"
        "spec = pickle.loads(bytes.fromhex(sys.argv[1])); frame = daft.read_parquet(sys.argv[2]);"
        "vectors = embed(daft.col('text'), spec, dimensions=8, batch_size=200, chunk_size=50);"
        "frame.with_column('embedding', vectors).write_parquet(sys.argv[3], write_mode='overwrite')"
    )
    command = [sys.executable, "-c", script, pickle.dumps(spec).hex(), source, str(tmp_path / "out")]
    server.latency = 0.02
    with subprocess.Popen(command, env=os.environ) as query:
        wait_until(lambda: server.ledger.requests > 20, 60)
        query.send_signal(signal.SIGKILL)
    wait_until(lambda: not server.active)
    paid = sum(server.ledger.sent.values())
    server.latency = 0.0
    subprocess.run(command, env=os.environ, check=True)
    check_rows(daft.read_parquet(str(tmp_path / "out")).to_pylist(), 4_000)
    assert 0 < paid_again(server.ledger) == paid
