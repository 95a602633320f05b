"""A proxy for tests: tunnels what CONNECT asks for, or refuses it, and writes down what it was asked."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter


@dataclass(frozen=True)
class Asked:
    """What a client asked a proxy for.

    Attributes:
        method: "CONNECT", or the method of a request that goes through the proxy in plain.
        target: Host and port, or a URL.
        headers: Headers, by their names in lower case.
    """

    method: str
    target: str
    headers: dict[str, str]


@dataclass
class ConnectProxy:
    """A proxy on loopback; use it as `async with ConnectProxy(refusal=407) as proxy:`.

    Attributes:
        refusal: Status that every request is refused with; None to open tunnels.
        body: Body of the refusal.
        to: Host and port that every tunnel leads to, whatever was asked for; None for where the client wants to go.
        asked: What was asked so far.
    """

    refusal: int | None = None
    body: bytes = b"<html><head><title>The proxy says no</title></head></html>"
    to: tuple[str, int] | None = None
    asked: list[Asked] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._connections: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        host, port = self._server.sockets[0].getsockname()
        return f"http://{host}:{port}"

    def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, target, _ = head[0].split(" ", 2)
                pairs = (line.partition(":") for line in head[1:] if line)
                self.asked.append(Asked(method, target, {name.lower(): value.strip() for name, _, value in pairs}))
                if self.refusal is not None or method != "CONNECT":
                    await self._refuse(writer, self.refusal or HTTPStatus.METHOD_NOT_ALLOWED)
                else:
                    await self._tunnel(target, reader, writer)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _refuse(self, writer: StreamWriter, status: int) -> None:
        lines = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            *(['Proxy-Authenticate: Basic realm="proxy"'] * (status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED)),
            f"Content-Type: text/html\r\nContent-Length: {len(self.body)}\r\nConnection: close\r\n\r\n",
        ]
        writer.write("\r\n".join(lines).encode() + self.body)
        await writer.drain()

    async def _tunnel(self, target: str, reader: StreamReader, writer: StreamWriter) -> None:
        host, _, port = target.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(*(self.to or (host.strip("[]"), int(port))))
        try:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        finally:
            far_writer.close()
            with suppress(OSError):
                await far_writer.wait_closed()


async def _copy(reader: StreamReader, writer: StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
