"""`asyncembed.search` in stores and files."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec

import pytest
from support.scripted import vector_of
from support.stores import asked_for

import asyncembed
from asyncembed import ConfigurationError, EmbedTimeoutError
from asyncembed.stores import LanceTable, SqliteVectors, open_store

ROWS = [(number, f"text {number}") for number in range(100)]


async def test_a_query_finds_its_text_in_a_store_and_in_a_file(server, connect, tmp_path):
    server.dimension = 512
    store = SqliteVectors(tmp_path / "v.db")
    maker = connect("cohere", model="embed-v4.0")
    await maker.embed_to_store(ROWS, store, dimensions=512)
    await maker.embed_to_file(ROWS, tmp_path / "v.npy", dimensions=512)
    server.requests.clear()
    client = connect("cohere", model="embed-english-v3.0")
    for where in (store, tmp_path / "v.npy"):
        found = await asyncembed.search(where, client, "text 7", 3)
        assert len(found) == 3
        assert found[0].id == 7
        assert found[0].score == pytest.approx(1, abs=1e-5)
        assert found[0].text == "text 7"
    bodies = [request.body for request in server.requests]
    assert [(body["model"], body["input_type"], body["output_dimension"]) for body in bodies] == [
        ("embed-v4.0", "search_query", 512)
    ]  # the second search finds the vector remembered
    await store.aclose()


async def test_a_client_of_another_provider_is_refused(server, connect, tmp_path):
    store = SqliteVectors(tmp_path / "v.db")
    await connect().embed_to_store(ROWS[:3], store)
    server.requests.clear()
    with pytest.raises(ConfigurationError, match="provider was 'openai' and is 'cohere' now"):
        await asyncembed.search(store, connect("cohere"), "text 1")
    assert not asked_for(server)
    await store.aclose()


@pytest.mark.parametrize(
    ("options", "again"),
    [
        ({"normalize": True}, {}),
        ({"normalize": False}, {}),
        ({"shorten": "client", "dimensions": 4}, {}),
        ({"extra": {"user": "me"}}, {"extra": {"user": "me"}}),
        ({"prompts": "e5"}, {"prompts": "e5"}),
    ],
)
async def test_what_shaped_the_vectors_shapes_the_query(server, connect, tmp_path, options, again):
    store, client = SqliteVectors(tmp_path / "v.db"), connect()
    await client.embed_to_store(ROWS, store, **options)
    await client.embed_to_file(ROWS, tmp_path / "v.npy", **options)
    server.requests.clear()
    for where in (store, tmp_path / "v.npy"):
        found = await asyncembed.search(where, client, "text 7", 100, deadline=30, **again)
        assert len(found) == 100
        if options == {"prompts": "e5"}:
            assert asked_for(server) == ["query: text 7"]
        else:
            assert found[0].id == 7
            assert found[0].score == pytest.approx(1, abs=1e-5)
    await store.aclose()


async def test_extra_fields_that_are_left_out_are_asked_for(server, client, tmp_path):
    await client.embed_to_file(ROWS[:3], tmp_path / "v.npy", extra={"user": "me"})
    server.requests.clear()
    with pytest.raises(ConfigurationError, match="was made with extra="):
        await asyncembed.search(tmp_path / "v.npy", client, "text 1")
    with pytest.raises(ConfigurationError, match=r"extra was '.*' and is '.*' now"):
        await asyncembed.search(tmp_path / "v.npy", client, "text 1", extra={"user": "you"})
    assert not asked_for(server)


async def test_a_search_ends_at_its_deadline(server, client, tmp_path):
    await client.embed_to_file(ROWS[:3], tmp_path / "v.npy")
    hold = asyncio.Event()

    async def never(exchange):
        await hold.wait()

    server.default = never
    with pytest.raises(EmbedTimeoutError):
        await asyncembed.search(tmp_path / "v.npy", client, "text 1", deadline=0.05)
    hold.set()


@pytest.mark.parametrize("k", [0, -1, 1.5, True])
async def test_a_search_for_less_than_one_row_is_refused(server, client, tmp_path, k):
    stores = [SqliteVectors(tmp_path / "v.db"), *([LanceTable(tmp_path / "v")] if find_spec("lancedb") else [])]
    for store in stores:
        await client.embed_to_store(ROWS[:3], store)
        server.requests.clear()
        for asked in (asyncembed.search(store, client, "text 1", k), store.search(vector_of("text 1"), k)):
            with pytest.raises(ConfigurationError, match="k="):
                await asked
        assert not asked_for(server)
        await store.aclose()


async def test_a_store_that_was_never_written_is_refused(client, tmp_path):
    with pytest.raises(ConfigurationError, match="does not record which model its vectors are from"):
        await asyncembed.search(SqliteVectors(tmp_path / "none.db"), client, "text 1")
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("sqlite:a/b#c.db#docs", "SqliteVectors('a/b#c.db', 'docs')"),
        ("sqlite:v.db", "SqliteVectors('v.db', 'embeddings')"),
        ("lancedb:folder#docs", "LanceTable('folder', 'docs')"),
        ("postgresql://u:s3cret@h/d?sslmode=require#docs", "PgVector(public.docs)"),
        ("postgres://h/d#own.docs", "PgVector(own.docs)"),
    ],
)
def test_stores_have_addresses(address, shown):
    assert repr(open_store(address)) == shown


@pytest.mark.parametrize("address", ["mysql://u:s3cret@h/d#t", "v.db#s3cret", "sqlite:#s3cret", ""])
def test_what_is_no_address_is_refused_and_not_repeated(address):
    with pytest.raises(ConfigurationError, match="a store is one of") as caught:
        open_store(address)
    assert "s3cret" not in str(caught.value)


def test_a_password_with_the_sign_before_the_table_is_not_shown():
    with pytest.raises(ConfigurationError, match="write %23 for it") as caught:
        open_store("postgresql://user:pa#s3cret@127.0.0.1:1/db")
    assert "s3cret" not in str(caught.value)
    assert repr(open_store("postgresql://user:pa#s3cret@127.0.0.1:1/db#docs")) == "PgVector(public.docs)"
