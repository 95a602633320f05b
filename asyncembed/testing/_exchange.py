"""One request and the connection that its answer goes to. Every reply works with an `Exchange`.

The module also resets a connection and counts its unacknowledged bytes, which asyncio does not offer.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import struct
import sys
from collections.abc import Awaitable, Callable
from random import Random
from typing import TYPE_CHECKING, Final, TypeAlias

from asyncembed.testing._answers import Answer, Mark, Style, error_body
from asyncembed.testing._dialects import TOKEN_HEADERS
from asyncembed.testing._request import Framing, chunk_bytes, framing_headers, head_bytes

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Mapping

    from asyncembed.testing._answers import Body
    from asyncembed.testing._ledger import Entry, Ledger
    from asyncembed.testing._request import Request


try:
    import fcntl
    import termios
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def hang_up(writer: StreamWriter, *, reset: bool) -> None:
    """Close a connection, with a normal close or a reset."""
    if reset:
        linger = struct.pack("ii", 1, 0)  # linger for 0 seconds: close with a reset
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()
    else:
        writer.close()


def unacknowledged(writer: StreamWriter) -> int:
    """Return how many bytes the peer has not acknowledged yet; 0 on systems that cannot say."""
    if fcntl is None or writer.transport.is_closing():
        return 0
    answer = fcntl.ioctl(writer.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    return int.from_bytes(answer, sys.byteorder)


_AMAZON: Final = {
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}


class Exchange:
    """One request and its answer, byte by byte.

    `deliver()` sends the correct answer. For another answer, a reply changes `answer` or `style` first, or uses `head`,
    `write`, `send` and `close`.

    Attributes:
        request: The request.
        answer: The correct answer; a reply may change its items.
        style: How the answer is written.
        framing: How its body is framed.
        gzip: Whether it is compressed.
        chunk_size: Bytes per write; None for the whole body.
        entry: The entry of this exchange in the ledger.
        random: Random numbers that depend on the server's seed, the request's body and the number of earlier requests
            with the same body, but not on the order of requests. So the seed repeats a run.
        headers: Headers of every answer.
        over: Whether the connection is closed or closing.
    """

    def __init__(
        self,
        request: Request,
        answer: Answer,
        connection: tuple[StreamReader, StreamWriter],
        record: tuple[Ledger, Entry],
        *,
        style: Style,
        framing: Framing,
        gzip: bool,
        chunk_size: int | None,
        seed: object,
    ) -> None:
        self.request = request
        self.answer = answer
        self.style = style
        self.framing = framing
        self.gzip = gzip and "gzip" in request.headers.get("accept-encoding", "")
        self.chunk_size = chunk_size
        self.headers: dict[str, str] = {}
        self.over = False
        self._reader, self._writer = connection
        self._ledger, self.entry = record
        self.random = self.draw(seed)

    def draw(self, seed: object) -> Random:
        """Return a random number generator for this exchange, seeded with `seed`."""
        return Random(f"{seed} {self.entry.attempt} {hashlib.sha256(self.request.body).hexdigest()}")  # noqa: S311

    # Whole answers

    async def deliver(self, body: Body | None = None) -> None:
        """Send the answer, or `body` in its place, as the real service would.

        The server opens no tunnels: it refuses a CONNECT.
        """
        if self.request.is_connect:
            await self.refuse(405, "the server opens no tunnels")
            return
        packed = self.packed(self.plain() if body is None else body)
        size = len(packed.data)
        await self.start(size)
        # The last byte is sent after the ledger has recorded the rest: a test in another thread may read the ledger
        # as soon as its client has the answer.
        almost_all = max(0, size - 1)
        await self.send(packed, almost_all)
        await self.send(packed.between(almost_all, size))
        await self.finish()

    async def refuse(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        kind: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send an error in the format of the requested API; `kind` is OpenAI's `type`."""
        kinds = {"x-amzn-errortype": _AMAZON.get(status, "ValidationException")} if self._is_bedrock else {}
        body = error_body(self.request.layout, message, status=status, code=code, kind=kind)
        await self.say(body, status, {**kinds, **(headers or {})})

    async def say(self, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Send a body without vectors, with its Content-Length."""
        length = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        await self.head(status, {**length, **(headers or {})})
        if self.request.method != "HEAD":
            await self.write(body)
        self.entry.is_whole = True

    # Parts of an answer

    def plain(self) -> Body:
        """Return the bytes of the answer as it is now, uncompressed."""
        return self.answer.written(self.style, self.random)

    def packed(self, body: Body) -> Body:
        """Return the body as it is sent, before its framing: compressed if the exchange uses gzip."""
        return body.gzipped() if self.gzip else body

    async def start(self, length: int) -> None:
        """Charge for the answer, and send the head of an answer whose body has `length` bytes."""
        self._ledger.bill(self.entry, self.answer.tokens)
        coding = {"Content-Encoding": "gzip"} if self.gzip else {}
        token_header = TOKEN_HEADERS.get(self.answer.layout)
        if token_header:
            coding[token_header] = str(self.answer.tokens)
        await self.head(200, {"Content-Type": "application/json", **coding, **framing_headers(self.framing, length)})
        if token_header:
            self._ledger.tell(self.entry, Mark(tokens=self.answer.tokens))

    @property
    def _is_bedrock(self) -> bool:
        return self.request.dialect is not None and self.request.dialect.is_bedrock

    async def head(self, status: int, headers: Mapping[str, str]) -> None:
        """Send a status line and headers."""
        self._ledger.answered(self.entry, status)
        own = {"x-request-id": f"fake-{self.entry.number}", **self.headers}
        await self.write(head_bytes(status, {**own, **headers}))

    async def send(self, body: Body, stop: int | None = None) -> None:
        """Send the body up to `stop`, in pieces of `chunk_size` bytes and in the answer's framing."""
        stop = len(body.data) if stop is None else stop
        size = self.chunk_size or stop or 1
        pending = [mark for mark in reversed(body.marks) if mark.end <= stop]
        for start in range(0, stop, size):
            end = min(start + size, stop)
            await self.send_bytes(body.data[start:end])
            while pending and pending[-1].end <= end:
                self._ledger.tell(self.entry, pending.pop())

    async def finish(self) -> None:
        """End the body as its framing requires."""
        if self.framing == "chunked":
            await self.write(chunk_bytes(b""))
        self.entry.is_whole = True
        if self.framing == "close":
            self.close()

    async def send_bytes(self, data: bytes) -> None:
        """Send a part of a body in the answer's framing."""
        await self.write(chunk_bytes(data) if self.framing == "chunked" else data)

    async def write(self, data: bytes) -> None:
        """Send bytes unchanged, and return when the operating system has accepted them."""
        self._writer.write(data)
        await self._writer.drain()

    async def until_there(self) -> None:
        """Wait until the peer has acknowledged every byte, or has closed the connection.

        On systems that cannot say what is acknowledged, return at once.
        """
        while unacknowledged(self._writer) and not self._reader.at_eof():  # noqa: ASYNC110  # no event signals this
            await asyncio.sleep(0.001)

    async def until_left(self) -> None:
        """Wait until the client closes the connection."""
        while await self._reader.read(1 << 16):
            pass
        self.over = True

    def close(self, *, reset: bool = False) -> None:
        """Close the connection, with a normal close or a reset."""
        self.over = True
        hang_up(self._writer, reset=reset)


Reply: TypeAlias = Callable[[Exchange], Awaitable[None]]
"""A reply to a request: a fault, or any coroutine function that takes the exchange."""


async def right(exchange: Exchange) -> None:
    """Send the correct answer."""
    await exchange.deliver()


def name_of(reply: Reply) -> str:
    """Return the name of a reply in the ledger: the name of a function, or the repr of a fault."""
    return str(getattr(reply, "__name__", None) or repr(reply))
