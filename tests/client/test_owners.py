"""Who opens and closes the client and its session: fixtures, lifespans, the caller; in one task or in several."""

from __future__ import annotations

import asyncio
import contextlib

import aiohttp
import pytest
import pytest_asyncio
from support.results import check_results, numbered
from support.scripted import Gate, ScriptedServer, right
from support.watching import leftovers, turns, until

from asyncembed import ConfigurationError, EmbedClient, TransportError

TEXTS = numbered(50)


@pytest_asyncio.fixture
async def fixture_client(server):
    """Set up in one task and torn down in another, with a stream that the test leaves open."""
    async with EmbedClient("openai", base_url=server.url + "/v1", api_key="x") as client:
        yield client
    assert not leftovers(client)


@pytest.fixture
def keep():
    """Holds a stream for longer than its client lives."""
    streams = []
    yield streams
    if streams:
        with pytest.warns(ResourceWarning, match="async with"):
            streams.clear()


async def test_a_client_that_is_a_fixture(fixture_client):
    check_results([result async for result in fixture_client.embed_stream(TEXTS)], TEXTS)


async def test_a_stream_that_is_open_when_the_fixture_ends(fixture_client, keep):
    keep.append(fixture_client.embed_stream(TEXTS, chunk_size=1))
    await anext(keep[0])


async def test_opened_and_closed_in_different_tasks(server):
    stack = contextlib.AsyncExitStack()
    open_client = stack.enter_async_context(EmbedClient("openai", base_url=server.url + "/v1"))
    client = await asyncio.create_task(open_client)
    stream = await asyncio.create_task(stack.enter_async_context(client.embed_stream(TEXTS, chunk_size=5)))
    results = [await asyncio.create_task(anext(stream)) for _ in TEXTS]
    check_results(results, TEXTS)
    await asyncio.create_task(stack.aclose())
    assert not leftovers(client)


async def test_a_client_may_be_built_without_an_event_loop(server):
    client = await asyncio.to_thread(lambda: EmbedClient("openai", base_url=server.url + "/v1"))
    async with client:
        assert len(await client.embed(TEXTS)) == len(TEXTS)


def test_a_client_belongs_to_one_event_loop():
    async def embed():
        async with ScriptedServer() as server:
            nonlocal client
            client = client or EmbedClient("openai", base_url=server.url + "/v1")
            await client.embed(TEXTS)

    client = None
    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(embed())
        with pytest.raises(ConfigurationError, match="one client per loop"):
            second.run(embed())
        first.run(client.aclose())


async def test_the_callers_session_is_not_closed(server, connect):
    async with aiohttp.ClientSession() as session:
        client = connect(session=session)
        await client.embed(TEXTS)
        async with client.embed_stream(TEXTS, chunk_size=1) as stream:
            await anext(stream)
        assert not session.connector._acquired
        await client.aclose()
        assert not session.closed
        async with session.post(server.url + "/v1/embeddings", json={"input": ["a"]}) as response:
            assert response.status == 200


async def test_the_time_limits_of_the_callers_session_do_not_count(server, connect):
    """aiohttp's `total` would count the consumer's pauses; ours are used instead."""

    async def slow(exchange):
        send = await exchange.start()
        for piece in exchange.request.pieces:
            await asyncio.sleep(0.05)
            await send(piece)

    server.default = slow
    limits = aiohttp.ClientTimeout(total=0.1, sock_read=0.01)
    async with aiohttp.ClientSession(timeout=limits, raise_for_status=True) as session:
        client = connect(session=session)
        stream = client.embed_stream(TEXTS[:5])
        check_results([result async for result in stream], TEXTS[:5])
    assert stream.summary.retries == 0
    await client.aclose()


async def test_a_session_that_was_closed_gives_one_of_our_errors(connect):
    session = aiohttp.ClientSession()
    client = connect(session=session)
    await session.close()
    with pytest.raises(TransportError, match="losed"):
        await client.embed(["a"])


async def test_a_client_that_was_never_used_opens_nothing(server, watch):
    async with EmbedClient("openai", base_url=server.url + "/v1") as client:
        assert client._connection._session is None
    assert not server.accepted
    assert not watch.tasks()


async def test_connections_are_reused_and_then_closed(server, client):
    for text in TEXTS:
        await client.embed([text])
    assert server.accepted == 1
    await client.aclose()
    await until(lambda: not server.connections)


async def test_cancelled_requests_close_their_connections(server, client):
    """The server must see that nobody listens any more, although the client stays open."""
    gates = []

    async def stall(exchange):
        gates.append(Gate())
        send = await exchange.start()
        await send(exchange.request.pieces[0])
        await gates[-1].wait()
        await exchange.send(b" " * 10)

    server.default = stall
    calls = [asyncio.create_task(client.embed([text])) for text in TEXTS[:5]]
    await until(lambda: len(gates) == 5)
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    for gate in gates:
        gate.opened.set()
    await until(lambda: not server.connections)
    server.default = right
    assert len(await client.embed(TEXTS)) == len(TEXTS)
    await turns()
    assert len(server.connections) == 1
