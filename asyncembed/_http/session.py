"""The HTTP session: our own, configured by the environment, or the caller's.

Our own session takes its proxy and its certificate authorities from environment variables. A company gateway that
intercepts TLS has its own authority. OpenSSL reads `SSL_CERT_FILE` and `SSL_CERT_DIR`; if neither is set, the session
reads `REQUESTS_CA_BUNDLE` or `CURL_CA_BUNDLE`, which requests and curl use.

A server may close an idle connection at the very moment a request is sent on it. If the connection was reused and not
one byte of a response arrived, the session sends the request once more on a new connection.

A client may be dropped without being closed. aiohttp and asyncio offer no public way to close its connections when
their event loop does not run, and complain on stderr. `drop_connections` does what their destructors do, without the
complaint. If a future version moves the private attributes, only the complaint comes back.
"""

from __future__ import annotations

import errno
import io
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp
import yarl
from multidict import CIMultiDict

from asyncembed._exceptions import ConfigurationError
from asyncembed._http.proxies import find_proxy
from asyncembed._util import OneThread

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable, Mapping
    from types import SimpleNamespace, TracebackType

    from asyncembed._http.proxies import Proxy


OPENSSL_VARIABLES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")
BUNDLE_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_HTTP: Final = ["http/1.1"]


@dataclass(frozen=True, slots=True)
class Trust:
    """The certificate authorities of a session.

    Attributes:
        context: TLS context for aiohttp.
        source: Origin of the authorities, for messages.
    """

    context: ssl.SSLContext
    source: str

    @property
    def advice(self) -> str:
        """What an error adds if a certificate is not trusted."""
        return (
            f"certificates were checked against {self.source}; if your own gateway signs them, "
            f"set {OPENSSL_VARIABLES[0]} or {BUNDLE_VARIABLES[0]} to the file of its certificate authority"
        )


def load_trust(environ: Mapping[str, str]) -> Trust:
    """Load the certificate authorities. This blocks for about 30 ms.

    Args:
        environ: The environment variables. OpenSSL reads its own variables itself.

    Raises:
        ConfigurationError: if a variable names a file that cannot be read or holds no certificates.
    """
    named = [name for name in OPENSSL_VARIABLES if environ.get(name)]
    bundle = None if named else next((name for name in BUNDLE_VARIABLES if environ.get(name)), None)
    if bundle:
        trust = Trust(_load(bundle, environ[bundle]), f"{bundle}={environ[bundle]}")
    else:
        own = [f"{name}={environ[name]}" for name in named]
        paths = ssl.get_default_verify_paths()
        system = f"the system's authorities ({paths.cafile or paths.openssl_cafile})"
        trust = Trust(ssl.create_default_context(), " and ".join(own) or system)
    trust.context.set_alpn_protocols(_HTTP)
    return trust


def _load(variable: str, path: str) -> ssl.SSLContext:
    try:
        if Path(path).is_dir():
            return ssl.create_default_context(capath=path)
        return ssl.create_default_context(cafile=path)
    except OSError as error:  # includes ssl.SSLError
        reason = "holds no certificates" if isinstance(error, ssl.SSLError) else f"cannot be read: {error.strerror}"
    raise ConfigurationError(f"{variable}={path!r} {reason}")


def drop_connections(connector: aiohttp.BaseConnector, *, has_loop: bool = True) -> None:
    """Close the connections of a connector at once.

    Args:
        connector: The connector. Call this on its loop if that runs.
        has_loop: Whether its loop is usable. If the loop was closed or belongs to another process, this only closes
            the sockets of this process.
    """
    if has_loop:
        if close := getattr(connector, "_close", None):
            close(abort_ssl=True)
        return
    kept: dict[object, list[tuple[object, float]]] = getattr(connector, "_conns", {})
    protocols = [protocol for each in kept.values() for protocol, _ in each] + [*getattr(connector, "_acquired", ())]
    transports = [transport for each in protocols if (transport := getattr(each, "transport", None)) is not None]
    vars(connector)["_closed"] = True
    for transport in transports:
        _close_socket(transport)


def _close_socket(transport: object) -> None:
    """Close the socket of a transport without its loop, so that asyncio does not complain about an open one."""
    if protocol := getattr(transport, "_ssl_protocol", None):
        vars(transport)["_closed"] = True
        transport = getattr(protocol, "_transport", None)
    found: socket.socket | None = getattr(transport, "_sock", None)
    if found is not None:
        vars(transport)["_sock"] = None
        found.close()


_MAX_ONE_WRITE: Final = 262_144
_REUSED: Final = "reused"
_CLOSED: Final = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED, errno.ESHUTDOWN})


class Session:
    """Sends requests. Close it, or use it as an async context manager.

    Args:
        given: The caller's session, which is used as it is and never closed here; None to open our own.
        proxy: Proxy of our own session.
        trust: Certificate authorities of our own session; None without TLS.
        socket: Path of the server's Unix socket.
    """

    def __init__(
        self,
        given: aiohttp.ClientSession | None = None,
        *,
        proxy: Proxy | None = None,
        trust: Trust | None = None,
        socket: str | None = None,
    ) -> None:
        self._is_ours = given is None
        self.proxy = proxy
        self.trust = trust
        self._socket = socket
        self._session = given or self._open(keep=True)
        self._resend_session: aiohttp.ClientSession | None = None  # opens a new connection for each request

    @classmethod
    async def open(cls, url: str, *, socket: str | None = None) -> Self:
        """Open our own session for one address, configured by the environment.

        Raises:
            ConfigurationError: if a variable names an unusable proxy or no certificates.
        """
        if socket is not None:
            return cls(socket=socket)
        proxy = find_proxy(url, os.environ)
        trust = None
        if any(yarl.URL(address).scheme == "https" for address in (url, proxy.url if proxy else "")):
            with OneThread() as thread:  # loading the certificates would block the event loop
                trust = await thread.run(lambda: load_trust(os.environ))
        return cls(proxy=proxy, trust=trust)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def sessions(self) -> tuple[aiohttp.ClientSession, ...]:
        """The open aiohttp sessions."""
        return (self._session, self._resend_session) if self._resend_session else (self._session,)

    async def close(self) -> None:
        """Close our own session; the caller's stays open."""
        if self._is_ours:
            for session in self.sessions:
                await session.close()

    def drop(self, loop: asyncio.AbstractEventLoop, *, is_inherited: bool = False) -> None:
        """Close our own session without awaiting, after the client was dropped. Its loop may have ended.

        Args:
            loop: The loop that opened the session.
            is_inherited: Whether the parent process opened the session before a fork, and still uses it.
        """
        for session in self.sessions if self._is_ours else ():
            connector = session.connector
            session.detach()
            if connector is None:
                continue
            if loop.is_running() and not is_inherited:
                loop.call_soon_threadsafe(drop_connections, connector)
            else:
                drop_connections(connector, has_loop=not (is_inherited or loop.is_closed()))

    async def post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        limits: aiohttp.ClientTimeout,
        read_size: int,
        on_resend: Callable[[], None] | None = None,
    ) -> aiohttp.ClientResponse:
        """Send a request and return its response once the headers have arrived. Raises exceptions of aiohttp.

        Args:
            url: The address.
            body: The JSON body.
            headers: The headers.
            limits: Time limits.
            read_size: Bytes to read ahead.
            on_resend: Called when the request is sent once more.
        """
        return await self._send("POST", url, body, headers, limits=limits, read_size=read_size, on_resend=on_resend)

    async def get(
        self, url: str, headers: Mapping[str, str], *, limits: aiohttp.ClientTimeout, read_size: int
    ) -> aiohttp.ClientResponse:
        """Send a GET request in the same way as `post`. Raises exceptions of aiohttp."""
        return await self._send("GET", url, None, headers, limits=limits, read_size=read_size)

    async def head(
        self, url: str, headers: Mapping[str, str], *, limits: aiohttp.ClientTimeout, read_size: int
    ) -> aiohttp.ClientResponse:
        """Send a HEAD request in the same way as `post`. Raises exceptions of aiohttp."""
        return await self._send("HEAD", url, None, headers, limits=limits, read_size=read_size)

    async def _send(
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: Mapping[str, str],
        *,
        limits: aiohttp.ClientTimeout,
        read_size: int,
        on_resend: Callable[[], None] | None = None,
    ) -> aiohttp.ClientResponse:
        target = yarl.URL(url, encoded=True)  # keeps the escapes as they are
        settings: dict[str, Any] = {
            "headers": headers,
            "allow_redirects": False,
            "raise_for_status": False,
            "timeout": limits,
            "read_bufsize": read_size,
        }
        if not self._is_ours:
            return await self._session.request(method, target, data=_readable(body), **settings)
        if self.proxy:
            settings |= self._proxy_settings(self.proxy, url, headers)
        trace: dict[str, bool] = {}
        try:
            return await self._session.request(
                method, target, data=_readable(body), trace_request_ctx=trace, **settings
            )
        except (aiohttp.ClientConnectionError, ConnectionError) as error:
            if not (trace.get(_REUSED) and _is_closed_before_response(error)):
                raise
        if on_resend:
            on_resend()
        self._resend_session = self._resend_session or self._open(keep=False)
        return await self._resend_session.request(method, target, data=_readable(body), **settings)

    @staticmethod
    def _proxy_settings(proxy: Proxy, url: str, headers: Mapping[str, str]) -> dict[str, Any]:
        """Return the settings for a proxy. Only the proxy sees its login, never the server behind a tunnel."""
        login = CIMultiDict({"Proxy-Authorization": proxy.authorization} if proxy.authorization else {})
        if yarl.URL(url).scheme == "https":  # the proxy only reads the CONNECT request
            return {"proxy": proxy.url, "proxy_headers": login}
        return {"proxy": proxy.url, "headers": CIMultiDict([*headers.items(), *login.items()])}

    def _open(self, *, keep: bool) -> aiohttp.ClientSession:
        """Open a session without connection limit, cookies, time limit or ~/.netrc."""
        connector: aiohttp.BaseConnector
        if self._socket is not None:
            connector = aiohttp.UnixConnector(self._socket, limit=0, force_close=not keep)
        else:
            context = self.trust.context if self.trust else True
            connector = aiohttp.TCPConnector(limit=0, ssl=context, force_close=not keep)
        reuse = aiohttp.TraceConfig()
        reuse.on_connection_reuseconn.append(_note_reuse)
        return aiohttp.ClientSession(
            trust_env=False,
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            trace_configs=[reuse] if keep else [],
        )


def _readable(body: bytes | None) -> bytes | io.BytesIO | None:
    """Return a large body as a file, which aiohttp sends in pieces. It warns about large bytes."""
    return io.BytesIO(body) if body and len(body) > _MAX_ONE_WRITE else body


async def _note_reuse(
    _: aiohttp.ClientSession, context: SimpleNamespace, __: aiohttp.TraceConnectionReuseconnParams
) -> None:
    context.trace_request_ctx[_REUSED] = True


def _is_closed_before_response(error: Exception) -> bool:
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return isinstance(error.message, str)  # otherwise the message is the part of a response that has arrived
    if isinstance(error, aiohttp.ClientOSError):
        return error.errno in _CLOSED
    return isinstance(error, ConnectionError)
