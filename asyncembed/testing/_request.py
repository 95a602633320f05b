"""One HTTP/1.1 request: reading it, what it asks for, and the framing of its answer."""

from __future__ import annotations

import json
from asyncio import IncompleteReadError, LimitOverrunError
from dataclasses import dataclass
from functools import cached_property
from http.client import responses
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from asyncembed._redaction import Secret
from asyncembed._repr import ShortRepr
from asyncembed.testing._dialects import SERVED, Dialect
from asyncembed.testing._vectors import KINDS, Kind

if TYPE_CHECKING:
    from asyncio import StreamReader
    from collections.abc import Mapping

    from asyncembed.testing._dialects import LayoutName


_INTEGERS: Final = {"int8", "uint8", "binary", "ubinary"}
_NOT_JSON: Final = "the body is not a JSON object"


@dataclass(frozen=True, repr=False)
class Request(ShortRepr):
    """One request as it was received.

    Attributes:
        method: HTTP method.
        path: Path, with the query.
        headers: Headers by lower-case name.
        body: Bytes of the body.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @cached_property
    def fields(self) -> dict[str, object]:
        """The JSON object of the body without its null fields; empty if the body is not a JSON object."""
        try:
            values = json.loads(self.body)
        except ValueError:  # includes UnicodeDecodeError
            return {}
        return {name: value for name, value in values.items() if value is not None} if isinstance(values, dict) else {}

    @cached_property
    def dialect(self) -> Dialect | None:
        """Its wire format, None if the server does not serve the path."""
        return Dialect.of(self.path)

    @property
    def layout(self) -> LayoutName | None:
        """The name of its wire format, None if the server does not serve the path."""
        return self.dialect.layout if self.dialect else None

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The texts; empty if the request holds no valid texts."""
        value = self.dialect.texts(self.fields) if self.dialect else None
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            return ()
        return tuple(texts)

    @cached_property
    def kinds(self) -> tuple[Kind, ...]:
        """The requested types of vectors, in the order of the request."""
        if self.layout == "openai":
            dtype = self.fields.get("output_dtype", self.fields.get("embedding_type", "float"))
            asked = dtype if dtype in _INTEGERS or dtype == "base64" else self.fields.get("encoding_format", dtype)
        else:
            asked = self.fields.get("embedding_types", "float")
        names = asked if isinstance(asked, list) else [asked]
        return tuple(kind for name in names for kind in KINDS if kind == name)

    @property
    def is_packed(self) -> bool:
        """Whether integers are requested as base64."""
        return self.fields.get("encoding_format") == "base64" and not _INTEGERS.isdisjoint(self.kinds)

    @property
    def is_typed(self) -> bool:
        """Whether Cohere's answer has one list for each type instead of one list of floats."""
        return self.layout == "cohere" or "embedding_types" in self.fields or "embed-v4" in self.model

    @property
    def dimension(self) -> int | None:
        """The requested length of the vectors, None if the request does not say."""
        value = self.dialect.dimension(self.fields) if self.dialect else None
        return value if isinstance(value, int) else None

    @property
    def model(self) -> str:
        """The requested model; the server accepts any name."""
        return (self.dialect.model if self.dialect else "") or str(self.fields.get("model", ""))

    @property
    def key(self) -> str | None:
        """The API key of the request, if it has one."""
        scheme, _, key = self.headers.get("authorization", "").partition(" ")
        return key if scheme.lower() == "bearer" else self.headers.get("api-key", self.headers.get("x-goog-api-key"))

    @property
    def is_connect(self) -> bool:
        """Whether a client that takes the server for its proxy asks for a tunnel."""
        return self.method == "CONNECT"

    @property
    def problem(self) -> tuple[int, str] | None:
        """Status and message of the error if the server cannot answer the request, else None."""
        if self.layout is None:
            return 404, f"nothing is served at {self.path}; use one of {SERVED}"
        if self.method != "POST":
            return 405, f"{self.method} is not allowed; use POST"
        if not self.fields:
            return 400, _NOT_JSON
        if not self.texts or not all(self.texts):
            return 400, "the texts must be a list of non-empty strings"
        if not self.kinds:
            return 400, f"known types are {', '.join(KINDS)}"
        return None


_KEYS: Final = frozenset({"authorization", "api-key", "x-api-key"})

Framing: TypeAlias = Literal["length", "chunked", "close"]
"""How the client finds the end of a body: by Content-Length, by chunks, or by the end of the connection."""


async def read_request(reader: StreamReader) -> Request | None:
    """Read the next request of a connection; return None if the client has left or does not send HTTP."""
    try:
        return await _read(reader)
    except (IncompleteReadError, LimitOverrunError, ValueError):
        return None


async def _read(reader: StreamReader) -> Request:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    headers |= {name: Secret(headers[name]) for name in _KEYS & headers.keys()}  # a test may send a real key
    method, path, *_ = [*first.split(), ""]
    return Request(method, path, headers, await _read_body(reader, headers))


async def _read_body(reader: StreamReader, headers: Mapping[str, str]) -> bytes:
    if "chunked" not in headers.get("transfer-encoding", "").lower():
        return await reader.readexactly(int(headers.get("content-length", "0")))
    chunks = []
    while size := int((await reader.readline()).partition(b";")[0], 16):
        chunks.append(await reader.readexactly(size))
        await reader.readline()
    while (await reader.readline()).strip():
        pass  # trailers
    return b"".join(chunks)


def head_bytes(status: int, headers: Mapping[str, str]) -> bytes:
    """Return the status line and the headers."""
    lines = [
        f"HTTP/1.1 {status} {responses.get(status, 'Unknown')}",
        *(f"{name}: {value}" for name, value in headers.items()),
        "",
        "",
    ]
    return "\r\n".join(lines).encode("latin-1")


def framing_headers(framing: Framing, length: int) -> dict[str, str]:
    """Return the headers that announce a body of this many bytes."""
    if framing == "length":
        return {"Content-Length": str(length)}
    return {"Transfer-Encoding": "chunked"} if framing == "chunked" else {"Connection": "close"}


def chunk_bytes(data: bytes) -> bytes:
    """Return the data as one chunk; empty data make the last chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)
