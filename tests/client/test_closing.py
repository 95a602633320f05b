"""Closing a stream or its client: at any time, by anybody, more than once, and what is closed along with it."""

from __future__ import annotations

import asyncio
import gc

import pytest
from support.results import endless, numbered
from support.scripted import Exchange, Gate, refused, right
from support.watching import leftovers, turns, until

from asyncembed import AuthenticationError, StreamClosedError

pytestmark = pytest.mark.usefixtures("loop_mode")
TEXTS = numbered(500)


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
        async with asyncio.timeout(30), client.embed_stream(stubborn(), chunk_size=1) as stream:
            await anext(stream)
    assert not leftovers(client)


async def test_an_async_generator_that_cannot_be_closed(client):
    async def stubborn():
        try:
            for text in endless():
                yield text
        finally:
            raise LookupError("no clean end")

    async with asyncio.timeout(30), client.embed_stream(stubborn(), chunk_size=10) as stream:
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
    await until(lambda: session.sessions[0].closed, 1)
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


async def test_a_fault_in_a_response_does_not_cover_the_close(server, client, monkeypatch):
    """A worker with the rest of a response that was seen to be no JSON is ended, and does not ask again."""
    read, stands_in_line, waits = asyncio.Event(), asyncio.Event(), 0

    async def wait(_: object) -> None:
        nonlocal waits
        waits += 1
        read.set()
        if waits == 2:
            stands_in_line.set()
            await asyncio.Event().wait()

    async def reply(exchange: Exchange) -> None:
        send = await exchange.start(chunked=True)
        await send(b'{"data":[ oh no! ')
        await read.wait()
        await send(b"more")

    monkeypatch.setattr(type(client._endpoint.loop_budget), "wait", wait)
    server.script.append(reply)
    stream = client.embed_stream(["a"] + ["b"] * 3, chunk_size=1)
    server.default = lambda exchange: Gate().wait()
    consumer = asyncio.create_task(anext(stream))
    async with asyncio.timeout(30):
        await stands_in_line.wait()
        server.default = right
        await stream.aclose()
    with pytest.raises(StreamClosedError):
        await consumer
    assert [request.texts for request in server.requests].count(["a"]) == 1
