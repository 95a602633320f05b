"""The life of the server: starting, stopping, and what is left afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading

import aiohttp
import numpy as np
import pytest

from asyncembed import ConfigurationError
from asyncembed.local import LocalModel, LocalServer

pytest.importorskip("model2vec")

EMBED = {"model": "m", "texts": ["a cat"], "input_type": "search_query"}


class GatedModel(LocalModel):
    """The shipped model behind a gate: says when a batch has reached it, and embeds once it is let."""

    def __init__(self):
        super().__init__()
        self.reached = threading.Event()
        self.gate = threading.Event()

    def tokenize(self, texts):
        self.reached.set()
        assert self.gate.wait(timeout=30)
        return super().tokenize(texts)


@contextlib.asynccontextmanager
async def request_in_flight(server, gated):
    """Yield a task whose request has reached the model."""
    async with aiohttp.ClientSession(server.url) as http:

        async def embed():
            async with http.post("/v2/embed", json=EMBED) as reply:
                return await reply.json()

        task = asyncio.create_task(embed())
        await asyncio.to_thread(gated.reached.wait, 30)
        try:
            yield task
        finally:
            gated.gate.set()


def worker_threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("asyncembed-local")]


def test_nothing_runs_before_start():
    server = LocalServer()
    assert worker_threads() == []
    with pytest.raises(RuntimeError, match="does not run"):
        _ = server.url


async def test_start_loads_the_shipped_model_off_the_loop(model):
    """The model is loaded by the worker thread; the loop goes on meanwhile."""
    server = LocalServer()
    starting = asyncio.create_task(server.start())
    turns = 0
    while not starting.done():
        await asyncio.sleep(0)
        turns += 1
    async with server, aiohttp.ClientSession(server.url) as http, http.post("/v2/embed", json=EMBED) as reply:
        vectors = (await reply.json())["embeddings"]["float"]
    assert turns > 100
    np.testing.assert_array_equal(np.float32(vectors), model.embed(EMBED["texts"]))


@pytest.mark.parametrize("as_type", [str, lambda path: path], ids=["str", "Path"])
async def test_model_by_folder(small_model_folder, as_type):
    server = LocalServer(model=as_type(small_model_folder))
    async with server, aiohttp.ClientSession(server.url) as http, http.get("/health") as reply:
        body = await reply.json()
    assert (body["model"], body["dimension"]) == ("small", 5)


async def test_nothing_is_left_after_stop(model):
    async with LocalServer(model=model) as server:
        address = ("127.0.0.1", server.port)
        async with aiohttp.ClientSession(server.url) as http, http.post("/v2/embed", json=EMBED) as reply:
            assert reply.status == 200
        assert worker_threads()
    assert worker_threads() == []
    assert asyncio.all_tasks() == {asyncio.current_task()}
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*address)


async def test_start_and_stop_twice(model):
    server = LocalServer(model=model)
    await server.stop()
    await asyncio.gather(server.start(), server.start())
    url = server.url
    await server.start()
    assert server.url == url
    assert len(worker_threads()) <= 1
    await asyncio.gather(server.stop(), server.stop())
    await server.stop()
    with pytest.raises(RuntimeError, match="does not run"):
        _ = server.port


async def test_start_again_after_stop(model):
    server = LocalServer(model=model)
    for _ in range(2):
        async with server, aiohttp.ClientSession(server.url) as http, http.get("/health") as reply:
            assert reply.status == 200


async def test_stop_does_not_wait_for_idle_or_stalled_connections(model):
    """One client sends nothing, one keeps its connection, one breaks off in the middle of a body."""
    server = LocalServer(model=model)
    await server.start()
    silent = await asyncio.open_connection("127.0.0.1", server.port)
    stalled = await asyncio.open_connection("127.0.0.1", server.port)
    stalled[1].write(b"POST /v2/embed HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
    async with aiohttp.ClientSession(server.url) as http:
        async with http.get("/health") as reply:
            await reply.read()
        async with asyncio.timeout(30):
            await server.stop()
        for reader, writer in (silent, stalled):
            with contextlib.suppress(ConnectionError):
                await reader.read()
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
    assert worker_threads() == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_stop_lets_a_request_finish(model):
    gated = GatedModel()
    server = LocalServer(model=gated)
    await server.start()
    async with request_in_flight(server, gated) as request:
        stopping = asyncio.create_task(server.stop())
        gated.gate.set()
        reply = await request
        await stopping
    np.testing.assert_array_equal(np.float32(reply["embeddings"]["float"]), model.embed(EMBED["texts"]))
    assert worker_threads() == []


async def test_stop_breaks_off_a_request_that_takes_long():
    gated = GatedModel()
    server = LocalServer(model=gated)
    await server.start()
    async with request_in_flight(server, gated) as request:
        stopping = asyncio.create_task(server.stop())
        with pytest.raises(aiohttp.ClientError):
            await request
        gated.gate.set()
        await stopping
    assert worker_threads() == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_cancelled_stop_still_ends_the_worker():
    gated = GatedModel()
    server = LocalServer(model=gated)
    await server.start()
    async with request_in_flight(server, gated) as request:
        (worker,) = [thread for thread in threading.enumerate() if thread.name.startswith("asyncembed-local")]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await server.stop()
        with pytest.raises(aiohttp.ClientError):
            await request
        gated.gate.set()
    await asyncio.to_thread(worker.join, 30)
    assert not worker.is_alive()


async def test_health_answers_while_the_model_works():
    """Embedding never holds up the event loop."""
    gated = GatedModel()
    async with LocalServer(model=gated) as server, request_in_flight(server, gated) as request:
        async with aiohttp.ClientSession(server.url) as http, http.get("/health") as reply:
            assert reply.status == 200
        assert not request.done()
        gated.gate.set()
        assert len((await request)["embeddings"]["float"]) == 1


async def test_taken_port(model):
    async with LocalServer(model=model) as first:
        second = LocalServer(model=model, port=first.port)
        with pytest.raises(OSError, match="address already in use"):
            await second.start()
        await second.stop()
        async with aiohttp.ClientSession(first.url) as http, http.get("/health") as reply:
            assert reply.status == 200


async def test_chosen_port(model):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    async with LocalServer(model=model, port=port) as server:
        assert server.port == port
        assert server.url == f"http://127.0.0.1:{port}"


async def test_unreadable_model_leaves_nothing_behind(tmp_path):
    server = LocalServer(model=tmp_path)
    with pytest.raises(ConfigurationError, match="holds no readable model2vec model"):
        await server.start()
    with pytest.raises(RuntimeError, match="does not run"):
        _ = server.url


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"host": "0.0.0.0"}, "other machines can reach .*: set an api_key"),
        ({"host": "::"}, "other machines can reach .*: set an api_key"),
        ({"host": "192.0.2.1"}, "other machines can reach .*: set an api_key"),
        ({"host": "my-host"}, "other machines can reach .*: set an api_key"),
        ({"host": ""}, "host is empty"),
        ({"port": 65_536}, "port must be 0 to 65535, not 65536"),
        ({"port": -1}, "port must be 0 to 65535, not -1"),
        ({"port": "8000"}, "port must be 0 to 65535, not '8000'"),
        ({"port": 80.5}, "port must be 0 to 65535, not 80.5"),
        ({"host": 7}, "host=7 must be a str"),
        ({"unix": 7}, "unix=7 must be a str or a path"),
        ({"unix": ""}, "unix='' must be a str or a path"),
        ({"model": 7}, "model=7 must be a str or a path"),
        ({"api_key": b"k"}, "api_key must be a str, not bytes"),
        ({"api_key": ""}, "api_key is empty"),
        ({"api_key": " "}, "api_key is empty"),
    ],
)
def test_unusable_settings(options, message):
    with pytest.raises(ConfigurationError, match=message):
        LocalServer(**options)


async def test_open_host_takes_any_host_header_with_the_key(model):
    """Behind a key, other machines may use whatever name they know the server by."""
    headers = {"Authorization": "Bearer key", "Host": "embeddings.example"}
    async with LocalServer(model=model, host="0.0.0.0", api_key="key") as server:
        assert server.url == f"http://127.0.0.1:{server.port}"
        async with aiohttp.ClientSession(server.url) as http, http.get("/health", headers=headers) as reply:
            assert reply.status == 200


async def test_key_is_not_in_repr():
    assert "hunter2" not in repr(LocalServer(api_key="hunter2"))


async def test_ipv6(model):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 loopback here")
    async with LocalServer(model=model, host="::1") as server:
        assert server.url == f"http://[::1]:{server.port}"
        async with aiohttp.ClientSession(server.url) as http, http.get("/health") as reply:
            assert reply.status == 200
