"""Turns failures of aiohttp into exceptions of this package.

Exceptions of aiohttp can hold request headers, and so the key. They are never chained.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
from typing import TYPE_CHECKING, Final, Literal

import aiohttp

from asyncembed._exceptions import EmbedTimeoutError, TransportError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncembed._redaction import Secrets


_NEEDS_LOGIN: Final = 407

FAILURES: Final = (aiohttp.ClientError, OSError, ValueError, RuntimeError, asyncio.IncompleteReadError)
"""Exceptions of aiohttp: RuntimeError for a closed session, ValueError for a request that cannot be sent."""

_KINDS: Final[Mapping[type, str]] = {
    aiohttp.ServerDisconnectedError: "the server closed the connection",
    aiohttp.ClientPayloadError: "the response broke off",
}


_RETRYABLE_PROXY_STATUSES: Final = frozenset({408, 425, 429})
"""Transient refusals of a proxy, in addition to every 5xx."""


def timeout_error(error: TimeoutError, message: str, route: str = "") -> TransportError:
    """Return the exception for a time-out: of the connection, or with `message` for any other."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return EmbedTimeoutError(f"connecting took too long{route}", phase="connect")
    return EmbedTimeoutError(f"{message}{route}", phase="answer")


def proxy_error(status: int, reason: str, route: str = "") -> TransportError:
    """Return the exception for a request that a proxy refused. A missing login or a rule would stop every request."""
    hint = "; the variable needs user:password@ before the host" if status == _NEEDS_LOGIN and route else ""
    retryable = status >= 500 or status in _RETRYABLE_PROXY_STATUSES  # noqa: PLR2004
    return TransportError(f"the proxy refused: {status} {reason}".rstrip() + route + hint, retryable=retryable)


def transport_error(error: Exception, secrets: Secrets, route: str = "", tls_advice: str = "") -> TransportError:
    """Return the exception for a failure on the way to the server or back.

    Args:
        error: The exception of aiohttp.
        secrets: Keys to redact.
        route: Address and proxy of the request, in brackets; may be empty.
        tls_advice: What to add if a certificate is not trusted.
    """
    if isinstance(error, TransportError):  # our own time-out, which is an OSError too
        return error
    words = secrets.redact(str(error) or type(error).__name__)
    if isinstance(error, ssl.SSLError | aiohttp.ClientSSLError):
        return _tls_error(error, words, route, tls_advice)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return proxy_error(error.status, secrets.redact(error.message), route)
    if isinstance(error, ValueError | RuntimeError):  # aiohttp's InvalidURL is a ValueError
        return TransportError(f"the request cannot be sent: {words}{route}", retryable=False)
    if isinstance(error, OSError) and (isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT):
        phase: Literal["connect", "body"] = "connect" if isinstance(error, aiohttp.ClientConnectorError) else "body"
        return EmbedTimeoutError(f"the connection failed: {words}{route}", phase=phase)
    message = _KINDS.get(type(error)) or f"the connection failed: {words}"
    if isinstance(error, aiohttp.ClientResponseError):
        message = f"the response is not valid HTTP: {secrets.redact(error.message)}"
    return TransportError(f"{message}{route}")


def _tls_error(error: Exception, words: str, route: str, advice: str) -> TransportError:
    is_certificate = isinstance(error, ssl.SSLCertVerificationError | aiohttp.ClientConnectorCertificateError)
    advice = f"; {advice}" if advice and is_certificate else ""
    return TransportError(
        f"TLS failed: {words}{route}{advice}", retryable=not isinstance(error, aiohttp.ClientSSLError)
    )
