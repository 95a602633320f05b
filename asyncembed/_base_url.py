"""Parses `base_url`: with or without the endpoint, with user and password, or for a Unix socket."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

import yarl

from asyncembed._exceptions import ConfigurationError
from asyncembed._redaction import Address, Secret, holds_secret, without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNIX: Final = r"(?is)http\+unix://(?P<login>[^/?#]*@)?(?P<socket>[^/?#@]*)(?P<rest>.*)"
_HOST_AND_PORT: Final = r"""(?xs)
    (?P<login> [^/?#]*@ )?
    (?P<host> \[[^]]*\] | [0-9A-Fa-f.]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]* | [^/?#:]* )
    (?: : (?P<port> \d* ) )?
    (?P<rest> [/?#].* )?
"""
# A server listens on every interface at the first two; a client connects to its own machine.
_THIS_MACHINE: Final = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "": "127.0.0.1"}  # noqa: S104


@dataclass(frozen=True, slots=True)
class BaseUrl:
    """The address of an API.

    Attributes:
        url: URL for requests, without user and password; on localhost for a Unix socket.
        socket: Path of the Unix socket; None for a host.
        login: Value of the `Authorization` header, if the address has a user and a password.
        secrets: Parts of the address that may be secret, decoded and as written.
    """

    url: Address
    socket: str | None = None
    login: Secret | None = None
    secrets: tuple[Secret, ...] = ()

    @classmethod
    def parse(cls, given: str, name: str, endpoint: re.Pattern[str]) -> BaseUrl:
        """Parse an address.

        Args:
            given: The address.
            name: The argument or environment variable that it comes from.
            endpoint: Matches the endpoint at the end of the path, which is removed.

        Raises:
            ConfigurationError: if it is not an HTTP, HTTPS or Unix socket address.
        """
        text, socket = _split_socket(given)
        url = None if socket is not None and not socket.startswith("/") else _http_url(text)
        if url is None:
            shown = re.sub(r"(?s)[?#].*", "?***", re.sub("(?s).*@", "***@", given.strip()))
            hint = (
                "; for a Unix socket write its whole path as one part: http+unix://%2Frun%2Fserver.sock/v1"
                if "unix" in shown.partition("//")[0].lower()
                else ""
            )
            raise ConfigurationError(f"{name}={shown!r} is not an http:// or https:// address{hint}")
        login = None
        if url.user is not None or url.password is not None:
            login = Secret(f"Basic {_basic(url)}")
        secrets = tuple(_secrets_in(url))
        url = url.with_user(None)
        path = url.raw_path.rstrip("/")
        if found := endpoint.search(path):
            url = url.with_path(path[: found.start()], encoded=True, keep_query=True)
        return cls(Address(url), socket, login, secrets)

    @property
    def shown(self) -> str:
        """The address without secrets."""
        return self.show(self.url)

    @property
    def plain_query(self) -> list[str]:
        """The parameters of the query that hold no secret, as they are written."""
        parts = yarl.URL(str(self.url), encoded=True).raw_query_string.split("&")
        pairs = [(part, *map(unquote, part.partition("=")[::2])) for part in parts if part]
        return [part for part, name, value in pairs if not holds_secret(name, value)]

    def show(self, url: str) -> str:
        """Return a URL below this address as messages show it, without secrets."""
        shown = without_secrets(url, encoded=True)
        if self.socket is None:
            return shown
        return shown.replace("http://localhost", f"http+unix://{quote(self.socket, safe='')}", 1)


def complete_address(address: str, port: int | None) -> str:
    """Return the address that is meant by a variable such as `OLLAMA_HOST`; empty if it holds nothing.

    Args:
        address: Its value: maybe in quotes, without a scheme, without a host, or with a bare IPv6 address.
        port: The port if it has neither a scheme nor a port.
    """
    address = address.strip("\"' \t\r\n")
    scheme, mark, rest = address.partition("://") if re.match(r"(?i)https?://", address) else ("http", "", address)
    found = re.fullmatch(_HOST_AND_PORT, rest)
    if not address or not found or (not mark and "://" in address):
        return address
    host = found["host"]
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    number = found["port"] or ("" if mark or port is None else str(port))
    return "".join([
        f"{scheme}://{found['login'] or ''}{_THIS_MACHINE.get(host, host)}",
        f":{number}" if number else "",
        found["rest"] or "",
    ])


def _basic(url: yarl.URL) -> str:
    return b64encode(f"{url.user or ''}:{url.password or ''}".encode()).decode()


def _split_socket(given: str) -> tuple[Address, str | None]:
    """Return the URL for requests, and the path of the Unix socket if the address is one.

    yarl cannot parse the path, as it takes it for a host and converts it to lower case.
    """
    found = re.fullmatch(_UNIX, given.strip())
    if not found:
        return Address(given.strip()), None
    return Address(f"http://{found['login'] or ''}localhost{found['rest']}"), unquote(found["socket"])


def _http_url(text: str) -> yarl.URL | None:
    try:
        url = yarl.URL(text)
    except (ValueError, TypeError):
        return None
    has_host = url.scheme in {"http", "https"} and bool(url.host)
    return url if has_host and not any(map(str.isspace, text)) else None


def _secrets_in(url: yarl.URL) -> Iterator[Secret]:
    written = [part.partition("=")[2] for part in url.raw_query_string.split("&")]
    found = [url.password, url.raw_password, *url.query.values(), *written]
    return (Secret(value) for value in found if value)
