"""Builds the address of a request from the address of the service and the path and query of an endpoint."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote, urlsplit

import yarl

from asyncembed._redaction import Address


def escape(text: str, keep: str = "") -> str:
    """Return a text escaped for a URL path, except the characters in `keep`."""
    return quote(text, safe=keep)


def secure_host(url: str) -> str:
    """Return the lower-case host of an https address; empty for any other address."""
    parts = urlsplit(url)
    return (parts.hostname or "") if parts.scheme == "https" else ""


class Route(NamedTuple):
    """Path and query of an endpoint, relative to the address of its service.

    Attributes:
        path: The path, already escaped.
        query: Names and values, not escaped.
    """

    path: str = ""
    query: tuple[tuple[str, str], ...] = ()

    def join(self, base_url: str) -> Address:
        """Return the address of the endpoint. Query parameters of `base_url` come first and take precedence."""
        base = yarl.URL(base_url, encoded=True)
        own = [base.raw_query_string] if base.raw_query_string else []
        more = [
            f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in self.query if name not in base.query
        ]
        where = f"{base.origin()}{base.raw_path.rstrip('/') if self.path else base.raw_path}{self.path}"
        return Address("?".join([where, *filter(None, ["&".join([*own, *more])])]))
