"""The connection of a client to its API: key, address, HTTP session, and the embedded server if that is the API.

Nothing is opened before the first request, so a client can be built outside an event loop.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from hashlib import sha256
from typing import TYPE_CHECKING

from multidict import CIMultiDict

from asyncembed._base_url import BaseUrl, complete_address
from asyncembed._credentials import Authorization, KeySource
from asyncembed._decide.cost import READ_BUFSIZE
from asyncembed._exceptions import ConfigurationError, StreamClosedError
from asyncembed._http.session import Session
from asyncembed._http.transport import Transport
from asyncembed._redaction import (
    Address,
    NoKey,
    Secret,
    Secrets,
    hide,
    hide_values,
    holds_secret,
    is_sendable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import aiohttp

    from asyncembed._config import Timeouts
    from asyncembed._redaction import KeyFunction
    from asyncembed.local import LocalServer
    from asyncembed.providers import Provider


class Connection:
    """Opens and closes the connection of a client to its API.

    Args:
        provider: The API.
        model: The default model of the client.
        api_key: The key, or a function that returns one; None to read the provider's environment variable.
        base_url: The address; None to read the provider's environment variable, or else to use the provider's own.
        headers: Further headers of every request.
        session: The caller's HTTP session, which the client never closes.
        timeouts: Time limits of every request.

    Raises:
        ConfigurationError: if the address is not an HTTP address, or if there is no key or more than one.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        model: str,
        api_key: Secret | KeyFunction | NoKey | None,
        base_url: str | None,
        headers: Mapping[str, str] | None,
        session: aiohttp.ClientSession | None,
        timeouts: Timeouts,
    ) -> None:
        self._provider = provider
        self._base_url = _find_base_url(provider, base_url, model)
        self.is_official = provider.owns(self._base_url.url) if self._base_url else provider.is_embedded
        """Whether it is the provider's own address."""
        if session and self._base_url and self._base_url.socket:
            raise ConfigurationError(
                "base_url= is a Unix socket, and session= has a connector of its own; pass only one of them, "
                "or an http:// address and a session with aiohttp.UnixConnector"
            )
        self.address = None if self.is_official or not self._base_url else self._base_url.shown
        """The address without secrets; None for the provider's own address and for the embedded server."""
        key = _find_key(provider, api_key, required=self.is_official)
        login = self._base_url.login if self._base_url else None
        given = check_header_values(hide_values(headers))
        self.route_digest = _digest_of_route(self._base_url, {**(session.headers if session else {}), **given})
        """Digest of the address with its query, and of the caller's headers, without secrets: a gateway may choose the
        model by them."""
        own = _own_headers(provider, key, login, given)
        self._headers = CIMultiDict(_headers_from_environment(provider))
        self._headers.update(own)
        fixed = key if isinstance(key, Secret) else Secret()
        in_url = self._base_url.secrets if self._base_url else ()
        in_headers = [value for name, value in own.items() if holds_secret(name, value)]
        self._secrets = Secrets([fixed, *in_url, *in_headers])
        self._authorization = Authorization(
            KeySource(key, self._secrets),
            provider.authorize,
            kept=frozenset(map(str.lower, own)),
            secrets=self._secrets,
        )
        variables = " or ".join(provider.key_variables)
        fix = f"set {variables}, or pass api_key=" if variables else "pass api_key="
        has_key = key or in_url or in_headers
        self._advice = "" if has_key else f"no key was sent; {fix}"
        self._given_session = session
        self._session: Session | None = None
        self._finalizer: weakref.finalize[..., Connection] | None = None
        self._timeouts = timeouts
        self._server: LocalServer | None = None
        self._transport: Transport | None = None
        self._lock = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.closed = False

    async def open(self) -> Transport:
        """Return the transport, which the first call opens.

        Raises:
            StreamClosedError: if the client was closed.
            ConfigurationError: if another event loop opened it, or the embedded server cannot start.
        """
        async with self._lock:
            if self.closed:
                raise StreamClosedError("the client was closed")
            if self._transport is None:
                self._transport = await self._open()
            if self._loop is not asyncio.get_running_loop():
                raise ConfigurationError(
                    "the client was used in another event loop before; use one client per loop, or a SyncEmbedder if "
                    "each call has a loop of its own, as with asyncio.run"
                )
            return self._transport

    async def aclose(self) -> None:
        """Close the client's own session, and stop the embedded server."""
        self.closed = True
        async with self._lock:
            session, self._session = self._session, None
            server, self._server = self._server, None
        if session:
            await session.close()
        if self._finalizer:
            self._finalizer.detach()
        if server:
            await server.stop()

    async def _open(self) -> Transport:
        self._loop = asyncio.get_running_loop()
        base_url = self._base_url or BaseUrl(Address(await self._start_server()))
        if self._given_session:
            self._session = Session(self._given_session)
        else:
            self._session = await Session.open(base_url.url, socket=base_url.socket)
        # Not `__del__`: if client and session become garbage together, aiohttp's `__del__` may run first and warn.
        self._finalizer = weakref.finalize(self, _drop, self._session, self._loop, os.getpid())
        if proxy := self._session.proxy:
            self._secrets.keep(proxy.password)
            self._secrets.keep(proxy.authorization or "")
        return Transport(
            self._provider.name,
            self._session,
            url=base_url.url,
            headers=self._headers,
            secrets=self._secrets,
            timeouts=self._timeouts,
            read_size=READ_BUFSIZE,
            authorization=self._authorization,
            advice=self._advice,
            show=base_url.show if self.address else None,
            socket=base_url.socket,
        )

    async def _start_server(self) -> str:
        from asyncembed.local import LocalServer  # noqa: PLC0415  # an optional extra

        server = LocalServer()
        try:
            await server.start()
        except BaseException:
            await server.stop()
            raise
        self._server = server
        return server.url


def _drop(session: Session, loop: asyncio.AbstractEventLoop, process: int) -> None:
    """Close the session of a client that was dropped without `aclose`; its event loop may have ended too."""
    session.drop(loop, is_inherited=process != os.getpid())


def reaches_official(provider: Provider, base_url: str | None, model: str) -> bool:
    """Return whether a client with this `base_url` uses the provider's own address."""
    return _is_official(provider, _find_base_url(provider, base_url, model))


def _is_official(provider: Provider, base_url: BaseUrl | None) -> bool:
    return provider.owns(base_url.url) if base_url else provider.is_embedded


def _find_base_url(provider: Provider, given: str | None, model: str) -> BaseUrl | None:
    variable = provider.base_url_variable
    if given is not None and not isinstance(given, str):  # name its type only, as its value may contain a password
        raise ConfigurationError(f"base_url= must be a str, not {type(given).__name__}")
    given = Address(given.strip()) if given else None
    found = None if given or not variable else _from_environment(variable)
    if found and provider.adds_scheme:
        found = Secret(complete_address(found, provider.default_port)) or None
    if url := given or found or provider.address():
        return BaseUrl.parse(url, variable if found and variable else "base_url", provider.endpoint(model))
    if not provider.is_embedded:
        fix = f", or set {variable}" if variable else ""
        raise ConfigurationError(f"provider {provider.name!r} has no address of its own: pass base_url={fix}")
    return None


def _from_environment(variable: str) -> Secret | None:
    """Return the value of a variable without surrounding white space and byte order marks; None if it is empty."""
    value = hide(os.environ.get(variable, ""))
    return Secret(value.strip().strip("\ufeff").strip()) or None


def _find_key(
    provider: Provider, given: Secret | KeyFunction | NoKey | None, *, required: bool
) -> Secret | KeyFunction | None:
    if isinstance(given, NoKey):
        raise ConfigurationError(f"api_key= must be a str, not {given.kind}, or a function that returns one")
    if given and not isinstance(given, Secret):
        return given
    keys = {"api_key=": given, **{name: _from_environment(name) for name in provider.key_variables}}
    name, key = next(((name, key) for name, key in keys.items() if key), ("", None))
    if key and not is_sendable(key):
        raise ConfigurationError(f"{name} holds white space or characters that a header cannot carry")
    if required and provider.needs_key and not key:
        variables = " or ".join(provider.key_variables)
        raise ConfigurationError(f"provider {provider.name!r} needs a key: set {variables}, or pass api_key=")
    return key


def _digest_of_route(base_url: BaseUrl | None, headers: Mapping[str, str]) -> bytes:
    plain = {name.lower(): value for name, value in headers.items() if not holds_secret(name, value)}
    address = [base_url.shown, *base_url.plain_query] if base_url else []
    parts = [*address, *(f"{name}: {plain[name]}" for name in sorted(plain))]
    return sha256("\n".join(parts).encode("utf-8", "surrogatepass")).digest()


def _own_headers(
    provider: Provider, key: Secret | KeyFunction | None, login: Secret | None, given: Mapping[str, str]
) -> CIMultiDict[str]:
    """Return the caller's headers and the login of the address; they replace other headers of the same name."""
    headers = CIMultiDict(given)
    names = {*headers, *(provider.headers(key) if isinstance(key, Secret) else ("Authorization",) if key else ())}
    if login and "authorization" in map(str.lower, names):
        raise ConfigurationError("base_url= has a user and a password, and there is also a key; pass only one of them")
    if login:
        headers["Authorization"] = login
    return headers


def check_header_values(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return the headers.

    Raises:
        ConfigurationError: if a name or a value is not a single line of text.
    """
    for name, value in headers.items():
        if not (isinstance(name, str) and isinstance(value, str)) or any(mark in name + value for mark in "\r\n\0"):
            raise ConfigurationError(f"headers= has a value for {name!r} that is not a single line of text")
    return headers


def _headers_from_environment(provider: Provider) -> dict[str, str]:
    found = {name: _from_environment(variable) for name, variable in provider.header_variables.items()}
    for name, value in found.items():
        if value and not is_sendable(value):
            variable = provider.header_variables[name]
            raise ConfigurationError(f"{variable} holds line ends or characters that a header cannot carry")
    return {name: str(value) for name, value in found.items() if value}
