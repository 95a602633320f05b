"""`PgVector` with a real PostgreSQL."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import traceback
import uuid
from contextlib import asynccontextmanager

import numpy as np
import pytest
from support.postgres import postgres
from support.scripted import vector_of
from support.stores import asked_for

from asyncembed import ConfigurationError, EmbedInput, ResumeError
from asyncembed.stores import PgVector, text_hash

tables = itertools.count()


@pytest.fixture
async def store():
    made = PgVector(postgres(), f"docs {next(tables)} {uuid.uuid4().hex}")
    yield made
    await made.aclose()


def rows_of(count):
    return [(number, f"text {number}") for number in range(count)]


async def content(store, query="select * from {table}"):
    async with store._writing() as connection:
        cursor = await connection.execute(store._sql(query))
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in await cursor.fetchall()]


def vector(value):
    return np.array([float(number) for number in value.strip("[]").split(",")], np.float32)


async def test_rows_are_stored_once_and_asked_for_once(server, client, store):
    rows = rows_of(2_500)
    await client.embed_to_store(rows, store)
    found = {row["id"]: (row["text"], row["embedding"]) for row in await content(store)}
    assert sorted(found) == list(range(2_500))
    for id_, text in rows[::50]:
        assert found[id_][0] == text
        np.testing.assert_allclose(vector(found[id_][1]), vector_of(text), rtol=1e-6)
    server.requests.clear()
    summary = await client.embed_to_store(rows, store)
    assert not server.requests
    assert summary.resumed == 2_500
    changed = [(id_, f"{text} new") if id_ % 25 == 0 else (id_, text) for id_, text in rows]
    await client.embed_to_store(changed, store)
    assert len(asked_for(server)) == 100
    assert {row["id"]: row["text"] for row in await content(store)} == dict(changed)


async def test_a_full_store_is_known_to_another_object(server, connect, store):
    rows = [(f"ä{number}", f"text {number}") for number in range(50)]
    await connect(model="other").embed_to_store(rows, store)
    server.requests.clear()
    again = PgVector(postgres(), store._table)
    await connect(model="other").embed_to_store(rows, again)
    with pytest.raises(ResumeError, match="model was 'other' and is 'another' now"):
        await connect(model="another").embed_to_store(rows, again)
    await again.aclose()
    assert not server.requests


async def test_an_empty_table_belongs_to_the_run_that_knows_its_dimension(store):
    other = PgVector(postgres(), store._table)
    fingerprint = _fingerprint("float32")
    await other.prepare({**fingerprint, "model": "other"}, None)
    assert await store.prepare(fingerprint, 3) == 3
    for dimension in (None, 3):
        with pytest.raises(ResumeError, match="model was 'm' and is 'other' now") as caught:
            await other.prepare({**fingerprint, "model": "other"}, dimension)
        assert "deleting its row" in caught.value.__notes__[0]
    await store.put([1], [text_hash("a")], np.ones((1, 3), np.float32), None, [None])
    assert (await other.fingerprint())["model"] == "m"
    await other.aclose()


async def test_two_runs_share_one_object(server, client, store):
    rows = rows_of(6_000)
    await asyncio.gather(client.embed_to_store(rows[:3_000], store), client.embed_to_store(rows[3_000:], store))
    assert {row["id"]: row["text"] for row in await content(store)} == dict(rows)


async def test_first_runs_may_start_together(server, client):
    schema = f"fresh {uuid.uuid4().hex}"
    stores = [PgVector(postgres(), "docs", schema=schema) for _ in range(6)]
    async with new_schema(stores[0]):
        rows = [(number, f"text {number}") for number in range(6)]
        await asyncio.gather(
            *(client.embed_to_store([row], store) for row, store in zip(rows, stores, strict=True)),
        )
        assert await stores[0].count() == 6
    for store in stores:
        await store.aclose()


ODD_NAMES = ["v", "t", "q", "growth %", "%s", "$1", "{x}", 'a"b', "a.b", "CTID", " "]


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_any_name_of_a_column_or_a_table_works(server, client, name):
    store = PgVector(postgres(), f"{name} {uuid.uuid4().hex}", schema=f"{name} {uuid.uuid4().hex}")
    async with new_schema(store):
        for _ in range(2):
            await client.embed_to_store([EmbedInput("text", 1, {name: 7})], store)
        await store.create_index()
        (found,) = await store.search(vector_of("text"), 1)
        assert (found.id, found.metadata) == (1, {name: 7})
    await store.aclose()
    assert len(asked_for(server)) == 1


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 64, "a\ud800", "ctid", "xmin", "tableoid"])
async def test_names_that_no_column_can_have_are_refused(store, name):
    await store.prepare(_fingerprint("float32"), 3)
    with pytest.raises(
        ConfigurationError, match=r"which no (column of PostgreSQL can have|database can give a column)"
    ):
        await store.put([1], [text_hash("a")], np.ones((1, 3), np.float32), None, [{name: 1}])


async def test_metadata_comes_back_as_it_was(server, client, store):
    rows = [
        {"tags": ["x"], "x": 0.5, "path": "a"},
        {"tags": "123", "x": float("nan"), "path": r"C:\u0000x"},
        {"tags": "hello", "x": float("inf"), "path": "\\\0\\u0000\0\0"},
        {"tags": None, "x": np.float32("-inf"), "path": "\\\\"},
        {"tags": {"a": "true", "b": ["\0", r"\u0000"]}, "x": None, "path": '"\\"'},
        {"tags": "true", "x": 1e300, "path": ""},
    ]
    await client.embed_to_store([EmbedInput(f"text {id_}", id_, row) for id_, row in enumerate(rows)], store)
    found = await content(store, "select id, tags, x, path from {table} order by id")
    expected = [{"id": id_, **row, "path": row["path"].replace("\0", "\ufffd")} for id_, row in enumerate(rows)]
    expected[4]["tags"] = {"a": "true", "b": ["\ufffd", r"\u0000"]}
    assert np.isnan(found[1].pop("x"))
    assert np.isnan(expected[1].pop("x"))
    assert found == expected
    nothing = await content(store, "select id from {table} where tags is null")
    assert [row["id"] for row in nothing] == [3]


@asynccontextmanager
async def new_schema(store):
    name = pytest.importorskip("psycopg.sql").Identifier(store._schema)
    async with store._writing() as connection:
        await connection.execute(store._sql("create schema {name}", name=name))
    yield
    async with store._writing() as connection:
        await connection.execute(store._sql("drop schema {name} cascade", name=name))


async def test_metadata_goes_into_typed_columns(server, client, store):
    day, at = dt.date(2024, 2, 29), dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC)
    values = {"n": 2**60, "x": 0.1, "ok": True, "day": day, "at": at, "tags": ["a", {"b": None}], "s": 'q"\0ü'}
    await client.embed_to_store([EmbedInput("a\0b", 1, values), EmbedInput("c", 2, {"n": 7})], store)
    first, second = await content(store, "select * from {table} order by id")
    assert {name: first[name] for name in values} == {**values, "s": 'q"\ufffdü'}
    assert (first["text"], second["n"], second["tags"]) == ("a\ufffdb", 7, None)
    (found,) = await store.search(vector_of("a\0b"), 1)
    assert (found.id, found.metadata["day"]) == (1, day)
    assert found.score == pytest.approx(1, abs=1e-5)


async def test_a_value_that_does_not_fit_its_column_is_refused_and_not_rounded(server, client, store):
    await client.embed_to_store([EmbedInput("a", 1, {"n": 1})], store)
    with pytest.raises(ConfigurationError, match="refused the rows"):
        await client.embed_to_store([EmbedInput("b", 2, {"n": 1.5})], store)
    assert await store.count() == 1


async def test_ids_of_another_kind_are_refused(server, client, store):
    await client.embed_to_store(rows_of(1), store)
    with pytest.raises(ConfigurationError, match="'a' does not fit into the column id"):
        await client.embed_to_store([("a", "text")], store)


async def test_a_table_of_ones_own_may_have_other_types(server, client, store):
    await store.prepare(_fingerprint("float32"), None)
    async with store._writing() as connection:
        await connection.execute(
            store._sql(
                "create table {table} (id uuid primary key, hash bytea, embedding halfvec(8), text varchar(100), "
                "page integer, made timestamptz default now())"
            )
        )
    id_ = uuid.uuid4()
    await client.embed_to_store([EmbedInput("a", str(id_), {"page": 3})], store)
    await client.embed_to_store([EmbedInput("a", str(id_), {"page": 3})], store)
    (row,) = await content(store)
    assert (row["id"], row["page"]) == (id_, 3)
    assert len(asked_for(server)) == 1


def _fingerprint(dtype):
    return {"provider": "openai", "model": "m", "dtype": dtype}


@pytest.mark.parametrize(
    ("dtype", "vectors", "kind"),
    [
        ("float32", np.array([[1.5, -2, 3], [0, 1, 1]], np.float32), "vector(3)"),
        ("int8", np.array([[-128, 127, 3], [0, 1, 1]], np.int8), "halfvec(3)"),
        ("uint8", np.array([[255, 127, 3], [0, 1, 1]], np.uint8), "halfvec(3)"),
        ("binary", np.array([[-128, 1], [127, -1]], np.int8), "bit(16)"),
        ("ubinary", np.array([[128, 1], [127, 255]], np.uint8), "bit(16)"),
    ],
)
async def test_each_dtype_has_a_column_type_that_holds_it_exactly(store, dtype, vectors, kind):
    await store.prepare(_fingerprint(dtype), None)
    await store.prepare(_fingerprint(dtype), vectors.shape[1] * (8 if "bin" in dtype else 1))
    await store.put([1, 2], [text_hash("a"), text_hash("b")], vectors, None, [None, None])
    assert (await columns_of(store))["embedding"] == kind
    first, _ = await content(store, "select embedding::text as embedding from {table} order by id")
    if "bin" in dtype:
        assert first["embedding"] == "".join(f"{number:08b}" for number in vectors[0].view(np.uint8))
    else:
        np.testing.assert_array_equal(vector(first["embedding"]), vectors[0])
    found = await store.search(vectors[1], 2)
    assert [hit.id for hit in found] == [2, 1]
    assert found[0].score == pytest.approx(1, abs=1e-5)
    await store.create_index()
    assert [hit.id for hit in await store.search(vectors[1], 2)] == [2, 1]


async def test_an_index_that_cannot_hold_the_vectors_is_refused_with_the_way_out(store):
    await store.prepare(_fingerprint("float32"), 3072)
    await store.put([1], [text_hash("a")], np.ones((1, 3072), np.float32), None, [None])
    with pytest.raises(
        ConfigurationError, match="up to 2,000 dimensions, but these vectors have 3,072; type='halfvec' holds"
    ):
        await store.create_index()


async def test_an_index_that_several_processes_create_at_once(store):
    await store.prepare(_fingerprint("float32"), 64)
    vectors = np.random.default_rng(1).standard_normal((2_000, 64)).astype(np.float32)
    await store.put(range(2_000), [text_hash("a")] * 2_000, vectors, None, [None] * 2_000)
    others = [PgVector(postgres(), store._table, schema=store._schema) for _ in range(3)]
    await asyncio.gather(*(each.create_index() for each in (store, *others)))
    for other in others:
        await other.aclose()


@pytest.mark.parametrize("letter", ["a", "é"])
async def test_tables_with_long_names_each_have_an_index(letter):
    start = letter * (45 // len(letter.encode()))
    for name in (f"{start} one", f"{start} two"):
        store = PgVector(postgres(), f"{name} {uuid.uuid4().hex[:8]}")
        await store.prepare(_fingerprint("float32"), 3)
        await store.put([1], [text_hash("a")], np.ones((1, 3), np.float32), None, [None])
        await store.create_index()
        async with store._writing() as connection:
            cursor = await connection.execute(
                "select indexdef from pg_indexes where tablename = $1 and indexname like $2",
                (store._table, "%embedding_hnsw"),
            )
            assert len(await cursor.fetchall()) == 1
            await connection.execute(store._sql("drop table {table}"))
        await store.aclose()


async def test_a_table_of_somebody_else_in_a_schema_without_ours_is_refused():
    other = PgVector(postgres(), "docs", schema=f"other {uuid.uuid4().hex}")
    async with new_schema(other):
        async with other._writing() as connection:
            await connection.execute(other._sql("create table {table} (id bigint primary key, embedding vector(3))"))
        with pytest.raises(ConfigurationError, match="not a table of embed_to_store"):
            await other.search(np.ones(3, np.float32))
        with pytest.raises(ConfigurationError, match="has no vectors yet"):
            await other.create_index()
    await other.aclose()


async def test_a_broken_connection_is_opened_again(server, client, store):
    await client.embed_to_store(rows_of(10), store)
    for connection in (store._reader, store._writer):
        await kill(connection)
    await client.embed_to_store([(number, f"text {number}") for number in range(20)], store)
    assert await store.count() == 20
    await kill(store._reader)
    assert (await store.search(vector_of("text 3"), 1))[0].id == 3
    await kill(store._writer)
    await store.create_index()


async def kill(connection):
    other = PgVector(postgres())
    async with other._writing() as killer:
        await killer.execute("select pg_terminate_backend($1)", (connection.info.backend_pid,))
    await other.aclose()


async def test_more_rows_than_the_index_looks_at_by_default(store):
    vectors = np.random.default_rng(1).standard_normal((3_000, 8), np.float32)
    await store.prepare(_fingerprint("float32"), 8)
    await store.put(range(3_000), [text_hash("a")] * 3_000, vectors, None, [None] * 3_000)
    await store.create_index()
    async with store._writing() as connection:
        await connection.execute(store._sql("analyze {table}"))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    nearest = np.argsort(-unit @ unit[7])
    for k in (10, 100, 1_000, 1_001, 5_000):
        found = [hit.id for hit in await store.search(vectors[7], k)]
        assert len(found) == min(k, 3_000)
        assert found[0] == 7
        assert len(set(found) & set(nearest[:k].tolist())) >= 0.8 * len(found)
    await store.put(range(500), [text_hash("b")] * 500, vectors[:500], None, [None] * 500)
    async with store._writing() as connection:  # removed rows stay in the index until a vacuum
        await connection.execute(store._sql("delete from {table} where id >= 500"))
    assert len(await store.search(vectors[7], 500)) == 500


@pytest.mark.parametrize("k", [0, -1])
async def test_a_count_of_rows_below_one_is_refused(store, k):
    with pytest.raises(ConfigurationError, match=f"k={k} must be"):
        await store.search(np.ones(3, np.float32), k)


async def test_an_absent_schema_and_a_missing_right_are_named_with_the_way_out(server, client):
    absent = PgVector(postgres(), schema="absent")
    with pytest.raises(ConfigurationError, match="run CREATE SCHEMA"):
        await client.embed_to_store(rows_of(1), absent)
    await absent.aclose()
    store = PgVector(postgres(), schema=f"closed {uuid.uuid4().hex}")
    async with new_schema(store):
        async with store._writing() as connection:
            await connection.execute("set session authorization pg_monitor")
        with pytest.raises(ConfigurationError, match="grant it USAGE on the schema"):
            await client.embed_to_store(rows_of(1), store)
        async with store._writing() as connection:
            await connection.execute("reset session authorization")
    await store.aclose()
    assert not server.requests


@pytest.mark.parametrize(
    "conninfo",
    [
        "postgresql://me:s3cret-pw@127.0.0.1:1/db",
        "host=127.0.0.1 port=1 password=s3cret-pw",
        "postgresql://me:s3cret-pw@127.0.0.1:1:2/db",
        "host 127.0.0.1 password=s3cret-pw",
        "password=s3cret-pw s3cret-pw",
    ],
)
async def test_the_password_is_nowhere_to_be_seen(conninfo):
    pytest.importorskip("psycopg")
    store = PgVector(conninfo, "docs")
    with pytest.raises((ConfigurationError, ConnectionError)) as caught:
        await store.prepare(_fingerprint("float32"), 3)
    shown = "".join(traceback.TracebackException.from_exception(below(caught.value), capture_locals=True).format())
    assert "s3cret-pw" not in shown + repr(store) + repr(vars(store)) + str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 64, "a\ud800", "asyncembed_fingerprints"])
def test_names_that_the_server_would_change_are_refused(name):
    with pytest.raises(ConfigurationError, match="cannot be a name"):
        PgVector("", name)


def below(error):
    """An error without the frame of the test, which knows the password."""
    return error.with_traceback(error.__traceback__.tb_next)


async def columns_of(store):
    return await store._read(store._own_columns)
