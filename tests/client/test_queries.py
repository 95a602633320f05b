"""Queries: those that come together share a request, and whatever happens to one is not the concern of another."""

from __future__ import annotations

import asyncio
import pickle
import random
import re
from collections import Counter
from types import MappingProxyType

import numpy as np
import pytest

from asyncembed import (
    APIStatusError,
    AuthenticationError,
    ClientSpec,
    ConfigurationError,
    EmbedClient,
    EmbedInput,
    EmbedTimeoutError,
    InvalidInputError,
    RateLimit,
    RateLimitError,
    RetryPolicy,
    ServerError,
    StreamClosedError,
    SyncEmbedder,
    TransportError,
)
from asyncembed.testing import FakeServer, faults, vector_of

FAST = RetryPolicy(max_attempts=3, initial_backoff=0.001, max_backoff=0.01, max_elapsed=20)


class Held:
    """Answers no request before it is opened."""

    def __init__(self):
        self.opened = asyncio.Event()
        self.came = asyncio.Semaphore(0)

    def applies(self, exchange):
        return not self.opened.is_set()

    async def __call__(self, exchange):
        self.came.release()
        await self.opened.wait()
        await exchange.deliver()


@pytest.fixture
async def fake():
    async with FakeServer(dimension=8) as running:
        yield running


@pytest.fixture
async def open_client(fake):
    clients = []

    def open_one(**settings):
        settings = {"retry": FAST, **settings}
        clients.append(EmbedClient("openai", base_url=f"{fake.url}/v1", api_key="any", **settings))
        return clients[-1]

    yield open_one
    for client in clients:
        await client.aclose()
        assert not client._lane._jobs
        assert client._endpoint.budget.reserved == 0
        assert client._endpoint.limiter.waiting == 0


@pytest.fixture
def client(open_client):
    return open_client()


def right(texts):
    return np.stack([vector_of(text, 8) for text in texts])


async def ask_all(client, texts, **options):
    return await asyncio.gather(*(client.embed_query(text, **options) for text in texts))


async def test_a_text_and_texts(client):
    assert (await client.embed_query("q")).shape == (8,)
    np.testing.assert_array_equal(await client.embed_query(EmbedInput("r", "id")), vector_of("r", 8))
    np.testing.assert_array_equal(await client.embed_query(["s", ("id", "t"), EmbedInput("u")]), right("stu"))
    np.testing.assert_array_equal(await client.embed_query(text for text in "vw"), right("vw"))
    assert len(await client.embed_query([])) == 0


async def test_queries_of_one_turn_share_a_request(client, fake):
    texts = [f"query {number}" for number in range(50)]
    np.testing.assert_array_equal(await ask_all(client, texts), right(texts))
    assert [len(entry.texts) for entry in fake.ledger.entries] == [50]


async def test_queries_that_come_while_as_many_requests_run_as_may_share_the_next_one(open_client, fake):
    client, held = open_client(query_concurrency=2), Held()
    fake.rules.append(held)
    tasks = []
    for number in range(2):
        tasks.append(asyncio.create_task(client.embed_query(f"first {number}")))
        await held.came.acquire()
    tasks += [asyncio.create_task(client.embed_query(f"later {number}")) for number in range(9)]
    tasks += [asyncio.create_task(client.embed_query("other", dimensions=4))]
    await asyncio.sleep(0)
    assert fake.ledger.requests == 2
    held.opened.set()
    await asyncio.gather(*tasks)
    assert sorted(len(entry.texts) for entry in fake.ledger.entries) == [1, 1, 1, 9]
    assert fake.max_active == 2


async def test_equal_queries_are_asked_for_once_and_each_gets_a_vector_of_its_own(client, fake):
    first, second, third = await ask_all(client, ["a", "a", "b"])
    first[:] = 0
    np.testing.assert_array_equal(second, vector_of("a", 8))
    np.testing.assert_array_equal(third, vector_of("b", 8))
    assert fake.ledger.asked == {"a": 1, "b": 1}


async def test_the_last_vectors_are_remembered(open_client, fake):
    client = open_client(query_cache=2)
    for text in ("a", "b", "a", "c", "a", "b"):  # "b" had to make room for "c"
        vector = await client.embed_query(text)
        np.testing.assert_array_equal(vector, vector_of(text, 8))
        vector[:] = 0
    assert fake.ledger.asked == {"a": 1, "b": 2, "c": 1}
    await client.embed_query("a", dimensions=4)
    await client.embed_query("a", input_type="document")
    assert fake.ledger.asked["a"] == 3


async def test_nothing_is_remembered_if_that_is_not_wanted(open_client, fake):
    client = open_client(query_cache=0)
    await client.embed_query("a")
    await client.embed_query("a")
    assert fake.ledger.asked == {"a": 2}


async def test_the_cache_of_the_client_is_used(open_client, fake, tmp_path):
    path = tmp_path / "embeddings.sqlite"
    client = open_client(cache=path, query_cache=0)
    await ask_all(client, "abc")
    await client.aclose()
    client = open_client(cache=path, query_cache=0)
    np.testing.assert_array_equal(await ask_all(client, "abcd"), right("abcd"))
    assert [entry.texts for entry in fake.ledger.entries] == [("a", "b", "c"), ("d",)]


async def test_one_bad_text_is_refused_alone(client, fake):
    fake.rules.append(faults.Poisoned("bad"))
    results = await asyncio.gather(*(client.embed_query(text) for text in ("a", "bad", "c")), return_exceptions=True)
    assert isinstance(results[1], InvalidInputError)
    assert results[1].indices == (0,)
    assert "'bad'" in str(results[1])
    np.testing.assert_array_equal([results[0], results[2]], right("ac"))
    assert fake.ledger.entries[0].texts == ("a", "bad", "c")
    assert {entry.texts for entry in fake.ledger.entries[1:]} == {("a",), ("bad",), ("c",), ("hello",)}
    pickle.loads(pickle.dumps(results[1]))


async def test_of_many_texts_the_bad_one_is_named(client, fake):
    fake.rules.append(faults.Poisoned("bad"))
    with pytest.raises(InvalidInputError) as caught:
        await client.embed_query(["a", "b", "bad"])
    assert caught.value.indices == (2,)


@pytest.mark.parametrize("text", ["", "\ud800"])
async def test_a_text_that_nobody_takes_is_not_sent(client, fake, text):
    with pytest.raises(InvalidInputError):
        await client.embed_query(text)
    with pytest.raises(ConfigurationError):
        await client.embed_query([1])
    assert not fake.ledger.requests


async def test_a_failure_that_passes_is_repeated_together(client, fake):
    fake.script += [faults.Refused(503), faults.Refused(503)]
    np.testing.assert_array_equal(await ask_all(client, "abc"), right("abc"))
    assert [entry.texts for entry in fake.ledger.entries] == [("a", "b", "c")] * 3


async def test_attempts_come_to_an_end(client, fake):
    fake.default = faults.Refused(503)
    results = await asyncio.gather(*(client.embed_query(text) for text in "ab"), return_exceptions=True)
    assert [type(result) for result in results] == [ServerError, ServerError]
    assert results[0] is not results[1]
    assert fake.ledger.asked["a"] == FAST.max_attempts
    fake.default = FakeServer().default
    np.testing.assert_array_equal(await client.embed_query("c"), vector_of("c", 8))


async def test_one_attempt_if_that_is_wanted(open_client, fake):
    client = open_client(retry=1)
    fake.script.append(faults.Refused(429))
    with pytest.raises(RateLimitError):
        await client.embed_query("a")
    assert fake.ledger.requests == 1


async def test_what_arrived_before_a_response_broke_is_not_asked_for_again(client, fake):
    fake.script.append(faults.Reset(after=2))
    np.testing.assert_array_equal(await ask_all(client, "abcd"), right("abcd"))
    assert fake.ledger.asked["d"] == 2
    assert sum(fake.ledger.asked.values()) < 8


async def test_a_response_that_cannot_be_matched_is_dropped(client, fake):
    fake.script.append(faults.WrongCount(1))
    np.testing.assert_array_equal(await ask_all(client, "abc"), right("abc"))


async def test_a_wrong_key_is_nobodys_text(client, fake):
    fake.key = "right"
    results = await asyncio.gather(*(client.embed_query(text) for text in "abc"), return_exceptions=True)
    assert {type(result) for result in results} == {AuthenticationError}
    assert fake.ledger.requests == 1


async def test_a_wrong_option_is_nobodys_text(client, fake):
    """Each text asked alone would be refused too; a harmless one shows that."""
    fake.default = faults.Refused(400, "something is wrong")
    texts = [f"text {number}" for number in range(30)]
    results = await asyncio.gather(*(client.embed_query(text) for text in texts), return_exceptions=True)
    assert {type(result) for result in results} == {APIStatusError}
    assert fake.ledger.requests <= 1 + 8 + 8


async def test_a_caller_that_is_cancelled_leaves_the_request_to_the_others(client, fake):
    held = Held()
    fake.rules.append(held)
    tasks = [asyncio.create_task(client.embed_query(text)) for text in "abc"]
    await held.came.acquire()
    tasks[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    held.opened.set()
    np.testing.assert_array_equal(await asyncio.gather(*tasks[1:]), right("bc"))
    assert fake.ledger.requests == 1


async def test_a_request_that_nobody_waits_for_is_ended(client, fake):
    held = Held()
    fake.rules.append(held)
    tasks = [asyncio.create_task(client.embed_query(text)) for text in "ab"]
    await held.came.acquire()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    while client._lane._jobs:
        await asyncio.sleep(0)
    held.opened.set()


async def test_a_deadline_is_for_everything(client, fake):
    fake.rules.append(Held())
    for texts in ("a", ["a", "b"], (text for text in "ab")):
        with pytest.raises(EmbedTimeoutError, match=r"deadline of 0\.02 s") as caught:
            await client.embed_query(texts, deadline=0.02)
        assert isinstance(caught.value, TimeoutError)
    while client._lane._jobs or client._tasks:
        await asyncio.sleep(0)


@pytest.mark.parametrize("deadline", [0, -1, "2", True, float("inf")])
async def test_a_deadline_is_a_number_of_seconds(client, deadline):
    with pytest.raises(ConfigurationError, match="deadline="):
        await client.embed_query("a", deadline=deadline)


async def test_too_many_queries_are_refused_early(open_client, fake):
    client, held = open_client(query_concurrency=1, max_waiting_queries=2), Held()
    fake.rules.append(held)
    tasks = [asyncio.create_task(client.embed_query("a"))]
    await held.came.acquire()
    tasks += [asyncio.create_task(client.embed_query(text)) for text in "bcd"]
    with pytest.raises(TransportError, match="2 queries wait already"):
        await tasks[-1]
    held.opened.set()
    np.testing.assert_array_equal(await asyncio.gather(*tasks[:-1]), right("abc"))


async def test_closing_ends_what_waits_and_what_is_under_way(open_client, fake):
    client, held = open_client(query_concurrency=1), Held()
    fake.rules.append(held)
    tasks = [asyncio.create_task(client.embed_query("a"))]
    await held.came.acquire()
    tasks.append(asyncio.create_task(client.embed_query("b")))
    await asyncio.sleep(0)
    await client.aclose()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(result) for result in results} == {StreamClosedError}
    with pytest.raises(StreamClosedError):
        await client.embed_query("a")


async def test_an_option_that_is_not_known_is_refused_each_time(client, fake):
    for _ in range(2):
        with pytest.raises(ConfigurationError):
            await client.embed_query("a", colour="red")
    for _ in range(2):
        await client.embed_query("a", extra={"user": "x"}, prompts={"query": "q: "})
    assert fake.ledger.asked == {"q: a": 1}


async def test_warm_up_opens_the_connection_of_the_first_query_and_asks_for_nothing(client, fake):
    await client.warm_up()
    assert (fake.accepted, fake.ledger.asked, fake.ledger.billed_tokens) == (1, {}, 0)
    await client.embed_query("a")
    assert fake.accepted == 1


async def test_warm_up_sends_no_key_and_tells_if_the_api_cannot_be_reached(unused_tcp_port):
    async with EmbedClient("openai", base_url=f"http://127.0.0.1:{unused_tcp_port}", api_key="k") as client:
        with pytest.raises(TransportError, match=r"Cannot connect to host .*HEAD http"):
            await client.warm_up()
    heads = []

    async def answer(reader, writer):
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", unused_tcp_port):
        base_url = f"http://127.0.0.1:{unused_tcp_port}/v1"
        async with EmbedClient("openai", base_url=base_url, api_key="secret", headers={"X-Token": "also"}) as client:
            await client.warm_up()
    assert heads[0].startswith(b"HEAD /v1 ")
    assert not re.search(b"secret|also", heads[0])


@pytest.mark.parametrize(
    ("options", "shape", "dtype"),
    [
        ({}, (0, 0), np.float32),
        ({"dtype": "int8"}, (0, 0), np.int8),
        ({"dtype": "ubinary", "dimensions": 256}, (0, 32), np.uint8),
    ],
)
async def test_no_queries_have_no_vectors_of_the_requested_type(fake, options, shape, dtype):
    async with EmbedClient("cohere", base_url=fake.url, api_key="any") as client:
        found = await client.embed_query([], **options)
        assert (found.shape, found.dtype) == (shape, dtype)


async def test_an_option_that_equals_an_earlier_one_is_checked_too(client):
    await client.embed_query("a", normalize=True)
    with pytest.raises(ConfigurationError, match="normalize=1"):
        await client.embed_query("a", normalize=1)


async def test_the_settings_of_queries_travel(client, fake):
    spec = ClientSpec("openai", query_concurrency=2, max_waiting_queries=3, query_cache=0)
    assert (spec.query_concurrency, spec.max_waiting_queries, spec.query_cache) == (2, 3, 0)
    described = EmbedClient("local", query_concurrency=2, max_waiting_queries=3, query_cache=0)
    assert described.spec == ClientSpec("local", query_concurrency=2, max_waiting_queries=3, query_cache=0)
    for settings in ({"query_concurrency": 0}, {"max_waiting_queries": 0}, {"query_cache": -1}):
        with pytest.raises(ConfigurationError, match=next(iter(settings))):
            ClientSpec("openai", **settings)
        with pytest.raises(ConfigurationError, match=next(iter(settings))):
            EmbedClient("local", **settings)


def test_plain_calls_use_it():
    server = FakeServer(dimension=8)
    with server.run_in_thread(), SyncEmbedder("openai", base_url=f"{server.url}/v1", api_key="any") as embedder:
        for _ in range(2):
            np.testing.assert_array_equal(embedder.embed_query("a"), vector_of("a", 8))
        server.latency = 5
        with pytest.raises(EmbedTimeoutError):
            embedder.embed_query("b", deadline=0.02)
    assert server.ledger.asked == {"a": 1, "b": 1}


async def test_a_query_waits_for_neither_memory_nor_slots_that_bulk_holds(open_client, fake):
    client, held = open_client(max_concurrency=1, max_memory_mb=0.5), Held()
    fake.rules.append(held)
    bulk = asyncio.create_task(client.embed([f"text {number}" for number in range(20)], chunk_size=1))
    await held.came.acquire()
    query = asyncio.create_task(client.embed_query("q"))
    await held.came.acquire()
    assert fake.ledger.requests == 2
    assert fake.ledger.entries[1].texts == ("q",)
    held.opened.set()
    np.testing.assert_array_equal(await query, vector_of("q", 8))
    assert len(await bulk) == 20


async def test_a_query_goes_before_bulk_that_waits_for_the_rate_limit(open_client, fake):
    client = open_client(rate_limit=RateLimit(requests_per_minute=400))
    await client.embed([f"first {number}" for number in range(200)], chunk_size=1)  # what is there at once
    bulk = asyncio.create_task(client.embed([f"bulk {number}" for number in range(20)], chunk_size=1))
    while not client._endpoint.limiter.waiting:
        await asyncio.sleep(0)
    await client.embed_query("q")
    assert not bulk.done()
    await bulk
    assert fake.ledger.requests == 221


@pytest.mark.parametrize("option", [{"max_tokens": 2}, {"max_cost": 1e-6, "price": 2.0}])
async def test_a_cap_is_refused_as_queries_have_none(client, fake, option):
    for texts in ("a question", ["two", "questions"], (f"query {n}" for n in range(300))):
        with pytest.raises(ConfigurationError, match=next(iter(option))):
            await client.embed_query(texts, **option)
    assert not fake.ledger.requests


async def test_requests_that_are_cancelled_before_they_begin_give_their_slots_back(open_client, fake):
    client = open_client(query_concurrency=1)
    for number in range(3):
        task = asyncio.create_task(client.embed_query([f"a {number}", f"b {number}"]))
        await asyncio.sleep(0)  # the queries wait for the end of this turn...
        task.cancel()  # ...in which their request starts, and of which it ends in the next
        with pytest.raises(asyncio.CancelledError):
            await task
    np.testing.assert_array_equal(await client.embed_query("c", deadline=5), vector_of("c", 8))
    assert fake.ledger.asked == {"c": 1}


async def test_callers_are_told_if_their_request_is_cancelled_by_others(open_client, fake):
    client, held = open_client(query_concurrency=1), Held()
    fake.rules.append(held)
    query = asyncio.create_task(client.embed_query("a", deadline=5))
    await held.came.acquire()
    for task in asyncio.all_tasks():
        if task.get_name() == "asyncembed-query":
            task.cancel()
    with pytest.raises(StreamClosedError, match="was cancelled"):
        await query
    held.opened.set()
    np.testing.assert_array_equal(await client.embed_query("b"), vector_of("b", 8))


async def test_what_only_callers_that_have_gone_wanted_is_not_asked_for_again(client, fake):
    async def break_off(exchange):
        came.set()
        await left.wait()
        await faults.Reset(after=2)(exchange)

    came, left = asyncio.Event(), asyncio.Event()
    fake.script.append(break_off)
    tasks = [asyncio.create_task(client.embed_query(text)) for text in "abcdefgh"]
    await came.wait()
    for task in tasks[1:]:
        task.cancel()
    await asyncio.gather(*tasks[1:], return_exceptions=True)
    left.set()
    np.testing.assert_array_equal(await tasks[0], vector_of("a", 8))
    while client._lane._jobs:
        await asyncio.sleep(0)
    assert fake.ledger.requests == 1


async def test_vectors_that_arrived_before_an_error_are_in_the_cache(open_client, fake, tmp_path):
    path = tmp_path / "embeddings.sqlite"
    client = open_client(cache=path)
    fake.script += [faults.Reset(after=2), faults.Refused(401, "wrong key")]
    results = await asyncio.gather(*(client.embed_query(text) for text in "abc"), return_exceptions=True)
    assert [type(result) for result in results] == [np.ndarray, np.ndarray, AuthenticationError]
    await client.aclose()
    await ask_all(open_client(cache=path), "abc")
    assert fake.ledger.asked["c"] == 3
    assert fake.ledger.entries[-1].texts == ("c",)


@pytest.mark.parametrize("leaves", ["deadline", "cancelled"])
async def test_queries_whose_callers_have_gone_do_not_wait_any_more(open_client, fake, leaves):
    client, held = open_client(query_concurrency=1, max_waiting_queries=5), Held()
    fake.rules.append(held)
    first = asyncio.create_task(client.embed_query("a"))
    await held.came.acquire()
    for options in ({}, {"dimensions": 4}):
        deadline = 0.001 if leaves == "deadline" else None
        tasks = [asyncio.create_task(client.embed_query(text, deadline=deadline, **options)) for text in ("b", "c")]
        tasks.append(asyncio.create_task(client.embed_query(["d", "e", "f"], deadline=deadline, **options)))
        if leaves == "cancelled":
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in results} <= {EmbedTimeoutError, asyncio.CancelledError}
    later = [asyncio.create_task(client.embed_query(text)) for text in "ghijk"]
    await asyncio.sleep(0)
    held.opened.set()
    np.testing.assert_array_equal(await asyncio.gather(first, *later), right("aghijk"))
    assert [entry.texts for entry in fake.ledger.entries] == [("a",), tuple("ghijk")]


async def test_a_list_that_is_longer_than_may_wait_is_embedded_as_bulk(open_client, fake):
    client, held = open_client(query_concurrency=1, max_waiting_queries=3), Held()
    fake.rules.append(held)
    first = asyncio.create_task(client.embed_query("a"))
    await held.came.acquire()
    tasks = [asyncio.create_task(client.embed_query(list(texts))) for texts in ("bcd", "efgh")]
    await held.came.acquire()
    assert fake.ledger.entries[1].texts == tuple("efgh")
    with pytest.raises(TransportError, match="3 queries wait already"):
        await client.embed_query(["i"])
    held.opened.set()
    await first
    for task, texts in zip(tasks, ("bcd", "efgh"), strict=True):
        np.testing.assert_array_equal(await task, right(texts))


async def test_further_fields_are_those_of_the_call_whatever_becomes_of_them_later(client, fake):
    async def record(exchange):
        sent.append((*exchange.request.texts, exchange.request.fields.get("tags")))
        await exchange.deliver()

    sent = []
    fake.default = record
    extra = {"tags": ["one"]}
    await client.embed_query("a", extra=extra)
    stream = client.embed_stream(["b"], extra=extra)  # it sends nothing before it is read
    empty = {}
    await client.embed_query("none", extra=empty)
    extra["tags"].append("two")
    empty["tags"] = ["one"]
    await client.embed_query("c", extra=extra)
    await client.embed_query("none too", extra={})
    await client.embed_query("d", extra=MappingProxyType({"tags": ["one"]}))
    async with stream:
        assert len([result async for result in stream]) == 1
    assert sent == [
        ("a", ["one"]),
        ("none", None),
        ("c", ["one", "two"]),
        ("none too", None),
        ("d", ["one"]),
        ("b", ["one"]),
    ]


LONG = "the cat sat on the mat " * 30


@pytest.mark.parametrize("options", [{}, {"prompts": {"query": "query: "}}])
async def test_the_start_of_a_long_query_is_that_of_bulk(open_client, fake, tmp_path, options):
    """So a vector is the same whichever of the two puts it into the cache."""
    options = {"long_text": "truncate", "max_text_tokens": 20, **options}
    bulk = await open_client().embed(["short", LONG], input_type="query", **options)
    assert bulk.truncated == [False, True]
    sent = {text for entry in fake.ledger.entries for text in entry.texts}
    assert max(map(len, sent)) < 100
    client = open_client(cache=tmp_path / "embeddings.sqlite")
    for _ in range(2):  # at last it is remembered
        together = await ask_all(client, ["short", LONG], **options)
        np.testing.assert_array_equal(together, bulk.embeddings)
        np.testing.assert_array_equal(await client.embed_query(["short", LONG], **options), bulk.embeddings)
    cached = await client.embed(["short", LONG], input_type="query", **options)
    np.testing.assert_array_equal(cached.embeddings, bulk.embeddings)
    assert fake.ledger.asked == dict.fromkeys(sent, 2)


async def test_a_long_query_is_cut_by_what_a_refusal_has_taught(open_client, fake):
    fake.default = faults.ServiceError(service="openai", meaning="long text", most=40)
    client = open_client(query_cache=0)
    await client.embed_query(LONG, long_text="truncate")
    refused = fake.ledger.statuses[400]
    vector = await client.embed_query(LONG, long_text="truncate")
    bulk = await client.embed([LONG], long_text="truncate", input_type="query")
    np.testing.assert_array_equal(vector, bulk.embeddings[0])
    assert fake.ledger.statuses[400] == refused


@pytest.mark.parametrize("settings", [{"query_cache": 0}, {"query_concurrency": 1, "max_waiting_queries": 60}])
async def test_queries_whose_callers_leave_at_any_time_take_nothing_with_them(open_client, fake, settings):
    draw = random.Random(1)
    fake.latency = lambda _: draw.random() * 0.005
    client, loop = open_client(**settings), asyncio.get_running_loop()
    outcomes = Counter()
    number = 0
    for _ in range(50):
        asked = {}
        for _ in range(20):
            texts = [f"text {number + part}" for part in range(draw.choice([1, 1, 2, 5]))]
            number += len(texts)
            task = asyncio.create_task(client.embed_query(texts, deadline=draw.choice([0.0005, 0.005, 5, None])))
            asked[task] = texts
            if draw.random() < 0.3:
                loop.call_later(draw.random() * 0.005, task.cancel)
            elif draw.random() < 0.3:
                await asyncio.sleep(0)
                task.cancel()
            if draw.random() < 0.5:
                await asyncio.sleep(0)
        results = await asyncio.gather(*asked, return_exceptions=True)
        for texts, result in zip(asked.values(), results, strict=True):
            outcomes[type(result)] += 1
            if isinstance(result, np.ndarray):
                np.testing.assert_array_equal(result, right(texts))
    assert outcomes.keys() <= {np.ndarray, EmbedTimeoutError, asyncio.CancelledError, TransportError}
    assert min(outcomes[np.ndarray], outcomes[EmbedTimeoutError], outcomes[asyncio.CancelledError]) > 10
    np.testing.assert_array_equal(await client.embed_query("at last", deadline=5), vector_of("at last", 8))
    while client._lane._jobs:
        await asyncio.sleep(0)
    assert (client._lane._running, client._lane._waiting) == (0, 0)
