"""The body of an error answer: what it holds, whatever it is wrapped in.

Gateways put a byte order mark before the JSON, a list around it, or a string; some send a line of JSON for each error;
a body that repeats all texts is cut off where it gets too long. LiteLLM puts the error of the service behind it into
its own message, as JSON or as Python writes a dict.
"""

from __future__ import annotations

import codecs
import json
import re
from dataclasses import dataclass
from typing import Final, TypeAlias

import orjson

Document: TypeAlias = "dict[str, object]"

_MARKS: Final = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_MOST_LAYERS: Final = 4
_MOST_LINES: Final = 20
_MOST_OF_A_PAGE: Final = 4_000
_MOST_OF_A_TITLE: Final = 1_000

_SPOKEN: Final = ("error", "message", "detail", "msg")
"""Names that say of a document that it is an error, and where its words are."""

_NAMED: Final = ("type", "code", "status", "param")
# The last one counts: what is repeated of a request stands in the message, and that comes first.
_PAIR: Final = (
    r"""(?s)(['"])(%s)\1\s*:\s*"""
    r"""(?:"((?:[^"\\]|\\.){0,4000})|'((?:[^'\\]|\\.){0,4000})|(\d{1,9}|None|null|[\[(][^\]){}]{0,400}[\])]))"""
)
_BEFORE_ANOTHER: Final = r"""(?i)[^{\[]{0,160}?(?:\w{0,60}(?:error|exception)|error code: \d+)[\s:.'"b-]*(?=[{\[])"""


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """What the body of an error holds.

    Attributes:
        text: All of it, without white space around it.
        document: The JSON object of the error, empty if it is none.
        is_html: Whether it is a page of HTML.
    """

    text: str
    document: Document
    is_html: bool


def read_body(body: bytes) -> ErrorBody:
    """Return what the first bytes of a body hold; nothing is too strange for it."""
    text = _decoded(body).strip().lstrip("\ufeff").strip()
    string = _string(text)
    text = string or text
    document = _document_of(text)
    is_html = not document and _is_markup(text)
    return ErrorBody(text, document or ({"message": string} if string and not is_html else {}), is_html)


def another_inside(message: str) -> Document:
    """Return the error that a message quotes, of a service behind this one; empty if it quotes none."""
    start = 0 if message[:1] in {"{", "["} else None
    if start is None and (found := re.match(_BEFORE_ANOTHER, message)):
        start = found.end()
    if start is None:
        return {}
    document = _document_of(message[start:].strip())
    return document if any(name in document for name in _SPOKEN) else {}


def title_of(page: str) -> str:
    """Return the title of a page of HTML or XML, else its first heading, else its words, on one line."""
    from html import unescape  # noqa: PLC0415  # loads all the entities there are, and few programs meet a page

    for name in ("title", "h1", "h2", "message", "h3"):
        if words := _plain(_inside(name, page)):
            return unescape(words)
    page = re.sub(r"(?is)<(script|style|head)\b.*?(?:</\1\s*>|$)|<!--.*?(?:-->|$)", " ", page[:_MOST_OF_A_PAGE])
    return unescape(_plain(page))


def _inside(name: str, page: str) -> str:
    """Return the beginning of what is inside the first element of this name."""
    start = re.search(rf"(?i)<{name}(?:\s[^<>]{{0,200}})?>", page)
    return re.split(rf"(?i)</{name}\b", page[start.end() :][:_MOST_OF_A_TITLE])[0] if start else ""


def _plain(markup: str) -> str:
    return " ".join(re.sub(r"<[^<>]*>", " ", markup).split())


def _decoded(body: bytes) -> str:
    for mark, encoding in _MARKS:
        if body.startswith(mark):
            return body[len(mark) :].decode(encoding, "replace")
    return body.decode("utf-8", "replace")


def _is_markup(text: str) -> bool:
    return re.match(r"<[!?a-zA-Z]", text) is not None


def _string(text: str) -> str:
    """Return the string that a body is in JSON, empty if it is none."""
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
        return _first_line_of(text) or _pieces_of(text)


def _unwrapped(value: object) -> Document:
    """Return the document inside lists and strings, empty if there is none."""
    for _ in range(_MOST_LAYERS):
        if isinstance(value, list):
            if any(isinstance(item, dict) and "loc" in item for item in value):
                return {"detail": value}  # FastAPI's list of faults, by itself
            value = next((item for item in value if isinstance(item, dict | list)), next(iter(value), None))
        elif isinstance(value, str):
            try:
                value = _loads(value)
            except ValueError:
                return {"message": value}
    return value if isinstance(value, dict) else {}


def _first_line_of(text: str) -> Document:
    """Return the first of several documents, one on each line, that speaks of an error."""
    for line in text.splitlines()[:_MOST_LINES] if "{" in text else ():
        try:
            document = _unwrapped(_loads(line.strip().removeprefix("data:").strip()))
        except ValueError:
            continue
        if any(document.get(name) for name in _SPOKEN):
            return document
    return {}


def _loads(text: str) -> object:
    """Read JSON, also with half a surrogate, NaN or a line end in it."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(text, strict=False)
    except RecursionError:
        raise ValueError("too deep") from None


def _pieces_of(text: str) -> Document:
    """Return what can be made out of a document that is cut off, or written as Python writes it."""
    if text[:1] != "{" and not text.startswith("[{"):
        return {}
    said = _pairs(text, _SPOKEN)
    document: Document = dict(_pairs(text, _NAMED))
    for name in ("message", "msg", "detail", "error"):
        if isinstance(said.get(name), str):
            document["message"] = said[name]
            break
    if place := _pairs(text, ("loc",)).get("loc"):
        document["detail"] = [{"loc": place, "msg": document.get("message")}]
    return document if "message" in document else {}


def _pairs(text: str, names: tuple[str, ...]) -> dict[str, object]:
    """Return the values of these names; of some that are said more than once, the first words and the last codes."""
    found: dict[str, object] = {}
    for match in re.finditer(_PAIR % "|".join(names), text):
        _, name, double, single, bare = match.groups()
        value = _value(double, single, bare)
        if names is _NAMED or name not in found:
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
