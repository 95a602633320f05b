"""Every point at which a stream can wait, as a scene that stands still there.

A scene is a coroutine function `scene(server, connect) -> Scene`. Its stream gets there as soon as it is iterated;
`scene.reached()` says when.
"""

from __future__ import annotations

import gc
import socket
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from asyncembed import RateLimit
from support.scripted import Gate, refused, stalled
from support.watching import pause_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from asyncembed import EmbedClient, EmbedStream
    from support.scripted import Exchange, ScriptedServer

TEXTS = ["one", "two", "three", "four", "five", "six"]


@dataclass
class Scene:
    """A stream and where it stands.

    Attributes:
        reached: Whether it stands there now.
        results: How many results come before that.
    """

    client: EmbedClient
    stream: EmbedStream
    reached: Callable[[], bool]
    results: int = 0
    clean_up: ExitStack = field(default_factory=ExitStack)

    def drop(self) -> None:
        """Forget the stream, and whatever refers to it."""
        self.stream = self.reached = None
        gc.collect()


Connect = "Callable[..., EmbedClient]"
SCENES: dict[str, Callable[..., Awaitable[Scene]]] = {}


def scene(function: Callable[..., Awaitable[Scene]]) -> Callable[..., Awaitable[Scene]]:
    SCENES[function.__name__.replace("_", " ")] = function
    return function


@scene
async def while_connecting(server: ScriptedServer, connect: Connect) -> Scene:
    """A listening socket whose queue is full does not answer a connection at all."""
    clean_up = ExitStack()
    deaf = clean_up.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
    for _ in range(4):
        filler = clean_up.enter_context(socket.socket())
        filler.setblocking(False)
        filler.connect_ex(deaf.getsockname())
    client = connect(base_url=f"http://127.0.0.1:{deaf.getsockname()[1]}/v1")
    stream = client.embed_stream(TEXTS)
    return Scene(client, stream, lambda: stream.summary.requests == 1, clean_up=clean_up)


def _stalled_scene(results: int, reply_at: Callable[[Gate], Callable[[Exchange], Awaitable[None]]]):
    async def build(server: ScriptedServer, connect: Connect) -> Scene:
        gate = Gate()
        server.default = reply_at(gate)
        client = connect()
        return Scene(client, client.embed_stream(TEXTS), gate.reached.is_set, results)

    return build


def _after(bytes_sent: bytes) -> Callable[[Gate], Callable[[Exchange], Awaitable[None]]]:
    def reply_at(gate: Gate) -> Callable[[Exchange], Awaitable[None]]:
        async def reply(exchange: Exchange) -> None:
            await exchange.send(bytes_sent)
            await gate.wait()

        return reply

    return reply_at


SCENES |= {
    "before the headers": _stalled_scene(0, _after(b"")),
    "inside the headers": _stalled_scene(0, _after(b"HTTP/1.1 200 OK\r\nContent-Ty")),
    "after the headers": _stalled_scene(0, _after(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n")),
    "inside an error body": _stalled_scene(0, _after(b"HTTP/1.1 400 No\r\nContent-Length: 999\r\n\r\n{")),
    "before the first vector": _stalled_scene(0, stalled),
    "inside the first vector": _stalled_scene(0, lambda gate: stalled(gate, part=0.5)),
    "after two vectors": _stalled_scene(2, lambda gate: stalled(gate, count=2)),
    "inside the third vector": _stalled_scene(2, lambda gate: stalled(gate, count=2, part=0.5)),
}


@scene
async def before_the_end_of_the_body(server: ScriptedServer, connect: Connect) -> Scene:
    """Everything has come but the last, empty chunk."""
    gate = Gate()

    async def reply(exchange: Exchange) -> None:
        send = await exchange.start(chunked=True)
        await send(b"".join(exchange.request.pieces))
        await gate.wait()

    server.default = reply
    client = connect()
    return Scene(client, client.embed_stream(TEXTS), gate.reached.is_set, len(TEXTS))


@scene
async def during_back_off(server: ScriptedServer, connect: Connect) -> Scene:
    server.default = refused(429, headers={"Retry-After": "30"})
    client = connect(retry=None)
    stream = client.embed_stream(TEXTS, chunk_size=3)
    return Scene(client, stream, lambda: pause_of(client)._until > 0)


@scene
async def during_another_ones_back_off(server: ScriptedServer, connect: Connect) -> Scene:
    """The stream's own request has not been sent: it waits for the pause that another one was told to make."""
    client = connect()
    pause_of(client).extend(30)
    stream = client.embed_stream(iter(TEXTS), chunk_size=3)
    return Scene(client, stream, lambda: stream._run.source.pulled == 3)


@scene
async def waiting_for_its_time(server: ScriptedServer, connect: Connect) -> Scene:
    """The second request of a limit of one a minute."""
    client = connect(rate_limit=RateLimit(requests_per_minute=1))
    stream = client.embed_stream(TEXTS, chunk_size=3)
    return Scene(client, stream, lambda: client._endpoint.limiter.waiting == 1 and stream.summary.done == 3, 3)


@scene
async def waiting_for_memory(server: ScriptedServer, connect: Connect) -> Scene:
    """The second batch does not fit beside the first."""
    gate = Gate()
    server.default = stalled(gate, count=2)
    client = connect(max_memory_mb=0.6)
    stream = client.embed_stream(TEXTS, chunk_size=3)
    return Scene(client, stream, lambda: client._endpoint.budget.waiting == 1 and gate.reached.is_set(), 2)


@scene
async def waiting_for_a_slot(server: ScriptedServer, connect: Connect) -> Scene:
    gate = Gate()
    server.default = stalled(gate, count=2)
    client = connect(max_concurrency=1)
    stream = client.embed_stream(TEXTS, chunk_size=3)
    return Scene(client, stream, lambda: client._endpoint.slots.waiting == 1 and gate.reached.is_set(), 2)


@scene
async def waiting_for_texts(server: ScriptedServer, connect: Connect) -> Scene:
    gate = Gate()

    async def source() -> AsyncIterator[str]:
        yield "one"
        await gate.wait()

    client = connect()
    stream = client.embed_stream(source(), chunk_size=1)
    return Scene(client, stream, gate.reached.is_set, 1)


@scene
async def waiting_for_the_first_text(server: ScriptedServer, connect: Connect) -> Scene:
    gate = Gate()

    async def source() -> AsyncIterator[str]:
        await gate.wait()
        yield "one"

    client = connect()
    return Scene(client, client.embed_stream(source()), gate.reached.is_set)


@scene
async def waiting_for_a_half_full_batch(server: ScriptedServer, connect: Connect) -> Scene:
    gate = Gate()

    async def source() -> AsyncIterator[str]:
        yield "one"
        await gate.wait()

    client = connect()
    return Scene(client, client.embed_stream(source(), max_wait=60), gate.reached.is_set)
