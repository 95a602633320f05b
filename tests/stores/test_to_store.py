"""`embed_to_store`: what it promises, with a table of SQLite and with a store in memory that can fail."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import subprocess
import sys
import threading
import tracemalloc
from contextlib import closing
from uuid import UUID

import numpy as np
import orjson
import pytest
from support.results import numbered
from support.scripted import refusing, vector_of
from support.stores import MemoryStore, asked_for
from support.watching import turns, until

from asyncembed import (
    AsyncEmbedError,
    ConfigurationError,
    EmbedInput,
    InvalidInputError,
    ResumeError,
    StreamClosedError,
)
from asyncembed.stores import LanceTable, PgVector, SqliteVectors

HARMLESS = "hello"
BATCH_ROWS = 1_000


def rows_of(count, change=""):
    return [(number, f"text {change}{number}") for number in range(count)]


@pytest.fixture
async def sqlite(tmp_path):
    store = SqliteVectors(tmp_path / "v.db", "docs")
    yield store
    await store.aclose()


def content(store):
    """Everything in a table: the text and the vector of each id."""
    with sqlite3.connect(store._path) as database:
        found = database.execute(f"select id, text, embedding from {store._name}").fetchall()
    database.close()
    return {id_: (text, np.frombuffer(vector, "<f4")) for id_, text, vector in found}


def check_rows(found, rows):
    assert sorted(found, key=repr) == sorted((id_ for id_, _ in rows), key=repr)
    for id_, text in rows:
        assert found[id_][0] == text
        np.testing.assert_array_equal(found[id_][1], vector_of(text))


async def test_every_row_is_stored_once_with_its_own_vector(server, client, sqlite):
    rows = rows_of(2_500)
    summary = await client.embed_to_store(rows, sqlite)
    check_rows(content(sqlite), rows)
    assert (summary.done, summary.saved, summary.resumed) == (2_500, 2_500, 0)


async def test_again_over_a_full_store_nothing_is_sent_though_the_dimension_is_not_known(server, connect, sqlite):
    rows = rows_of(2_500)
    await connect(model="other").embed_to_store(rows, sqlite)
    server.requests.clear()
    summary = await connect(model="other").embed_to_store(rows, sqlite)
    assert not server.requests
    assert (summary.saved, summary.resumed) == (2_500, 2_500)


async def test_only_changed_texts_are_asked_for(server, client, sqlite):
    rows = rows_of(2_500)
    await client.embed_to_store(rows, sqlite)
    server.requests.clear()
    changed = [(id_, text + " new") if id_ % 25 == 0 else (id_, text) for id_, text in rows]
    summary = await client.embed_to_store(changed, sqlite)
    assert sorted(asked_for(server)) == sorted(text for id_, text in changed if id_ % 25 == 0)
    assert (summary.done, summary.resumed) == (100, 2_400)
    check_rows(content(sqlite), changed)


@pytest.mark.parametrize(
    ("settings", "options", "said"),
    [
        ({"model": "another"}, {}, "model was 'text-embedding-3-small' and is 'another' now"),
        ({}, {"dimensions": 4}, "dimensions was None and is 4 now"),
        ({"provider": "cohere", "model": "text-embedding-3-small"}, {}, "provider was 'openai' and is 'cohere' now"),
    ],
)
async def test_another_kind_of_vectors_is_refused_and_nothing_is_sent(server, connect, sqlite, settings, options, said):
    await connect().embed_to_store(rows_of(3), sqlite)
    server.requests.clear()
    with pytest.raises(ResumeError, match=said):
        await connect(**settings).embed_to_store(rows_of(6), sqlite, **options)
    assert not server.requests


async def test_ids_of_several_kinds_stay_apart(server, client, sqlite):
    rows = [(1, "the number"), ("1", "the string"), ("ä'\"", "quotes")]
    await client.embed_to_store(rows, sqlite)
    check_rows(content(sqlite), rows)


@pytest.mark.parametrize("rows", [["no id"], [("a", "first"), EmbedInput("second")]])
async def test_a_row_without_an_id_is_refused(server, client, sqlite, rows):
    with pytest.raises(ConfigurationError, match=rf"texts\[{len(rows) - 1}\] has no id"):
        await client.embed_to_store(rows, sqlite)


WRONG_ROWS = [
    ("no id", "has no id"),
    (7, "is a int"),
    (("a", float("nan")), "is a tuple of str, float"),
    (EmbedInput("text", "nul\0"), "NUL character"),
    (EmbedInput("text", 2**70), "more than 64 bits"),
    (("a\ud83d", "text"), "lone surrogate"),
    (EmbedInput("text", "m", {"hash": 1}), "'hash', which the store uses itself"),
    (EmbedInput("text", "m", {"index": 1}), "'index'"),
    (EmbedInput("text", "m", {"": 1}), "which no database can give a column"),
    (EmbedInput("text", "m", {"a\0b": 1}), "which no database can give a column"),
    (EmbedInput("text", -(2**63) - 1), "more than 64 bits"),
    (("empty", ""), "is empty"),
]


@pytest.mark.parametrize(("wrong", "said"), WRONG_ROWS)
async def test_a_wrong_row_fails_alone_where_failures_are_skipped(server, client, sqlite, wrong, said):
    rows = rows_of(6)
    await client.embed_to_store(rows[:2], sqlite)
    summary = await client.embed_to_store([*rows[:4], wrong, *rows[4:]], sqlite, on_error="skip")
    check_rows(content(sqlite), rows)
    assert (summary.failed, summary.resumed, summary.saved) == (1, 2, 6)
    assert said in str(summary.failure)
    assert summary.failure.indices == (4,)


@pytest.mark.parametrize(("wrong", "said"), WRONG_ROWS)
async def test_a_wrong_row_ends_the_run_otherwise(server, client, sqlite, wrong, said):
    with pytest.raises((ConfigurationError, InvalidInputError), match=said) as caught:
        await client.embed_to_store([*rows_of(3), wrong], sqlite)
    assert caught.value.indices == (3,)


async def test_a_wrong_row_takes_no_id_from_a_right_one(server, client, sqlite):
    rows = [("a", "first"), EmbedInput("second", "a", {"hash": 1}), ("b", "other")]
    summary = await client.embed_to_store(rows, sqlite, on_error="skip")
    check_rows(content(sqlite), [("a", "first"), ("b", "other")])
    assert (summary.failed, summary.saved) == (1, 2)


async def test_of_equal_ids_the_last_one_counts(server, client, sqlite):
    await client.embed_to_store([("a", "first"), ("a", "second"), ("b", "other")], sqlite)
    check_rows(content(sqlite), [("a", "second"), ("b", "other")])
    assert sorted(asked_for(server)) == ["other", "second"]


async def test_a_uuid_and_its_string_are_one_id(server, client, sqlite):
    id_ = UUID(int=5)
    await client.embed_to_store([(id_, "first"), (str(id_), "second")], sqlite)
    check_rows(content(sqlite), [(str(id_), "second")])
    assert asked_for(server) == ["second"]


async def test_a_store_that_fails_for_a_while_loses_and_doubles_nothing(server, client):
    store = MemoryStore()
    failures = iter([OSError("gone")] * 3)
    store.before_put = lambda: next(failures, None)
    rows = rows_of(3_000)
    await client.embed_to_store(rows, store)
    check_rows(store.rows, rows)
    assert sorted(asked_for(server)) == sorted(text for _, text in rows)
    assert store.puts <= 10  # not one for each request; a slow machine stores what it has after a second


async def test_a_store_that_fails_for_too_long_ends_the_run_and_the_next_one_goes_on(server, client):
    store = MemoryStore()
    puts = iter([None])
    store.before_put = lambda: next(puts, OSError("gone"))
    rows = rows_of(5_000)
    with pytest.raises(OSError, match="gone"):
        await client.embed_to_store(rows, store, patience=0, chunk_size=100, max_concurrency=2)
    stored = len(store.rows)
    assert 0 < stored <= BATCH_ROWS
    assert len(asked_for(server)) <= 3 * BATCH_ROWS + 2 * 100
    store.before_put = lambda: None
    server.requests.clear()
    await client.embed_to_store(rows, store)
    check_rows(store.rows, rows)
    assert len(asked_for(server)) == 5_000 - stored


async def test_while_the_store_is_busy_two_batches_wait_at_most(server, client):
    store = MemoryStore()
    store.gate.clear()
    rows = rows_of(20_000)
    task = asyncio.create_task(client.embed_to_store(rows, store, chunk_size=50, max_concurrency=4))
    await until(lambda: len(asked_for(server)) >= 2 * BATCH_ROWS and not server.active)
    await turns()
    assert len(asked_for(server)) <= 2 * BATCH_ROWS + 4 * 50
    store.gate.set()
    await task
    check_rows(store.rows, rows)


async def test_what_has_arrived_at_a_stop_is_stored(server, client):
    store, stop = MemoryStore(), asyncio.Event()

    def note(now):
        if now.done >= 1_000:
            stop.set()

    with pytest.raises(StreamClosedError):
        await client.embed_to_store(rows_of(20_000), store, stop=stop, on_progress=note, chunk_size=50)
    paid = asked_for(server)
    assert sorted(text for text, _ in store.rows.values()) == sorted(paid)
    assert 1_000 <= len(paid) < 20_000


async def test_what_has_arrived_is_stored_when_the_task_is_cancelled(server, client):
    store = MemoryStore()
    task = asyncio.create_task(client.embed_to_store(rows_of(20_000), store, chunk_size=50, max_concurrency=2))
    await until(lambda: len(asked_for(server)) > 500)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert 400 < len(store.rows) < 20_000


async def test_a_text_that_fails_is_skipped_and_asked_for_again(server, client):
    store, rows = MemoryStore(), rows_of(50)
    server.default = refusing(["text 7"], "bad")
    summary = await client.embed_to_store(rows, store, on_error="skip")
    assert (summary.failed, summary.saved, sorted(store.rows)) == (1, 49, [*range(7), *range(8, 50)])
    server.default = type(server)().default
    server.requests.clear()
    await client.embed_to_store(rows, store)
    assert set(asked_for(server)) == {"text 7"}


async def test_an_error_names_the_row_among_all_rows(server, client):
    store, rows = MemoryStore(), rows_of(50)
    await client.embed_to_store(rows[:20], store)
    server.default = refusing(["text 30"], "bad")
    with pytest.raises(InvalidInputError) as caught:
        await client.embed_to_store(rows, store)
    assert caught.value.indices == (30,)


async def test_equal_texts_that_fail_name_each_its_own_row_among_all_rows(server, client):
    store, rows = MemoryStore(), rows_of(40)
    await client.embed_to_store(rows[:20:2], store)
    rows[21:27:2] = [(number, "bad") for number in (21, 23, 25)]
    server.default = refusing(["bad"])
    summary = await client.embed_to_store(rows, store, on_error="skip")
    assert (summary.failed, summary.failure.indices) == (3, (21,))


async def test_an_error_of_several_rows_names_them_among_all_rows(server, connect):
    store, rows, client = MemoryStore(), rows_of(40), connect(retry=1)
    await client.embed_to_store(rows[:10], store)
    server.default = refusing(["text 12"], status=500)
    summary = await client.embed_to_store(rows, store, on_error="skip", chunk_size=5)
    assert (summary.failed, summary.failure.indices) == (5, (10, 11, 12, 13, 14))


@pytest.mark.parametrize(
    "option",
    [
        {"stop": threading.Event()},
        {"stop_wait": "1"},
        {"patience": "long"},
        {"patience": float("nan")},
        {"keep_text": "no"},
    ],
    ids=["stop", "stop_wait", "patience", "nan", "keep_text"],
)
async def test_a_wrong_option_is_refused_before_anything_is_sent(server, client, sqlite, option):
    with pytest.raises(ConfigurationError, match=next(iter(option))):
        await client.embed_to_store(rows_of(3), sqlite, **option)
    assert not server.requests


async def test_rows_may_come_slowly(server, client):
    store, more = MemoryStore(), asyncio.Event()

    async def slow():
        for row in rows_of(3):
            yield row
        await more.wait()
        yield (3, "text 3")

    task = asyncio.create_task(client.embed_to_store(slow(), store, max_wait=0.01))
    await until(lambda: len(store.rows) == 3)
    more.set()
    await task
    check_rows(store.rows, rows_of(4))


async def test_what_an_iterable_raises_comes_after_the_rows_before_it(server, client):
    store = MemoryStore()

    def broken():
        yield from rows_of(1_500)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await client.embed_to_store(broken(), store)
    check_rows(store.rows, rows_of(1_500))


async def test_what_an_async_iterable_raises_comes_after_the_rows_before_it(server, client):
    store = MemoryStore()

    async def broken():
        for row in rows_of(1_500):
            yield row
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await client.embed_to_store(broken(), store)
    check_rows(store.rows, rows_of(1_500))


async def test_an_async_iterable_that_is_cancelled_is_an_error_after_the_rows_before_it(server, client):
    store = MemoryStore()

    async def broken():
        for row in rows_of(3):
            yield row
        raise asyncio.CancelledError

    with pytest.raises(AsyncEmbedError, match="the iterable of texts was cancelled"):
        await client.embed_to_store(broken(), store)
    check_rows(store.rows, rows_of(3))


@pytest.mark.parametrize("place", [0, 1, 3])
async def test_none_is_no_row_and_no_end(server, client, place):
    rows = [*rows_of(3)[:place], None, *rows_of(3)[place:]]

    async def several():
        for row in rows:
            yield row

    for given in (rows, several()):
        with pytest.raises(ConfigurationError, match=rf"texts\[{place}\] is a NoneType"):
            await client.embed_to_store(given, MemoryStore())
    store = MemoryStore()
    summary = await client.embed_to_store(several(), store, on_error="skip")
    check_rows(store.rows, rows_of(3))
    assert summary.failed == 1


class Cursor:
    """Rows of a database, whose cursor can be closed."""

    def __init__(self, rows):
        self.rows = iter(rows)
        self.closed = False

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.rows)

    def close(self):
        self.closed = True


class AsyncCursor(Cursor):
    __iter__ = None

    def __aiter__(self):
        return self

    async def __anext__(self):
        try:
            return next(self.rows)
        except StopIteration:
            raise StopAsyncIteration from None

    async def close(self):
        self.closed = True


@pytest.mark.parametrize("kind", [Cursor, AsyncCursor])
async def test_a_cursor_is_closed_where_a_run_ends_early(server, client, kind):
    cursor = kind(["no id", *rows_of(1_500)])
    with pytest.raises(ConfigurationError):
        await client.embed_to_store(cursor, MemoryStore())
    assert cursor.closed


async def test_metadata_goes_into_columns(server, client, sqlite):
    given = [EmbedInput("a", "a", {"page": 3, "tags": ["x", "y"]}), EmbedInput("b", "b", {"Title": "ü"})]
    await client.embed_to_store(given, sqlite)
    await client.embed_to_store([EmbedInput("c", "c", {"title": "later"})], sqlite)
    (first,) = await sqlite.search(vector_of("a"), 1)
    assert (first.id, first.text, first.metadata) == ("a", "a", {"page": 3, "tags": '["x","y"]', "Title": None})
    assert first.score == pytest.approx(1, abs=1e-5)


async def test_metadata_with_the_name_of_a_column_is_refused(server, client, sqlite):
    with pytest.raises(ConfigurationError, match="'hash'"):
        await client.embed_to_store([EmbedInput("a", "a", {"hash": 3})], sqlite)
    assert not server.requests


async def test_metadata_may_have_the_names_that_sqlite_has_for_the_number_of_a_row(server, client, sqlite):
    names = {"rowid": 1, "_rowid_": 1, "oid": 1}
    await client.embed_to_store([EmbedInput(text, number, names) for number, text in rows_of(5)], sqlite)
    await client.embed_to_store([(9, "without")], sqlite)
    for id_, text in [*rows_of(5), (9, "without")]:
        (found,) = await sqlite.search(vector_of(text), 1)
        assert (found.id, found.text) == (id_, text)
        assert found.score == pytest.approx(1, abs=1e-5)


async def test_the_smallest_and_the_largest_integers_are_ids(server, client, sqlite):
    rows = [(-(2**63), "smallest"), (2**63 - 1, "largest")]
    await client.embed_to_store(rows, sqlite)
    check_rows(content(sqlite), rows)


async def test_rows_of_equal_vectors_with_ids_of_several_kinds_are_found(server, client, sqlite):
    await client.embed_to_store([(1, "a"), ("b", "a"), (2, "a")], sqlite)
    assert {hit.id for hit in await sqlite.search(vector_of("a"), 3)} == {1, "b", 2}


async def test_a_database_in_memory_is_refused():
    with pytest.raises(ConfigurationError, match="name a file"):
        SqliteVectors(":memory:")


@pytest.mark.parametrize("mode", ["delete", "wal"])
async def test_reading_leaves_a_file_of_somebody_else_as_it_is(tmp_path, mode):
    path = tmp_path / "a b%20#?.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"pragma journal_mode = {mode}")
        database.execute("create table own (a)")
        database.commit()
    before = path.read_bytes()
    store = SqliteVectors(path)
    assert (await store.fingerprint(), await store.dimension(), await store.count()) == (None, None, 0)
    assert await store.columns() == []
    with pytest.raises(ConfigurationError, match="not a table of embed_to_store"):
        await store.search(vector_of("a"), 1)
    await store.aclose()
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


async def test_texts_may_be_left_out(server, client, sqlite):
    await client.embed_to_store(rows_of(2), sqlite, keep_text=False)
    assert [text for text, _ in content(sqlite).values()] == [None, None]
    assert len(numbered(2)) == await sqlite.count()


async def test_names_that_are_one_to_sqlite_share_a_column(server, client, sqlite):
    await client.embed_to_store([EmbedInput("a", 1, {"Title": "x"}), EmbedInput("b", 2, {"title": "y"})], sqlite)
    found = await sqlite.search(vector_of("a"), 2)
    assert {hit.id: hit.metadata for hit in found} == {1: {"Title": "x"}, 2: {"Title": "y"}}


async def test_a_store_that_hangs_is_left_at_the_second_cancellation(server, client):
    store = MemoryStore()
    store.gate.clear()
    task = asyncio.create_task(client.embed_to_store(rows_of(10), store))
    await until(lambda: len(asked_for(server)) == 10 and not server.active)
    await turns()
    task.cancel()
    await turns()
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not store.rows


async def test_vectors_that_cannot_be_matched_to_their_texts_never_reach_the_store(server, client):
    store, rows = MemoryStore(), rows_of(300)

    async def extra(exchange):
        """One vector too many at the end: the response is wrong from its beginning."""
        body = orjson.loads(b"".join(exchange.request.pieces))
        body["data"].append({**body["data"][-1], "index": len(body["data"])})
        for item in body["data"]:
            item["embedding"] = body["data"][0]["embedding"]
        await exchange.answer(orjson.dumps(body))

    server.script.extend([extra])
    await client.embed_to_store(rows, store)
    check_rows(store.rows, rows)


async def test_a_table_of_somebody_else_is_refused(server, client, sqlite, tmp_path):
    import sqlite3

    database = sqlite3.connect(tmp_path / "v.db")
    database.execute("create table docs (id, hash, embedding, text)")
    database.execute("insert into docs values (1, 2, 3, 4)")
    database.commit()
    database.close()
    with pytest.raises(ResumeError, match="no fingerprint that says what made their vectors"):
        await client.embed_to_store(rows_of(2), sqlite)
    assert not server.requests


async def test_a_path_that_no_file_can_have_is_refused(client):
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        await client.embed_to_store(rows_of(2), SqliteVectors("a\0b"))


@pytest.mark.parametrize(("store", "package"), [(PgVector("host=h"), "psycopg"), (LanceTable("folder"), "lancedb")])
async def test_a_missing_package_is_named_with_its_extra(server, client, monkeypatch, store, package):
    monkeypatch.setitem(sys.modules, package, None)
    extra = {"psycopg": "pgvector"}.get(package, package)
    with pytest.raises(ConfigurationError, match=rf'pip install "asyncembed\[{extra}\]"'):
        await client.embed_to_store(rows_of(2), store)
    assert not server.requests


def test_no_package_of_a_store_is_imported_before_it_is_used():
    code = "import sys, asyncembed.stores; print({'psycopg', 'lancedb', 'pyarrow', 'sqlite3'} & {*sys.modules})"
    heavy = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert heavy.strip() in {"set()", "{'sqlite3'}"}
    code = "import sys, asyncembed; print('sqlite3' in sys.modules, 'asyncembed.stores' in sys.modules)"
    core = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert core.strip() == "False False"


async def test_memory_does_not_grow_with_the_rows(server, client):
    """The server of the test is in this process and keeps all it was asked, some 250 bytes a row."""

    class Counting(MemoryStore):
        async def put(self, ids, hashes, vectors, texts, metadata):
            self.puts += len(ids)

    async def many(count):
        for number in range(count):
            yield (number, f"text {number}")

    async def peak(count):
        store = Counting()
        gc.collect()
        tracemalloc.start()
        await client.embed_to_store(many(count), store, chunk_size=100, max_concurrency=2)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        server.requests.clear()
        assert store.puts == count
        return found

    await peak(500)
    small, large = await peak(4_000), await peak(16_000)
    assert large < small + 5_000_000
