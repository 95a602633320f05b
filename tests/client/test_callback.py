"""`embed_with_callback`: whom it calls, how many at once, and what becomes of their errors."""

from __future__ import annotations

import asyncio
import functools

import numpy as np
import pytest
from support.results import check_results, endless, numbered
from support.scripted import refused, vector_of
from support.watching import leftovers, turns, until

from asyncembed import Callback, ConfigurationError, EmbedResult, QuotaExceededError, RunSummary

TEXTS = numbered(20)


def check_pairs(seen):
    assert [index for _, index in seen] == list(range(20))
    np.testing.assert_array_equal(np.stack([vector for vector, _ in seen]), np.stack(list(map(vector_of, TEXTS))))


async def test_a_function_of_two_gets_vector_and_index(client):
    seen = []
    summary = await client.embed_with_callback(TEXTS, lambda embedding, index: seen.append((embedding, index)))
    check_pairs(seen)
    assert isinstance(summary, RunSummary)
    assert (summary.done, summary.usage.tokens) == (20, 20)


async def test_a_function_of_one_gets_the_result(client):
    seen: list[EmbedResult] = []
    await client.embed_with_callback(TEXTS, seen.append)
    check_results(seen, TEXTS)


class Store:
    def __init__(self) -> None:
        self.seen = []

    def two(self, embedding, index):
        self.seen.append((embedding, index))

    async def one(self, result, again=None):
        self.seen.append((result.embedding, result.index))

    def any_number(self, *arguments):
        self.seen.append(arguments)

    def three(self, table, embedding, index):
        self.seen.append((embedding, index))

    def __call__(self, embedding, index, again=None):
        self.seen.append((embedding, index))


@pytest.mark.parametrize(
    "callback",
    [
        lambda store: store.two,
        lambda store: store.one,
        lambda store: store.any_number,
        lambda store: functools.partial(store.three, "table"),
        lambda store: store,
    ],
    ids=["method", "async method with a default", "any number", "partial", "object"],
)
async def test_whatever_can_be_called(client, callback):
    store = Store()
    await client.embed_with_callback(TEXTS, callback(store))
    check_pairs(store.seen)


def needs_a_table(embedding, index, *, table): ...


async def generates(result):
    yield result


@pytest.mark.parametrize(
    "callback", [None, "print", lambda: None, lambda a, b, c: None, lambda *, result: None, needs_a_table, generates]
)
async def test_what_cannot_be_called_is_refused_before_anything_is_sent(server, client, callback):
    with pytest.raises(ConfigurationError, match="callback"):
        await client.embed_with_callback(TEXTS, callback)
    assert server.requests == []


@pytest.mark.parametrize("name", ["index", "i", "idx"])
async def test_arguments_in_the_wrong_order_are_refused(server, client, name):
    """A vector would be stored as an index, and the index as a vector."""
    callback = eval(f"lambda {name}, vector: None")
    with pytest.raises(ConfigurationError, match=rf"write \(vector, {name}\)"):
        await client.embed_with_callback(TEXTS, callback)
    with pytest.raises(ConfigurationError, match=rf"write \(vector, {name}\)"):
        await client.embed_with_callback(TEXTS, functools.partial(eval(f"lambda table, {name}, vector: None"), "t"))
    assert server.requests == []


async def test_one_argument_may_have_any_name(client):
    """It is the result."""
    seen: list[EmbedResult] = []

    def store(i, table=None):
        seen.append(i)

    await client.embed_with_callback(TEXTS, store)
    check_results(seen, TEXTS)


@pytest.mark.parametrize(("at_once", "most"), [(1, 1), (4, 4), (100, 20)])
async def test_so_many_async_callbacks_run_at_once(client, at_once, most):
    """Each waits until as many are there as can be."""
    running = highest = 0
    begun: list[int] = []
    full = asyncio.Event()

    async def callback(embedding, index):
        nonlocal running, highest
        running += 1
        highest = max(highest, running)
        begun.append(index)
        if running == most:
            full.set()
        await full.wait()
        running -= 1

    await client.embed_with_callback(TEXTS, callback, callback_concurrency=at_once)
    assert highest == most
    assert begun == list(range(20))


async def test_results_may_come_as_they_arrive(server, client):
    """The first request is answered last."""
    gate = asyncio.Event()

    async def late(exchange):
        await gate.wait()
        await server.default(exchange)

    server.script.append(late)
    seen = []

    def callback(embedding, index):
        seen.append(index)
        if len(seen) == 10:
            gate.set()

    await client.embed_with_callback(TEXTS, callback, ordered=False, chunk_size=10)
    assert seen == [*range(10, 20), *range(10)]


class Broken(Exception):
    """A caller's own."""


@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("kind", ["plain", "async"])
@pytest.mark.parametrize("error", [Broken("no"), ExceptionGroup("several", [Broken("no")]), StopAsyncIteration()])
async def test_its_error_stops_the_run_and_surfaces_as_it_is(client, at_once, kind, error):
    seen = []

    def plain(embedding, index):
        seen.append(index)
        if index == 5:
            raise error

    async def waiting(embedding, index):
        await asyncio.sleep(0)
        plain(embedding, index)

    callback = plain if kind == "plain" else waiting
    with pytest.raises(type(error)) as caught:
        await client.embed_with_callback(endless(), callback, callback_concurrency=at_once, chunk_size=4)
    assert caught.value is error
    assert len(seen) <= 5 + at_once
    assert not leftovers(client)


async def test_callbacks_on_their_way_are_cancelled_when_one_fails(client):
    ended = []

    async def callback(result):
        if result.index == 3:
            raise Broken
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(result.index)

    with pytest.raises(Broken):
        await client.embed_with_callback(TEXTS, callback, callback_concurrency=4)
    assert sorted(ended) == [0, 1, 2]


@pytest.mark.parametrize("at_once", [1, 3])
async def test_an_error_of_the_run_comes_after_the_calls_before_it(server, client, at_once):
    server.script.extend([server.default, refused(402, "no")])
    seen = []

    async def callback(result):
        await asyncio.sleep(0)
        seen.append(result.index)

    with pytest.raises(QuotaExceededError):
        await client.embed_with_callback(TEXTS, callback, callback_concurrency=at_once, chunk_size=5, max_concurrency=1)
    assert sorted(seen) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("at_once", [1, 3])
async def test_cancelling_it_cancels_the_callbacks(client, at_once):
    started, cancelled = asyncio.Event(), []

    async def callback(result):
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(result.index)
            raise

    task = asyncio.create_task(client.embed_with_callback(TEXTS, callback, callback_concurrency=at_once))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled
    assert not leftovers(client)


@pytest.mark.parametrize("at_once", [1, 3])
async def test_a_callback_that_raises_a_cancellation_of_its_own_ends_the_run(client, at_once):
    async def callback(result):
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await client.embed_with_callback(TEXTS, callback, callback_concurrency=at_once)
    assert not leftovers(client)


async def test_texts_that_fail_are_left_out_if_that_is_wanted(server, client):
    bad, right = set(TEXTS[:5]), server.default

    async def answer(exchange):
        await (refused(400, "no") if bad & set(exchange.request.texts) else right)(exchange)

    server.default = answer
    seen = []
    summary = await client.embed_with_callback(
        TEXTS, lambda result: seen.append(result.index), on_error="skip", chunk_size=5, max_concurrency=1
    )
    assert seen == list(range(5, 20))
    assert (summary.done, summary.failed) == (15, 5)
    assert "no" in str(summary.failure)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"callback_concurrency": 0}, "callback_concurrency=0 must be a whole number, 1 or more"),
        ({"on_error": "yield"}, "on_error='yield' is not known; use one of 'raise', 'skip'"),
        ({"chunksize": 3}, "no option 'chunksize'"),
    ],
)
async def test_wrong_options_are_refused(client, options, words):
    with pytest.raises(ConfigurationError, match=words):
        await client.embed_with_callback(TEXTS, print, **options)


async def test_the_error_of_a_callback_is_not_hidden_by_one_of_the_run(server, client):
    """The run fails while the callback of an earlier result is busy failing, too."""
    server.script.extend([server.default, refused(402, "no")])
    asked = asyncio.Event()

    async def callback(result):
        await asked.wait()
        raise Broken("the database is down")

    async def texts():
        for number in range(10):
            yield f"text {number}"

    task = asyncio.create_task(
        client.embed_with_callback(texts(), callback, callback_concurrency=6, chunk_size=5, max_concurrency=1)
    )
    await until(lambda: len(server.requests) == 2 and not server.active)
    await turns()
    asked.set()
    with pytest.raises(Broken, match="the database is down") as caught:
        await task
    assert "also raised: QuotaExceededError" in " ".join(caught.value.__notes__)


@pytest.mark.parametrize("at_once", [1, 3])
async def test_an_exit_is_an_exit(client, at_once):
    async def callback(result):
        raise SystemExit(3)

    with pytest.raises(SystemExit) as caught:
        await client.embed_with_callback(TEXTS, callback, callback_concurrency=at_once)
    assert caught.value.code == 3
    assert not leftovers(client)


async def test_the_time_of_the_callbacks_counts(client):
    async def callback(result):
        await asyncio.sleep(0.01)

    assert (await client.embed_with_callback(TEXTS, callback)).elapsed > 0.2


def test_the_type_of_callbacks_can_be_used_at_run_time():
    assert Callback | None
