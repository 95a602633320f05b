"""Plain calls: what they give, where their texts are pulled, and how they end."""

from __future__ import annotations

import asyncio
import gc
import pathlib
import pickle
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from support.plain import wait_until

from asyncembed import (
    AuthenticationError,
    ConfigurationError,
    EmbedClient,
    EmbedFailure,
    EmbedInput,
    InvalidInputError,
    RateLimit,
    StreamClosedError,
    SyncEmbedder,
)
from asyncembed.stores import SqliteVectors
from asyncembed.testing import faults, vector_of

KEY = "sk-never-shown-2718"


def right(texts):
    return np.stack([vector_of(text, 8) for text in texts])


def test_embed_gives_the_vectors_in_order(embedder):
    response = embedder.embed(["a", ("id", "b"), EmbedInput("c", 3)])
    assert (response.embeddings == right("abc")).all()
    assert response.ids == [None, "id", 3]
    assert embedder.embed([]).embeddings.shape[0] == 0


def test_a_query_is_a_vector_and_queries_are_a_matrix(embedder):
    assert (embedder.embed_query("q") == vector_of("q", 8)).all()
    assert (embedder.embed_query(EmbedInput("q")) == vector_of("q", 8)).all()
    assert (embedder.embed_query(["q", "r"]) == right("qr")).all()
    assert (embedder.embed_query(text for text in "qr") == right("qr")).all()


async def test_a_client_asks_for_queries_as_the_provider_calls_them(server, monkeypatch):
    seen = []

    class Watching:
        def applies(self, exchange):
            seen.append(exchange.request.body)
            return False

    server.rules.append(Watching())
    async with EmbedClient("cohere", base_url=server.url, api_key=KEY) as client:
        assert (await client.embed_query("q")).shape == (8,)
        assert (await client.embed_query(["q", "r"])).shape == (2, 8)
        await client.embed_query("q", input_type="clustering")
    assert [b"search_query" in body for body in seen] == [True, True, False]
    assert b"clustering" in seen[2]
    async with EmbedClient("openai", base_url=f"{server.url}/v1", api_key=KEY) as client:
        assert (await client.embed_query("q")).shape == (8,)
    assert b"input_type" not in seen[3]


def test_a_text_that_fails_is_named(embedder):
    with pytest.raises(InvalidInputError) as caught:
        embedder.embed(["a", ""])
    assert caught.value.indices == (1,)


@pytest.mark.parametrize("texts", ["text", b"text", 5, None])
def test_what_is_no_collection_of_texts_is_refused(embedder, texts, server):
    with pytest.raises(ConfigurationError):
        embedder.embed(texts)
    with pytest.raises(ConfigurationError):
        embedder.stream(texts)
    assert server.ledger.requests == 0


def test_a_wrong_option_is_refused_before_anything_is_pulled(embedder):
    with pytest.raises(ConfigurationError, match="colour"):
        embedder.stream(iter("abc"), colour="red")


def test_texts_are_pulled_on_the_callers_thread(embedder):
    here = threading.get_ident()
    seen = set()

    def texts():
        for number in range(3_000):
            seen.add(threading.get_ident())
            yield str(number)

    assert len(embedder.embed(texts()).texts) == 3_000
    assert [result.text for result in embedder.stream(texts())] == [str(number) for number in range(3_000)]
    assert seen == {here}


def test_a_file_gives_its_lines(embedder, tmp_path):
    (tmp_path / "texts.txt").write_text("\ufeffa\n\nb\r\n  \nc", "utf-8")
    with pathlib.Path(tmp_path / "texts.txt").open(encoding="utf-8") as file:
        assert embedder.embed(file).texts == ["a", "b", "c"]


def test_what_the_texts_raise_is_raised_and_closes_them(embedder):
    closed = []

    def texts():
        try:
            yield "a"
            raise LookupError("mine")
        finally:
            closed.append(True)

    with pytest.raises(LookupError, match="mine"):
        embedder.embed(texts())
    with pytest.raises(LookupError, match="mine"):
        list(embedder.stream(texts()))
    assert closed == [True, True]


def test_async_texts_may_be_given(embedder):
    async def texts():
        for text in "abc":
            yield text

    assert embedder.embed(texts()).texts == ["a", "b", "c"]


def test_a_stream_gives_failures_in_their_place(embedder):
    results = list(embedder.stream(["a", "", "c"], on_error="yield"))
    assert [type(result) for result in results][1] is EmbedFailure
    assert [result.index for result in results] == [0, 1, 2]
    with pytest.raises(InvalidInputError):
        list(embedder.stream(["a", ""]))


def test_a_stream_that_has_ended_stays_so(embedder, server):
    with embedder.stream(["a", "b", "c"]) as stream:
        assert [result.text for result in stream] == ["a", "b", "c"]
        assert list(stream) == []
        assert stream.summary.done == 3
    broken = embedder.stream(["a", ""])
    for _ in range(2):
        with pytest.raises(InvalidInputError):
            list(broken)


def test_a_stream_pulls_no_more_than_its_memory_holds(spec, server):
    pulled = []

    def texts():
        for number in range(100_000):
            pulled.append(number)
            yield "x" * 1_000

    with SyncEmbedder(spec).stream(texts(), max_memory_mb=4) as stream:
        next(stream)
        assert len(pulled) < 10_000
    with pytest.raises(StreamClosedError):
        next(stream)
    assert len(pulled) < 20_000


@pytest.mark.parametrize("how", ["with", "close", "dropped"])
def test_a_stream_that_is_left_stops_its_work(embedder, server, how):
    server.latency = 0.01
    stream = embedder.stream((str(number) for number in range(1_000_000)), chunk_size=10)
    next(stream)
    if how == "with":
        with stream:
            pass
    elif how == "close":
        stream.close()
        stream.close()
    else:
        del stream
        gc.collect()

    def is_alone():
        """Whether a query is the only thing that is asked for."""
        wait_until(lambda: server.active == 0)
        asked = server.ledger.requests
        query = f"after {asked} requests"  # an earlier one would be remembered
        assert (embedder.embed_query(query) == vector_of(query, 8)).all()
        return server.ledger.requests == asked + 1

    if how == "dropped":  # nothing waits for its end, so requests may still come meanwhile
        wait_until(is_alone)
    else:
        assert is_alone()


def test_a_file_is_written_and_resumed(embedder, tmp_path, server):
    seen = []
    here = threading.get_ident()

    def tell(summary):
        seen.append((threading.get_ident(), summary.done))

    texts = [str(number) for number in range(500)]
    summary = embedder.embed_to_file(iter(texts), tmp_path / "v.npy", on_progress=tell)
    assert summary.saved == 500
    assert (np.load(tmp_path / "v.npy") == right(texts)).all()
    assert {thread for thread, _ in seen} == {here}
    asked = server.ledger.requests
    assert embedder.embed_to_file(iter(texts), tmp_path / "v.npy", resume=True).saved == 500
    assert server.ledger.requests == asked


def verbs(embedder, path):
    """The calls that report their progress."""
    return [
        embedder.embed,
        partial(embedder.embed_to_file, output_file=path / "v.npy"),
        partial(embedder.embed_to_store, store=SqliteVectors(path / "v.db")),
    ]


@pytest.mark.parametrize("verb", range(3))
@pytest.mark.parametrize("error", [LookupError, StopIteration])
def test_what_progress_raises_is_logged_once(embedder, tmp_path, caplog, verb, error):
    """As with a client."""

    def tell(summary):
        raise error

    embed = verbs(embedder, tmp_path)[verb]
    embed([(1, "a")], on_progress=tell)
    (record,) = caplog.records
    assert record.getMessage().startswith("on_progress_failed")


@pytest.mark.parametrize("verb", range(3))
def test_progress_may_be_async(embedder, tmp_path, verb):
    """It then runs on the event loop."""
    told = []

    async def tell(now):
        await asyncio.sleep(0)
        told.append((now.done, threading.current_thread().name))

    verbs(embedder, tmp_path)[verb]([(1, "a")], on_progress=tell)
    assert told[-1] == (1, "asyncembed")


@pytest.mark.parametrize("verb", range(3))
def test_progress_that_is_no_function_is_refused(embedder, server, tmp_path, verb):
    """Before anything is sent."""
    with pytest.raises(ConfigurationError, match="on_progress=7 must be a function"):
        verbs(embedder, tmp_path)[verb]([(1, "a")], on_progress=7)
    assert not server.ledger.requests


def test_an_array_of_texts_of_which_some_fail(embedder):
    """With a mask of those that did not."""
    response = embedder.embed(["a", "", "b"], on_error="skip")
    assert response.ok.tolist() == [True, False, True]


class Cursor:
    """An iterator that can be closed."""

    closed = None

    def __init__(self, count=10**9, bad=None):
        self.rows = ("" if number == bad else str(number) for number in range(count))

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.rows)

    def close(self):
        self.closed = threading.current_thread()


def leave_array(embedder, cursor):
    with pytest.raises(InvalidInputError):
        embedder.embed(cursor)


def leave_stream(embedder, cursor):
    with embedder.stream(cursor) as stream:
        next(stream)


def fail_in_stream(embedder, cursor):
    with pytest.raises(InvalidInputError):
        list(embedder.stream(cursor))


@pytest.mark.parametrize(("leave", "bad"), [(leave_array, 3), (leave_stream, None), (fail_in_stream, 3)])
def test_texts_that_are_left_early_are_closed(embedder, leave, bad):
    """On the thread of the caller, to which a cursor may belong."""
    cursor = Cursor(bad=bad)
    leave(embedder, cursor)
    assert cursor.closed is threading.current_thread()


def test_texts_that_were_read_to_their_end_are_not_closed(embedder):
    """A cursor may be used for the next query."""
    for embed in (embedder.embed, lambda texts: list(embedder.stream(texts))):
        cursor = Cursor(2)
        assert len(embed(cursor)) == 2
        assert cursor.closed is None


def test_many_threads_share_one_client(spec, server):
    embedders = [SyncEmbedder(spec) for _ in range(4)]

    def ask(number):
        text = str(number)
        return (embedders[number % 4].embed_query(text) == vector_of(text, 8)).all()

    with ThreadPoolExecutor(20) as pool:
        assert all(pool.map(ask, range(1_000)))
    assert len(server.ledger.asked) == server.ledger.asked.total() == 1_000
    assert server.max_active <= 32
    assert server.accepted <= 32
    assert [thread.name for thread in threading.enumerate()].count("asyncembed") == 1


def test_equal_settings_share_a_client_and_own_keys_do_not(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    one, same = (SyncEmbedder("openai", base_url=f"{server.url}/v1", model="shared") for _ in range(2))
    for _ in range(3):
        one.embed(["a"])
        same.embed(["a"])
    assert server.accepted == 1
    own = [SyncEmbedder("openai", base_url=f"{server.url}/v1", api_key=KEY) for _ in range(2)]
    for embedder in own * 2:
        embedder.embed(["a"])
    assert server.accepted == 3
    assert KEY not in repr(own)
    assert KEY not in repr(vars(own[0]))


def test_a_rate_limit_that_is_an_object_is_kept_as_such(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    limits = [RateLimit(requests_per_minute=1_000_000) for _ in range(2)]
    for limit in limits:
        SyncEmbedder("openai", base_url=f"{server.url}/v1", rate_limit=limit).embed(["a"])
    assert server.accepted == 2  # equal limits that are not the same object share nothing


def test_an_own_client_is_closed_with_its_embedder(server):
    base_url = f"{server.url}/v1"
    with SyncEmbedder("openai", base_url=base_url, api_key=KEY) as embedder:
        embedder.embed(["a"])
        assert len(server._connections) == 1
    wait_until(lambda: not server._connections)
    with pytest.raises(StreamClosedError):
        embedder.embed(["a"])
    embedder.close()
    dropped = SyncEmbedder("openai", base_url=base_url, api_key=KEY)
    dropped.embed(["a"])
    assert len(server._connections) == 1
    del dropped
    gc.collect()
    wait_until(lambda: not server._connections)


def test_a_stream_keeps_its_embedder(server):
    stream = SyncEmbedder("openai", base_url=server.url, api_key=KEY).stream(f"text {each}" for each in range(3_000))
    gc.collect()
    assert len(list(stream)) == 3_000


def test_it_works_inside_a_running_loop_and_many_short_ones(embedder):
    async def inside(text):
        return embedder.embed_query(text)

    for text in "abc":
        assert (asyncio.run(inside(text)) == vector_of(text, 8)).all()


def test_a_call_on_its_own_loop_is_an_error_and_not_a_deadlock(server):
    found = []

    def tell(event):
        try:
            embedder.embed_query("inner")
        except ConfigurationError as error:
            found.append(str(error))

    embedder = SyncEmbedder("openai", base_url=f"{server.url}/v1", api_key=KEY, on_event=tell)
    embedder.embed(["a"])
    assert found
    assert "own event loop" in found[0]


def test_texts_may_themselves_be_embedded_while_they_are_pulled(embedder):
    def texts():
        for text in "ab":
            embedder.embed_query(text)
            yield text

    assert embedder.embed(texts()).texts == ["a", "b"]


def test_it_is_pickled_as_its_spec(embedder, spec, server):
    assert pickle.loads(pickle.dumps(embedder)).spec == spec
    own = SyncEmbedder("openai", base_url=f"{server.url}/v1", api_key=KEY)
    with pytest.raises(ConfigurationError, match="key"):
        pickle.dumps(own)


def test_wrong_arguments_are_refused(spec):
    with pytest.raises(ConfigurationError, match="model"):
        SyncEmbedder(spec, model="m")
    with pytest.raises(ConfigurationError, match="session"):
        SyncEmbedder("openai", base_url="http://127.0.0.1:9/v1", session=None)
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        SyncEmbedder("openai")


def test_a_server_error_is_raised_as_it_is(embedder, server):
    server.script += [faults.Refused(401, "no")]
    with pytest.raises(AuthenticationError):
        embedder.embed(["a"])


def test_errors_of_async_things_in_plain_code_name_it(server):
    client = EmbedClient("openai", base_url=f"{server.url}/v1", api_key=KEY)
    with pytest.raises(TypeError, match="SyncEmbedder"), client:
        pass
    with pytest.raises(TypeError, match="SyncEmbedder"):
        list(client.embed_stream(["a"]))
    with pytest.raises(TypeError, match="SyncEmbedder"):
        for _ in client.embed_binary_stream(["a"]):
            pass
    assert asyncio.run(client.embed(["a"])).texts == ["a"]
    with pytest.raises(ConfigurationError, match="SyncEmbedder"):
        asyncio.run(client.embed(["a"]))


def test_rows_go_into_a_store_and_again_nothing_is_sent(embedder, server, tmp_path):
    store, here, seen = SqliteVectors(tmp_path / "v.db"), threading.current_thread(), []

    def rows():
        for number in range(1_500):
            assert threading.current_thread() is here
            yield number, f"text {number}"

    def note(now):
        seen.append((threading.current_thread(), now.done))

    summary = embedder.embed_to_store(rows(), store, on_progress=note)
    assert (summary.saved, summary.resumed) == (1_500, 0)
    assert seen[-1] == (here, 1_500)
    asked = server.ledger.requests
    assert embedder.embed_to_store(rows(), store).resumed == 1_500
    assert server.ledger.requests == asked
    with sqlite3.connect(tmp_path / "v.db") as database:
        found = dict(database.execute("select text, embedding from embeddings"))
    database.close()
    assert {text: np.frombuffer(vector, "<f4").tolist() for text, vector in found.items()} == {
        f"text {number}": vector_of(f"text {number}", 8).tolist() for number in range(1_500)
    }


def test_a_store_is_closed_by_a_call_that_fails_too(embedder, server, tmp_path):
    closed = []

    class Watched(SqliteVectors):
        async def aclose(self):
            await super().aclose()
            closed.append(threading.current_thread().name)

    with pytest.raises(ConfigurationError, match="has no id"):
        embedder.embed_to_store(["no id"], Watched(tmp_path / "v.db"))
    assert closed == ["asyncembed"]
