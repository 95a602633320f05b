"""`max_tokens` and `max_cost`: the bill keeps below the cap, most of it is used, and nothing that came is lost."""

from __future__ import annotations

import random

import numpy as np
import pytest

from asyncembed import BudgetExceededError, ConfigurationError, EmbedClient, EmbedFailure, RetryPolicy, RunEnded
from asyncembed.sinks import TOTALS_SUFFIX, read_totals
from asyncembed.stores import SqliteVectors
from asyncembed.testing import Chaos, FakeServer, faults, tokens_of, vector_of

VOCABULARY = ("the", "vector", "of", "each", "document", "arrives", "before", "others", "and", "is", "stored")
QUICK = RetryPolicy(initial_backoff=0.001, max_backoff=0.01)


def texts_of(count: int, seed: int = 1) -> list[str]:
    """Texts of one to forty words, each of its own."""
    draw = random.Random(seed)
    return [f"{number} " + " ".join(draw.choices(VOCABULARY, k=draw.randint(1, 40))) for number in range(count)]


TEXTS = texts_of(3_000)
ALL = sum(map(tokens_of, TEXTS))


@pytest.fixture
async def fake():
    async with FakeServer(dimension=8) as running:
        yield running


def open_client(server: FakeServer, **settings: object) -> EmbedClient:
    return EmbedClient("openai", base_url=f"{server.url}/v1", api_key="any", retry=QUICK, **settings)


async def take(stream, seen: list[int]) -> None:
    """Take all results, and check them."""
    async for result in stream:
        assert not isinstance(result, EmbedFailure)
        seen.append(result.index)
        np.testing.assert_array_equal(result.embedding, vector_of(result.text))


def check_bill(server: FakeServer, cap: int) -> None:
    assert 0.9 * cap <= server.ledger.billed_tokens <= 1.02 * cap


@pytest.mark.parametrize("seed", range(30))
async def test_random_sums_under_faults_and_retries(seed):
    """All verbs of streams, with answers that break, are refused or come late; what came is delivered, each once."""
    draw = random.Random(seed)
    cap, chunk_size = draw.randint(2_000, ALL // 2), draw.choice([None, 7, 96])
    ordered, on_error = draw.random() < 0.5, draw.choice(["raise", "skip", "yield"])
    async with FakeServer(dimension=8, default=Chaos(seed, 0.2)) as server, open_client(server) as client:
        stream = client.embed_stream(TEXTS, ordered=ordered, on_error=on_error, max_tokens=cap, chunk_size=chunk_size)
        seen = []
        async with stream:
            with pytest.raises(BudgetExceededError, match=f"max_tokens={cap} is reached"):
                await take(stream, seen)
        check_bill(server, cap)
        assert len(set(seen)) == len(seen) == stream.summary.done
        assert not ordered or seen == sorted(seen)
        assert set(server.ledger.sent) == {TEXTS[index] for index in seen}


ENGLISH = [
    "the",
    "vector",
    "of",
    "each",
    "document",
    "arrives",
    "before",
    "the",
    "others",
    "and",
    "is",
    "stored",
    "in",
    "a",
    "database",
    "that",
    "nobody",
    "has",
    "ever",
    "looked",
    "into",
]
CHINESE = "每個文件的向量在其他文件之前到達並儲存在資料庫中沒有人曾經看過它們搜尋結果依照相似度排序"


def tokens_by_language(text: str) -> int:
    """A token for each word and each Chinese character, as tokenizers of many languages have."""
    words = [word for word in text.split() if word.isascii()]
    return len(words) + sum(not letter.isascii() for letter in text)


@pytest.mark.parametrize("seed", range(20))
async def test_texts_of_languages_that_cost_differently(seed):
    """Ten times as many tokens a character in one as in the other, in turn or one after the other."""
    draw = random.Random(seed)
    english = [f"{n} " + " ".join(draw.choices(ENGLISH, k=draw.randint(1, 40))) for n in range(1_000)]
    chinese = [f"{n} " + "".join(draw.choices(CHINESE, k=draw.randint(1, 80))) for n in range(1_000)]
    texts = [text for pair in zip(english, chinese, strict=True) for text in pair] if seed % 2 else english + chinese
    cap = draw.randint(5_000, sum(map(tokens_by_language, texts)) * 9 // 10)
    async with (
        FakeServer(dimension=8, default=Chaos(seed, 0.2), count_tokens=tokens_by_language) as server,
        open_client(server) as client,
        client.embed_stream(texts, max_tokens=cap, on_error="skip") as stream,
    ):
        with pytest.raises(BudgetExceededError):
            await take(stream, [])
        check_bill(server, cap)


@pytest.mark.parametrize("first", [0.1, 0.4])
async def test_a_file_goes_on_with_a_higher_cap(tmp_path, first):
    """The cap holds for all runs of the file together; at the end all texts are there, paid for once."""
    path = tmp_path / "vectors.npy"
    caps = [int(first * ALL), int(0.6 * ALL)]
    async with FakeServer(dimension=8, default=Chaos(1, 0.1)) as server, open_client(server) as client:
        for cap in caps:
            with pytest.raises(BudgetExceededError) as raised:
                await client.embed_to_file(TEXTS, path, resume=True, max_tokens=cap)
            check_bill(server, cap)
            assert "are kept in" in "".join(raised.value.__notes__)
            before = server.ledger.requests
            with pytest.raises(BudgetExceededError):  # nothing is left of it
                await client.embed_to_file(TEXTS, path, resume=True, max_tokens=cap // 2)
            assert server.ledger.requests == before
        summary = await client.embed_to_file(TEXTS, path, resume=True, max_tokens=2 * ALL)
        assert summary.saved == len(TEXTS)
        np.testing.assert_array_equal(np.load(path), [vector_of(text) for text in TEXTS])
        totals = read_totals(path.with_name(path.name + TOTALS_SUFFIX))
        assert totals.usage.tokens == server.ledger.told_tokens
        assert not server.ledger.asked_again


async def test_a_store_keeps_what_has_arrived_and_goes_on(fake, tmp_path):
    rows = list(enumerate(TEXTS))
    store = SqliteVectors(tmp_path / "vectors.db", "texts")
    async with open_client(fake) as client:
        with pytest.raises(BudgetExceededError):
            await client.embed_to_store(rows, store, max_tokens=ALL // 3)
        check_bill(fake, ALL // 3)
        sent = len(fake.ledger.sent)
        summary = await client.embed_to_store(rows, store)
        assert (summary.resumed, summary.saved) == (sent, len(TEXTS))
    await store.aclose()
    assert fake.ledger.billed_tokens == ALL


async def test_money_is_a_cap_as_well(fake):
    """By the price that is given; the smaller cap counts."""
    async with open_client(fake) as client:
        for options in ({"max_cost": 0.01}, {"max_cost": 0.01, "max_tokens": ALL}):
            fake.ledger.billed_tokens = 0
            with pytest.raises(BudgetExceededError, match=r"max_cost=0.01 is reached: .* which cost \$0.0"):
                await client.embed(TEXTS, price=1.0, **options)
            check_bill(fake, 10_000)
        with pytest.raises(ConfigurationError, match="price="):
            await client.embed(TEXTS, max_cost=0.01)
        for wrong in (
            {"max_tokens": 0},
            {"max_tokens": 1.5},
            {"max_cost": -1, "price": 1},
            {"max_cost": 1e308, "price": 1e-300},
        ):
            with pytest.raises(ConfigurationError, match="max_"):
                await client.embed(TEXTS, **wrong)


async def test_a_run_below_its_cap_asks_as_if_there_were_none(fake):
    async with open_client(fake) as client:
        response = await client.embed(TEXTS, max_tokens=4 * ALL, chunk_size=96, max_concurrency=1)
    np.testing.assert_array_equal(response.embeddings, [vector_of(text) for text in TEXTS])
    assert fake.ledger.billed_tokens == ALL


@pytest.mark.parametrize("way", ["raise", "skip", "a generator"])
async def test_embed_loses_nothing_that_came(fake, way):
    """It returns what came if it may skip, and otherwise the error has it."""
    cap, options = ALL // 4, {"on_error": "raise" if way == "raise" else "skip"}
    async with open_client(fake) as client:
        try:
            response = await client.embed(iter(TEXTS) if way == "a generator" else TEXTS, max_tokens=cap, **options)
            assert way == "skip"
        except BudgetExceededError as error:
            assert way != "skip"
            response = error.response
    check_bill(fake, cap)
    there = np.flatnonzero(response.ok)
    assert len(there) == sum(fake.ledger.asked.values()) < len(TEXTS)
    np.testing.assert_array_equal(response.embeddings[there], [vector_of(TEXTS[index]) for index in there])
    assert [response.texts[index] for index in there] == [TEXTS[index] for index in there]
    assert way == "a generator" or response.texts == TEXTS
    assert all(isinstance(failure.error, BudgetExceededError) for failure in response.failures)


async def test_equal_texts_of_one_that_arrived_are_delivered(fake):
    texts = [text for text in TEXTS[:400] for _ in range(2)]
    async with open_client(fake) as client:
        stream = client.embed_stream(texts, dedupe=True, max_tokens=2_000, chunk_size=20)
        async with stream:
            with pytest.raises(BudgetExceededError):
                await take(stream, [])
        assert stream.summary.duplicates
    check_bill(fake, 2_000)


async def test_a_cap_below_one_text_sends_nothing(fake):
    async with open_client(fake) as client:
        with pytest.raises(BudgetExceededError, match="0 tokens are spent, and the next text may take"):
            await client.embed(["word " * 100], max_tokens=3)
    assert not fake.ledger.requests


async def test_answers_that_do_not_say_what_they_cost_are_estimated():
    """With half a token a byte, so that at least the cap is kept."""
    async with (
        FakeServer(dimension=8, count_tokens=lambda text: 0) as server,
        open_client(server) as client,
        client.embed_stream(TEXTS, max_tokens=ALL) as stream,
    ):
        with pytest.raises(BudgetExceededError):
            await take(stream, [])
        usage = stream.summary.usage
    assert 0.9 * ALL <= usage.unreported_tokens <= ALL
    assert not usage.tokens


async def test_retries_ask_too(fake):
    """Answers that break off at their first vector are billed each time."""
    fake.rules.append(faults.CutOff())
    async with open_client(fake, max_concurrency=2) as client:
        with pytest.raises(BudgetExceededError):
            await client.embed(["word " * 400], max_tokens=2_000)
    assert fake.ledger.billed_tokens <= 1.02 * 2_000


async def test_what_was_spent_is_told_everywhere(fake, tmp_path):
    """In the summary, the progress, the event, and beside the file, over all runs of it."""
    path, events, seen = tmp_path / "vectors.npy", [], []
    async with open_client(fake, on_event=events.append) as client:
        with pytest.raises(BudgetExceededError):
            await client.embed_to_file(TEXTS, path, max_cost=0.02, price=2.0)
        first = fake.ledger.billed_tokens
        summary = await client.embed_to_file(TEXTS, path, resume=True, price=2.0, on_progress=seen.append)
        unknown = await client.embed_to_file(TEXTS[:9], tmp_path / "other.npy")
    ended = [event for event in events if isinstance(event, RunEnded)]
    assert ended[0].cost == pytest.approx(2.0 * first / 1_000_000)
    assert ended[1].cost == pytest.approx(2.0 * (ALL - first) / 1_000_000)
    assert summary.cost == seen[-1].cost == pytest.approx(2.0 * ALL / 1_000_000)
    assert summary.earlier.cost == pytest.approx(2.0 * first / 1_000_000)
    assert read_totals(path.with_name(path.name + TOTALS_SUFFIX)).cost == pytest.approx(summary.cost)
    assert unknown.cost is None
    assert read_totals(tmp_path / f"other.npy{TOTALS_SUFFIX}").cost is None
