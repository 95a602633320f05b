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

_NEEDS_LOGIN: Final = 407

FAILURES: Final = (aiohttp.ClientError, OSError, ValueError, RuntimeError, asyncio.IncompleteReadError)
"""What aiohttp raises: RuntimeError for a session that is closed, ValueError for what cannot be sent."""

_KINDS: Final[Mapping[type, str]] = {
    aiohttp.ServerDisconnectedError: "the server closed the connection",
    aiohttp.ClientPayloadError: "the response broke off",
}


_AGAIN_LATER: Final = frozenset({408, 425, 429})
"""Refusals of a proxy that may be over soon, besides those with 5xx."""


def timeout_error(error: TimeoutError, words: str, way: str = "") -> TransportError:
    """Say that it took too long: to connect, or `words` where it was something else."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return EmbedTimeoutError(f"the connection took too long{way}", phase="connect")
    return EmbedTimeoutError(f"{words}{way}", phase="answer")


def proxy_error(status: int, reason: str, way: str = "") -> TransportError:
    """Say that a proxy does not let a request through; what it says of login and rules holds for every request."""
    hint = "; the variable needs user:password@ before the host" if status == _NEEDS_LOGIN and way else ""
    retryable = status >= 500 or status in _AGAIN_LATER  # noqa: PLR2004
    return TransportError(f"the proxy refused: {status} {reason}".rstrip() + way + hint, retryable=retryable)


def transport_error(error: Exception, secrets: Secrets, way: str = "", trust: str = "") -> TransportError:
    """Say in our words what went wrong on the way to the server or back.

    Args:
        error: What aiohttp has raised.
        secrets: Keys, to be blotted out.
        way: Where the request was sent, in brackets; may be empty.
        trust: What to say where a certificate is not believed.
    """
    if isinstance(error, TransportError):  # of our own making: a time-out is an OSError, too
        return error
    words = secrets.blot(str(error) or type(error).__name__)
    if isinstance(error, ssl.SSLError | aiohttp.ClientSSLError):
        return _tls_error(error, words, way, trust)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return proxy_error(error.status, secrets.blot(error.message), way)
    if isinstance(error, ValueError | RuntimeError):  # aiohttp's InvalidURL is a ValueError
        return TransportError(f"the request cannot be sent: {words}{way}", retryable=False)
    if isinstance(error, OSError) and (isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT):
        phase: Literal["connect", "body"] = "connect" if isinstance(error, aiohttp.ClientConnectorError) else "body"
        return EmbedTimeoutError(f"the connection failed: {words}{way}", phase=phase)
    said = _KINDS.get(type(error)) or f"the connection failed: {words}"
    if isinstance(error, aiohttp.ClientResponseError):
        said = f"the answer is not HTTP: {secrets.blot(error.message)}"
    return TransportError(f"{said}{way}")


def _tls_error(error: Exception, words: str, way: str, trust: str) -> TransportError:
    is_certificate = isinstance(error, ssl.SSLCertVerificationError | aiohttp.ClientConnectorCertificateError)
    advice = f"; {trust}" if trust and is_certificate else ""
    return TransportError(f"TLS failed: {words}{way}{advice}", retryable=not isinstance(error, aiohttp.ClientSSLError))
