"""The body of a response, as it comes: in pieces that are worth parsing, and nothing that has arrived is lost."""

from __future__ import annotations

from codecs import BOM_UTF8
from typing import TYPE_CHECKING, Final

from asyncembed._exceptions import EmbedTimeoutError, ResponseError
from asyncembed._http.errors import FAILURES, request_id_in, transport_error
from asyncembed._http.timeouts import SilenceLimit

if TYPE_CHECKING:
    from collections.abc import Mapping

    import aiohttp

    from asyncembed._exceptions import AsyncEmbedError
    from asyncembed._redaction import Secrets


WORTHWHILE: Final = 131_072
"""Bytes of a body that are worth looking at: fewer are joined with what has come after them."""


class Response:
    """The open body of a response; `close` must be called, and may be at any time."""

    def __init__(self, response: aiohttp.ClientResponse, secrets: Secrets, timeout: float, max_bytes: int) -> None:
        self._response = response
        self._content = response.content
        self._secrets = secrets
        self._max_bytes = max_bytes
        self._limit = SilenceLimit(timeout, self._end_silence)
        self._silent = EmbedTimeoutError(f"the server was silent for {timeout:g} s inside a response", phase="body")
        self._failure: AsyncEmbedError | None = None  # for when everything that came before it has been read
        self._heard = 0  # bytes that had come when the last wait began
        self.status = response.status
        self.reason = response.reason or ""
        self.headers: Mapping[str, str] = response.headers
        self.request_id = request_id_in(response.headers, secrets)
        self.bytes_received = 0

    async def read(self) -> bytes:
        """Return the next bytes of the body, decompressed; none at its end.

        Raises:
            TransportError: if the connection breaks or is silent for too long.
            ResponseError: if the body is larger than any that can be right.
        """
        chunk = await self._read() if self.bytes_received else await self._begin()
        self.bytes_received += len(chunk)
        if self.bytes_received > self._max_bytes:
            raise ResponseError(f"the response is larger than its vectors can be: over {self._max_bytes} bytes")
        return chunk

    async def _begin(self) -> bytes:
        """Return the first bytes without a byte order mark, which some gateways write before the JSON."""
        chunk = await self._read()
        while chunk and BOM_UTF8.startswith(chunk) and (more := await self._read()):
            chunk += more
        return chunk.removeprefix(BOM_UTF8)

    def allow(self, max_bytes: int) -> None:
        """Raise the limit of the body to `max_bytes`; it is never lowered."""
        self._max_bytes = max(self._max_bytes, max_bytes)

    def _end_silence(self) -> None:
        if self._content.total_bytes == self._heard and not self._content.is_eof():
            self._content.set_exception(self._silent)

    async def _read(self) -> bytes:
        if self._failure:
            raise self._failure
        self._heard = self._content.total_bytes
        self._limit.begin()
        try:
            # One piece as it came from the socket, without a copy of it; at a time, so that the loop is not held up.
            data, is_end = await self._content.readchunk()
            while is_end and not data and not self._content.at_eof():  # of a chunk of HTTP, not of the body
                data, is_end = await self._content.readchunk()
        except FAILURES as error:
            self._failure = transport_error(error, self._secrets)
            data = self._left()
        finally:
            self._limit.end()
        if self._failure and not data:
            raise self._failure
        return data if not 0 < len(data) < WORTHWHILE else data + self._more(WORTHWHILE - len(data))

    def _more(self, most: int) -> bytes:
        """Return what else has come already."""
        try:
            return self._content.read_nowait(most)
        except FAILURES as error:
            self._failure = transport_error(error, self._secrets)
            return self._left()

    def _left(self) -> bytes:
        """Return what came before the connection broke: aiohttp does not give it any more, and it is paid for."""
        self._content.set_exception(None)  # type: ignore[arg-type]
        return self._content.read_nowait()

    async def read_some(self, limit: int) -> bytes:
        """Return up to about `limit` bytes of the body."""
        parts = bytearray()
        while len(parts) < limit and (chunk := await self.read()):
            parts += chunk
        return bytes(parts[:limit])

    def close(self) -> None:
        """Give the connection back if the body was read to its end, and close it otherwise."""
        self._limit.close()
        self._response.close() if not self._content.at_eof() else self._response.release()
