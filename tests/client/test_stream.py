"""The stream as an object: ended early, closed, dropped, used wrongly."""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import threading
import warnings

import pytest
from support.results import check_results, check_vectors, numbered, take_all
from support.scripted import Gate, refused
from support.watching import leftovers, turns, until

from asyncembed import AsyncEmbedError, AuthenticationError, StreamClosedError

pytestmark = pytest.mark.usefixtures("loop_mode")
TEXTS = numbered(500)


def endless():
    number = 0
    while True:
        yield f"text {number}"
        number += 1


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


async def test_left_while_results_wait(client):
    """The outbox is full, nothing is in flight, the consumer is busy elsewhere."""
    stream = client.embed_stream(TEXTS, chunk_size=10)
    await anext(stream)
    await until(lambda: stream.summary.done == len(TEXTS) and not stream.summary.in_flight)
    assert leftovers(client)["bytes"]
    await stream.aclose()
    assert not leftovers(client)


async def test_closing_a_finished_stream_is_cancelled(client):
    """Even then the memory of results that nobody will take is free again."""
    stream = client.embed_stream(TEXTS, chunk_size=10)
    await anext(stream)
    await until(stream._task.done)
    closing = asyncio.create_task(stream.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])
    await until(lambda: not leftovers(client), 1)


async def test_closing_waits_for_the_callers_generator(client):
    """Memory is free although the wait for a slow `finally` was cancelled."""
    gate = Gate()

    async def texts():
        try:
            for text in TEXTS:
                yield text
        finally:
            await gate.wait()

    stream = client.embed_stream(texts(), chunk_size=10)
    await anext(stream)
    closing = asyncio.create_task(stream.aclose())
    await gate.reached.wait()
    assert not closing.done()
    closing.cancel()
    await asyncio.wait([closing])
    gate.opened.set()
    await until(lambda: not leftovers(client), 1)


async def test_closing_twice_and_using_it_afterwards(client):
    stream = client.embed_stream(endless(), chunk_size=10)
    await anext(stream)
    await stream.aclose()
    await stream.aclose()
    for _ in range(2):
        with pytest.raises(StreamClosedError):
            await anext(stream)


async def test_closing_before_the_first_result(server, client):
    stream = client.embed_stream(endless())
    await stream.aclose()
    with pytest.raises(StreamClosedError):
        await anext(stream)
    async with client.embed_stream(endless()):
        pass
    await turns()
    assert not server.accepted


async def test_a_stream_that_was_never_used_may_be_dropped(client):
    client.embed_stream(endless())
    gc.collect()


async def test_the_callers_generators_are_closed(client):
    closed = []

    def plain():
        try:
            yield from TEXTS
        finally:
            closed.append("plain")

    async def asynchronous():
        try:
            for text in TEXTS:
                yield text
        finally:
            await asyncio.sleep(0)
            closed.append("async")

    for texts in (plain(), asynchronous()):
        async with client.embed_stream(texts, chunk_size=10) as stream:
            await anext(stream)
    assert closed == ["plain", "async"]


async def test_a_generator_that_cannot_be_closed_ends_the_stream_all_the_same(server, client):
    server.default = refused(401)

    def stubborn():
        try:
            yield from endless()
        finally:
            raise LookupError("no clean end")

    with pytest.raises((AuthenticationError, LookupError)):
        async with asyncio.timeout(3), client.embed_stream(stubborn(), chunk_size=1) as stream:
            await anext(stream)
    assert not leftovers(client)


async def test_an_async_generator_that_cannot_be_closed(client):
    async def stubborn():
        try:
            for text in endless():
                yield text
        finally:
            raise LookupError("no clean end")

    async with asyncio.timeout(3), client.embed_stream(stubborn(), chunk_size=10) as stream:
        await anext(stream)
    assert not leftovers(client)


async def test_the_client_is_closed_before_the_work_has_begun(client):
    """The first result was asked for in the same turn of the loop: the consumer must not wait for ever."""
    first = asyncio.create_task(anext(client.embed_stream(TEXTS)))
    await asyncio.sleep(0)
    await client.aclose()
    with pytest.raises(StreamClosedError):
        await asyncio.wait_for(first, 1)


async def test_closing_the_client_is_cancelled(client):
    """Its connections are closed all the same."""
    gate = Gate()

    async def texts():
        try:
            for text in TEXTS:
                yield text
        finally:
            await gate.wait()

    stream = client.embed_stream(texts(), chunk_size=10)
    await anext(stream)
    session = client._connection._session
    closing = asyncio.create_task(client.aclose())
    await gate.reached.wait()
    closing.cancel()
    await asyncio.wait([closing])
    gate.opened.set()
    await until(lambda: session.closed, 1)
    await stream.aclose()


async def test_a_closed_client_refuses_work(client):
    waiting = client.embed_stream(TEXTS)
    await client.aclose()
    await client.aclose()
    with pytest.raises(StreamClosedError):
        await anext(waiting)
    with pytest.raises(StreamClosedError):
        client.embed_stream(TEXTS)
    with pytest.raises(StreamClosedError):
        await client.embed(TEXTS)


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
    stream = client.embed_stream(TEXTS, chunk_size=100)
    assert stream.summary.requests == stream.summary.done == 0
    results = [result async for result in stream]
    summary = stream.summary
    assert (summary.done, summary.failed, summary.requests, summary.retries) == (len(results), 0, 5, 0)
    assert (summary.usage.tokens, summary.dimension, summary.in_flight) == (len(results), 8, 0)
    assert (summary.reserved_bytes, summary.model) == (0, client.model)
    assert 0 < summary.peak_reserved_bytes <= summary.budget_bytes
    assert summary.bytes_received == sum(len(piece) for request in server.requests for piece in request.pieces)
    assert summary.elapsed == stream.summary.elapsed > 0
