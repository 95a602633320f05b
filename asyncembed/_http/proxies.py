"""Finds the proxy for an address in the environment variables. No I/O.

curl, Go and requests read these variables differently. This module follows the majority of the three; a table in the
tests lists what each of them does. In short:

- The scheme of the address selects `http_proxy` or `https_proxy`, with `all_proxy` as the fallback. Lower case comes
  before upper case. In a CGI script it ignores `HTTP_PROXY`, which the web server sets from a request header.
- `NO_PROXY` is `*` or a comma-separated list of names (subdomains included), IP addresses, networks such as 10.0.0.0/8,
  and name:port, which matches only an address with an explicit port.
- Loopback addresses never use a proxy.
"""

from __future__ import annotations

import ipaddress
import socket
from base64 import b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

import yarl

from asyncembed._exceptions import ConfigurationError
from asyncembed._redaction import Address, Secret

if TYPE_CHECKING:
    from collections.abc import Mapping


IPAddress: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"

_SCHEMES: Final = frozenset({"http", "https"})


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy from the environment.

    Attributes:
        url: Address of the proxy, without the login.
        variable: Name of the environment variable.
        user: User name; None without a login.
        password: Password of the user.
    """

    url: Address
    variable: str
    user: Secret | None = None
    password: Secret = field(default_factory=Secret)

    @property
    def authorization(self) -> Secret | None:
        """Value of the `Proxy-Authorization` header; None without a login."""
        if self.user is None:
            return None
        return Secret(f"Basic {b64encode(f'{self.user}:{self.password}'.encode()).decode()}")


def find_proxy(address: str, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for an address; None for a direct connection.

    Args:
        address: An http or https address.
        environ: The environment variables.

    Raises:
        ConfigurationError: if the variable holds no address of an HTTP or HTTPS proxy.
    """
    url = yarl.URL(address)
    if is_loopback(url):
        return None
    variable = _variable_of(url.scheme, environ)
    if variable is None or _is_excepted(url, _first_of(("no_proxy", "NO_PROXY"), environ)):
        return None
    return _parse(variable, Secret(environ[variable].strip()))


def is_loopback(url: yarl.URL) -> bool:
    """Whether an address is on this machine."""
    host = (url.host or "").removesuffix(".")
    address = ip_of(host)
    if address is None:
        return host == "localhost" or host.endswith(".localhost")
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback or address.is_unspecified


def ip_of(host: str) -> IPAddress | None:
    """Parse an IP address in any form that resolvers accept; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:  # 127.1 and 0x7f000001
        return ipaddress.IPv4Address(socket.inet_aton(host)) if host[-1:].isalnum() and host[:1].isdigit() else None
    except OSError:
        return None


def _variable_of(scheme: str, environ: Mapping[str, str]) -> str | None:
    """Return the name of the environment variable with the proxy for a scheme; None if there is none."""
    lower = f"{scheme}_proxy"
    names = [lower]
    if scheme == "https" or not (lower in environ or "REQUEST_METHOD" in environ):  # a CGI script has REQUEST_METHOD
        names.append(lower.upper())
    names.append("all_proxy" if "all_proxy" in environ else "ALL_PROXY")
    return next((name for name in names if environ.get(name, "").strip()), None)


def _first_of(names: tuple[str, ...], environ: Mapping[str, str]) -> str:
    return next((environ[name] for name in names if environ.get(name)), "")


def _is_excepted(url: yarl.URL, no_proxy: str) -> bool:
    if no_proxy == "*":
        return True
    entries = [entry for part in no_proxy.split(",") if (entry := part.strip())]
    host = (url.raw_host or "").lower()
    address = ip_of(host)
    with_port = f"{host}:{url.explicit_port}" if url.explicit_port and address is None else None
    return any(_fits(entry, host, address) or (with_port and _names(entry, with_port)) for entry in entries)


def _fits(entry: str, host: str, address: IPAddress | None) -> bool:
    """Whether an entry without a port matches a host."""
    if address is not None and (network := _network_of(entry)):
        return address in network
    return _names(entry.lower(), host, is_bare=entry.startswith("."))


def _names(entry: str, host: str, *, is_bare: bool = False) -> bool:
    """Whether an entry names a host or its parent domain. With a leading dot, it names the host only if `is_bare`."""
    name = entry.removeprefix(".")
    is_same = host == name and (is_bare or name == entry)
    return bool(name) and (is_same or host.endswith(f".{name}"))


def _network_of(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        network = ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None
    return network if network.prefixlen else None  # only Go lets 0.0.0.0/0 exempt every address


def _parse(variable: str, value: Secret) -> Proxy:
    scheme, _, rest = value.partition("://") if "://" in value else ("http", "", value)
    if scheme.lower() not in _SCHEMES:
        shown = scheme if scheme.isascii() and scheme.replace("+", "").isalnum() else "***"
        raise ConfigurationError(
            f"{variable} names a {shown}:// proxy, which asyncembed does not support; set an http:// or https:// "
            "proxy, exempt the host with NO_PROXY, or pass your own session="
        )
    try:
        url = yarl.URL(f"{scheme.lower()}://{rest}")
        host, port = url.host, url.port
    except ValueError:
        host, port = None, None
    if not host or not port or any(char.isspace() for char in host):
        raise ConfigurationError(f"{variable} is not the address of a proxy; write it as http://host:port")
    user = None if url.user is None and url.password is None else Secret(url.user or "")
    return Proxy(Address(url.with_user(None).origin()), variable, user, Secret(url.password or ""))
