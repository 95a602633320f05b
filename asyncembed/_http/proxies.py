"""Which proxy the environment names for an address, if any. Without I/O.

curl, Go and requests read these variables each in its own way. Where two of them agree, so does this; the table in the
tests says what each of them does. In short:

- `http_proxy` or `https_proxy` by the scheme of the address, else `all_proxy`; lower case comes before upper case. What
  an HTTP server makes of a header (`HTTP_PROXY` in a CGI script) counts for nothing.
- `NO_PROXY` is `*`, or a list with commas between: names, which stand for their subdomains too, addresses, networks as
  10.0.0.0/8, and name:port, where the port must stand in the address.
- This machine itself is never reached by a proxy.
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

_SPOKEN: Final = frozenset({"http", "https"})


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that the environment names.

    Attributes:
        url: Its address, without the login.
        variable: Name of the environment variable.
        user: Who asks, None if it needs no login.
        password: The password of the user.
    """

    url: Address
    variable: str
    user: Secret | None = None
    password: Secret = field(default_factory=Secret)

    @property
    def authorization(self) -> Secret | None:
        """The header that says who asks the proxy."""
        if self.user is None:
            return None
        return Secret(f"Basic {b64encode(f'{self.user}:{self.password}'.encode()).decode()}")


def find_proxy(address: str, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy by which an address is reached; None if it is reached without.

    Args:
        address: An http or https address.
        environ: The environment variables.

    Raises:
        ConfigurationError: if the variable names a proxy of another kind than http or https, or no address.
    """
    url = yarl.URL(address)
    if is_loopback(url):
        return None
    variable = _variable_of(url.scheme, environ)
    if variable is None or _is_excepted(url, _first_of(("no_proxy", "NO_PROXY"), environ)):
        return None
    return _parse(variable, Secret(environ[variable].strip()))


def is_loopback(url: yarl.URL) -> bool:
    """Whether the other end is this machine."""
    host = (url.host or "").removesuffix(".")
    address = ip_of(host)
    if address is None:
        return host == "localhost" or host.endswith(".localhost")
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback or address.is_unspecified


def ip_of(host: str) -> IPAddress | None:
    """Return the IP address that a host is written as, in every form that resolvers take; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:  # 127.1 and 0x7f000001
        return ipaddress.IPv4Address(socket.inet_aton(host)) if host[-1:].isalnum() and host[:1].isdigit() else None
    except OSError:
        return None


def _variable_of(scheme: str, environ: Mapping[str, str]) -> str | None:
    """Return the name of the variable that holds the proxy for a scheme."""
    own = [f"{scheme}_proxy"]
    if scheme == "https" or not (own[0] in environ or "REQUEST_METHOD" in environ):
        own.append(own[0].upper())
    every = ["all_proxy"] if "all_proxy" in environ else ["ALL_PROXY"]
    return next((name for name in (*own, *every) if environ.get(name, "").strip()), None)


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
    """Whether an entry without a port stands for a host."""
    if address is not None and (network := _network_of(entry)):
        return address in network
    return _names(entry.lower(), host, is_bare=entry.startswith("."))


def _names(entry: str, host: str, *, is_bare: bool = False) -> bool:
    """Whether an entry names a host, or a domain around it; with a dot before it, the host too only if `is_bare`."""
    name = entry.removeprefix(".")
    is_same = host == name and (is_bare or name == entry)
    return bool(name) and (is_same or host.endswith(f".{name}"))


def _network_of(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        network = ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None
    return network if network.prefixlen else None  # only Go takes it for the whole internet


def _parse(variable: str, value: Secret) -> Proxy:
    scheme, _, rest = value.partition("://") if "://" in value else ("http", "", value.lstrip("/"))
    if scheme.lower() not in _SPOKEN:
        shown = scheme if scheme.isascii() and scheme.replace("+", "").isalnum() else "***"
        raise ConfigurationError(
            f"{variable} names a proxy for {shown}://, which asyncembed does not speak; set an http:// or https:// "
            "proxy, exempt the host with NO_PROXY, or pass a session= of your own"
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
