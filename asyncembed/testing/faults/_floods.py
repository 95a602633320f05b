"""Bodies and headers larger than a client should accept. They are generated while they are sent."""

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
"""Window bits of zlib that make a raw stream without a header."""
_GZIP_HEAD: Final = b"\x1f\x8b\x08" + bytes(6) + b"\xff"


@dataclass(frozen=True, slots=True)
class HugeBody:
    """Sends a correct answer with a huge number of spaces after the last vector.

    Attributes:
        size: Number of spaces.
    """

    size: int = 1 << 30

    async def __call__(self, exchange: Exchange) -> None:
        """Send the answer and its spaces until the client leaves."""
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
    """Sends a small gzip body that decompresses to a huge number of spaces.

    Attributes:
        size: Number of spaces.
    """

    size: int = 1 << 30

    async def __call__(self, exchange: Exchange) -> None:
        """Send the bomb, whether or not the client accepts gzip."""
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip", "Transfer-Encoding": "chunked"}
        exchange.framing = "chunked"
        await exchange.head(200, headers)
        await exchange.send_bytes(_GZIP_HEAD)
        # One compressed block is sent repeatedly: after a full flush, a block does not depend on those before it.
        checksum, block = 0, _block(_STEP)
        for left in range(self.size, 0, -_STEP):
            length = min(left, _STEP)
            checksum = zlib.crc32(b" " * length, checksum)
            await exchange.send_bytes(block if length == _STEP else _block(length))
            await asyncio.sleep(0)  # so few bytes never block: let the loop see whether the client has left
        end = zlib.compressobj(wbits=_DEFLATE).flush()
        await exchange.send_bytes(end + struct.pack("<II", checksum, self.size % (1 << 32)))
        await exchange.finish()


def _block(length: int) -> bytes:
    packer = zlib.compressobj(wbits=_DEFLATE)
    return packer.compress(b" " * length) + packer.flush(zlib.Z_FULL_FLUSH)


@dataclass(frozen=True, slots=True)
class HugeHeader:
    """Sends a correct answer with a header that is far too long.

    Attributes:
        size: Bytes of the header's value.
    """

    size: int = 10 << 20

    async def __call__(self, exchange: Exchange) -> None:
        """Send the header, and the answer."""
        exchange.headers["x-padding"] = "x" * self.size
        await exchange.deliver()
