"""A batch that the API does not take as it is: one bad text never sinks it, and one that is too large is cut."""

from __future__ import annotations

import itertools
from math import ceil, log2

import numpy as np
import pytest
from support.results import check_results, numbered
from support.scripted import ScriptedServer, refused, right

from asyncembed import APIStatusError, EmbedClient, EmbedFailure, InvalidInputError, RetryPolicy
from asyncembed.testing import FakeServer, vector_of
from asyncembed.testing.faults import Poisoned, Refused, Reset, TooLarge

TEXTS = [f"text number {number}" for number in range(96)]
POISON = TEXTS[37]
PROVIDERS = ("cohere", "cohere-v1", "openai")


@pytest.fixture
async def server():
    async with FakeServer(dimension=8) as running:
        yield running


def connect(server: FakeServer, provider: str = "openai", **settings: object) -> EmbedClient:
    retry = RetryPolicy(max_attempts=4, initial_backoff=0.001, max_backoff=0.01)
    address = server.url + "/v1" * (provider == "openai")
    return EmbedClient(provider, api_key="sk-very-secret", base_url=address, **{"retry": retry, **settings})


def check(results: list, texts: list[str], *, failed: set[str] = frozenset()) -> None:
    assert [result.index for result in results] == list(range(len(texts)))
    for result, text in zip(results, texts, strict=True):
        assert result.text == text
        assert isinstance(result, EmbedFailure) == (text in failed)
        if text not in failed:
            np.testing.assert_array_equal(result.embedding, vector_of(text, 8))


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("place", [0, 1, 37, 94, 95])
async def test_one_bad_text_never_sinks_its_batch(server, provider, place):
    server.rules.append(Poisoned(TEXTS[place]))
    async with connect(server, provider) as client:
        stream = client.embed_stream(TEXTS, on_error="yield")
        check([result async for result in stream], TEXTS, failed={TEXTS[place]})
    assert len(server.ledger.entries) - 1 <= 2 * ceil(log2(len(TEXTS))) + 1
    assert all(times == 1 for times in server.ledger.sent.values())
    assert (stream.summary.done, stream.summary.failed) == (95, 1)
    first = 2  # batches of 64 texts at most, as nothing is known of such an address
    assert stream.summary.retries == len(server.ledger.entries) - first - 1  # and that of a harmless text


async def test_with_raise_the_others_arrive_before_the_error_names_the_text(server):
    server.rules.append(Poisoned(POISON))
    async with connect(server) as client:
        stream = client.embed_stream(TEXTS)
        check([await anext(stream) for _ in range(37)], TEXTS[:37])
        with pytest.raises(InvalidInputError, match="cannot be embedded") as caught:
            await anext(stream)
    assert caught.value.indices == (37,)


async def test_many_bad_texts(server):
    bad = {TEXTS[place] for place in (0, 1, 2, 40, 95)}
    server.rules.extend(map(Poisoned, bad))
    async with connect(server) as client:
        results = [result async for result in client.embed_stream(TEXTS, on_error="yield", ordered=False)]
    check(sorted(results, key=lambda result: result.index), TEXTS, failed=bad)
    assert all(times == 1 for times in server.ledger.sent.values())


async def test_blocks_leave_out_only_the_bad_text(server):
    server.rules.append(Poisoned(POISON))
    async with connect(server) as client, client.embed_binary_stream(TEXTS, on_error="skip") as reader:
        blocks = [block async for block in reader]
    rows = {first + place: row for first, rows in blocks for place, row in enumerate(rows)}
    assert list(rows) == [index for index in range(96) if index != 37]
    for index, row in rows.items():
        np.testing.assert_array_equal(row, vector_of(TEXTS[index], 8))


async def test_halves_that_break_are_retried_and_salvaged(server):
    server.rules.append(Poisoned(POISON))
    server.script.extend([Refused(400), Reset(after=20), Refused(503)])
    async with connect(server) as client:
        results = [result async for result in client.embed_stream(TEXTS, on_error="yield")]
    check(results, TEXTS, failed={POISON})
    assert all(times == 1 for times in server.ledger.sent.values())


@pytest.mark.parametrize("words", ["openai", "cohere", "voyage", "mistral", "tei", "gemini", "llama.cpp", "proxy"])
@pytest.mark.parametrize("size", [{"items": 10}, {"tokens": 60}, {"bytes": 700}])
async def test_a_batch_that_is_too_large_is_cut_in_every_apis_words(server, words, size):
    server.rules.append(TooLarge(**size, words=words))
    async with connect(server) as client:
        results = [result async for result in client.embed_stream(TEXTS * 2, chunk_size=48)]
    check(results, TEXTS * 2)
    assert set(server.ledger.sent.values()) == {2}


@pytest.mark.parametrize("size", [{"items": 10}, {"tokens": 60}, {"bytes": 700}])
async def test_the_cap_is_remembered_for_the_model(server, size):
    server.rules.append(TooLarge(**size))
    async with connect(server, max_concurrency=1) as client:
        await client.embed(TEXTS)
        asked = len(server.ledger.entries)
        await client.embed(TEXTS)
        assert [entry.status for entry in server.ledger.entries[asked:]] == [200] * (len(server.ledger.entries) - asked)
        await client.embed(TEXTS[:48], model="another")
    refused = [entry for entry in server.ledger.entries[asked:] if entry.status != 200]
    assert len(refused) >= 1


async def test_a_single_text_that_is_too_large_is_given_up_alone(server):
    long = "word " * 400
    server.rules.append(TooLarge(tokens=100))
    async with connect(server) as client:
        results = [result async for result in client.embed_stream([*TEXTS, long], on_error="yield")]
    check(results, [*TEXTS, long], failed={long})


@pytest.mark.parametrize("on_error", ["raise", "skip"])
async def test_a_refusal_that_blames_another_field_ends_the_run_at_once(server, on_error):
    async def refuse(exchange):
        await exchange.say(b'{"error": {"message": "no such type", "param": "dimensions"}}', 400, {})

    server.default = refuse
    async with connect(server, max_concurrency=1) as client:
        with pytest.raises(APIStatusError, match="no such type") as caught:
            await client.embed_stream(TEXTS, on_error=on_error, dimensions=8).__anext__()
    assert not isinstance(caught.value, InvalidInputError)
    assert len(server.ledger.entries) == 1


async def test_a_run_that_is_refused_text_by_text_from_the_start_ends(server):
    server.default = Refused(400)
    texts = [f"text {number}" for number in range(10_000)]
    async with connect(server) as client:
        with pytest.raises(APIStatusError):
            async for _ in client.embed_stream(texts, on_error="skip"):
                pass
    assert len(server.ledger.entries) <= 8 + 8


async def test_texts_that_only_together_are_refused_make_requests_smaller():
    """Although the refusal says nothing of a size, and the search for a bad text finds none."""
    texts = numbered(400)

    async def reply(exchange):
        if len(exchange.request.texts) > 20:
            await refused(400, "bad request")(exchange)
        else:
            await right(exchange)

    async with ScriptedServer(reply) as server:
        address = f"{server.url}/v1"
        async with EmbedClient("openai", api_key="x", base_url=address, max_concurrency=1) as client:
            check_results([result async for result in client.embed_stream(texts)], texts)
            refusals = sum(len(asked) > 20 for asked in server.asked)
            assert refusals <= 6  # two for each halving from 64 to 16, and the rest of the batches cut before
            assert len(server.asked) <= 400 / 16 + 40
            server.requests.clear()
            await client.embed(texts)
            assert len(server.asked) == 25


async def test_refusals_that_are_accidents_make_no_request_smaller():
    """As large requests succeed, too."""
    texts = numbered(640)
    answers = itertools.cycle([right, right, refused(400, "bad request"), right])

    async def reply(exchange):
        large = len(exchange.request.texts) == 64
        await (next(answers) if large else right)(exchange)

    async with ScriptedServer(reply) as server:
        address = f"{server.url}/v1"
        async with EmbedClient("openai", api_key="x", base_url=address, max_concurrency=1) as client:
            check_results([result async for result in client.embed_stream(texts, chunk_size=64)], texts)
        assert sum(len(asked) == 64 for asked in server.asked) == 10


async def test_a_long_text_in_each_of_several_requests_at_once_makes_no_request_smaller():
    """The text was to blame, although the API takes its start."""
    texts = [f"{text} {'word ' * 200 * (place % 64 == 5)}" for place, text in enumerate(numbered(512))]

    async def reply(exchange):
        is_long = any(len(text) > 500 for text in exchange.request.texts)
        await (refused(400, "the input is too long for the model") if is_long else right)(exchange)

    async with ScriptedServer(reply) as server:
        address = f"{server.url}/v1"
        async with EmbedClient(
            "openai", api_key="x", base_url=address, max_concurrency=8, initial_concurrency=8
        ) as client:
            await client.embed(texts, long_text="truncate")
            server.requests.clear()
            await client.embed(numbered(256), chunk_size=64)
            assert len(server.asked) == 4
