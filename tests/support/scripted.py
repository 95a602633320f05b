"""A scripted embedding server on a loopback socket: right by itself, and wrong exactly where a test says so.

It speaks HTTP/1.1 by hand, so that a test decides over every byte and every pause. Each request is answered by the
next reply of the script, or by the default one. A reply is a coroutine function that gets the `Exchange`; the functions
at the end of this file make the usual ones. Vectors follow from the text, so that a swapped one is noticed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Self

from support.formats import DIMENSION, Headers, Request, vector_of  # noqa: F401  # where most tests look for it

Reply = Callable[["Exchange"], Awaitable[None]]
KEY = "sk-very-secret"


@dataclass
class Exchange:
    """One request and the connection that its answer goes to."""

    request: Request
    writer: asyncio.StreamWriter
    over: bool = False
    """Whether the connection is of no more use."""

    async def head(self, status: int = 200, headers: Headers | None = None) -> None:
        lines = [f"HTTP/1.1 {status} Reason", *(f"{name}: {value}" for name, value in (headers or {}).items())]
        await self.send("\r\n".join([*lines, "", ""]).encode())

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, body: bytes, status: int = 200, headers: Headers | None = None) -> None:
        await self.head(
            status, {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
        )
        await self.send(body)

    async def start(self, *, chunked: bool = False) -> Callable[[bytes], Awaitable[None]]:
        """Begin the right answer, and return what sends pieces of its body."""
        length = sum(map(len, self.request.pieces))
        await self.head(200, {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(length)})

        async def send_chunk(data: bytes) -> None:
            await self.send(b"%x\r\n%s\r\n" % (len(data), data))

        return send_chunk if chunked else self.send

    def end(self, *, reset: bool = False) -> None:
        """Close the connection, politely or not."""
        self.over = True
        if reset:
            linger = struct.pack("ii", 1, 0)
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.writer.transport.abort()
        else:
            self.writer.close()


async def right(exchange: Exchange) -> None:
    """Answer as the real service would."""
    await exchange.answer(b"".join(exchange.request.pieces))


@dataclass
class ScriptedServer:
    """Listens on 127.0.0.1 while it is entered.

    Attributes:
        script: Replies to the next requests, used up in order.
        default: The reply after that.
        requests: Every request, in the order they came.
        connections: Tasks of the connections that are open now.
        accepted: Connections there have been.
        active: Requests being answered; `max_active` at once.
    """

    default: Reply = right
    dimension: int = DIMENSION
    script: deque[Reply] = field(default_factory=deque)
    requests: list[Request] = field(default_factory=list)
    connections: set[asyncio.Task[None]] = field(default_factory=set)
    accepted: int = 0
    active: int = 0
    max_active: int = 0
    port: int = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()
        for task in (tasks := tuple(self.connections)):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def asked(self) -> list[list[str]]:
        """The texts of each request: what was paid for."""
        return [request.texts for request in self.requests]

    @property
    def texts(self) -> list[str]:
        """The texts of all requests."""
        return [text for texts in self.asked for text in texts]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self.connections.add(task)
        self.accepted += 1
        try:
            while request := await self._read_request(reader):
                self.requests.append(request)
                exchange = Exchange(request, writer)
                await self._reply(exchange)
                if exchange.over:
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has gone
        except asyncio.CancelledError:
            writer.transport.abort()  # the test is over
        finally:
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()  # asyncio complains of a reset that nobody has waited for
            self.connections.discard(task)

    async def _reply(self, exchange: Exchange) -> None:
        self.active += 1
        self.max_active = max(self.max_active, self.active)
        try:
            await (self.script.popleft() if self.script else self.default)(exchange)
        finally:
            self.active -= 1

    async def _read_request(self, reader: asyncio.StreamReader) -> Request | None:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").rstrip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        return Request(first.split()[1], headers, json.loads(body), self.dimension)


class Gate:
    """A place where a server stands still until the test lets it go on."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def wait(self) -> None:
        self.reached.set()
        await self.opened.wait()


# Replies


def refused(status: int, message: str = "no", *, headers: Headers | None = None, **fields: object) -> Reply:
    """Answer with an error status, in the shape of OpenAI."""
    body = json.dumps({"error": {"message": message, **fields}}).encode()
    return lambda exchange: exchange.answer(body, status, headers)


def refusing(texts: Iterable[str], message: str = "no", status: int = 400) -> Reply:
    """Refuse requests that hold one of these texts, and answer others rightly."""
    bad = frozenset(texts)
    return lambda exchange: (refused(status, message) if bad & set(exchange.request.texts) else right)(exchange)


def said(body: bytes, status: int = 200, headers: Headers | None = None) -> Reply:
    """Answer with this body."""
    return lambda exchange: exchange.answer(body, status, headers)


def raw(data: bytes) -> Reply:
    """Send these bytes and close the connection."""

    async def reply(exchange: Exchange) -> None:
        await exchange.send(data)
        exchange.end()

    return reply


def changed(*changes: Callable[[dict], object]) -> Reply:
    """Answer rightly but for what `changes` do to the document."""

    def reply(exchange: Exchange) -> Awaitable[None]:
        document = json.loads(b"".join(exchange.request.pieces))
        for change in changes:
            change(document)
        return exchange.answer(json.dumps(document).encode())

    return reply


def broken_after(
    count: int, *, part: float = 0, chunked: bool = False, reset: bool = False, garbage: bytes = b""
) -> Reply:
    """Break off after `count` vectors and a `part` of the next one, or put `garbage` there and end well."""

    async def reply(exchange: Exchange) -> None:
        pieces = exchange.request.pieces
        kept = min(count, len(pieces) - 2)
        following = pieces[kept + 1]
        body = b"".join(pieces[: kept + 1]) + following[: int(len(following) * part)] + garbage
        if garbage:
            await exchange.answer(body)
            return
        send = await exchange.start(chunked=chunked)
        await send(body)
        exchange.end(reset=reset)

    return reply


def stalled(gate: Gate, *, count: int = 0, part: float = 0) -> Reply:
    """Answer up to this place, wait at the gate, and then go on."""

    async def reply(exchange: Exchange) -> None:
        pieces = exchange.request.pieces
        body = b"".join(pieces)
        cut = sum(map(len, pieces[: count + 1])) + int(len(pieces[count + 1]) * part)
        send = await exchange.start()
        await send(body[:cut])
        await gate.wait()
        await send(body[cut:])

    return reply
