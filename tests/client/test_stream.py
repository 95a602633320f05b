"""The stream as an object: ended early, closed, dropped, used wrongly."""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import threading
import warnings

import pytest
from support.results import check_results, check_vectors, endless, numbered, take_all
from support.scripted import Gate, refused, refusing, right
from support.watching import leftovers, turns, until

from asyncembed import AsyncEmbedError, AuthenticationError

pytestmark = pytest.mark.usefixtures("loop_mode")
TEXTS = numbered(500)


async def test_break_inside_async_with(client):
    """Everything has ended before the next statement."""
    async with client.embed_stream(endless(), chunk_size=10) as stream:
        async for result in stream:
            if result.index == 25:
                break
    assert not leftovers(client)


async def test_exception_in_the_body(client):
    async def consume():
        async with client.embed_stream(endless(), chunk_size=10) as stream:
            async for result in stream:
                1 / (25 - result.index)

    with pytest.raises(ZeroDivisionError):
        await consume()
    assert not leftovers(client)


async def test_bare_break_warns_and_ends(client):
    async def consume():
        async for _ in client.embed_stream(endless(), chunk_size=10):
            break

    with pytest.warns(ResourceWarning, match="async with"):
        await consume()
    await until(lambda: not leftovers(client))


async def test_a_bare_loop_to_the_end_does_not_warn(client):
    check_results([result async for result in client.embed_stream(TEXTS, chunk_size=10)], TEXTS)
    assert not leftovers(client)


async def test_a_bare_loop_that_fails_does_not_warn(server, client):
    server.default = refused(401)
    with pytest.raises(AuthenticationError):
        await take_all(client.embed_stream(endless(), chunk_size=10), [])
    assert not leftovers(client)


async def test_dropped_where_warnings_are_errors(client, monkeypatch):
    """The work is stopped even if the warning about it becomes an exception inside `__del__`."""
    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    stream = client.embed_stream(endless(), chunk_size=10)
    await anext(stream)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del stream
        gc.collect()
    assert [type(problem.exc_value) for problem in unraisable] == [ResourceWarning]
    unraisable.clear()
    await until(lambda: not leftovers(client), 1)


def run(thread):
    thread.start()
    thread.join()


async def test_dropped_by_another_thread(client):
    """The garbage collector runs in whatever thread it likes."""
    streams = [client.embed_stream(endless(), chunk_size=10)]
    await anext(streams[0])
    thread = threading.Thread(target=streams.clear)
    with pytest.warns(ResourceWarning, match="async with"):
        run(thread)
    await until(lambda: not leftovers(client))


async def test_dropped_as_part_of_a_cycle(client):
    class Holder:
        pass

    holder = Holder()
    holder.self, holder.stream = holder, client.embed_stream(endless(), chunk_size=10)
    await anext(holder.stream)
    del holder
    with pytest.warns(ResourceWarning, match="async with"):
        gc.collect()
    await until(lambda: not leftovers(client))


async def test_two_consumers_lose_nothing(client):
    """A second consumer is refused, or gets results of its own; none gets lost between them."""
    stream = client.embed_stream(TEXTS, chunk_size=10)
    results, refusals = [], []

    async def take():
        try:
            results.append(await anext(stream))
        except AsyncEmbedError as error:
            refusals.append(error)
        except StopAsyncIteration:
            return False
        return True

    while all(await asyncio.gather(take(), take(), take())):
        pass
    check_vectors(results, TEXTS)
    assert sorted(result.index for result in results) == list(range(len(TEXTS)))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("ordered", [True, False])
async def test_consumers_that_are_cancelled_at_any_moment_lose_and_double_nothing(server, client, seed, ordered):
    """Again and again, while results come in any order and some texts fail."""
    draw, results = random.Random(seed), []
    bad = draw.sample(range(len(TEXTS)), 5)
    server.default = refusing([TEXTS[index] for index in bad], "bad")
    stream = client.embed_stream(TEXTS, chunk_size=draw.randint(1, 10), ordered=ordered, on_error="skip")

    async def consume():
        async for result in stream:
            results.append(result.index)
            for _ in range(draw.randint(0, 2)):
                await asyncio.sleep(0)

    while True:
        task = asyncio.create_task(consume())
        await turns(draw.randint(1, 60))
        if stream.summary.done + stream.summary.failed == len(TEXTS):
            await task
            break
        task.cancel()
        await asyncio.wait([task])
    expected = [index for index in range(len(TEXTS)) if index not in bad]
    assert (results if ordered else sorted(results)) == expected


async def test_timeouts_around_single_results_lose_nothing(server, client):
    """Each time limit strikes in another place; the stream goes on where it was."""
    results = []
    generator = random.Random(8)
    stream = client.embed_stream(TEXTS, chunk_size=20)
    ended = False
    while not ended:
        taking = asyncio.create_task(anext(stream))
        await turns(generator.randrange(8))
        taking.cancel()
        await asyncio.wait([taking])
        if taking.cancelled():
            continue
        ended = isinstance(taking.exception(), StopAsyncIteration)
        results += [] if ended else [taking.result()]
        await turns(3)
    check_results(results, TEXTS)


async def test_the_summary_of_a_stream(server, client):
    stream = client.embed_stream(TEXTS, chunk_size=50)
    assert stream.summary.requests == stream.summary.done == 0
    results = [result async for result in stream]
    summary = stream.summary
    assert (summary.done, summary.failed, summary.requests, summary.retries) == (len(results), 0, 10, 0)
    assert (summary.usage.tokens, summary.dimension, summary.in_flight) == (len(results), 8, 0)
    assert (summary.reserved_bytes, summary.model) == (0, client.model)
    assert 0 < summary.peak_reserved_bytes <= summary.budget_bytes
    assert summary.bytes_received == sum(len(piece) for request in server.requests for piece in request.pieces)
    assert summary.elapsed == stream.summary.elapsed > 0


@pytest.mark.parametrize(("count", "workers"), [(2, 0), (4, 1), (7, 2)])
async def test_the_last_request_needs_no_task_of_its_own(server, client, count, workers):
    """A call of few texts is the rule in a web service, and a task costs as much as a tenth of it."""
    gate = Gate()

    async def waits(exchange):
        await gate.wait()
        await right(exchange)

    server.default = waits
    embedding = asyncio.create_task(client.embed([f"text {number}" for number in range(count)], chunk_size=3))
    await until(lambda: len(server.requests) == workers + 1)
    names = [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("asyncembed")]
    assert sorted(names) == ["asyncembed", *["asyncembed-worker"] * workers]
    gate.opened.set()
    assert len(await embedding) == count
