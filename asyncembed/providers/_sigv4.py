"""Amazon's Signature Version 4 of a POST request, with only the standard library and without I/O."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

_METHOD: Final = "AWS4-HMAC-SHA256"
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """The keys of an AWS account.

    Attributes:
        key: The ID of the access key.
        secret: The secret access key.
        token: The session token of temporary keys.
    """

    key: str
    secret: str
    token: str | None = None


def signature_headers(
    credentials: Credentials, url: str, body: bytes, *, region: str, service: str, now: datetime
) -> Mapping[str, str]:
    """Return the headers that sign a request; send it within minutes, and to exactly this address.

    Args:
        credentials: The keys that sign it.
        url: The address, escaped as the client sends it.
        body: The body.
        region: The region of the service.
        service: Amazon's short name of the service.
        now: The time, in UTC.
    """
    parts = urlsplit(url)
    moment = f"{now:%Y%m%dT%H%M%SZ}"
    signed = {"content-type": "application/json", "host": _host(url), "x-amz-date": moment}
    if credentials.token:
        signed["x-amz-security-token"] = credentials.token
    names = ";".join(sorted(signed))
    request = "\n".join([
        "POST",
        quote(parts.path or "/", safe="/-_.~"),  # Amazon escapes an escaped path once more
        _canonical_query(parts.query),
        *(f"{name}:{' '.join(signed[name].split())}" for name in sorted(signed)),
        "",
        names,
        hashlib.sha256(body).hexdigest(),
    ])
    day = moment[:8]
    scope = f"{day}/{region}/{service}/aws4_request"
    text = "\n".join([_METHOD, moment, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{credentials.secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = _mac(key, part)
    sent = {"X-Amz-Date": moment}
    if credentials.token:
        sent["X-Amz-Security-Token"] = credentials.token
    who = f"{_METHOD} Credential={credentials.key}/{scope}, SignedHeaders={names}, Signature={_mac(key, text).hex()}"
    return {**sent, "Authorization": who}


def _canonical_query(query: str) -> str:
    """Return a query with its fields in the order of their names, which is not that of the whole fields."""
    fields = sorted(part.partition("=") for part in query.split("&")) if query else []
    return "&".join(f"{name}={value}" for name, _, value in fields)


def _host(url: str) -> str:
    """Return the Host header of an address: without the default port of its scheme."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return host.rpartition(":")[0] if parts.port and parts.port == _DEFAULT_PORTS.get(parts.scheme) else host


def _mac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
