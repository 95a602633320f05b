"""More than any client should take: bodies and headers without end, made while they are sent."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from asyncembed.testing._exchange import Exchange

_GZIP: Final = 31
_STEP: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class HugeBody:
    """A right answer that does not end: spaces follow the last vector.

    Attributes:
        size: How many bytes of them.
    """

    size: int = 1 << 30

    async def __call__(self, exchange: Exchange) -> None:
        """Send the answer, and spaces for as long as the client takes them."""
        exchange.gzip = False
        body = exchange.plain()
        await exchange.start(len(body.data) + self.size)
        end = max(mark.end for mark in body.marks if mark.is_cut)
        await exchange.send(body, end)
        for left in range(self.size, 0, -_STEP):
            await exchange.send_bytes(b" " * min(left, _STEP))
        await exchange.send(body.between(end, len(body.data)))
        await exchange.finish()


@dataclass(frozen=True, slots=True)
class GzipBomb:
    """A small body that unpacks to a large one, of spaces.

    Attributes:
        size: Bytes that it unpacks to.
    """

    size: int = 1 << 30

    async def __call__(self, exchange: Exchange) -> None:
        """Send the bomb, to whoever offers to take gzip or not."""
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip", "Transfer-Encoding": "chunked"}
        exchange.framing = "chunked"
        await exchange.head(200, headers)
        packer, spaces = zlib.compressobj(wbits=_GZIP), b" " * _STEP
        for left in range(self.size, 0, -_STEP):
            if packed := packer.compress(spaces[:left]):
                await exchange.send_bytes(packed)
        await exchange.send_bytes(packer.flush())
        await exchange.finish()


@dataclass(frozen=True, slots=True)
class HugeHeader:
    """A right answer below a header that is far too long.

    Attributes:
        size: Bytes of the header's value.
    """

    size: int = 10 << 20

    async def __call__(self, exchange: Exchange) -> None:
        """Send the header, and the answer."""
        exchange.headers["x-padding"] = "x" * self.size
        await exchange.deliver()
