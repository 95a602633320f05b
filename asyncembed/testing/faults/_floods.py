"""More than any client should take: bodies and headers without end, made while they are sent."""

from __future__ import annotations

import asyncio
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from asyncembed.testing._exchange import Exchange

_STEP: Final = 1 << 20
_DEFLATE: Final = -15
"""Window bits of zlib that make a bare stream."""
_GZIP_HEAD: Final = b"\x1f\x8b\x08" + bytes(6) + b"\xff"


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
        await exchange.send_bytes(_GZIP_HEAD)
        checksum, block = 0, _block(_STEP)  # packed once: after a full flush, it means the same wherever it stands
        for left in range(self.size, 0, -_STEP):
            length = min(left, _STEP)
            checksum = zlib.crc32(b" " * length, checksum)
            await exchange.send_bytes(block if length == _STEP else _block(length))
            await asyncio.sleep(0)  # so little to send never waits for the client, who may have had enough
        end = zlib.compressobj(wbits=_DEFLATE).flush()
        await exchange.send_bytes(end + struct.pack("<II", checksum, self.size % (1 << 32)))
        await exchange.finish()


def _block(length: int) -> bytes:
    packer = zlib.compressobj(wbits=_DEFLATE)
    return packer.compress(b" " * length) + packer.flush(zlib.Z_FULL_FLUSH)


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
