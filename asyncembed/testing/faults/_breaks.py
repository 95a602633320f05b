"""Connections that break, stall, or come to an early end."""

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
    """Ends the connection before anything is sent.

    A connection that opens while this is the next of the script is ended before its request is read; the ledger then
    knows of no request.

    Attributes:
        reset: Whether with a reset, or politely.
    """

    reset: bool = True

    async def __call__(self, exchange: Exchange) -> None:
        """Close the connection."""
        exchange.close(reset=self.reset)


@dataclass(frozen=True, slots=True)
class ResetInHead:
    """Resets the connection in the middle of the response headers."""

    async def __call__(self, exchange: Exchange) -> None:
        """Send half of a head."""
        head = head_bytes(200, {"Content-Type": "application/json", "Content-Length": "1000"})
        await exchange.write(head[: len(head) // 2])
        exchange.close(reset=True)


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Takes the request and says nothing, for as long as the client waits."""

    async def __call__(self, exchange: Exchange) -> None:
        """Wait until the client leaves."""
        await exchange.until_left()


@dataclass(frozen=True, slots=True)
class _Place:
    """A place in the body of an answer.

    Attributes:
        after: Vectors before it; None for any number of them, as the exchange's random numbers will have it.
        part: How far into what follows, from 0 to 1; that is drawn too where `after` is.
    """

    after: int | None = None
    part: float = 0.5

    def place(self, exchange: Exchange, body: Body) -> int:
        """Return the place's offset in a body."""
        if self.after is None:
            return body.after(exchange.random.randrange(len(body.cuts)), exchange.random.random())
        return body.after(self.after, self.part)

    async def send(self, exchange: Exchange) -> None:
        """Send the answer up to the place, and promise all of it."""
        body = exchange.packed(exchange.plain())
        await exchange.start(len(body.data))
        await exchange.send(body, self.place(exchange, body))


@dataclass(frozen=True, slots=True)
class Reset(_Place):
    """Resets the connection in the body, when what was sent is there; on Windows it may be lost with it."""

    async def __call__(self, exchange: Exchange) -> None:
        """Send a part of the answer."""
        await self.send(exchange)
        await exchange.until_there()
        exchange.close(reset=True)


@dataclass(frozen=True, slots=True)
class CutOff(_Place):
    """Closes the connection politely before the promised length, or the last chunk, is sent."""

    async def __call__(self, exchange: Exchange) -> None:
        """Send a part of the answer."""
        await self.send(exchange)
        exchange.close()


@dataclass(frozen=True, slots=True)
class Truncated(_Place):
    """Sends a part of the document with the length of that part: HTTP is content, the JSON is cut."""

    async def __call__(self, exchange: Exchange) -> None:
        """Send a part of the document."""
        body = exchange.plain()
        await exchange.deliver(body.spoiled(self.place(exchange, body), b""))


@dataclass(frozen=True, slots=True)
class Stall(_Place):
    """Stops in the body, and keeps the connection open for as long as the client waits."""

    async def __call__(self, exchange: Exchange) -> None:
        """Send a part of the answer, and wait until the client leaves."""
        await self.send(exchange)
        await exchange.until_left()


@dataclass(frozen=True, slots=True)
class Garbage(_Place):
    """Ends the document with something that is no JSON.

    Attributes:
        garbage: What stands there.
    """

    garbage: bytes = b"}{"

    async def __call__(self, exchange: Exchange) -> None:
        """Send a document that goes wrong."""
        body = exchange.plain()
        await exchange.deliver(body.spoiled(self.place(exchange, body), self.garbage))


@dataclass(frozen=True, slots=True)
class Drip:
    """Answers rightly, but slowly.

    Attributes:
        seconds: Pause after each piece.
        size: Bytes of a piece.
    """

    seconds: float = 0.01
    size: int = 64

    async def __call__(self, exchange: Exchange) -> None:
        """Send the answer in drips."""
        body = exchange.packed(exchange.plain())
        exchange.chunk_size = self.size
        await exchange.start(len(body.data))
        for stop in range(self.size, len(body.data) + self.size, self.size):
            await exchange.send(body.between(stop - self.size, stop))
            await asyncio.sleep(self.seconds)
        await exchange.finish()
