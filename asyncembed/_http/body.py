"""Reads the body of a response in pieces that are worth parsing. A broken connection loses no received byte."""

from __future__ import annotations

from codecs import BOM_UTF8
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from asyncembed._exceptions import EmbedTimeoutError, ResponseError, TransportError, of_answer
from asyncembed._http.error_answer import request_id_in
from asyncembed._http.error_body import read_body, title_of
from asyncembed._http.timeouts import SilenceLimit
from asyncembed._http.transport_errors import FAILURES, transport_error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import aiohttp

    from asyncembed._exceptions import AsyncEmbedError
    from asyncembed._redaction import Secrets


MIN_PIECE: Final = 131_072
"""Bytes below which a piece is joined with the data that has arrived behind it."""

_MAX_PAGE: Final = 16_384
"""Bytes of a page in which its title is searched."""

_MAX_BLANK: Final = 100
"""Maximum number of bytes of white space before a page."""


class Response:
    """The open body of a response. You must call `close`, and may do so at any time.

    Args:
        response: The response of aiohttp.
        secrets: Keys to redact from messages.
        timeout: Longest silence of the server, in seconds.
        max_bytes: Maximum size of the body in bytes, decompressed.
        describe_route: Returns what messages add about the request: its address and proxy, in brackets; may be empty.
    """

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        secrets: Secrets,
        timeout: float,
        max_bytes: int,
        describe_route: Callable[[], str],
    ) -> None:
        self._response = response
        self._content = response.content
        self._secrets = secrets
        self._max_bytes = max_bytes
        self._limit = SilenceLimit(timeout, self._time_out)
        self._timeout_error = EmbedTimeoutError(
            f"the server sent nothing for {timeout:g} s during a response", phase="body"
        )
        self._page = b""  # the first bytes of the body, if it is HTML
        self._failure: AsyncEmbedError | None = None  # raised once the data before it has been read
        self._received_before = 0  # bytes that had arrived when the current wait began
        self.status = response.status
        self.reason = response.reason or ""
        self.headers: Mapping[str, str] = response.headers
        self.request_id = request_id_in(response.headers, secrets)
        self.describe_route = describe_route
        self.bytes_received = 0

    async def read(self) -> bytes:
        """Return the next bytes of the body, decompressed; empty at its end.

        Raises:
            TransportError: if the connection breaks or is silent for too long.
            ResponseError: if the body exceeds its maximum size.
        """
        chunk = await self._read() if self.bytes_received else await self._begin()
        self.bytes_received += len(chunk)
        if self.bytes_received > self._max_bytes:
            raise ResponseError(f"the response is larger than its vectors can be: more than {self._max_bytes} bytes")
        return chunk

    async def _begin(self) -> bytes:
        """Return the first bytes without the byte order mark that some gateways write before the JSON."""
        chunk = await self._read()
        while chunk and BOM_UTF8.startswith(chunk) and (more := await self._read()):
            chunk += more
        chunk = chunk.removeprefix(BOM_UTF8)
        if chunk[:_MAX_BLANK].lstrip().startswith(b"<"):
            self._page = chunk[:_MAX_PAGE]
        return chunk

    def explain(self, error: AsyncEmbedError) -> None:
        """Add status, request id and address to an error in this response; for an HTML page, tell its title instead."""
        words = str(error)
        if isinstance(error, ResponseError) and self._page and (page := read_body(self._page)).is_html:
            title = self._secrets.redact(title_of(page.text)) or "it has no title"
            words = f"the response is a web page instead of JSON: {title}"
        error.args = (f"{words}{self.describe_route()}",)
        of_answer(error, self.status, self.request_id)

    def allow(self, max_bytes: int) -> None:
        """Raise the maximum size of the body to `max_bytes`. A lower value has no effect."""
        self._max_bytes = max(self._max_bytes, max_bytes)

    def _time_out(self) -> None:
        if self._content.total_bytes == self._received_before and not self._content.is_eof():
            self._content.set_exception(self._timeout_error)

    async def _read(self) -> bytes:
        if self._failure:
            raise self._failure
        self._received_before = self._content.total_bytes
        self._limit.begin()
        try:
            # `readchunk` returns one piece from the socket without copying it, which keeps each step short.
            data, is_end = await self._content.readchunk()
            while is_end and not data and not self._content.at_eof():  # an HTTP chunk has ended, not the body
                data, is_end = await self._content.readchunk()
        except FAILURES as error:
            self._failure = transport_error(error, self._secrets)
            data = self._read_rest()
        finally:
            self._limit.end()
        if self._failure and not data:
            raise self._failure
        return data if not 0 < len(data) < MIN_PIECE else data + self._read_arrived(MIN_PIECE - len(data))

    def _read_arrived(self, max_bytes: int) -> bytes:
        """Return more data that has already arrived."""
        try:
            return self._content.read_nowait(max_bytes)
        except FAILURES as error:
            self._failure = transport_error(error, self._secrets)
            return self._read_rest()

    def _read_rest(self) -> bytes:
        """Return the data that arrived before the connection broke. aiohttp withholds it after an error."""
        self._content.set_exception(None)  # type: ignore[arg-type]
        return self._content.read_nowait()

    async def read_some(self, limit: int) -> bytes:
        """Return up to `limit` bytes of the body, or what arrives of them before the connection breaks."""
        parts = bytearray()
        with suppress(TransportError, ResponseError):
            while len(parts) < limit and (chunk := await self.read()):
                parts += chunk
        return bytes(parts[:limit])

    def close(self) -> None:
        """Release the connection if the body was read to its end; close it otherwise."""
        self._limit.close()
        if self._content.at_eof():
            self._response.release()
        else:
            self._response.close()
