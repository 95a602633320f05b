"""Templates of error documents of services, and of error pages of gateways.

In a template, `{text}`, `{model}` and the other fields of `Details` are filled in inside strings, and
`Number("position")` becomes the number of that field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

NumberName: TypeAlias = Literal["position", "count", "size", "most", "tokens"]


@dataclass(frozen=True, slots=True)
class Number:
    """A placeholder for a number from `Details` that is not inside a string.

    Attributes:
        name: Name of the field.
    """

    name: NumberName


@dataclass(frozen=True, slots=True)
class ForEachText:
    """A placeholder for a list with one entry for each text of the request.

    Attributes:
        entry: Template of the entry; `position` in it is the position of its text.
    """

    entry: Document


Document: TypeAlias = (
    str | int | float | bool | Number | ForEachText | Sequence["Document"] | Mapping[str, "Document"] | None
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """Facts about a refused request that fill a template.

    Attributes:
        model: The requested model.
        text: The text to blame; the first text if none is to blame.
        position: Position of that text in the request, from 0.
        count: Number of texts in the request.
        tokens: Number of tokens of all texts.
        size: The size that is too large, in texts, tokens or bytes.
        most: The maximum of that size.
    """

    model: str
    text: str
    position: int
    count: int
    tokens: int
    size: int
    most: int

    def fill(self, document: Document) -> object:
        """Return the document with all placeholders filled in, ready for `json.dumps`."""
        if isinstance(document, Number):
            number: int = getattr(self, document.name)
            return number
        if isinstance(document, ForEachText):
            return [replace(self, position=position).fill(document.entry) for position in range(self.count)]
        if isinstance(document, str):
            names = (name for name in type(self).__dataclass_fields__ if f"{{{name}}}" in document)
            for name in names:
                document = document.replace(f"{{{name}}}", str(getattr(self, name)))
            return document
        if isinstance(document, dict):
            return {name: self.fill(value) for name, value in document.items()}
        if isinstance(document, list):
            return [self.fill(value) for value in document]
        return document


def openai(
    message: str,
    code: str | int | None = None,
    *,
    kind: str | None = "invalid_request_error",
    param: str | None = None,
    **more: Document,
) -> Document:
    """Return OpenAI's document, which most servers imitate."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code, **more}}


def google(code: int, status: str, message: str, *details: Document) -> Document:
    """Return Google's document, wrapped in a list as its OpenAI route does."""
    error: dict[str, Document] = {"code": code, "message": message, "status": status}
    return [{"error": {**error, "details": list(details)} if details else error}]


def google_detail(kind: str, **fields: Document) -> Document:
    """Return one entry of the details of a Google error."""
    package = "type.googleapis.com/google.rpc."
    return {"@type": f"{package}{kind}", **fields}


def flat(message: Document, kind: str, code: str | int | None = None) -> Document:
    """Return the document of Mistral and of old versions of vLLM."""
    return {"object": "error", "message": message, "type": kind, "param": None, "code": code}


def cohere(message: str) -> Document:
    """Return Cohere's document."""
    return {"id": "9ad3b7f0-fake", "message": message}


def fastapi(kind: str, place: Sequence[str | Number], message: str) -> Document:
    """Return the document of a failed pydantic check, which every FastAPI server sends."""
    return {"detail": [{"type": kind, "loc": list(place), "msg": message, "input": None}]}


def page(title: str, words: str = "", server: str = "") -> str:
    """Return an HTML page like those of nginx."""
    foot = f"<hr><center>{server}</center>" if server else ""
    body = f"<center><h1>{title}</h1></center>{words}{foot}"
    return f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n{body}\r\n</body>\r\n</html>\r\n"
