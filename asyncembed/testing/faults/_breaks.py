"""Connections that break, stall or end too early."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asyncembed.testing._request import head_bytes

if TYPE_CHECKING:
    from asyncembed.testing._answers import Body
    from asyncembed.testing._exchange import Exchange


@dataclass(frozen=True, slots=True)
class Refuse:
    """Closes the connection before anything is sent.

    If this is the next reply of the script when a connection opens, the server closes it before it reads a request,
    and the ledger records none.

    Attributes:
        reset: Whether to close with a reset instead of a normal close.
    """

    reset: bool = True

    async def __call__(self, exchange: Exchange) -> None:
        """Close the connection."""
        exchange.close(reset=self.reset)


@dataclass(frozen=True, slots=True)
class ResetInHead:
    """Resets the connection in the middle of the response headers."""

    async def __call__(self, exchange: Exchange) -> None:
        """Send half of the status line and headers, then reset."""
        head = head_bytes(200, {"Content-Type": "application/json", "Content-Length": "1000"})
        await exchange.write(head[: len(head) // 2])
        exchange.close(reset=True)


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Reads the request and never answers."""

    async def __call__(self, exchange: Exchange) -> None:
        """Wait until the client leaves."""
        await exchange.until_left()


@dataclass(frozen=True, slots=True)
class _Place:
    """A place in the body of an answer.

    Attributes:
        after: Number of vectors before the place; None to draw the place at random.
        part: How far into the next vector, as a fraction from 0 to 1; also drawn if `after` is None.
    """

    after: int | None = None
    part: float = 0.5

    def place(self, exchange: Exchange, body: Body) -> int:
        """Return the offset of the place in a body."""
        if self.after is None:
            return body.after(exchange.random.randrange(len(body.cuts)), exchange.random.random())
        return body.after(self.after, self.part)

    async def send(self, exchange: Exchange) -> None:
        """Send the answer up to the place; its headers announce the whole length."""
        body = exchange.packed(exchange.plain())
        await exchange.start(len(body.data))
        await exchange.send(body, self.place(exchange, body))


@dataclass(frozen=True, slots=True)
class Reset(_Place):
    """Resets the connection in the body, after the client's system has acknowledged what was sent.

    On Windows, the reset may discard bytes that were sent before it.
    """

    async def __call__(self, exchange: Exchange) -> None:
        """Send a part of the answer, then reset the connection."""
        await self.send(exchange)
        await exchange.until_there()
        exchange.close(reset=True)


@dataclass(frozen=True, slots=True)
class CutOff(_Place):
    """Closes the connection before the announced length or the last chunk is sent."""

    async def __call__(self, exchange: Exchange) -> None:
        """Send a part of the answer, then close the connection."""
        await self.send(exchange)
        exchange.close()


@dataclass(frozen=True, slots=True)
class Truncated(_Place):
    """Sends a part of the document with the length of that part: valid HTTP, truncated JSON."""

    async def __call__(self, exchange: Exchange) -> None:
        """Send a part of the document."""
        body = exchange.plain()
        await exchange.deliver(body.spoiled(self.place(exchange, body), b""))


@dataclass(frozen=True, slots=True)
class Stall(_Place):
    """Stops in the body and keeps the connection open until the client leaves."""

    async def __call__(self, exchange: Exchange) -> None:
        """Send a part of the answer, and wait until the client leaves."""
        await self.send(exchange)
        await exchange.until_left()


@dataclass(frozen=True, slots=True)
class Garbage(_Place):
    """Ends the document with bytes that are not JSON.

    Attributes:
        garbage: Those bytes.
    """

    garbage: bytes = b"}{"

    async def __call__(self, exchange: Exchange) -> None:
        """Send the document up to the place, then the garbage."""
        body = exchange.plain()
        await exchange.deliver(body.spoiled(self.place(exchange, body), self.garbage))


@dataclass(frozen=True, slots=True)
class Drip:
    """Answers correctly, but slowly.

    Attributes:
        seconds: Pause after each piece, in seconds.
        size: Bytes per piece.
    """

    seconds: float = 0.01
    size: int = 64

    async def __call__(self, exchange: Exchange) -> None:
        """Send the answer piece by piece, with pauses."""
        body = exchange.packed(exchange.plain())
        exchange.chunk_size = self.size
        await exchange.start(len(body.data))
        for stop in range(self.size, len(body.data) + self.size, self.size):
            await exchange.send(body.between(stop - self.size, stop))
            await asyncio.sleep(self.seconds)
        await exchange.finish()
