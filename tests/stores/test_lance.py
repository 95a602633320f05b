"""`LanceTable` with a real LanceDB."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from support.scripted import vector_of
from support.stores import asked_for

from asyncembed import ConfigurationError, EmbedInput, ResumeError
from asyncembed.stores import LanceTable, text_hash

pytest.importorskip("lancedb", reason="lancedb is not installed")


@pytest.fixture
async def store(tmp_path):
    made = LanceTable(tmp_path / "lance", "docs")
    yield made
    await made.aclose()


def rows_of(count):
    return [(number, f"text {number}") for number in range(count)]


async def content(store):
    return (await (await store._open()).query().to_arrow()).to_pylist()


async def test_rows_are_stored_once_and_asked_for_once(server, client, store):
    rows = rows_of(2_500)
    await client.embed_to_store(rows, store)
    found = {row["id"]: row for row in await content(store)}
    assert len(await content(store)) == len(found) == 2_500
    for id_, text in rows[::50]:
        assert found[id_]["text"] == text
        np.testing.assert_array_equal(np.float32(found[id_]["embedding"]), vector_of(text))
    server.requests.clear()
    summary = await client.embed_to_store(rows, store)
    assert not server.requests
    assert summary.resumed == 2_500
    changed = [(id_, f"{text} new") if id_ % 25 == 0 else (id_, text) for id_, text in rows]
    await client.embed_to_store(changed, store)
    assert len(asked_for(server)) == 100
    assert {row["id"]: row["text"] for row in await content(store)} == dict(changed)


async def test_a_full_store_is_known_to_another_object(server, connect, store):
    rows = [(f"ä'{number}", f"text {number}") for number in range(50)]
    await connect(model="other").embed_to_store(rows, store)
    server.requests.clear()
    again = LanceTable(store._uri, "docs")
    await connect(model="other").embed_to_store(rows, again)
    with pytest.raises(ResumeError, match="model was 'other' and is 'another' now"):
        await connect(model="another").embed_to_store(rows, again)
    await again.aclose()
    assert not server.requests


async def test_metadata_goes_into_columns(server, client, store):
    values = {"n": 2**60, "x": 0.1, "ok": True, "tags": ["a"], "s": "ü"}
    await client.embed_to_store([EmbedInput("a", 1, values), EmbedInput("b", 2, {"n": 7})], store)
    await client.embed_to_store([EmbedInput("c", 3, {"new": "later"}), (4, "d")], store)
    (found,) = await store.search(vector_of("a"), 1)
    assert (found.id, found.text, found.metadata) == (1, "a", {**values, "tags": '["a"]', "new": None})
    assert found.score == pytest.approx(1, abs=1e-5)
    with pytest.raises(ConfigurationError, match="do not fit into one column"):
        await client.embed_to_store([EmbedInput("e", 5, {"n": "seven"})], store)


async def test_ids_of_another_kind_are_refused(server, client, store):
    await client.embed_to_store(rows_of(1), store)
    with pytest.raises(ConfigurationError, match="'a' does not fit into the column id"):
        await client.embed_to_store([("a", "text")], store)


@pytest.mark.parametrize(
    ("dtype", "vectors"),
    [
        ("float32", np.array([[1.5, -2, 3], [0, 1, 1]], np.float32)),
        ("int8", np.array([[-128, 127, 3], [0, 1, 1]], np.int8)),
        ("uint8", np.array([[255, 127, 3], [0, 1, 1]], np.uint8)),
        ("binary", np.array([[-128, 1], [127, -1]], np.int8)),
        ("ubinary", np.array([[128, 1], [127, 255]], np.uint8)),
    ],
)
async def test_every_dtype_is_kept_as_it_is_and_found(store, dtype, vectors):
    fingerprint = {"provider": "openai", "model": "m", "dtype": dtype}
    await store.prepare(fingerprint, vectors.shape[1] * (8 if "bin" in dtype else 1))
    await store.put([1, 2], [text_hash("a"), text_hash("b")], vectors, None, [None, None])
    first, second = sorted(await content(store), key=lambda row: row["id"])
    np.testing.assert_array_equal([first["embedding"], second["embedding"]], vectors)
    found = await store.search(vectors[1], 2)
    assert [hit.id for hit in found] == [2, 1]
    assert found[0].score == pytest.approx(1, abs=1e-5)


async def test_a_table_of_somebody_else_is_refused(server, client, store):
    database = await store._connect()
    await database.create_table("docs", [{"id": 1, "vector": [1.0, 2.0]}])
    with pytest.raises(ResumeError, match="no fingerprint that says what made their vectors"):
        await client.embed_to_store(rows_of(2), store)
    assert not server.requests


@pytest.mark.parametrize("name", ["a.b", "a`b", "_rowid", "_rowaddr", "_distance"])
async def test_names_that_lance_cannot_give_a_column_are_refused_before_they_are_paid(server, client, store, name):
    rows = [EmbedInput("a", 1, {name: 1}), EmbedInput("b", 2)]
    with pytest.raises(ConfigurationError, match=r"texts\[0\].* cannot give a column"):
        await client.embed_to_store(rows, store)
    assert not server.requests
    summary = await client.embed_to_store(rows, store, on_error="skip")
    assert (server.asked, summary.failed, await store.count()) == ([["b"]], 1, 1)


@pytest.mark.parametrize("value", [1.75, True, "1"])
async def test_a_value_that_an_existing_column_would_change_is_refused(server, client, store, value):
    await client.embed_to_store([EmbedInput("a", 1, {"price": 1}), EmbedInput("b", 2, {"price": 2.0})], store)
    (column,) = await store.columns()
    await client.embed_to_store([EmbedInput("c", 3, {column: 3.0}), (4, "d")], store)
    integers = LanceTable(store._uri, "integers")
    await client.embed_to_store([EmbedInput("a", 1, {"price": 1})], integers)
    await client.embed_to_store([EmbedInput("b", 2, {"price": 2.0}), (3, "c")], integers)
    with pytest.raises(ConfigurationError, match="do not fit into one column"):
        await client.embed_to_store([EmbedInput("d", 4, {"price": value})], integers)
    assert {hit.id: hit.metadata["price"] for hit in await integers.search(vector_of("a"), 9)} == {1: 1, 2: 2, 3: None}
    await integers.aclose()


async def test_what_others_have_written_is_seen(server, client, store):
    other = LanceTable(store._uri, "docs")
    await client.embed_to_store(rows_of(3), store)
    assert await other.count() == 3
    await client.embed_to_store(rows_of(6), store)
    server.requests.clear()
    assert await other.count() == 6
    (found,) = await other.search(vector_of("text 5"), 1)
    assert found.id == 5
    assert (await client.embed_to_store(rows_of(6), other)).resumed == 6
    assert not server.requests
    await other.aclose()


async def test_two_writers_of_the_same_rows_double_nothing(server, client, store):
    other = LanceTable(store._uri, "docs")
    rows = rows_of(2_000)
    await asyncio.gather(client.embed_to_store(rows, store), client.embed_to_store(rows, other))
    assert sorted(row["id"] for row in await content(store)) == list(range(2_000))
    await other.aclose()


async def test_reading_creates_no_folder(tmp_path):
    store = LanceTable(tmp_path / "none")
    assert (await store.fingerprint(), await store.dimension(), await store.count()) == (None, None, 0)
    assert await store.columns() == []
    with pytest.raises(ConfigurationError, match="not a table of embed_to_store"):
        await store.search(vector_of("a"), 1)
    assert not (tmp_path / "none").exists()
    await store.aclose()
