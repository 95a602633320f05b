"""The client's cache: what it holds costs nothing, it never gives a wrong vector, and its own faults cost no run."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import sqlite3
import sys
import time
import zlib

import aiohttp
import numpy as np
import pytest
from support.watching import until

from asyncembed import ClientSpec, ConfigurationError, EmbedClient, ResponseError
from asyncembed.stores import SqliteVectors
from asyncembed.testing import FakeServer, vector_of

TEXTS = [f"text {number}" for number in range(600)]
MATRIX = np.stack([vector_of(text) for text in TEXTS])


@pytest.fixture
async def fake():
    async with FakeServer(dimension=8) as running:
        yield running


@pytest.fixture
def path(tmp_path):
    return tmp_path / "embeddings.sqlite"


def open_client(server: FakeServer, path, **settings: object) -> EmbedClient:
    return EmbedClient("openai", base_url=f"{server.url}/v1", api_key="any", cache=path, **settings)


async def test_a_second_run_sends_nothing(fake, path, tmp_path):
    async with open_client(fake, path) as client:
        np.testing.assert_array_equal((await client.embed(TEXTS)).embeddings, MATRIX)
    requests = fake.ledger.requests
    async with open_client(fake, path) as client:
        response = await client.embed(TEXTS)
        np.testing.assert_array_equal(response.embeddings, MATRIX)
        assert response.usage.tokens == 0
        async with client.embed_stream(TEXTS) as stream:
            results = [result async for result in stream]
            assert (stream.summary.cached, stream.summary.requests, stream.summary.dimension) == (600, 0, 8)
        assert [result.index for result in results] == list(range(600))
        assert all(result.embedding.flags.writeable for result in results)
        summary = await client.embed_to_file(TEXTS, tmp_path / "v.npy")
        assert (summary.saved, summary.cached) == (600, 600)
        np.testing.assert_array_equal(np.load(tmp_path / "v.npy"), MATRIX)
        np.testing.assert_array_equal(await client.embed_query("text 3", input_type="document"), MATRIX[3])
    assert fake.ledger.requests == requests


@pytest.mark.parametrize(
    "other",
    [
        {"model": "another"},
        {"dimensions": 4},
        {"dtype": "int8"},
        {"input_type": "query"},
        {"prompts": {"document": "passage: "}},
        {"extra": {"user": "x"}},
        {"normalize": True},
        {"truncate": "END"},
    ],
    ids=lambda other: next(iter(other)),
)
async def test_what_shapes_a_vector_is_a_part_of_the_key(path, other):
    """No option gives the vector of another one."""
    async with (
        FakeServer(dimension=8) as server,
        EmbedClient("cohere", base_url=server.url, api_key="any", cache=path) as client,
    ):
        await client.embed(TEXTS[:5])
        for _ in range(2):
            await client.embed(TEXTS[:5], **other)
        assert server.ledger.requests == 2


async def test_another_server_is_another_key(path):
    """Its model of the same name may be another one."""
    for _ in range(2):
        async with FakeServer(dimension=8) as server, open_client(server, path) as client:
            await client.embed(TEXTS[:5])
            assert server.ledger.requests == 1


ROUTES = [
    {"headers": {"x-model-route": "a"}},
    {"headers": {"X-Model-Route": "b"}},
    {"query": "?deployment=a"},
    {"query": "?deployment=b"},
]


async def test_what_may_choose_the_model_at_a_gateway_is_a_part_of_the_key(fake, path):
    for count, route in enumerate([{}, *ROUTES, *ROUTES], 1):
        url = f"{fake.url}/v1{route.get('query', '')}"
        async with EmbedClient("openai", base_url=url, api_key="k", headers=route.get("headers"), cache=path) as client:
            await client.embed(TEXTS[:5])
            await client.embed_query("text 3", input_type="document")
        assert fake.ledger.requests == min(count, 1 + len(ROUTES))
    async with aiohttp.ClientSession(headers={"x-model-route": "c"}) as session:
        await open_client(fake, path, session=session).embed(TEXTS[:5])
    assert fake.ledger.requests == 2 + len(ROUTES)


async def test_another_key_gets_the_same_vectors(fake, path):
    for number in range(3):
        url = f"{fake.url}/v1?deployment=a&api-key=secret{number}"
        headers = {"x-api-key": f"secret{number}", "X-Route": "a"}
        async with EmbedClient(
            "openai", base_url=url, api_key=f"secret{number}", headers=headers, cache=path
        ) as client:
            await client.embed(TEXTS[:5])
    assert fake.ledger.requests == 1


async def test_a_file_goes_on_with_other_headers(fake, path, tmp_path):
    for route in ("a", "b"):
        async with open_client(fake, path, headers={"x-model-route": route}) as client:
            summary = await client.embed_to_file(TEXTS[:5], tmp_path / "v.npy", resume=True)
    assert (summary.resumed, fake.ledger.requests) == (5, 1)


async def test_a_damaged_row_counts_as_missing(fake, path):
    async with open_client(fake, path) as client:
        await client.embed(TEXTS)
    with sqlite3.connect(path) as database:
        rows = database.execute("select key, vector from vectors").fetchall()
        draw = random.Random(1)
        for key, vector in draw.sample(rows, 100):
            position = draw.randrange(len(vector))
            damaged = vector[:position] + bytes([vector[position] ^ 1 << draw.randrange(8)]) + vector[position + 1 :]
            damaged = draw.choice([damaged, vector[:-1], b"", damaged])
            database.execute("update vectors set vector = ? where key = ?", (damaged, key))
    database.close()
    async with open_client(fake, path) as client, client.embed_stream(TEXTS) as stream:
        async for result in stream:
            np.testing.assert_array_equal(result.embedding, MATRIX[result.index])
        assert stream.summary.cached == 500


async def test_a_file_that_is_no_database_is_refused_before_anything_is_sent(fake, path):
    path.write_bytes(b"this is no database, and was never one" * 100)
    async with open_client(fake, path) as client:
        with pytest.raises(
            ConfigurationError, match=r"cache='.*embeddings.sqlite' cannot be used: .*choose another file"
        ):
            await client.embed(TEXTS)
    assert not fake.ledger.requests


async def test_a_path_that_no_file_can_have_is_refused_before_anything_is_sent(fake):
    for wrong in ("a\0b", "a\ud800b"):
        async with open_client(fake, wrong) as client:
            with pytest.raises(ConfigurationError, match=r"cache=.* cannot be used: .*; choose another file"):
                await client.embed(TEXTS)
    assert not fake.ledger.requests


async def test_a_store_of_vectors_is_no_cache(fake, path):
    """It is named, and stays as it was."""
    store = SqliteVectors(path)
    async with open_client(fake, None) as client:
        await client.embed_to_store([("a", "b")], store)
    await store.aclose()
    async with open_client(fake, path) as client:
        with pytest.raises(ConfigurationError, match=r"is a store of vectors \(SqliteVectors\).*choose another file"):
            await client.embed(TEXTS)
    assert "vectors" not in tables_of(path)


@pytest.mark.parametrize("table", ["notes (id, text)", "vectors (id, embedding)"])
async def test_the_database_of_another_program_is_no_cache(fake, path, table):
    with sqlite3.connect(path) as database:
        database.execute(f"create table {table}")
    database.close()
    async with open_client(fake, path) as client:
        with pytest.raises(ConfigurationError, match=r"is the database of another program.*choose another file"):
            await client.embed(TEXTS)
    assert tables_of(path) == {table.partition(" ")[0]}


def tables_of(path) -> set[str]:
    with sqlite3.connect(path) as database:
        found = {name for (name,) in database.execute("select name from sqlite_master where type = 'table'")}
    database.close()
    return found


async def test_a_file_of_an_earlier_schema_holds_no_known_vector(fake, path):
    """Its rows had no note of whether the text was cut."""
    async with open_client(fake, path) as client:
        await client.embed(TEXTS[:20])
    with sqlite3.connect(path) as database:
        for key, row in database.execute("select key, vector from vectors").fetchall():
            old = zlib.crc32(row[5:], zlib.crc32(key)).to_bytes(4) + row[5:]
            database.execute("update vectors set vector = ? where key = ?", (old, key))
    database.close()
    for requests in (2, 2):
        async with open_client(fake, path) as client:
            np.testing.assert_array_equal((await client.embed(TEXTS[:20])).embeddings, MATRIX[:20])
        assert fake.ledger.requests == requests


@pytest.fixture
def lock(path):
    """Locks the file as another process does."""
    database = sqlite3.connect(path, isolation_level=None)
    yield database
    database.close()


async def test_a_locked_file_holds_nobody_up_and_is_used_again_afterwards(fake, path, lock, caplog):
    """Leaving a stream does not wait for the other process, and neither does each further write."""
    caplog.set_level(logging.WARNING, "asyncembed")
    async with open_client(fake, path) as client:
        await client.embed(TEXTS[:10])
        lock.execute("begin immediate")
        started = time.monotonic()
        async with client.embed_stream(TEXTS[100:200]) as stream:
            async for _ in stream:
                break
        for start in range(200, 600, 100):
            await client.embed(TEXTS[start : start + 100])
        np.testing.assert_array_equal((await client.embed(TEXTS[:10])).embeddings, MATRIX[:10])
        assert fake.ledger.asked[TEXTS[0]] == 1  # others can read while one process writes
        assert time.monotonic() - started < 5
        lock.execute("rollback")
        for _ in range(2):
            await client.embed(TEXTS[:200])
        assert fake.ledger.asked[TEXTS[150]] == 2
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "is locked by another process" in caplog.text


async def test_a_file_that_is_locked_when_it_is_opened_is_opened_later(fake, path, lock):
    lock.execute("begin exclusive")
    async with open_client(fake, path, query_concurrency=1) as client:
        await client.embed(TEXTS[:10])
        lock.execute("rollback")
        for _ in range(2):
            await client.embed(TEXTS[10:20])
    assert fake.ledger.asked[TEXTS[10]] == 1


async def test_a_cache_that_fails_costs_no_run(fake, path, caplog):
    """Its table is gone all of a sudden; one line tells of it."""
    caplog.set_level(logging.WARNING, "asyncembed")
    async with open_client(fake, path) as client:
        await client.embed(TEXTS[:300])
        with sqlite3.connect(path) as database:
            database.execute("drop table vectors")
        database.close()
        np.testing.assert_array_equal((await client.embed(TEXTS)).embeddings, MATRIX)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "is not used any more" in caplog.text


async def test_old_rows_go_when_it_is_full(fake, path):
    async with open_client(fake, path, cache_mb=0.1) as client:
        for start in range(0, 6_000, 500):
            await client.embed([f"text {number}" for number in range(start, start + 500)])
    assert path.stat().st_size < 300_000
    with sqlite3.connect(path) as database:
        assert 100 < database.execute("select count(*) from vectors").fetchone()[0] < 4_000
    database.close()


PROGRAM = """
import asyncio, random, sys
import numpy as np
from asyncembed import EmbedClient
from asyncembed.testing import vector_of

async def main(url, path, seed):
    draw = random.Random(seed)
    async with EmbedClient("openai", base_url=url, api_key="any", cache=path) as client:
        for _ in range(20):
            texts = [f"text {draw.randrange(2_000)}" for _ in range(625)]
            response = await client.embed(texts)
            assert np.array_equal(response.embeddings, np.stack([vector_of(text) for text in texts]))

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


async def test_several_processes_use_it_at_once(fake, path):
    """Four of them, 50,000 random look-ups in all: each vector is right, and none of the processes fails."""
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, f"{fake.url}/v1", path, str(seed), stderr=asyncio.subprocess.PIPE
        )
        for seed in range(4)
    ]
    for process in processes:
        _, errors = await process.communicate()
        assert (process.returncode, errors) == (0, b"")


def test_a_spec_carries_the_path(path):
    spec = ClientSpec("local", cache=str(path), cache_mb=5)
    client = spec.open()
    assert client.spec == spec
    assert EmbedClient("local", cache=path, cache_mb=5).spec == spec


@pytest.mark.parametrize(
    "settings", [{"cache": 5}, {"cache_mb": 0}, {"cache_mb": "1"}, {"cache": "c", "cache_mb": 1e13}]
)
def test_settings_are_checked(settings):
    with pytest.raises(ConfigurationError, match=list(settings)[-1]):
        EmbedClient("local", **settings)


async def test_a_client_that_is_dropped_closes_the_file(fake, path):
    """Quietly, as it closes its connections; SQLite deletes the log beside a file that nobody has open."""
    log = path.with_name(f"{path.name}-wal")
    client = open_client(fake, path)
    await client.embed(TEXTS[:3])
    assert log.exists()
    await client._connection.aclose()
    del client
    gc.collect()
    await until(lambda: not log.exists())  # the thread of the file may still hold the cache for a moment


async def one_by_one(texts):
    for text in texts:
        yield text


@pytest.mark.parametrize("verb", ["embed", "stream", "file"])
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_cache_that_cannot_be_opened_ends_every_call(fake, tmp_path, verb, is_async):
    """Also one whose texts come from an async iterable, which then waits to be read further."""
    texts = one_by_one(TEXTS * 5) if is_async else TEXTS * 5
    async with open_client(fake, tmp_path / "missing" / "c.db") as client, asyncio.timeout(30):
        with pytest.raises(ConfigurationError, match="cache="):
            await call(client, verb, texts, tmp_path)


async def call(client, verb, texts, folder, **options):
    if verb == "embed":
        return await client.embed(texts, **options)
    if verb == "file":
        return await client.embed_to_file(texts, folder / "v.npy", **options)
    async with client.embed_stream(texts, **options) as stream:
        return [result async for result in stream]


@pytest.mark.parametrize("verb", ["embed", "stream", "file"])
@pytest.mark.parametrize("options", [{}, {"max_text_tokens": 40}])
async def test_vectors_of_two_lengths_in_the_cache_are_an_error_and_lose_no_text_silently(
    fake, path, tmp_path, verb, options
):
    """Also where texts are read ahead because one of them is too long."""
    for dimension, texts in ((8, TEXTS[:50]), (16, TEXTS[50:100])):
        fake.dimension = dimension
        async with open_client(fake, path) as client:
            await client.embed(texts)
    fake.dimension = 8
    mixed = [*(f"new {number}" for number in range(12)), "cat " * 200, *TEXTS[:65], *TEXTS[:50], "the last"]
    async with open_client(fake, path) as client:
        with pytest.raises(ResponseError, match=r"vectors of (8 and 16|16 and 8) numbers"):
            await call(client, verb, mixed, tmp_path, chunk_size=25, **options)
