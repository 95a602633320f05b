"""The address of one request: where the service is, and below it the path and the query of an endpoint."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote, urlsplit

import yarl

from asyncembed._redaction import Address


def escape(text: str, keep: str = "") -> str:
    """Return a text as a part of a path, in which nothing but `keep` has a meaning of its own."""
    return quote(text, safe=keep)


def secure_host(url: str) -> str:
    """Return the host of an https address in lower case; empty for any other address."""
    parts = urlsplit(url)
    return (parts.hostname or "") if parts.scheme == "https" else ""


class Route(NamedTuple):
    """Path and query of an endpoint, below the address of its service.

    Attributes:
        path: The path, escaped as it is sent.
        query: Names and values, not escaped.
    """

    path: str = ""
    query: tuple[tuple[str, str], ...] = ()

    def join(self, base_url: str) -> Address:
        """Return the address of the endpoint; a query that the address of the service has comes first, and wins."""
        base = yarl.URL(base_url, encoded=True)
        own = [base.raw_query_string] if base.raw_query_string else []
        more = [
            f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in self.query if name not in base.query
        ]
        where = f"{base.origin()}{base.raw_path.rstrip('/') if self.path else base.raw_path}{self.path}"
        return Address("?".join([where, *filter(None, ["&".join([*own, *more])])]))
