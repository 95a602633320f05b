"""What aiohttp raises, in our words; its errors can hold request headers, and so the key, and are never chained."""

from __future__ import annotations

import asyncio
import errno
import ssl
from typing import TYPE_CHECKING, Final, Literal

import aiohttp

from asyncembed._errors import EmbedTimeoutError, TransportError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncembed.wire._secrets import Secrets

FAILURES: Final = (aiohttp.ClientError, OSError, ValueError, RuntimeError, asyncio.IncompleteReadError)
"""What aiohttp raises: RuntimeError for a session that is closed, ValueError for what cannot be sent."""

_KINDS: Final[Mapping[type, str]] = {
    aiohttp.ServerDisconnectedError: "the server closed the connection",
    aiohttp.ClientPayloadError: "the response broke off",
}


def timeout_error(error: TimeoutError, words: str) -> TransportError:
    """Say that it took too long: to connect, or `words` where it was something else."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return EmbedTimeoutError("the connection took too long", phase="connect")
    return EmbedTimeoutError(words, phase="answer")


def transport_error(error: Exception, secrets: Secrets) -> TransportError:
    """Say in our words what went wrong on the way to the server or back."""
    if isinstance(error, TransportError):  # of our own making: a time-out is an OSError, too
        return error
    words = secrets.blot(str(error) or type(error).__name__)
    if isinstance(error, ssl.SSLError | aiohttp.ClientSSLError):
        return TransportError(f"TLS failed: {words}", retryable=not isinstance(error, aiohttp.ClientSSLError))
    if isinstance(error, ValueError | RuntimeError):  # aiohttp's InvalidURL is a ValueError
        return TransportError(f"the request cannot be sent: {words}", retryable=False)
    if isinstance(error, aiohttp.ClientResponseError):
        return TransportError(f"the answer is not HTTP: {secrets.blot(error.message)}")
    if isinstance(error, OSError) and (isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT):
        phase: Literal["connect", "body"] = "connect" if isinstance(error, aiohttp.ClientConnectorError) else "body"
        return EmbedTimeoutError(f"the connection failed: {words}", phase=phase)
    return TransportError(_KINDS.get(type(error)) or f"the connection failed: {words}")
