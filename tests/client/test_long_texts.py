"""Texts that are too long for the model: they fail alone, or only their start is embedded, and results say which."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest

from asyncembed import (
    ConfigurationError,
    EmbedClient,
    EmbedFailure,
    EmbedInput,
    EmbedResult,
    InvalidInputError,
    MemoryMonitor,
    SyncEmbedder,
)
from asyncembed.sinks import open_vectors
from asyncembed.testing import FakeServer, faults, tokens_of, vector_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from asyncembed import RunSummary
    from asyncembed.testing import Exchange

LIMIT = 512
SENTENCE = "the cat sat on a mat and looked at some other animals in the neighbourhood while rain was falling"
WORDS = SENTENCE.split()


def texts_with_long_ones(share: float, count: int, seed: int = 1) -> list[str]:
    """Texts of a dozen words, of which a share has 900."""
    draw = random.Random(seed)
    sizes = [900 if draw.random() < share else 12 for _ in range(count)]
    return [f"{' '.join(draw.choices(WORDS, k=size))} {number}" for number, size in enumerate(sizes)]


TEXTS = texts_with_long_ones(0.02, 1_000)
LONG = [number for number, text in enumerate(TEXTS) if tokens_of(text) > LIMIT]
LONG_TEXT = texts_with_long_ones(1, 1)[0]
REFUSES = faults.ServiceError(service="openai", meaning="long text", most=LIMIT)


@pytest.fixture
async def fake():
    async with FakeServer(dimension=8) as running:
        yield running


def open_client(server: FakeServer, provider: str = "openai", **settings: object) -> EmbedClient:
    url = f"{server.url}/v1" if provider in {"openai", "jina", "voyage"} else server.url
    return EmbedClient(provider, base_url=url, model="m", api_key="any", **settings)


async def one_by_one(texts: Sequence[str]) -> AsyncIterator[str]:
    for text in texts:
        yield text


def recorded(server: FakeServer) -> list[dict[str, object]]:
    """Return a list that gets the fields of each request."""
    asked: list[dict[str, object]] = []

    async def record(exchange: Exchange) -> None:
        asked.append(exchange.request.fields)
        await exchange.deliver()

    server.default = record
    return asked


async def stream(
    server: FakeServer, texts: Sequence[str], *, is_async: bool = False, ordered: bool = True, **options: object
) -> tuple[list[EmbedResult | EmbedFailure], RunSummary]:
    given = one_by_one(texts) if is_async else texts
    async with (
        open_client(server) as client,
        client.embed_stream(given, ordered=ordered, on_error="yield", chunk_size=96, **options) as results,
    ):
        found = [result async for result in results]
        return found, results.summary


# What is asked for


@pytest.mark.parametrize(
    ("provider", "name", "words"),
    [
        ("cohere", "truncate", ("NONE", "END")),
        ("cohere-v1", "truncate", ("NONE", "END")),
        ("voyage", "truncation", (False, True)),
        ("ollama", "truncate", (False, True)),
        ("jina", "truncate", (False, True)),
        ("tei", "truncate", (False, True)),
    ],
)
async def test_an_api_that_can_be_told_is_told(fake, provider, name, words):
    asked = recorded(fake)
    async with open_client(fake, provider) as client:
        for options in ({}, {"long_text": "fail"}, {"long_text": "truncate"}, {"long_text": "fail", "truncate": "END"}):
            await client.embed(["a"], **options)
        await client.embed(["a"], extra={name: None})
    fail, cut = words
    assert [fields.get(name) for fields in asked] == [fail, fail, cut, cut, None]


async def test_nothing_is_said_to_an_api_that_has_no_word_for_it(fake):
    asked = recorded(fake)
    async with open_client(fake) as client:
        await client.embed(["a"], long_text="truncate")
    assert asked[0].keys() == {"model", "input", "encoding_format"}


async def test_a_wrong_word_is_an_error(fake):
    async with open_client(fake) as client:
        with pytest.raises(ConfigurationError, match="use one of 'fail', 'truncate'"):
            await client.embed(["a"], long_text="cut")
        with pytest.raises(ConfigurationError, match="max_text_tokens=0 must be a whole number"):
            await client.embed(["a"], max_text_tokens=0)


# Truncating


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("ordered", [True, False])
async def test_long_texts_are_cut_between_words(fake, is_async, ordered):
    """Every text has its vector, in its place; that of a long one is the vector of its start."""
    fake.rules.append(REFUSES)
    results, summary = await stream(
        fake, TEXTS, is_async=is_async, ordered=ordered, long_text="truncate", max_text_tokens=LIMIT
    )
    indices = [result.index for result in results]
    assert (indices if ordered else sorted(indices)) == list(range(len(TEXTS)))
    starts = {vector_of(text).tobytes(): text for text in fake.ledger.asked}
    for result in results:
        assert isinstance(result, EmbedResult)
        assert result.text == TEXTS[result.index]
        assert result.truncated is (result.index in LONG)
        sent = starts[result.embedding.tobytes()]
        assert result.text.startswith(sent)
        if result.index in LONG:
            assert result.text[len(sent)] == " "
            assert LIMIT / 2 < tokens_of(sent) <= LIMIT
        else:
            assert sent == result.text
    assert summary.truncated == len(LONG)
    assert summary.failed == 0


@pytest.mark.parametrize(("form", "count"), [("numbers", 20_000), ("names it", 10_000), ("no numbers", 10_000)])
async def test_long_texts_cost_few_requests(fake, form, count):
    """One text of a hundred is too long: the run needs no more than a tenth more requests than without."""
    texts = texts_with_long_ones(0.01, count)
    rule = {
        "numbers": REFUSES,
        "names it": faults.ServiceError(service="mistral", meaning="long text", most=LIMIT),
        "no numbers": faults.ServiceError(service="ollama", meaning="long text", status=400, most=LIMIT),
    }[form]
    fake.rules.append(rule)
    results, summary = await stream(fake, texts, long_text="truncate", max_text_tokens=LIMIT)
    assert all(isinstance(result, EmbedResult) for result in results)
    assert len(results) == len(texts)
    async with FakeServer(dimension=8) as other:
        _, without = await stream(other, texts_with_long_ones(0, count))
    assert summary.requests <= 1.1 * without.requests


HIDES_THE_REASON = {"openrouter"}
LONG_TEXT_ERRORS = [
    error for error in faults.KNOWN_ERRORS if error.meaning == "long text" and error.service not in HIDES_THE_REASON
]


@pytest.mark.parametrize("error", LONG_TEXT_ERRORS, ids=lambda error: f"{error.name}")
async def test_a_refusal_in_the_words_of_any_service_is_understood(fake, error):
    """Without any limit that is known before."""
    fake.rules.append(
        faults.ServiceError(
            service=error.service, meaning="long text", status=error.status, form=error.form, most=LIMIT
        )
    )
    results, summary = await stream(fake, TEXTS[:200], long_text="truncate")
    cut = [result.index for result in results if isinstance(result, EmbedResult) and result.truncated]
    assert summary.failed == 0
    assert cut == [index for index in LONG if index < 200]


async def test_the_table_knows_the_limit_of_a_model(fake):
    """With `catalogue=`, the first request holds no text that is too long."""
    fake.rules.append(faults.ServiceError(service="openai", meaning="long text", most=8_192))
    async with EmbedClient(
        "openai", base_url=f"{fake.url}/v1", model="m", api_key="any", catalogue="text-embedding-3-small"
    ) as client:
        response = await client.embed(["short", LONG_TEXT * 10], long_text="truncate")
    assert list(response.truncated) == [False, True]
    assert max(map(tokens_of, fake.ledger.entries[0].texts)) < 12_000


async def test_where_the_api_cuts_nothing_is_sent_apart(fake):
    """The estimate says which texts it must have cut, and which nobody knows of."""
    near = " ".join(WORDS * 30)[: 4 * LIMIT]
    async with EmbedClient(
        "cohere", base_url=fake.url, model="m", api_key="any", catalogue="embed-english-v3.0"
    ) as client:
        response = await client.embed(["short", LONG_TEXT * 2, near], long_text="truncate", input_type="none")
    assert len(fake.ledger.entries) == 1
    assert list(response.truncated) == [False, True, None]


@pytest.mark.parametrize("provider", ["cohere", "voyage", "openai"])
async def test_the_client_cuts_at_a_limit_of_the_callers_own(fake, provider):
    """Also where the API could cut, because its limit may be another one."""
    async with open_client(fake, provider) as client:
        response = await client.embed(["short", LONG_TEXT], long_text="truncate", max_text_tokens=LIMIT)
    assert list(response.truncated) == [False, True]
    sent = [text for text in fake.ledger.asked if text != "short"]
    assert max(map(tokens_of, sent)) <= 1.3 * LIMIT < tokens_of(LONG_TEXT)


async def test_a_limit_that_a_refusal_has_named_holds_for_the_next_run(fake):
    fake.rules.append(REFUSES)
    async with open_client(fake) as client:
        await client.embed([LONG_TEXT], long_text="truncate")
        before = len(fake.ledger.entries)
        await client.embed(["a", LONG_TEXT, "b"], long_text="truncate")
        assert len(fake.ledger.entries) - before == 2


class RefusesAlways:
    """Refuses each request that holds the start of this text, however short it is."""

    def __init__(self, start: str, message: str) -> None:
        self.start = start
        self.message = message

    def applies(self, exchange: Exchange) -> bool:
        return any(text.startswith(self.start) for text in exchange.request.texts)

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.refuse(400, self.message)


@pytest.mark.parametrize(
    "message",
    [
        "input is too long: maximum context length exceeded",
        "This model's maximum context length is 8192 tokens, however you requested 9000 tokens.",
    ],
    ids=["no numbers", "numbers"],
)
@pytest.mark.parametrize("long_text", ["truncate", "fail"])
async def test_a_text_that_is_refused_however_short_it_is_teaches_nothing(fake, message, long_text):
    fake.rules.append(RefusesAlways("odd", message))
    async with open_client(fake) as client:
        response = await client.embed(["odd " * 300], long_text=long_text, on_error="skip")
        assert not response.ok.any()
        texts = ["cat " * 2_000, *(text for number, text in enumerate(TEXTS[:100]) if number not in LONG)]
        response = await client.embed(texts, long_text="truncate")
    assert True not in response.truncated
    np.testing.assert_array_equal(response.embeddings, [vector_of(text) for text in texts])


async def test_texts_that_are_sent_apart_with_one_that_fails_are_cut_no_shorter_than_alone(fake):
    fake.rules.append(RefusesAlways("odd", "input is too long: maximum context length exceeded"))
    odd = " ".join(["odd"] * 900)
    async with open_client(fake) as client:
        options = {"long_text": "truncate", "max_text_tokens": LIMIT, "on_error": "skip"}
        response = await client.embed([*TEXTS[:150], odd], **options)
    starts = {vector_of(text).tobytes(): text for text in fake.ledger.asked}
    for index in range(150):
        sent = starts[response.embeddings[index].tobytes()]
        assert response.truncated[index] is (index in LONG)
        assert tokens_of(sent) > LIMIT / 2 if index in LONG else sent == TEXTS[index]
    assert [failure.index for failure in response.failures] == [150]


@pytest.mark.parametrize("provider", ["openai", "vllm"])
async def test_vectors_out_of_the_cache_say_whether_their_text_was_cut(fake, tmp_path, provider):
    """Also in another process, and where the API is known to refuse such texts."""
    fake.rules.append(REFUSES)
    texts = ["a", LONG_TEXT, "b", LONG_TEXT]
    for _ in range(3):
        async with EmbedClient(
            provider, base_url=f"{fake.url}/v1", model="m", api_key="any", cache=tmp_path / "cache"
        ) as client:
            async with client.embed_stream(texts, long_text="truncate", chunk_size=2) as stream:
                flags = [result.truncated async for result in stream]
            assert flags == [False, True] * 2
            assert stream.summary.truncated == 2
            response = await client.embed(texts, long_text="truncate")
            assert list(response.truncated) == flags


async def test_of_a_vector_that_a_query_put_into_the_cache_it_is_not_known(fake, tmp_path):
    options = {"long_text": "truncate", "input_type": "document"}
    for verb, given in (("embed_query", "a"), ("embed", ["a"])):
        async with EmbedClient(
            "vllm", base_url=f"{fake.url}/v1", model="m", api_key="any", cache=tmp_path / "cache"
        ) as client:
            response = await getattr(client, verb)(given, **options)
    assert list(response.truncated) == [None]
    assert fake.ledger.requests == 1


async def test_a_small_budget_is_enough(fake):
    """Texts that are sent early never take the memory that earlier texts need."""
    fake.rules.append(REFUSES)
    async with open_client(fake, max_memory_mb=2) as client:
        one = client.embed(TEXTS, long_text="truncate", max_text_tokens=LIMIT)
        response = await one
    assert [index for index, flag in enumerate(response.truncated) if flag] == LONG


async def test_the_embedded_server_has_a_known_limit():
    pytest.importorskip("model2vec")
    texts = ["short", "cat " * 20_000]
    async with EmbedClient("local", on_event=id) as client:
        assert (await client.estimate(texts)).over_long == 1
        assert list((await client.embed(texts, long_text="truncate")).truncated) == [False, True]


async def test_a_stream_inside_another_one_needs_no_memory_of_the_other(fake):
    """The results of the outer stream hold all memory; the texts that are sent apart do not wait for it."""
    outer = [f"outer {number}" for number in range(2_000)]
    async with (
        open_client(fake, max_memory_mb=0.5) as client,
        client.embed_stream(outer) as stream,
        asyncio.timeout(60),
    ):
        async for _ in stream:
            inner = client.embed_stream(TEXTS[:300], max_text_tokens=LIMIT)
            async with inner:
                found = [result.index async for result in inner]
            break
    assert found == list(range(300))


async def test_a_process_beyond_its_limit_goes_on_with_small_requests(fake):
    """As `embed_large_dataset` promises, also with texts that are too long."""
    limit = 1.2 * MemoryMonitor(1_000_000).current_mb + 20
    ballast, found = b"", []
    async with open_client(fake) as client, asyncio.timeout(60):
        stream = client.embed_large_dataset(TEXTS[:400], max_memory_mb=limit, max_text_tokens=LIMIT, chunk_size=20)
        async with stream:
            async for result in stream:
                ballast = ballast or b"x" * int(limit * 1_000_000)
                found.append(result.index)
    assert found == list(range(400))


async def test_equal_long_texts_share_the_vector_and_what_is_known_of_it(fake):
    fake.rules.append(REFUSES)
    texts = [LONG_TEXT, "a", LONG_TEXT, "b", LONG_TEXT]
    async with open_client(fake) as client:
        response = await client.embed(texts, long_text="truncate", max_text_tokens=LIMIT, dedupe=True)
    assert [bool(flag) for flag in response.truncated] == [True, False, True, False, True]
    np.testing.assert_array_equal(response.embeddings[0], response.embeddings[4])


# Failing


@pytest.mark.parametrize("rule", ["openai", "mistral"])
async def test_only_long_texts_fail(fake, rule):
    """They are sent apart, so the others are asked for once."""
    fake.rules.append(faults.ServiceError(service=rule, meaning="long text", most=LIMIT))
    results, summary = await stream(fake, TEXTS, long_text="fail", max_text_tokens=LIMIT)
    failed = [result.index for result in results if isinstance(result, EmbedFailure)]
    assert failed == LONG
    assert all(isinstance(result.error, InvalidInputError) for result in results if isinstance(result, EmbedFailure))
    assert summary.requests <= len(LONG) + 2 * len(TEXTS) // 96
    assert max(Counter(text for text in TEXTS if text in fake.ledger.asked).values()) == 1
    assert {fake.ledger.asked[text] for number, text in enumerate(TEXTS) if number not in LONG} == {1}


async def test_an_estimate_never_fails_a_text(fake):
    """The API takes what the estimate calls too long; requests of such texts become larger again."""
    texts = texts_with_long_ones(0.5, 400)
    results, summary = await stream(fake, texts, long_text="fail", max_text_tokens=20)
    assert all(isinstance(result, EmbedResult) for result in results)
    assert summary.requests < 60


async def test_results_say_that_an_api_which_refuses_has_cut_nothing(fake):
    async with open_client(fake, "cohere") as client:
        response = await client.embed(["a", "b"])
        assert response.truncated == [False, False]
        response = await client.embed(["a"], truncate="END")
        assert response.truncated == [None]
    async with open_client(fake) as client:  # what is behind this address is not known
        assert (await client.embed(["a"])).truncated == [None]


# Files and plain calls


@pytest.mark.parametrize("suffix", ["npy", "parquet", "arrow", "jsonl", "npz"])
async def test_a_file_has_a_column_that_says_which_texts_were_cut(fake, tmp_path, suffix):
    fake.rules.append(REFUSES)
    path = tmp_path / f"vectors.{suffix}"
    inputs = [EmbedInput(text, metadata={"n": number}) for number, text in enumerate(TEXTS[:200])]
    async with open_client(fake) as client:
        summary = await client.embed_to_file(inputs, path, long_text="truncate", max_text_tokens=LIMIT)
        labels = [label for block in open_vectors(path).blocks() for label in block.labels]
        assert {label.index: label.metadata for label in labels} == {
            number: {"n": number, "truncated": number in LONG} for number in range(200)
        }
        assert summary.truncated == sum(number < 200 for number in LONG)
        again = await client.embed_to_file(inputs, path, resume=True, long_text="truncate", max_text_tokens=LIMIT)
        assert again.truncated == summary.truncated


async def test_without_truncating_a_file_has_no_such_column(fake, tmp_path):
    async with open_client(fake) as client:
        await client.embed_to_file(["a", "b"], tmp_path / "vectors.jsonl", long_text="fail")
    (block,) = open_vectors(tmp_path / "vectors.jsonl").blocks()
    assert [label.metadata for label in block.labels] == [None, None]


async def test_metadata_of_this_name_is_an_error_in_a_file(fake, tmp_path):
    async with open_client(fake) as client:
        with pytest.raises(ConfigurationError, match=r"texts\[0\] has metadata with the name 'truncated'"):
            await client.embed_to_file(
                [EmbedInput("a", metadata={"truncated": 1})], tmp_path / "vectors.npy", long_text="truncate"
            )


def test_plain_calls_have_the_option():
    """The embedded model takes 8,192 tokens, and cuts a text or refuses it as it is told."""
    with SyncEmbedder("local", on_event=lambda _: None) as embedder:  # a client of its own, which is closed here
        response = embedder.embed(["short", LONG_TEXT * 20], long_text="truncate", max_text_tokens=8_192)
        assert response.truncated == [False, True]
        with pytest.raises(InvalidInputError, match="the limit is 8192"):
            embedder.embed(["short", LONG_TEXT * 20])
