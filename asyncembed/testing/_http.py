"""HTTP/1.1 by hand: reading a request, and the framing of an answer."""

from __future__ import annotations

from asyncio import IncompleteReadError, LimitOverrunError
from http.client import responses
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from asyncembed._secret import Secret
from asyncembed.testing._request import Request

if TYPE_CHECKING:
    from asyncio import StreamReader
    from collections.abc import Mapping

_KEYS: Final = frozenset({"authorization", "api-key", "x-api-key"})

Framing: TypeAlias = Literal["length", "chunked", "close"]
"""What tells the client where a body ends: Content-Length, chunks, or the end of the connection."""


async def read_request(reader: StreamReader) -> Request | None:
    """Read the next request of a connection; None if the client has left, or what comes is no HTTP."""
    try:
        return await _read(reader)
    except (IncompleteReadError, LimitOverrunError, ValueError):
        return None


async def _read(reader: StreamReader) -> Request:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    headers |= {name: Secret(headers[name]) for name in _KEYS & headers.keys()}  # it may be a real one
    method, path, *_ = [*first.split(), ""]
    return Request(method, path, headers, await _read_body(reader, headers))


async def _read_body(reader: StreamReader, headers: Mapping[str, str]) -> bytes:
    if "chunked" not in headers.get("transfer-encoding", "").lower():
        return await reader.readexactly(int(headers.get("content-length", "0")))
    chunks = []
    while size := int((await reader.readline()).partition(b";")[0], 16):
        chunks.append(await reader.readexactly(size))
        await reader.readline()
    while (await reader.readline()).strip():
        pass  # trailers
    return b"".join(chunks)


def head_bytes(status: int, headers: Mapping[str, str]) -> bytes:
    """Return the status line and the headers."""
    lines = [
        f"HTTP/1.1 {status} {responses.get(status, 'Unknown')}",
        *(f"{name}: {value}" for name, value in headers.items()),
        "",
        "",
    ]
    return "\r\n".join(lines).encode("latin-1")


def framing_headers(framing: Framing, length: int) -> dict[str, str]:
    """Return the headers that announce a body of this many bytes."""
    if framing == "length":
        return {"Content-Length": str(length)}
    return {"Transfer-Encoding": "chunked"} if framing == "chunked" else {"Connection": "close"}


def chunk_bytes(data: bytes) -> bytes:
    """Return the data as one chunk; no data make the last one."""
    return b"%x\r\n%s\r\n" % (len(data), data)
