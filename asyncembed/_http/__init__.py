"""Requests and responses over HTTP."""

from asyncembed._http.body import Response
from asyncembed._http.headers import read_quota
from asyncembed._http.route import Route, escape, secure_host
from asyncembed._http.session import Session
from asyncembed._http.transport import Transport

__all__ = [
    "Response",
    "Route",
    "Session",
    "Transport",
    "escape",
    "read_quota",
    "secure_host",
]
