"""`asyncembed.search` in stores and files."""

from __future__ import annotations

import pytest
from support.stores import asked_for

import asyncembed
from asyncembed import ConfigurationError
from asyncembed.stores import SqliteVectors, open_store

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
