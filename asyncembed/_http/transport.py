"""Sends requests with aiohttp, opens their responses, and turns every failure into an exception of this package.

- There is no hidden queue: the connector has no limit, because the scheduler has already limited the concurrency.
- There is no deadline for a whole body, as the consumer may pause. One time limit applies until the response headers,
  another between two chunks. Each only counts the time in which the client waits for the server.
- A redirect is an error, so the key never goes to another host.
- Exceptions of aiohttp can hold request headers, and so the key. They are never chained.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import aiohttp
import orjson
import yarl
from multidict import CIMultiDict

from asyncembed._credentials import refuses_key
from asyncembed._http.body import Response
from asyncembed._http.error_answer import status_error
from asyncembed._http.proxies import ip_of, is_loopback
from asyncembed._http.route import Route
from asyncembed._http.timeouts import FairTimeout
from asyncembed._http.transport_errors import FAILURES, proxy_error, timeout_error, transport_error
from asyncembed._redaction import Address
from asyncembed._version import __version__

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from asyncembed._config import Timeouts
    from asyncembed._credentials import Authorization
    from asyncembed._exceptions import AsyncEmbedError
    from asyncembed._http.session import Session
    from asyncembed._redaction import Secrets


_ERROR_BODY_BYTES: Final = 65_536
_PROXY_AUTHENTICATION: Final = 407
_SUCCESS: Final = range(200, 300)
_ROOT: Final = Route()


class Transport:
    """Posts JSON to the endpoints of one service.

    Args:
        provider: Name of the provider, for messages.
        session: The HTTP session. The caller closes it.
        url: Address of the service.
        headers: Headers of every request, without the authorization.
        secrets: Keys to redact from messages.
        timeouts: Time limits.
        read_size: High-water mark of a response in bytes. At most twice as many are buffered.
        authorization: Adds the authorization headers; None if the service needs none.
        advice: What an error adds if the API refuses the key.
        show: Formats the address for messages, without secrets; None at the provider's own address.
        socket: Path of the server's Unix socket.
    """

    def __init__(
        self,
        provider: str,
        session: Session,
        *,
        url: str,
        headers: Mapping[str, str],
        secrets: Secrets,
        timeouts: Timeouts,
        read_size: int,
        authorization: Authorization | None = None,
        advice: str = "",
        show: Callable[[str], str] | None = None,
        socket: str | None = None,
    ) -> None:
        self._provider = provider
        self._session = session
        self._url = Address(url)
        self._urls: dict[Route, Address] = {}
        self._headers = CIMultiDict({"User-Agent": f"asyncembed/{__version__}", "Accept": "application/json"})
        self._headers.update(headers)
        self._headers["Content-Type"] = "application/json"
        self._plain_headers = CIMultiDict({**self._headers, "Accept-Encoding": "identity"})
        self.secrets = secrets
        self._timeouts = timeouts
        self._client_timeout = aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect)
        self._read_size = read_size
        self._authorization = authorization
        self._advice = advice
        self._refused_keys: WeakKeyDictionary[BaseException, int] = WeakKeyDictionary()  # key numbers, by error
        address = yarl.URL(url)
        self._is_local = is_loopback(address) or _is_private(address)
        self._show = show
        self.server = (address.host, address.port) if socket is None else (socket, None)
        """Host and port of the server; for a Unix socket its path and None."""

    async def renew_key(self, error: AsyncEmbedError) -> bool:
        """Return whether the API refused the key and a newer one is available for a retry.

        Raises:
            ConfigurationError: if the caller's key function returns no key.
        """
        number = self._refused_keys.get(error)
        return number is not None and self._authorization is not None and await self._authorization.key.renew(number)

    async def post(
        self,
        body: bytes,
        *,
        compact: bool,
        max_bytes: int,
        on_headers: Callable[[Mapping[str, str]], None],
        on_send: Callable[[], None] | None = None,
        on_resend: Callable[[], None] | None = None,
        route: Route = _ROOT,
    ) -> Response:
        """Send a request and return its response once the headers have arrived.

        Args:
            body: The JSON body.
            compact: Whether the response is already compact (base64), so that compression does not pay.
            max_bytes: Maximum size of the response body in bytes, decompressed.
            on_headers: Called with the response headers, whatever the status.
            on_send: Called when the request is sent, after the key is available.
            on_resend: Called when the request is sent once more, after the server closed an idle connection.
            route: Path and query of the endpoint, relative to the address of the service.

        Raises:
            APIStatusError: if the status is not 2xx.
            TransportError: if no response arrived, or if a proxy refused the request.
            ConfigurationError: if the caller's key function returns no key.
        """
        url = self._urls.get(route) or self._urls.setdefault(route, route.join(self._url))
        headers, number = CIMultiDict(self._plain_headers if compact or self._is_local else self._headers), 0
        if self._authorization:
            number, authorization = await self._authorization.headers(url, body)
            headers.update(authorization)
        if on_send:
            on_send()
        # No local variable keeps aiohttp's response: tracebacks may show its repr, which holds the address.
        send = partial(
            self._session.post,
            url,
            body,
            headers,
            limits=self._client_timeout,
            read_size=self._read_size,
            on_resend=on_resend,
        )
        response = Response(
            await self._reach("POST", url, send),
            self.secrets,
            self._timeouts.read,
            max_bytes,
            partial(self._describe_route, "POST", url),
        )
        on_headers(response.headers)
        if response.status in _SUCCESS:
            if self._authorization:
                self._authorization.key.accepted(number)
            return response
        error = await self._status_error(url, response)
        if refuses_key(error):
            self._refused_keys[error] = number
        raise error

    async def connect(self) -> None:
        """Open a connection for the next request, by a HEAD request without the key. Any status is fine.

        Raises:
            TransportError: if the server cannot be reached.
        """
        url, headers = self._url, {"User-Agent": self._headers["User-Agent"]}
        send = partial(self._session.head, url, headers, limits=self._client_timeout, read_size=self._read_size)
        response = await self._reach("HEAD", url, send)
        response.release()

    async def get_object(self, route: Route) -> dict[str, object] | None:
        """Return the JSON object at a path of the server; None on any failure."""
        url, limit = route.join(self._url), self._timeouts.connect
        headers = CIMultiDict(self._plain_headers)
        if self._authorization:
            headers.update((await self._authorization.headers(url, b""))[1])
        try:
            async with FairTimeout(limit):
                response = await self._session.get(url, headers, limits=self._client_timeout, read_size=self._read_size)
                async with response:
                    body = await response.content.read(_ERROR_BODY_BYTES) if response.status in _SUCCESS else b""
            document = orjson.loads(body)
        except (*FAILURES, TimeoutError, ValueError):
            return None
        return document if isinstance(document, dict) else None

    async def _reach(
        self, method: str, url: Address, send: Callable[[], Awaitable[aiohttp.ClientResponse]]
    ) -> aiohttp.ClientResponse:
        """Return the response of `send` once its headers have arrived, or raise a `TransportError`."""
        limit = self._timeouts.first_byte
        try:
            async with FairTimeout(limit):
                return await send()
        except TimeoutError as error:
            failure = timeout_error(error, f"no response within {limit:g} s", self._describe_route(method, url))
        except FAILURES as error:
            trust = self._session.trust
            route = self._describe_route(method, url)
            failure = transport_error(error, self.secrets, route, trust.advice if trust else "")
        raise failure

    def _describe_route(self, method: str, url: Address) -> str:
        """Return the address, if it is not the provider's own, and the proxy, in brackets; empty without both."""
        proxy = self._session.proxy
        via = f"via the proxy {proxy.url} of {proxy.variable}" if proxy else ""
        to = f"{method} {self._show(url)}" if self._show else ""
        return f" ({' '.join(filter(None, (to, via)))})" if to or via else ""

    async def _status_error(self, url: Address, response: Response) -> AsyncEmbedError:
        try:
            body = await response.read_some(_ERROR_BODY_BYTES)
        finally:
            response.close()
        if response.status == _PROXY_AUTHENTICATION and self._session.proxy:
            return proxy_error(response.status, self.secrets.redact(response.reason), response.describe_route())
        return status_error(
            self._provider,
            response.status,
            response.headers,
            body,
            self.secrets,
            advice=self._advice,
            where=self._show(url) if self._show else None,
            url=url,
        )


def _is_private(url: yarl.URL) -> bool:
    """Whether an address is in a private network, where compression costs more time than it saves."""
    address = ip_of(url.host or "")
    return address is not None and address.is_private
