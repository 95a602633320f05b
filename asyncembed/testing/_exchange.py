"""What asyncio does not offer of a connection: to reset it, and to see what of it has arrived.

One request and the connection its answer goes to: what a reply works with.
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
    """Close a connection, politely or with a reset."""
    if reset:
        linger = struct.pack("ii", 1, 0)  # on, for no time
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()
    else:
        writer.close()


def unacknowledged(writer: StreamWriter) -> int:
    """How many bytes the other side's operating system has not acknowledged yet; 0 where ours cannot tell."""
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

    `deliver()` answers rightly. A reply that wants something else changes `answer` or `style` first, or builds on
    `head`, `write`, `send` and `close`.

    Attributes:
        request: The request.
        answer: The right answer; its items may be spoiled.
        style: How it is written.
        framing: How its body is framed.
        gzip: Whether it is compressed.
        chunk_size: Bytes that are written at once; None for all.
        entry: What the ledger says of it.
        random: Draws that depend on the server's seed, on the request's body and on how often it came before, and not
            on the order in which requests come. So a run can be repeated.
        headers: Headers that every answer bears.
        over: Whether the connection is of no more use.
    """

    def __init__(
        self,
        request: Request,
        answer: Answer,
        connection: tuple[StreamReader, StreamWriter],
        books: tuple[Ledger, Entry],
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
        self._ledger, self.entry = books
        self.random = self.draw(seed)

    def draw(self, seed: object) -> Random:
        """Return random numbers for this exchange that follow from the seed."""
        return Random(f"{seed} {self.entry.attempt} {hashlib.sha256(self.request.body).hexdigest()}")  # noqa: S311

    # Whole answers

    async def deliver(self, body: Body | None = None) -> None:
        """Send the answer, or this body, as the real service would."""
        packed = self.packed(self.plain() if body is None else body)
        size = len(packed.data)
        await self.start(size)
        # The last byte follows when the rest is in the ledger: a client in another thread may look there at once.
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
        """Send an error in the shape of the API that was asked; `kind` is OpenAI's `type`."""
        kinds = {"x-amzn-errortype": _AMAZON.get(status, "ValidationException")} if self._is_bedrock else {}
        body = error_body(self.request.layout, message, status=status, code=code, kind=kind)
        await self.say(body, status, {**kinds, **(headers or {})})

    async def say(self, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Send a body that holds no vectors, with its Content-Length."""
        length = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        await self.head(status, {**length, **(headers or {})})
        await self.write(body)
        self.entry.is_whole = True

    # Parts of them

    def plain(self) -> Body:
        """The answer as it is now, in bytes that are not compressed."""
        return self.answer.written(self.style, self.random)

    def packed(self, body: Body) -> Body:
        """The body as it goes over the wire, before its framing."""
        return body.gzipped() if self.gzip else body

    async def start(self, length: int) -> None:
        """Charge for the answer, and send the head of one whose body has this many bytes."""
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
        """Send the body up to an offset, in pieces of `chunk_size` and in the answer's framing."""
        stop = len(body.data) if stop is None else stop
        size = self.chunk_size or stop or 1
        untold = [mark for mark in reversed(body.marks) if mark.end <= stop]
        for start in range(0, stop, size):
            end = min(start + size, stop)
            await self.send_bytes(body.data[start:end])
            while untold and untold[-1].end <= end:
                self._ledger.tell(self.entry, untold.pop())

    async def finish(self) -> None:
        """End the body as its framing wants it."""
        if self.framing == "chunked":
            await self.write(chunk_bytes(b""))
        self.entry.is_whole = True
        if self.framing == "close":
            self.close()

    async def send_bytes(self, data: bytes) -> None:
        """Send a part of a body in the answer's framing."""
        await self.write(chunk_bytes(data) if self.framing == "chunked" else data)

    async def write(self, data: bytes) -> None:
        """Send bytes as they are, and return when the operating system has taken them."""
        self._writer.write(data)
        await self._writer.drain()

    async def until_there(self) -> None:
        """Wait until the other side's operating system has everything, at once where ours cannot tell.

        A client that leaves, or has left, is not waited for.
        """
        while unacknowledged(self._writer) and not self._reader.at_eof():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.001)

    async def until_left(self) -> None:
        """Wait until the client closes the connection."""
        while await self._reader.read(1 << 16):
            pass
        self.over = True

    def close(self, *, reset: bool = False) -> None:
        """Close the connection, politely or with a reset."""
        self.over = True
        hang_up(self._writer, reset=reset)


Reply: TypeAlias = Callable[[Exchange], Awaitable[None]]
"""What answers a request: a fault, or any coroutine function that takes the exchange."""


async def right(exchange: Exchange) -> None:
    """Answer as the real service would."""
    await exchange.deliver()


def name_of(reply: Reply) -> str:
    """Return what the ledger calls a reply: a function's name, or how a fault would be written."""
    return str(getattr(reply, "__name__", None) or repr(reply))
