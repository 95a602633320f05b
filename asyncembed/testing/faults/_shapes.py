"""The shapes that services give their error documents, and the pages of the gateways in front of them.

A document is a template. `{text}`, `{model}` and the other names of `Details` are filled in wherever they stand in a
string, and `Number("position")` stands for a number of that name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

NumberName: TypeAlias = Literal["position", "count", "size", "most", "tokens"]


@dataclass(frozen=True, slots=True)
class Number:
    """A number of the details, in a place of the document that holds a number and not a string.

    Attributes:
        name: Which one.
    """

    name: NumberName


@dataclass(frozen=True, slots=True)
class ForEachText:
    """A list with an entry for each text of the request.

    Attributes:
        entry: The entry; the position in it is that of its text.
    """

    entry: Document


Document: TypeAlias = (
    str | int | float | bool | Number | ForEachText | Sequence["Document"] | Mapping[str, "Document"] | None
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What an error may say of the request it refuses.

    Attributes:
        model: Model that was asked for.
        text: Text that is to blame; the first one where none is.
        position: Position of that text in the request, from 0.
        count: How many texts the request holds.
        tokens: How many tokens all of them have.
        size: How much there is of what there is too much of.
        most: How much is allowed.
    """

    model: str
    text: str
    position: int
    count: int
    tokens: int
    size: int
    most: int

    def fill(self, document: Document) -> object:
        """Return the document with the details in it, ready for `json.dumps`."""
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
    """OpenAI's document, which most servers imitate."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code, **more}}


def google(code: int, status: str, message: str, *details: Document) -> Document:
    """Google's document, as its OpenAI route wraps it into a list."""
    error: dict[str, Document] = {"code": code, "message": message, "status": status}
    return [{"error": {**error, "details": list(details)} if details else error}]


def google_detail(kind: str, **fields: Document) -> Document:
    """Return one of the details of a Google error."""
    package = "type.googleapis.com/google.rpc."
    return {"@type": f"{package}{kind}", **fields}


def flat(message: Document, kind: str, code: str | int | None = None) -> Document:
    """The document of Mistral and of old versions of vLLM."""
    return {"object": "error", "message": message, "type": kind, "param": None, "code": code}


def cohere(message: str) -> Document:
    """Cohere's document."""
    return {"id": "9ad3b7f0-fake", "message": message}


def fastapi(kind: str, place: Sequence[str | Number], message: str) -> Document:
    """The document of pydantic's checks, as every FastAPI server sends it."""
    return {"detail": [{"type": kind, "loc": list(place), "msg": message, "input": None}]}


def page(title: str, words: str = "", server: str = "") -> str:
    """An HTML page, such as those of nginx."""
    foot = f"<hr><center>{server}</center>" if server else ""
    body = f"<center><h1>{title}</h1></center>{words}{foot}"
    return f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n{body}\r\n</body>\r\n</html>\r\n"
