"""Sends requests and reads responses over HTTP."""

from asyncembed._http.body import Response
from asyncembed._http.headers import read_limit_headers
from asyncembed._http.route import Route, escape, secure_host
from asyncembed._http.session import Session
from asyncembed._http.transport import Transport

__all__ = [
    "Response",
    "Route",
    "Session",
    "Transport",
    "escape",
    "read_limit_headers",
    "secure_host",
]
