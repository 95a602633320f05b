"""A proxy on loopback that knows where each host is, and tunnels with CONNECT or passes requests on."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self


class LoopbackProxy:
    """Sends everything to one port of this machine, whatever host is asked for.

    Args:
        port: Where the server is.
        refusal: Status line with which the proxy refuses instead, such as "407 Proxy Authentication Required".
    """

    def __init__(self, port: int = 0, refusal: str | None = None) -> None:
        self.port = port
        self.refusal = refusal
        self.heads: list[str] = []
        """What was asked of it, without the bodies."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    @property
    def asked(self) -> list[str]:
        """The first line of each head."""
        return [head.partition("\r\n")[0] for head in self.heads]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head.decode())
            if self.refusal:
                writer.write(f"HTTP/1.1 {self.refusal}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
                await writer.drain()
            else:
                await self._pass_on(head, reader, writer)
        await _close(writer)

    async def _pass_on(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self.port)
        if head.startswith(b"CONNECT "):
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            to_server.write(head)

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                while data := await source.read(65_536):
                    target.write(data)
                    await target.drain()
            await _close(target)

        await asyncio.gather(copy(reader, to_server), copy(from_server, writer))


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()  # asyncio complains of a reset that nobody has waited for
