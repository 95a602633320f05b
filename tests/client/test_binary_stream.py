"""`embed_binary_stream`: the same vectors as single results, as matrices and as Arrow batches."""

from __future__ import annotations

import asyncio
import gc
import sys

import numpy as np
import pyarrow as pa
import pytest
from support.results import endless, numbered
from support.scripted import refused, vector_of
from support.watching import leftovers

from asyncembed import (
    ArrowStreamReader,
    AsyncEmbedError,
    ConfigurationError,
    NumpyStreamReader,
    QuotaExceededError,
    RechunkedReader,
    sinks,
)
from asyncembed.providers import Cohere, Model

TEXTS = numbered(25)
EXPECTED = np.stack(list(map(vector_of, TEXTS)))


async def blocks_of(reader) -> list[tuple[int, np.ndarray]]:
    return [block async for block in reader]


async def test_blocks_are_the_rows_of_requests(client):
    async with client.embed_binary_stream(TEXTS, chunk_size=10) as reader:
        assert isinstance(reader, NumpyStreamReader)
        blocks = await blocks_of(reader)
        assert reader.summary.done == 25
    assert [(first, block.shape) for first, block in blocks] == [(0, (10, 8)), (10, (10, 8)), (20, (5, 8))]
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), EXPECTED)
    assert all(block.dtype == np.float32 and block.flags.c_contiguous for _, block in blocks)
    blocks[0][1][:] = 0  # the caller's own


async def test_blocks_may_come_as_they_are_complete(server, client):
    gate = asyncio.Event()

    async def late(exchange):
        await gate.wait()
        await server.default(exchange)

    server.script.append(late)
    seen = {}
    async for first, block in client.embed_binary_stream(TEXTS, chunk_size=10, ordered=False):
        seen[first] = block
        if len(seen) == 2:
            gate.set()
    assert list(seen) == [10, 20, 0] or list(seen) == [20, 10, 0]
    np.testing.assert_array_equal(np.concatenate([seen[first] for first in sorted(seen)]), EXPECTED)


@pytest.mark.parametrize("source", [lambda: TEXTS, lambda: iter(TEXTS)], ids=["list", "iterator"])
async def test_everything_as_one_matrix(client, source):
    matrix = await client.embed_binary_stream(source(), chunk_size=4).read_all()
    np.testing.assert_array_equal(matrix, EXPECTED)


async def test_a_long_stream_grows_one_matrix(client):
    texts = numbered(2_500)
    matrix = await client.embed_binary_stream(iter(texts)).read_all()
    np.testing.assert_array_equal(matrix, np.stack(list(map(vector_of, texts))))


@pytest.mark.parametrize("rows", [1, 3, 10, 24, 25, 26, 1000])
@pytest.mark.parametrize("chunk_size", [1, 4, 10, 25])
async def test_blocks_of_one_size(client, rows, chunk_size):
    async with client.embed_binary_stream(TEXTS, chunk_size=chunk_size).rechunk(rows) as reader:
        assert isinstance(reader, RechunkedReader)
        blocks = await blocks_of(reader)
    assert [first for first, _ in blocks] == list(range(0, 25, rows))
    assert {len(block) for _, block in blocks[:-1]} <= {rows}
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), EXPECTED)


async def test_a_block_never_spans_a_text_that_was_skipped(server, client):
    texts = [*TEXTS[:7], "", *TEXTS[7:]]
    reader = client.embed_binary_stream(texts, chunk_size=10, on_error="skip").rechunk(5)
    blocks = await blocks_of(reader)
    assert [(first, len(block)) for first, block in blocks] == [(0, 5), (5, 2), (8, 5), (13, 5), (18, 5), (23, 3)]
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), EXPECTED)


async def test_rows_that_were_salvaged_are_in_their_place(server, client):
    """The first response breaks after four vectors; the rest is asked for again."""

    async def breaks(exchange):
        send = await exchange.start(chunked=True)
        for piece in exchange.request.pieces[:5]:
            await send(piece)
        exchange.end(reset=True)

    server.script.append(breaks)
    async with client.embed_binary_stream(TEXTS, chunk_size=10, max_concurrency=1) as reader:
        blocks = await blocks_of(reader)
        assert reader.summary.salvaged == 4
    assert [len(block) for _, block in blocks] == [10, 10, 5]
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), EXPECTED)


async def test_an_error_comes_after_the_blocks_before_it(server, client):
    server.script.extend([server.default, refused(402, "no")])
    reader = client.embed_binary_stream(TEXTS, chunk_size=10, max_concurrency=1)
    first, _ = await anext(reader)
    assert first == 0
    with pytest.raises(QuotaExceededError):
        await anext(reader)


@pytest.mark.parametrize("kind", ["numpy", "arrow"])
async def test_leaving_early_stops_the_work(client, kind):
    async with client.embed_binary_stream(endless(), format=kind, chunk_size=5) as reader:
        async for _ in reader:
            break
    assert not leftovers(client)


async def test_leaving_early_without_closing_warns(client):
    reader = client.embed_binary_stream(endless(), chunk_size=5).rechunk(3)
    await anext(reader)
    readers = [reader]
    del reader
    with pytest.warns(ResourceWarning, match="dropped before its end"):
        readers.clear()
    gc.collect()
    await client.aclose()


async def test_arrow_batches_have_index_id_and_vector(client):
    texts = [("a", "text 0"), (7, "text 1"), "text 2"]
    async with client.embed_binary_stream(texts, format="arrow") as reader:
        assert isinstance(reader, ArrowStreamReader)
        with pytest.raises(AsyncEmbedError, match="the schema is not known yet"):
            _ = reader.schema
        (batch,) = [batch async for batch in reader]
        assert batch.schema == reader.schema
    assert batch.schema.names == ["index", "id", "embedding"]
    assert batch.schema.field("embedding").type == pa.list_(pa.float32(), 8)
    assert batch.column("index").to_pylist() == [0, 1, 2]
    assert batch.column("id").to_pylist() == ["a", "7", None]
    batch.validate(full=True)
    np.testing.assert_array_equal(np.stack(batch.column("embedding").to_numpy(zero_copy_only=False)), EXPECTED[:3])


async def test_the_schema_is_known_ahead_where_the_dimension_is(client):
    reader = client.embed_binary_stream(TEXTS, format="arrow", dimensions=8)
    assert reader.schema.field("embedding").type == pa.list_(pa.float32(), 8)
    assert (await reader.read_all()).schema == reader.schema


async def test_arrow_tables_share_the_memory_of_the_blocks(client):
    table = await client.embed_binary_stream(TEXTS, format="arrow", chunk_size=10).read_all()
    assert table.num_rows == 25
    assert [chunk.num_chunks for chunk in table.columns] == [3, 3, 3]
    matrix = np.concatenate([chunk.flatten().to_numpy().reshape(-1, 8) for chunk in table.column("embedding").chunks])
    np.testing.assert_array_equal(matrix, EXPECTED)
    with pytest.raises(AsyncEmbedError, match="schema is not known yet"):
        await client.embed_binary_stream([], format="arrow").read_all()


async def test_vectors_are_not_copied_into_arrow(server, client):
    """Of a table of 400 kB of vectors, Arrow has allocated what the texts and indices take."""
    server.dimension = 4_096
    before = pa.total_allocated_bytes()
    table = await client.embed_binary_stream(TEXTS, format="arrow", chunk_size=10).read_all()
    assert table.nbytes > 400_000
    assert pa.total_allocated_bytes() - before < 50_000


async def test_arrow_without_pyarrow_says_what_to_install(client, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("pyarrow") or name.endswith("sinks._table")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delattr(sinks, "_table", raising=False)
    with pytest.raises(ConfigurationError, match=r'pip install "asyncembed\[arrow\]"'):
        client.embed_binary_stream(TEXTS, format="arrow")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"format": "pandas"}, "format='pandas' is not known; use one of 'numpy', 'arrow'"),
        ({"on_error": "yield"}, "on_error='yield' is not known"),
        ({"dtype": "int8"}, "dtype='int8' is not offered"),
    ],
)
async def test_wrong_options_are_refused(client, options, words):
    with pytest.raises(ConfigurationError, match=words):
        client.embed_binary_stream(TEXTS, **options)


async def test_what_needs_an_order_is_refused_without_one(client):
    reader = client.embed_binary_stream(TEXTS, ordered=False)
    with pytest.raises(ConfigurationError, match="read_all needs blocks in order"):
        await reader.read_all()
    with pytest.raises(ConfigurationError, match="rechunk needs blocks in order"):
        reader.rechunk(3)
    with pytest.raises(ConfigurationError, match="rows=0 must be a whole number"):
        client.embed_binary_stream(TEXTS).rechunk(0)
    await reader.aclose()


class KnownCohere(Cohere):
    """Cohere, with a model whose dimension is known as that of its own models is."""

    models = {"scripted": Model(dimension=8)}  # noqa: RUF012


@pytest.mark.parametrize(
    ("dtype", "official", "types"),
    [("float32", True, ["float"]), ("float32", False, ["float"]), ("int8", True, ["int8"])],
)
async def test_it_asks_for_the_most_compact_encoding_that_is_known(server, connect, dtype, official, types):
    """Cohere's base64 was never recorded, so that the first request asks for numbers."""
    client = connect(KnownCohere(), base_url=server.url, model="scripted")
    client._endpoint.is_official = official
    reader = client.embed_binary_stream(TEXTS, dtype=dtype)
    if dtype == "float32":
        np.testing.assert_array_equal(await reader.read_all(), EXPECTED)
    else:
        with pytest.raises(AsyncEmbedError):  # the scripted server has no integers
            await reader.read_all()
    assert server.requests[0].body["embedding_types"] == types


class PromisedBase64(KnownCohere):
    """An API that promises base64, and that has no way to compare it."""

    both_encodings = None


async def test_a_refusal_of_base64_is_remembered_and_costs_one_request(server, connect):
    client = connect(PromisedBase64(), base_url=server.url, model="scripted")
    client._endpoint.is_official = True
    server.script.append(refused(400, "invalid embedding_types: base64"))
    np.testing.assert_array_equal(await client.embed_binary_stream(TEXTS, max_concurrency=1).read_all(), EXPECTED)
    assert [request.body["embedding_types"] for request in server.requests] == [["base64"], ["float"]]


async def test_rows_before_an_error_are_given_before_it_whatever_the_size_of_a_block(server, client):
    server.script.extend([server.default] * 2 + [refused(402, "no")])
    reader = client.embed_binary_stream(TEXTS, chunk_size=10, max_concurrency=1).rechunk(15)
    first, block = await anext(reader)
    assert (first, len(block)) == (0, 15)
    first, block = await anext(reader)
    assert (first, len(block)) == (15, 5)
    for _ in range(2):
        with pytest.raises(QuotaExceededError):
            await anext(reader)


async def test_closing_drops_what_was_not_taken(client):
    reader = client.embed_binary_stream(TEXTS, chunk_size=25).rechunk(3)
    await anext(reader)
    await reader.aclose()
    with pytest.raises(AsyncEmbedError, match="closed"):
        await anext(reader)


@pytest.mark.parametrize(("dimensions", "shape"), [(None, (0, 0)), (16, (0, 16))])
async def test_without_rows_the_type_is_right_too(client, dimensions, shape):
    for matrix in (
        await client.embed_binary_stream([], dimensions=dimensions).read_all(),
        (await client.embed([], dimensions=dimensions)).embeddings,
    ):
        assert (matrix.shape, matrix.dtype) == (shape, np.float32)
