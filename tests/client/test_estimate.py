"""What a run would take is counted, and nothing is sent."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from asyncembed import ConfigurationError, EmbedClient, EmbedInput, RateLimit, SyncEmbedder
from asyncembed.testing import FakeServer, tokens_of

SAMPLES = Path(__file__).parent.parent / "decide" / "token_samples"


@pytest.fixture
async def fake():
    async with FakeServer(dimension=8) as running:
        yield running


def open_client(server: FakeServer, **settings: object) -> EmbedClient:
    return EmbedClient("openai", base_url=f"{server.url}/v1", api_key="any", **settings)


def words(count: int, seed: int = 1) -> list[str]:
    """Texts of one to sixty words."""
    draw = random.Random(seed)
    vocabulary = ("the", "vector", "of", "each", "document", "arrives", "before", "others", "and", "is", "stored")
    return [f"{number} " + " ".join(draw.choices(vocabulary, k=draw.randint(1, 60))) for number in range(count)]


TEXTS = words(1_000)


async def test_nothing_is_sent_and_the_run_takes_as_many_requests(fake):
    async with open_client(fake) as client:
        estimate = await client.estimate(TEXTS, tokens_of, chunk_size=96)
        assert fake.ledger.requests == 0
        assert (estimate.texts, estimate.equal, estimate.invalid, estimate.counted) == (1_000, 0, 0, "tokenizer")
        await client.embed(TEXTS, chunk_size=96, max_concurrency=1)
    assert estimate.tokens == fake.ledger.billed_tokens
    assert estimate.requests <= fake.ledger.requests <= estimate.requests + 3  # the first ones are small


async def test_equal_texts_are_counted_and_cost_nothing_where_they_share_a_vector(fake):
    texts = [*TEXTS[:300], *TEXTS[:100]]
    async with open_client(fake) as client:
        plain = await client.estimate(texts, tokens_of)
        shared = await client.estimate(texts, tokens_of, dedupe=True)
    assert (plain.equal, shared.equal) == (100, 100)
    assert plain.tokens == sum(map(tokens_of, texts))
    assert shared.tokens == sum(map(tokens_of, TEXTS[:300]))


async def test_what_the_cache_holds_costs_nothing(fake, tmp_path):
    cache = tmp_path / "vectors.db"
    async with open_client(fake, cache=cache) as client:
        before = await client.estimate(TEXTS)
        assert not cache.exists()
        await client.embed(TEXTS[:400])
        after = await client.estimate(TEXTS, tokens_of)
    assert (before.cached, after.cached) == (0, 400)
    assert after.tokens == sum(map(tokens_of, TEXTS[400:]))


@pytest.mark.parametrize("repeats", [1, 9])
async def test_tokens_of_many_texts_are_scaled_up_from_a_sample(fake, repeats):
    """Lengths differ by a factor of sixty, and the second half is another language."""
    german = (SAMPLES / "german.txt").read_text().split()
    texts = TEXTS + [" ".join(german[place : place + 30]) for place in range(1_000)]
    from asyncembed._decide import estimate_tokens

    async with open_client(fake) as client:
        estimate = await client.estimate(texts * repeats)
    assert estimate.counted == "estimated"
    assert estimate.tokens == pytest.approx(repeats * sum(map(estimate_tokens, texts)), rel=0.05)


async def test_the_prompt_counts(fake):
    async with open_client(fake) as client:
        plain = await client.estimate(TEXTS, tokens_of)
        prompted = await client.estimate(TEXTS, tokens_of, prompts={"document": "passage: "})
    assert prompted.tokens == sum(tokens_of("passage: " + text) for text in TEXTS) > plain.tokens


async def test_cost_is_known_at_the_providers_own_address_or_if_it_is_given(fake):
    async with open_client(fake) as elsewhere, EmbedClient("openai", api_key="any") as own:
        assert (await elsewhere.estimate(TEXTS)).cost is None
        given = await elsewhere.estimate(TEXTS, tokens_of, price=2.0)
        published = await own.estimate(TEXTS, tokens_of, model="text-embedding-3-large")
    assert given.cost == pytest.approx(2.0 * given.tokens / 1_000_000)
    assert (given.price, given.price_date) == (2.0, "")
    assert published.cost == pytest.approx(0.13 * given.tokens / 1_000_000)
    assert (published.price_date, published.currency) == ("2026-11", "USD")


async def test_over_long_texts_are_counted_where_the_model_is_known(fake):
    texts = ["short", "word " * 9_000, "x"]
    async with open_client(fake) as elsewhere, EmbedClient("openai", api_key="any") as own:
        assert (await own.estimate(texts)).over_long == 1
        assert (await own.estimate(texts, lambda text: len(text.split()))).over_long == 1
        assert (await elsewhere.estimate(texts)).over_long is None


@pytest.mark.parametrize("tokenizer", [None, lambda text: len(text.split())])
async def test_a_text_that_is_too_long_costs_what_remains_of_it(fake, tokenizer):
    texts = ["word " * 50, "word " * 9_000]
    async with open_client(fake) as client:
        fails = await client.estimate(texts, tokenizer, max_text_tokens=100)
        cut = await client.estimate(texts, tokenizer, max_text_tokens=100, long_text="truncate")
    assert (fails.over_long, cut.over_long) == (1, 1)
    assert 50 <= fails.tokens < 100
    assert cut.tokens == fails.tokens + 100


async def test_time_follows_from_the_tightest_limit(fake):
    limit = RateLimit(requests_per_minute=60, tokens_per_minute=1_000)
    async with open_client(fake, rate_limit=limit) as client:
        limited = await client.estimate(TEXTS, tokens_of)
    async with open_client(fake) as client:
        free = await client.estimate(TEXTS, tokens_of)
    assert limited.seconds == pytest.approx(max(limited.requests, 60 * limited.tokens / 1_000))
    assert free.seconds is None


async def test_texts_that_no_api_takes_are_counted_apart(fake):
    async with open_client(fake) as client:
        estimate = await client.estimate(["good", "", None, "lone \ud800"], tokens_of)
        assert (estimate.texts, estimate.invalid, estimate.tokens) == (4, 3, 1)
        assert (await client.estimate([])).requests == 0


async def test_what_can_be_read_only_once_is_refused_with_the_fix(fake):
    async def one():
        yield "text"

    async with open_client(fake) as client:
        for texts in ((text for text in TEXTS), map(str, TEXTS), one()):
            with pytest.raises(ConfigurationError, match=r"list\(texts\)"):
                await client.estimate(texts)
        await texts.aclose()


async def test_what_can_be_read_again_is_taken(fake, tmp_path):
    """A reader of a file, an async one, an array, and inputs with ids."""

    class Lines:
        def __iter__(self):
            with (tmp_path / "texts.txt").open() as file:
                yield from (line.rstrip("\n") for line in file)

    class Slowly:
        async def __aiter__(self):
            for text in TEXTS:
                yield text

    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    async with open_client(fake) as client:
        wanted = await client.estimate(TEXTS, tokens_of)
        for texts in (
            Lines(),
            Slowly(),
            np.array(TEXTS),
            [EmbedInput(text, id=1) for text in TEXTS],
            dict.fromkeys(TEXTS).keys(),
        ):
            assert await client.estimate(texts, tokens_of) == wanted


async def test_tokenizers_may_be_objects_and_must_count(fake):
    class Encoding:
        def encode(self, text):
            return text.split()

    async with open_client(fake) as client:
        assert (await client.estimate(["two words", "one"], Encoding())).tokens == 3
        for wrong in (lambda text: text.split(), lambda text: -1, lambda text: None):
            with pytest.raises(ConfigurationError, match="number of tokens"):
                await client.estimate(TEXTS, wrong)
        with pytest.raises(ConfigurationError, match="tokenizer="):
            await client.estimate(TEXTS, "cl100k_base")
        with pytest.raises(ConfigurationError, match="price"):
            await client.estimate(TEXTS, price=-1)


def test_plain_code_estimates_too():
    with SyncEmbedder("openai", api_key="any") as embedder:
        estimate = embedder.estimate(TEXTS, tokens_of)
        assert estimate.tokens == sum(map(tokens_of, TEXTS))
        assert embedder.estimate(np.array(TEXTS), tokens_of) == estimate
        assert estimate.cost == pytest.approx(0.02 * estimate.tokens / 1_000_000)
        with pytest.raises(ConfigurationError, match="read again"):
            embedder.estimate(iter(TEXTS))
