"""Base64 that is compared with the numbers of the same response, before it is believed."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from support.proofs import forget_proofs

from asyncembed import EmbedClient, EncodingSettled, RetryPolicy
from asyncembed.testing import FakeServer, faults, vector_of

DIMENSION = 48
TEXTS = [f"text {number}" for number in range(40)]
EXPECTED = np.array([vector_of(text, DIMENSION) for text in TEXTS])
QUICK = RetryPolicy(initial_backoff=0.001, max_backoff=0.002)
BOTH = ("float", "base64")


async def embedded(server: FakeServer, name: str = "cohere", **options: object) -> tuple[list[EncodingSettled], int]:
    """Embed all texts, ten a request one after the other; return what was told of encodings, and the bytes."""
    events = []
    client = EmbedClient(name, base_url=server.url, model="m", on_event=events.append, retry=QUICK, **options)
    async with client:
        stream = client.embed_stream(TEXTS, chunk_size=10, max_concurrency=1)
        results = [result async for result in stream]
        received = stream.summary.bytes_received
    np.testing.assert_array_equal([result.embedding for result in results], EXPECTED)
    return [event for event in events if isinstance(event, EncodingSettled)], received


def kinds(server: FakeServer) -> list[tuple[str, ...]]:
    return [entry.kinds for entry in server.ledger.entries]


def spoiled(dtype: str = "<f4", change=lambda vector: vector):
    """Replies whose base64 holds something else than the numbers."""

    async def reply(exchange):
        for item in exchange.answer.items:
            if "base64" in item.values:
                vector = change(vector_of(item.text, DIMENSION)).astype(dtype)
                item.values["base64"] = base64.b64encode(vector.tobytes()).decode()
        await exchange.deliver()

    return reply


@pytest.mark.parametrize("name", ["cohere", "cohere-v1"])
@pytest.mark.parametrize("order", ["usual", "reversed", "shuffled"])
@pytest.mark.parametrize("chunk", [None, 7])
@pytest.mark.parametrize("pretty", [False, True])
async def test_the_second_request_asks_for_both_and_the_others_for_base64(name, order, chunk, pretty):
    """In whatever order they come, and however they are cut."""
    async with FakeServer(dimension=DIMENSION, key_order=order, chunk_bytes=chunk, pretty=pretty) as server:
        (event,), _ = await embedded(server, name)
        assert (event.encoding, event.why) == ("base64", "identical to the numbers")
        assert kinds(server) == [("float",), BOTH, ("base64",), ("base64",)]


async def test_it_is_found_out_once_in_a_process():
    """Also where the dimension is known from nothing else."""
    async with FakeServer(dimension=DIMENSION) as server:
        await embedded(server)
        server.ledger.entries.clear()
        events, _ = await embedded(server)
        assert events == []
        assert kinds(server) == [("base64",)] * 4
        forget_proofs()
        server.ledger.entries.clear()
        await embedded(server, encoding="float")
        assert kinds(server) == [("float",)] * 4


@pytest.mark.parametrize("verb", ["embed", "embed_binary_stream"])
async def test_matrices_are_compared_too(verb):
    async with (
        FakeServer(dimension=DIMENSION) as server,
        EmbedClient("cohere", base_url=server.url, model="m") as client,
    ):
        options = {"chunk_size": 10, "max_concurrency": 1}
        if verb == "embed":
            matrix = (await client.embed(TEXTS, **options)).embeddings
        else:
            matrix = await client.embed_binary_stream(TEXTS, **options).read_all()
        np.testing.assert_array_equal(matrix, EXPECTED)
        assert kinds(server) == [("float",), BOTH, ("base64",), ("base64",)]


@pytest.mark.parametrize(
    ("dtype", "change"),
    [
        ("<f2", lambda vector: vector),
        (">f4", lambda vector: vector),
        ("<f8", lambda vector: vector),
        ("<f4", lambda vector: np.nextafter(vector, np.float32(2))),
        ("<f4", lambda vector: vector[:-1]),
        ("<f4", lambda vector: vector * 0),
    ],
    ids=["half", "big-endian", "double", "one-ulp", "short", "zeros"],
)
async def test_anything_else_stays_with_numbers_for_good(dtype, change):
    async with FakeServer(dimension=DIMENSION, default=spoiled(dtype, change)) as server:
        (event,), _ = await embedded(server)
        assert event.encoding == "float"
        assert event.why == "the base64 of vector 0 differs from its numbers"
        assert kinds(server) == [("float",), BOTH, ("float",), ("float",)]


async def test_vectors_of_zeros_show_nothing():
    """They are the same in any byte order."""

    async def zeros(exchange):
        for item in exchange.answer.items:
            item.values = {kind: [0.0] * DIMENSION for kind in item.values}
            if "base64" in item.values:
                item.values["base64"] = base64.b64encode(bytes(4 * DIMENSION)).decode()
        await exchange.deliver()

    async with FakeServer(dimension=DIMENSION, default=zeros) as server:
        async with EmbedClient("cohere", base_url=server.url, model="m") as client:
            await client.embed(TEXTS, chunk_size=5, max_concurrency=1)
        assert kinds(server).count(BOTH) == 3
        assert ("base64",) not in kinds(server)


async def test_a_server_that_sends_numbers_alone_is_given_up_after_three_responses():
    async def floats(exchange):
        exchange.answer.kinds = ("float",)
        await exchange.deliver()

    async with FakeServer(dimension=DIMENSION, default=floats) as server:
        (event,), _ = await embedded(server)
        assert (event.encoding, event.why) == ("float", "the response holds no base64")
        assert kinds(server) == [("float",), BOTH, BOTH, BOTH]


async def test_a_server_that_refuses_two_types_is_asked_for_numbers_at_once():
    class OneType:
        def applies(self, exchange):
            return len(exchange.request.kinds) > 1

        async def __call__(self, exchange):
            await exchange.refuse(400, "embedding_types: only one type is allowed")

    async with FakeServer(dimension=DIMENSION, rules=[OneType()]) as server:
        (event,), _ = await embedded(server)
        assert event.encoding == "float"
        assert "status 400" in event.why
        assert kinds(server) == [("float",), BOTH, ("float",), ("float",), ("float",)]


async def test_a_response_that_broke_off_is_no_proof():
    async with FakeServer(dimension=DIMENSION) as server:
        server.script.extend([spoiled(), faults.CutOff(after=4)])
        (event,), _ = await embedded(server)
        assert event.encoding == "base64"
        assert kinds(server)[:3] == [("float",), BOTH, BOTH]


async def test_a_bad_text_in_the_request_for_both_is_blamed_as_ever():
    poison = faults.Poisoned(TEXTS[13])
    async with FakeServer(dimension=DIMENSION, rules=[poison]) as server:
        client = EmbedClient("cohere", base_url=server.url, model="m", retry=QUICK)
        async with client:
            stream = client.embed_stream(TEXTS, chunk_size=10, max_concurrency=1, on_error="skip")
            indices = [result.index async for result in stream]
        assert indices == [index for index in range(40) if index != 13]


async def test_one_request_at_a_time_asks_for_both():
    async with FakeServer(dimension=DIMENSION, latency=0.05) as server:
        async with EmbedClient("cohere", base_url=server.url, model="m") as client:
            await client.embed(TEXTS, chunk_size=5)
        assert kinds(server).count(BOTH) == 1


async def test_base64_saves_more_than_half_of_the_bytes():
    """Of floats as their shortest text, which ours are not longer than."""
    async with FakeServer(dimension=1_536) as server:
        sizes = []
        for encoding in ("auto", "float"):
            async with EmbedClient("cohere", base_url=server.url, model="m", encoding=encoding) as client:
                for _ in range(3):
                    stream = client.embed_stream(TEXTS)
                    assert len([result async for result in stream]) == len(TEXTS)
                sizes.append(stream.summary.bytes_received)
    assert sizes[0] <= 0.45 * sizes[1]
