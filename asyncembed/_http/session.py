"""Whose certificates are believed: those of the system, or of the file that an environment variable names.

A company's gateway that opens TLS on its way has a certificate authority of its own. OpenSSL reads `SSL_CERT_FILE` and
`SSL_CERT_DIR` itself; `REQUESTS_CA_BUNDLE` and `CURL_CA_BUNDLE` are those of requests and curl, and count where the
others are not set.

The connections of a client that was dropped instead of closed, which nothing waits for any more.

aiohttp and asyncio have no public way to close them where their event loop does not run, and report on stderr what was
not closed. So this does what both do themselves when they find it, without the report; where a version of theirs keeps
these things elsewhere, the report comes.

The HTTP session: one of ours, which takes proxies and certificate authorities from the environment, or the caller's.

A server closes connections that nobody has used for a while, and sometimes just when a request is sent on one of them.
The request has then failed for no reason of its own. Where the connection had served before and not a byte of an answer
has come, it is sent once more on a new one.
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


OPENSSL: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")
BUNDLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_HTTP: Final = ["http/1.1"]


@dataclass(frozen=True, slots=True)
class Trust:
    """What certificates are checked with.

    Attributes:
        context: For aiohttp.
        source: Where the authorities come from, in words.
    """

    context: ssl.SSLContext
    source: str

    @property
    def advice(self) -> str:
        """What to say where a certificate is not believed."""
        return (
            f"certificates were checked against {self.source}; if a gateway of your own signs them, "
            f"let {OPENSSL[0]} or {BUNDLES[0]} name the file of its certificate authority"
        )


def load_trust(environ: Mapping[str, str]) -> Trust:
    """Read the certificates; this takes some 30 ms.

    Args:
        environ: The environment variables; OpenSSL looks up its own ones itself.

    Raises:
        ConfigurationError: if a variable names a file that cannot be read, or holds no certificates.
    """
    named = [name for name in OPENSSL if environ.get(name)]
    bundle = None if named else next((name for name in BUNDLES if environ.get(name)), None)
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
    except OSError as error:  # ssl.SSLError, too
        reason = "holds no certificates" if isinstance(error, ssl.SSLError) else f"cannot be read: {error.strerror}"
    raise ConfigurationError(f"{variable}={path!r} {reason}")


def drop_connections(connector: aiohttp.BaseConnector, *, has_loop: bool = True) -> None:
    """Close the connections of a connector at once.

    Args:
        connector: The connector; this is called on its loop, if that runs.
        has_loop: Whether its loop may be told. Otherwise it was closed, or belongs to another process, and this
            closes the sockets of this process alone.
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
    """Close the socket of a transport whose loop was closed, so that asyncio does not find it open later."""
    if protocol := getattr(transport, "_ssl_protocol", None):
        vars(transport)["_closed"] = True
        transport = getattr(protocol, "_transport", None)
    found: socket.socket | None = getattr(transport, "_sock", None)
    if found is not None:
        vars(transport)["_sock"] = None
        found.close()


_ONE_PIECE: Final = 262_144
_REUSED: Final = "reused"
_CLOSED: Final = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED, errno.ESHUTDOWN})


class Session:
    """Sends requests; close it, or use it as a context.

    Args:
        given: The caller's own session, which keeps its own rules and is not closed here; None for one of ours.
        proxy: The proxy by which our own reaches the server.
        trust: What our own checks certificates with; None where there is no TLS.
        socket: Path of the Unix socket of the server.
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
        self._spare: aiohttp.ClientSession | None = None  # each of its requests opens a connection

    @classmethod
    async def open(cls, url: str, *, socket: str | None = None) -> Self:
        """Open a session of ours for one address, as the environment says.

        Raises:
            ConfigurationError: if a variable names a proxy that cannot be used, or no certificates.
        """
        if socket is not None:
            return cls(socket=socket)
        proxy = find_proxy(url, os.environ)
        trust = None
        if "https" in {yarl.URL(url).scheme, proxy and yarl.URL(proxy.url).scheme}:
            with OneThread() as thread:  # it reads a file of a hundred certificates and more
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
        """The sessions of aiohttp that are open for it."""
        return (self._session, self._spare) if self._spare else (self._session,)

    async def close(self) -> None:
        """Close it, if it is ours."""
        if self._is_ours:
            for session in self.sessions:
                await session.close()

    def drop(self, loop: asyncio.AbstractEventLoop, *, is_inherited: bool = False) -> None:
        """Close it, if it is ours, without waiting for anything: the client was dropped, and maybe its loop has ended.

        Args:
            loop: The loop that it was opened on.
            is_inherited: Whether that was in the process that this one was forked from, which goes on using it.
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
        resent: Callable[[], None] | None = None,
    ) -> aiohttp.ClientResponse:
        """Send a request, and return its response when the headers have come; raises what aiohttp raises.

        Args:
            url: The address.
            body: The JSON body.
            headers: The headers.
            limits: Time limits.
            read_size: Bytes that are read ahead.
            resent: Told when the request is sent once more.
        """
        return await self._send("POST", url, body, headers, limits=limits, read_size=read_size, resent=resent)

    async def get(
        self, url: str, headers: Mapping[str, str], *, limits: aiohttp.ClientTimeout, read_size: int
    ) -> aiohttp.ClientResponse:
        """Ask for what is at an address, by the same way as `post`; raises what aiohttp raises."""
        return await self._send("GET", url, None, headers, limits=limits, read_size=read_size)

    async def _send(
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: Mapping[str, str],
        *,
        limits: aiohttp.ClientTimeout,
        read_size: int,
        resent: Callable[[], None] | None = None,
    ) -> aiohttp.ClientResponse:
        target = yarl.URL(url, encoded=True)  # else it would undo what is escaped in it
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
            settings |= self._by_proxy(self.proxy, url, headers)
        seen: dict[str, bool] = {}
        try:
            return await self._session.request(method, target, data=_readable(body), trace_request_ctx=seen, **settings)
        except (aiohttp.ClientConnectionError, ConnectionError) as error:
            if not (seen.get(_REUSED) and _is_closed_before_answer(error)):
                raise
        if resent:
            resent()
        self._spare = self._spare or self._open(keep=False)
        return await self._spare.request(method, target, data=_readable(body), **settings)

    @staticmethod
    def _by_proxy(proxy: Proxy, url: str, headers: Mapping[str, str]) -> dict[str, Any]:
        """Return how to ask a proxy: its login is for it alone, in the request that it reads itself."""
        login = CIMultiDict({"Proxy-Authorization": proxy.authorization} if proxy.authorization else {})
        if yarl.URL(url).scheme == "https":  # it reads the head of the tunnel and nothing else
            return {"proxy": proxy.url, "proxy_headers": login}
        return {"proxy": proxy.url, "headers": CIMultiDict([*headers.items(), *login.items()])}

    def _open(self, *, keep: bool) -> aiohttp.ClientSession:
        """Open a session that adds nothing of its own: no connection limit, cookies, time limit, or ~/.netrc."""
        connector: aiohttp.BaseConnector
        if self._socket is not None:
            connector = aiohttp.UnixConnector(self._socket, limit=0, force_close=not keep)
        else:
            context = self.trust.context if self.trust else True
            connector = aiohttp.TCPConnector(limit=0, ssl=context, force_close=not keep)
        watch = aiohttp.TraceConfig()
        watch.on_connection_reuseconn.append(_note_reuse)
        return aiohttp.ClientSession(
            trust_env=False,
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            trace_configs=[watch] if keep else [],
        )


def _readable(body: bytes | None) -> bytes | io.BytesIO | None:
    """Return a body as aiohttp sends it in pieces; of large bytes it warns."""
    return io.BytesIO(body) if body and len(body) > _ONE_PIECE else body


async def _note_reuse(
    _: aiohttp.ClientSession, context: SimpleNamespace, __: aiohttp.TraceConnectionReuseconnParams
) -> None:
    context.trace_request_ctx[_REUSED] = True


def _is_closed_before_answer(error: Exception) -> bool:
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return isinstance(error.message, str)  # else it is the part of an answer that had come
    if isinstance(error, aiohttp.ClientOSError):
        return error.errno in _CLOSED
    return isinstance(error, ConnectionError)
