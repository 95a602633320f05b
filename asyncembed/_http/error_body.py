"""Parses the body of an error answer of any provider or proxy. Pure: no I/O.

The parser is tolerant, as the formats differ. Gateways put a byte order mark before the JSON, or wrap it into a list or
a string. Some send one line of JSON per error. A body that repeats all texts may be truncated. LiteLLM quotes the error
of the service behind it in its own message, as JSON or as the repr of a Python dict.
"""

from __future__ import annotations

import codecs
import json
import re
from dataclasses import dataclass
from typing import Final, TypeAlias

import orjson

Document: TypeAlias = "dict[str, object]"

_BOMS: Final = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_MAX_LAYERS: Final = 4
_MAX_LINES: Final = 20
_MAX_PAGE_CHARS: Final = 4_000
_MAX_TITLE_CHARS: Final = 1_000

_MESSAGE_FIELDS: Final = ("error", "message", "detail", "msg")
"""Fields that mark a document as an error and hold its message."""

_CODE_FIELDS: Final = ("type", "code", "status", "param")
# Of these the last match counts: the message, which may quote the request, comes before them.
_PAIR: Final = (
    r"""(?s)(['"])(%s)\1\s*:\s*"""
    r"""(?:"((?:[^"\\]|\\.){0,4000})|'((?:[^'\\]|\\.){0,4000})|(\d{1,9}|None|null|[\[(][^\]){}]{0,400}[\])]))"""
)
_BEFORE_QUOTED_ERROR: Final = (
    r"""(?i)[^{\[]{0,160}?(?:\w{0,60}(?:error|exception)|error code: \d+)[\s:.'"b-]*(?=[{\[])"""
)


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """The parsed body of an error answer.

    Attributes:
        text: The body as text, without surrounding white space.
        document: The JSON object of the error; empty if there is none.
        is_html: Whether the body is an HTML page.
    """

    text: str
    document: Document
    is_html: bool


def read_body(body: bytes) -> ErrorBody:
    """Parse the first bytes of a body. It accepts any bytes and never fails."""
    text = _decoded(body).strip().lstrip("\ufeff").strip()
    string = _string(text)
    text = string or text
    document = _document_of(text)
    is_html = not document and _is_markup(text)
    return ErrorBody(text, document or ({"message": string} if string and not is_html else {}), is_html)


def quoted_error(message: str) -> Document:
    """Return the error of an upstream service that a message quotes; empty if it quotes none."""
    start = 0 if message[:1] in {"{", "["} else None
    if start is None and (found := re.match(_BEFORE_QUOTED_ERROR, message)):
        start = found.end()
    if start is None:
        return {}
    document = _document_of(message[start:].strip())
    return document if any(name in document for name in _MESSAGE_FIELDS) else {}


def title_of(page: str) -> str:
    """Return the title of an HTML or XML page on one line; without one, its first heading or its text."""
    from html import unescape  # noqa: PLC0415  # loads a large table, and few programs meet an HTML page

    for name in ("title", "h1", "h2", "message", "h3"):
        if words := _without_tags(_inside(name, page)):
            return unescape(words)
    page = re.sub(r"(?is)<(script|style|head)\b.*?(?:</\1\s*>|$)|<!--.*?(?:-->|$)", " ", page[:_MAX_PAGE_CHARS])
    return unescape(_without_tags(page))


def _inside(name: str, page: str) -> str:
    """Return the beginning of the content of the first element with this name."""
    start = re.search(rf"(?i)<{name}(?:\s[^<>]{{0,200}})?>", page)
    return re.split(rf"(?i)</{name}\b", page[start.end() :][:_MAX_TITLE_CHARS])[0] if start else ""


def _without_tags(markup: str) -> str:
    return " ".join(re.sub(r"<[^<>]*>", " ", markup).split())


def _decoded(body: bytes) -> str:
    for bom, encoding in _BOMS:
        if body.startswith(bom):
            return body[len(bom) :].decode(encoding, "replace")
    return body.decode("utf-8", "replace")


def _is_markup(text: str) -> bool:
    return re.match(r"<[!?a-zA-Z]", text) is not None


def _string(text: str) -> str:
    """Return the value of a body that is a JSON string; empty for any other body."""
    try:
        value = _loads(text) if text[:1] == '"' else None
    except ValueError:
        return ""
    return value.strip() if isinstance(value, str) else ""


def _document_of(text: str) -> Document:
    if text[:1] not in {"{", "["}:
        return _first_line_of(text)
    try:
        return _unwrapped(_loads(text))
    except ValueError:
        return _first_line_of(text) or _salvaged(text)


def _unwrapped(value: object) -> Document:
    """Return the document inside lists and strings; empty if there is none."""
    for _ in range(_MAX_LAYERS):
        if isinstance(value, list):
            if any(isinstance(item, dict) and "loc" in item for item in value):
                return {"detail": value}  # FastAPI's bare list of errors
            value = next((item for item in value if isinstance(item, dict | list)), next(iter(value), None))
        elif isinstance(value, str):
            try:
                value = _loads(value)
            except ValueError:
                return {"message": value}
    return value if isinstance(value, dict) else {}


def _first_line_of(text: str) -> Document:
    """Return the first error document of a body with one document per line; empty if there is none."""
    for line in text.splitlines()[:_MAX_LINES] if "{" in text else ():
        try:
            document = _unwrapped(_loads(line.strip().removeprefix("data:").strip()))
        except ValueError:
            continue
        if any(document.get(name) for name in _MESSAGE_FIELDS):
            return document
    return {}


def _loads(text: str) -> object:
    """Parse JSON, tolerating lone surrogates, NaN and line ends in strings."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(text, strict=False)
    except RecursionError:
        raise ValueError("too deep") from None


def _salvaged(text: str) -> Document:
    """Return the recognisable fields of a truncated document or of a Python dict."""
    if text[:1] != "{" and not text.startswith("[{"):
        return {}
    messages = _pairs(text, _MESSAGE_FIELDS)
    document: Document = dict(_pairs(text, _CODE_FIELDS))
    for name in ("message", "msg", "detail", "error"):
        if isinstance(messages.get(name), str):
            document["message"] = messages[name]
            break
    if path := _pairs(text, ("loc",)).get("loc"):
        document["detail"] = [{"loc": path, "msg": document.get("message")}]
    return document if "message" in document else {}


def _pairs(text: str, names: tuple[str, ...]) -> dict[str, object]:
    """Return the values of these names. For a repeated name the first message counts, but the last code."""
    found: dict[str, object] = {}
    for match in re.finditer(_PAIR % "|".join(names), text):
        _, name, double, single, bare = match.groups()
        value = _value(double, single, bare)
        if names is _CODE_FIELDS or name not in found:
            found[name] = value
    return {name: value for name, value in found.items() if value is not None}


def _value(double: str | None, single: str | None, bare: str | None) -> object:
    if bare is not None:
        if bare[0] in "[(":
            parts = re.findall(r"""['"]([^'"]*)['"]|(\d+)""", bare)
            return [int(digits) if digits else word for word, digits in parts]
        return int(bare) if bare.isdigit() else None
    if double is not None:
        try:
            return json.loads(f'"{double}"', strict=False)
        except ValueError:
            pass
    words = double if double is not None else single
    return (words or "").replace("\\n", "\n").replace("\\'", "'").replace('\\"', '"')
