"""Inside a FastAPI service on a real uvicorn: the client in the lifespan, and a browser that leaves."""

import asyncio
import contextlib
from typing import Annotated

import aiohttp
import pytest
from support.results import numbered
from support.scripted import Gate, right
from support.watching import leftovers, until

from asyncembed import EmbedClient, EmbedStream

fastapi = pytest.importorskip("fastapi")
uvicorn = pytest.importorskip("uvicorn")


def build_service(client):
    """A service that embeds what is posted, at once or line by line."""

    @contextlib.asynccontextmanager
    async def lifespan(app):
        async with client:
            yield

    app = fastapi.FastAPI(lifespan=lifespan)

    @app.post("/embed")
    async def embed(texts: list[str]):
        return (await client.embed(texts)).embeddings.tolist()

    async def open_stream(texts: list[str]):
        async with client.embed_stream(texts, chunk_size=1) as stream:
            yield stream

    @app.post("/stream")
    async def stream(stream: Annotated[EmbedStream, fastapi.Depends(open_stream)]):
        async def lines():
            async for result in stream:
                yield f"{result.index}\n"

        return fastapi.responses.StreamingResponse(lines())

    return app


@pytest.fixture
async def service(server, watch):
    """Address of the running service, and its client."""
    client = EmbedClient("openai", base_url=server.url + "/v1", max_concurrency=2)
    config = uvicorn.Config(build_service(client), port=0, ws="none", log_config=None, lifespan="on")
    running = uvicorn.Server(config)
    with contextlib.suppress(AttributeError):
        running.capture_signals = contextlib.nullcontext
    task = asyncio.create_task(running.serve())
    await until(lambda: running.started, 10)
    port = running.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}", client
    running.should_exit = True
    await task
    assert not leftovers(client)
    assert client._connection.closed


async def test_many_requests_share_the_client(service):
    url, client = service
    async with aiohttp.ClientSession() as browser:

        async def post(text):
            async with browser.post(url + "/embed", json=[text]) as response:
                return await response.json()

        answers = await asyncio.gather(*map(post, numbered(30)))
    assert [len(answer) for answer in answers] == [1] * 30
    assert not leftovers(client)


async def test_a_streamed_answer(service):
    url, client = service
    async with aiohttp.ClientSession() as browser, browser.post(url + "/stream", json=numbered(30)) as response:
        assert (await response.text()).split() == [str(number) for number in range(30)]
    await until(lambda: not leftovers(client))


async def test_a_browser_that_leaves_stops_the_work(server, service):
    url, client = service
    gate = Gate()

    async def reply(exchange):
        if len(server.requests) > 3:
            await gate.wait()
        await right(exchange)

    server.default = reply
    async with aiohttp.ClientSession() as browser, browser.post(url + "/stream", json=numbered(1_000)) as response:
        assert await response.content.readline() == b"0\n"
        await gate.reached.wait()
    await until(lambda: not leftovers(client))
    assert len(server.requests) < 10
    gate.opened.set()


async def test_the_service_stops_while_a_request_runs(server, service):
    """The fixture's end shuts the service down; the unfinished answer is dropped by the browser before."""
    url, client = service
    gate = Gate()
    server.default = lambda exchange: gate.wait()
    async with aiohttp.ClientSession() as browser:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await browser.post(url + "/embed", json=["a"])
    await gate.reached.wait()
    await client.aclose()
    gate.opened.set()
