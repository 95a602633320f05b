"""HTTP by aiohttp: sends one request, opens its response, and turns every failure into one of our errors.

- No hidden queue: the connector has no limit, because what may run at once is decided before a request gets here.
- No deadline over a whole body, as the consumer may pause: one time limit to the response headers, one between two
  chunks, each counted only while we really wait for the server.
- A redirect is an error, so the key never goes to another host.
- aiohttp's errors can hold request headers, and so the key. They are read, never chained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import aiohttp
import orjson
import yarl
from multidict import CIMultiDict

from asyncembed._credentials import refuses_key
from asyncembed._exceptions import ResponseError, TransportError
from asyncembed._http.body import Response
from asyncembed._http.errors import FAILURES, proxy_error, status_error, timeout_error, transport_error
from asyncembed._http.proxies import ip_of, is_loopback
from asyncembed._http.route import Route
from asyncembed._http.timeouts import FairTimeout
from asyncembed._redaction import Address
from asyncembed._version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asyncembed._config import Timeouts
    from asyncembed._credentials import Authorization
    from asyncembed._exceptions import AsyncEmbedError
    from asyncembed._http.session import Session
    from asyncembed._redaction import Secrets


_ERROR_BODY_BYTES: Final = 65_536
_PROXY_AUTHENTICATION: Final = 407
_ALLOWED: Final = range(200, 300)
HERE: Final = Route()


class Transport:
    """Posts JSON to the endpoints of one service.

    Args:
        provider: Name for error messages.
        session: The HTTP session; whoever opened it closes it.
        url: The address of the service.
        headers: Headers of every request, besides those that say who asks.
        secrets: Keys, to be blotted out of messages.
        timeouts: Time limits.
        read_size: Bytes of a response at which its connection is not read further for now; twice as many may be held.
        authorization: Says who asks; None if `headers` say all there is to say.
        advice: What a message adds when the API wants a key.
        show: Says how messages show the address of a request, where that is not the provider's own; without secrets.
        socket: Path of the Unix socket of the server.
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
        self._refused: WeakKeyDictionary[BaseException, int] = WeakKeyDictionary()  # numbers of keys, by the error
        address = yarl.URL(url)
        self._near = is_loopback(address) or _is_private(address)
        self._show = show
        self.server = (address.host, address.port) if socket is None else (socket, None)
        """Its name or address, and its port; the path of a Unix socket, which has none."""

    async def renew_key(self, error: AsyncEmbedError) -> bool:
        """Whether `error` says that the key was refused, and there is a newer one to try again with.

        Raises:
            ConfigurationError: if the caller's function gives no key.
        """
        number = self._refused.get(error)
        return number is not None and self._authorization is not None and await self._authorization.key.renew(number)

    async def post(
        self,
        body: bytes,
        *,
        compact: bool,
        max_bytes: int,
        heard: Callable[[Mapping[str, str]], None],
        begin: Callable[[], None] | None = None,
        resent: Callable[[], None] | None = None,
        route: Route = HERE,
    ) -> Response:
        """Send a request and return its response when the headers have come.

        Args:
            body: The JSON body.
            compact: Whether the response is compact already (base64), so that compressing it is not worth it.
            max_bytes: Most body bytes, decompressed, that the response may have.
            heard: Told about the headers of a response, whatever its status.
            begin: Told when the request is sent, which is when there is a key for it.
            resent: Told when it is sent once more, as the connection was closed before it was read.
            route: Path and query of the endpoint, below the address of the service.

        Raises:
            APIStatusError: if the status is not 2xx.
            TransportError: if no response came.
            ConfigurationError: if the caller's function gives no key.
        """
        url = self._urls.get(route) or self._urls.setdefault(route, route.join(self._url))
        headers, number = CIMultiDict(self._plain_headers if compact or self._near else self._headers), 0
        if self._authorization:
            number, own = await self._authorization.headers(url, body)
            headers.update(own)
        if begin:
            begin()
        # aiohttp's own object shows the address and what the server has said, so it stays out of sight.
        response = Response(await self._send(url, body, headers, resent), self.secrets, self._timeouts.read, max_bytes)
        heard(response.headers)
        if response.status in _ALLOWED:
            if self._authorization:
                self._authorization.key.accepted(number)
            return response
        error = await self._status_error(url, response)
        if refuses_key(error):
            self._refused[error] = number
        raise error

    async def get_object(self, route: Route) -> dict[str, object] | None:
        """Return the JSON object that a server tells of itself at a path; None if it tells none."""
        url, limit = route.join(self._url), self._timeouts.connect
        headers = CIMultiDict(self._plain_headers)
        if self._authorization:
            headers.update((await self._authorization.headers(url, b""))[1])
        try:
            async with FairTimeout(limit):
                response = await self._session.get(url, headers, limits=self._client_timeout, read_size=self._read_size)
                async with response:
                    body = await response.content.read(_ERROR_BODY_BYTES) if response.status in _ALLOWED else b""
            told = orjson.loads(body)
        except (*FAILURES, TimeoutError, ValueError):
            return None
        return told if isinstance(told, dict) else None

    async def _send(
        self, url: Address, body: bytes, headers: Mapping[str, str], resent: Callable[[], None] | None
    ) -> aiohttp.ClientResponse:
        limits = self._timeouts
        try:
            async with FairTimeout(limits.first_byte):
                return await self._session.post(
                    url, body, headers, limits=self._client_timeout, read_size=self._read_size, resent=resent
                )
        except TimeoutError as error:
            failure = timeout_error(error, f"no response within {limits.first_byte:g} s", self._way(url))
        except FAILURES as error:
            trust = self._session.trust
            failure = transport_error(error, self.secrets, self._way(url), trust.advice if trust else "")
        raise failure

    def _way(self, url: Address) -> str:
        """Say where requests are sent, if that is not the provider's own address, and by which proxy."""
        proxy = self._session.proxy
        by = f"by the proxy {proxy.url} of {proxy.variable}" if proxy else ""
        to = f"POST {self._show(url)}" if self._show else ""
        return f" ({' '.join(filter(None, (to, by)))})" if to or by else ""

    async def _status_error(self, url: Address, response: Response) -> AsyncEmbedError:
        try:
            body = await response.read_some(_ERROR_BODY_BYTES)
        except (TransportError, ResponseError):
            body = b""  # the status alone says enough
        finally:
            response.close()
        if response.status == _PROXY_AUTHENTICATION and self._session.proxy:
            return proxy_error(response.status, self.secrets.redact(response.reason), self._way(url))
        return status_error(
            self._provider,
            response.status,
            response.headers,
            body,
            self.secrets,
            advice=self._advice,
            where=self._show(url) if self._show else None,
        )


def _is_private(url: yarl.URL) -> bool:
    """Whether the other end is in a local network, where to compress and to unpack costs more than to send."""
    address = ip_of(url.host or "")
    return address is not None and address.is_private
