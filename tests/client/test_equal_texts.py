"""Equal texts are asked for once and share the vector, each with its own index and id; off in streams, on in files."""

from __future__ import annotations

import asyncio
import gc
import random
import tracemalloc
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncembed import (
    ConfigurationError,
    EmbedClient,
    EmbedFailure,
    EmbedInput,
    InvalidInputError,
    RetryPolicy,
    StreamClosedError,
)
from asyncembed.sinks import open_vectors
from asyncembed.testing import FakeServer, faults, vector_of

if TYPE_CHECKING:
    from asyncembed.testing import Exchange

DISTINCT = [f"text {number}" for number in range(700)]


def with_repeats(seed: int = 1) -> list[str]:
    """A thousand texts, three of ten of which are equal to another."""
    draw = random.Random(seed)
    texts = DISTINCT + [draw.choice(DISTINCT) for _ in range(300)]
    draw.shuffle(texts)
    return texts


TEXTS = with_repeats()
MATRIX = np.stack([vector_of(text) for text in TEXTS])


@pytest.fixture
async def fake():
    async with FakeServer(dimension=8) as running:
        yield running


def open_client(server: FakeServer, **settings: object) -> EmbedClient:
    return EmbedClient("openai", base_url=f"{server.url}/v1", api_key="any", **settings)


async def test_each_text_is_billed_once(fake):
    """Every verb takes the option; without it, all are asked for."""
    async with open_client(fake) as client:
        response = await client.embed(TEXTS, dedupe=True)
        np.testing.assert_array_equal(response.embeddings, MATRIX)
        assert fake.ledger.asked == Counter(DISTINCT)
        await client.embed(["again"] * 3)
        assert fake.ledger.asked["again"] == 3


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("is_async", [True, False])
async def test_every_result_has_its_own_index_id_and_vector(fake, ordered, is_async):
    inputs = [EmbedInput(text, id=f"id {number}", metadata={"n": number}) for number, text in enumerate(TEXTS)]

    async def slowly():
        for item in inputs:
            yield item

    results = []
    async with (
        open_client(fake) as client,
        client.embed_stream(slowly() if is_async else iter(inputs), ordered=ordered, dedupe=True) as stream,
    ):
        async for result in stream:
            result.embedding *= 2  # what the consumer does with a vector of its own concerns no other
            results.append(result)
        assert (stream.summary.done, stream.summary.duplicates) == (1_000, 300)
    indices = [result.index for result in results]
    assert (indices if ordered else sorted(indices)) == list(range(1_000))
    for result in results:
        assert (result.id, result.text) == (f"id {result.index}", TEXTS[result.index])
        assert result.metadata == {"n": result.index}
        np.testing.assert_array_equal(result.embedding, 2 * MATRIX[result.index])
    assert fake.ledger.asked == Counter(DISTINCT)


@pytest.mark.parametrize("suffix", [".npy", ".parquet", ".jsonl"])
async def test_files_ask_once_and_resume(fake, tmp_path, suffix):
    path = tmp_path / f"vectors{suffix}"
    async with open_client(fake) as client:
        summary = await client.embed_to_file(TEXTS, path)
        again = await client.embed_to_file(TEXTS, tmp_path / f"all{suffix}", dedupe=False)
    assert (summary.saved, summary.duplicates, again.duplicates) == (1_000, 300, 0)
    vectors = open_vectors(path)
    assert vectors.rows == 1_000
    assert path.read_bytes() == (tmp_path / f"all{suffix}").read_bytes()


@pytest.mark.parametrize("dtype", ["float32", "int8", "ubinary"])
async def test_a_resumed_run_shares_the_vectors_that_the_file_has(tmp_path, dtype):
    """However often it is stopped, no text is paid twice, and the file is that of a run that was never stopped."""

    path, options = tmp_path / "v.npy", {"dtype": dtype, "chunk_size": 20}
    async with FakeServer(dimension=16) as server, EmbedClient("cohere", base_url=server.url, api_key="any") as client:

        async def deliver_and_stop(exchange: Exchange) -> None:
            await exchange.deliver()
            if server.ledger.requests % 9 == 0:
                stop.set()

        usual, server.default = server.default, deliver_and_stop
        for _ in range(3):
            stop = asyncio.Event()
            with pytest.raises(StreamClosedError):
                await client.embed_to_file(TEXTS, path, resume=True, stop=stop, max_concurrency=2, **options)
        server.default = usual
        summary = await client.embed_to_file(TEXTS, path, resume=True, **options)
        assert set(server.ledger.asked.values()) == {1}
        once = await client.embed_to_file(TEXTS, tmp_path / "once.npy", **options)
    assert (summary.saved, summary.dimension) == (len(TEXTS), once.dimension)
    np.testing.assert_array_equal(np.load(path), np.load(tmp_path / "once.npy"))


async def test_a_resumed_run_needs_no_request_if_the_rest_is_equal_to_what_the_file_has(fake, tmp_path):
    async with open_client(fake) as client:
        fake.rules.append(faults.Poisoned("bad text"))
        texts = ["one", "two", "bad text", "one", "two"]
        with pytest.raises(InvalidInputError):
            await client.embed_to_file(texts, tmp_path / "v.npy", chunk_size=2, max_concurrency=1)
        fake.rules.clear()
        summary = await client.embed_to_file(texts, tmp_path / "v.npy", resume=True)
    assert (summary.saved, fake.ledger.asked["one"], fake.ledger.asked["two"]) == (5, 1, 1)


async def test_an_equal_text_fails_as_the_first_does(fake):
    """Also one whose batch began later; nothing is asked for twice."""
    bad = "a text that is refused"
    texts = [bad, *DISTINCT[:100], bad, *DISTINCT[100:300], bad]
    fake.rules.append(faults.Poisoned(bad))
    failed, done = [], []
    async with (
        open_client(fake) as client,
        client.embed_stream(texts, on_error="yield", dedupe=True, chunk_size=16) as stream,
    ):
        async for item in stream:
            (failed if isinstance(item, EmbedFailure) else done).append(item.index)
            if isinstance(item, EmbedFailure):
                assert isinstance(item.error, InvalidInputError)
                assert item.error.indices == (item.index,)
        assert stream.summary.failed == 3
    assert failed == [index for index, text in enumerate(texts) if text == bad]
    assert len(done) == 300


async def test_a_vector_that_had_to_make_room_is_asked_for_again(fake):
    """A window of two vectors: the texts far apart are billed again, none is wrong."""
    texts = [*DISTINCT[:300], *DISTINCT[:300]]
    async with open_client(fake) as client:
        response = await client.embed(texts, dedupe=True, dedupe_mb=0.0007, chunk_size=10, max_concurrency=1)
    np.testing.assert_array_equal(response.embeddings, np.stack([vector_of(text) for text in texts]))


async def test_the_memory_for_equal_texts_is_bounded_in_files(tmp_path):
    """Of each response, one vector stays known, as its text comes again and again; the other vectors must go."""

    def texts():
        for block in range(30):
            yield from (f"unique {block} {number}" for number in range(99))
            yield from (f"again {number}" for number in range(block + 1))

    async def peak(client: EmbedClient, *, dedupe: bool) -> int:
        gc.collect()
        tracemalloc.start()
        path = tmp_path / f"{dedupe}.npy"
        await client.embed_to_file(texts(), path, dedupe=dedupe, dedupe_mb=2, chunk_size=100, max_concurrency=1)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    async with FakeServer(dimension=1_000) as server, open_client(server, max_memory_mb=8) as client:
        without = await peak(client, dedupe=False)
        assert await peak(client, dedupe=True) < without + 5_000_000


async def test_little_memory_is_enough(fake):
    """Many equal texts between two that are asked for; no result waits for memory that a later one holds."""
    texts = [text for text in DISTINCT[:50] for _ in range(200)]
    async with open_client(fake) as client:
        seen = 0
        async with client.embed_stream(texts, dedupe=True, max_memory_mb=2) as stream:
            async for result in stream:
                assert result.index == seen
                seen += 1
            assert stream.summary.peak_reserved_bytes <= 2_100_000  # one text may be over it
    assert seen == len(texts)


async def test_a_broken_response_costs_only_what_did_not_arrive(fake):
    """Equal texts wait for the vector, whichever attempt brings it."""
    fake.script += [faults.CutOff(), faults.Refused(500), faults.CutOff()]
    async with open_client(fake, retry=RetryPolicy(initial_backoff=0.001, max_backoff=0.01)) as client:
        response = await client.embed(TEXTS, dedupe=True)
    np.testing.assert_array_equal(response.embeddings, MATRIX)
    assert not fake.ledger.asked_again


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=60), st.integers(1, 7), st.booleans())
async def test_any_sequence_of_texts_comes_back_right(numbers, chunk_size, ordered):
    texts = [f"text {number}" for number in numbers]
    async with FakeServer(dimension=8) as server, open_client(server) as client:
        results = [
            result async for result in client.embed_stream(texts, chunk_size=chunk_size, ordered=ordered, dedupe=True)
        ]
        assert sorted(result.index for result in results) == list(range(len(texts)))
        for result in results:
            np.testing.assert_array_equal(result.embedding, vector_of(texts[result.index]))
        assert server.ledger.asked == Counter(set(texts))


@pytest.mark.parametrize("options", [{"dedupe": "yes"}, {"dedupe_mb": 0}, {"dedupe_mb": "64"}, {"dedupe_mb": 1e13}])
async def test_options_are_checked(server, connect, options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        await connect().embed(["a"], **{"dedupe": True, **options})
    assert not server.requests
