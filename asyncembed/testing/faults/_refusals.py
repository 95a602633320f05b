"""Refusals: any status, a page of HTML, a redirect, a request that is too large, or one bad text."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from asyncembed._config import check
from asyncembed._repr import ShortRepr

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asyncembed.testing._exchange import Exchange

Words: TypeAlias = Literal["openai", "cohere", "voyage", "mistral", "tei", "gemini", "llama.cpp", "proxy"]
_ErrorReply: TypeAlias = tuple[int, object]
"""Status and document. A string is sent as HTML, anything else as JSON."""


@dataclass(frozen=True, slots=True, repr=False)
class Refused(ShortRepr):
    """Answers with an error status, in the format of the requested API.

    Attributes:
        status: HTTP status, such as 401, 402, 403 or 404, which end a run, or 500, 502 or 503.
        message: The error message.
        code: The API's error code, if its format has one.
    """

    status: int = 500
    message: str = "refused by the test"
    code: str | None = None

    async def __call__(self, exchange: Exchange) -> None:
        """Refuse the request."""
        await exchange.refuse(self.status, self.message, code=self.code)


@dataclass(frozen=True, slots=True)
class Html:
    """Answers like a proxy whose server is down: HTML with an error status.

    Attributes:
        status: HTTP status.
    """

    status: int = 502

    async def __call__(self, exchange: Exchange) -> None:
        """Answer with a page of HTML."""
        page = f"<html><body><h1>{self.status} Bad Gateway</h1></body></html>\n".encode()
        await exchange.say(page, self.status, {"Content-Type": "text/html"})


@dataclass(frozen=True, slots=True, repr=False)
class Redirect(ShortRepr):
    """Sends the client to another address.

    Attributes:
        location: The address.
        status: HTTP status.
    """

    location: str
    status: int = 307

    async def __call__(self, exchange: Exchange) -> None:
        """Answer with the redirect."""
        await exchange.say(b"", self.status, {"Location": self.location})


@dataclass(frozen=True, slots=True, repr=False)
class Poisoned(ShortRepr):
    """Refuses every request that holds a certain text, and answers others correctly.

    Attributes:
        text: The text.
        status: HTTP status.
        names_it: Whether the message names the position of the text, as some APIs do.
    """

    text: str
    status: int = 400
    names_it: bool = False

    def applies(self, exchange: Exchange) -> bool:
        """Return whether the request holds the text."""
        return self.text in exchange.request.texts

    async def __call__(self, exchange: Exchange) -> None:
        """Refuse the request, or answer it."""
        if not self.applies(exchange):
            await exchange.deliver()
            return
        place = f"[{exchange.request.texts.index(self.text)}]" if self.names_it else ""
        await exchange.refuse(self.status, f"Invalid 'input{place}': the text cannot be embedded.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TooLarge:
    """Refuses requests above a size with a provider's message, and answers others correctly.

    Attributes:
        items: Maximum number of texts.
        tokens: Maximum number of tokens of all texts.
        bytes: Maximum size of the request's body.
        words: The provider whose message is sent; None picks OpenAI's for OpenAI's format, else Cohere's. "proxy" is a
            bare 413. "llama.cpp" sends a 500 that no retry gets past.
    """

    items: int | None = None
    tokens: int | None = None
    bytes: int | None = None
    words: Words | None = None

    def __post_init__(self) -> None:
        given = (self.items, self.tokens, self.bytes)
        check(any(size is not None for size in given), "TooLarge() refuses nothing; set items=, tokens= or bytes=")

    def applies(self, exchange: Exchange) -> bool:
        """Return whether the request is too large."""
        return self._excess(exchange) is not None

    async def __call__(self, exchange: Exchange) -> None:
        """Refuse the request, or answer it."""
        excess = self._excess(exchange)
        if excess is None:
            await exchange.deliver()
            return
        words = self.words or ("openai" if exchange.request.layout == "openai" else "cohere")
        status, document = _WORDS[words](*excess)
        body = document if isinstance(document, str) else json.dumps(document)
        kind = "text/html" if isinstance(document, str) else "application/json"
        await exchange.say(body.encode(), status, {"Content-Type": kind})

    def _excess(self, exchange: Exchange) -> tuple[str, int, int] | None:
        sizes = {
            "inputs": (len(exchange.request.texts), self.items),
            "tokens": (exchange.answer.tokens, self.tokens),
            "bytes": (len(exchange.request.body), self.bytes),
        }
        over = ((what, size, most) for what, (size, most) in sizes.items() if most is not None and size > most)
        return next(over, None)


def _openai(what: str, size: int, most: int) -> _ErrorReply:
    if what == "tokens":
        code, message = "max_tokens_per_request", f"Requested {size} tokens, max {most} tokens per request"
        return 400, {"error": {"message": message, "type": code, "param": None, "code": code}}
    message = f"Invalid 'input': too long. At most {most} {what} are taken, but {size} were sent."
    fields = {"message": message, "type": "invalid_request_error", "param": "input", "code": "array_above_max_length"}
    return 400, {"error": fields}


def _voyage(what: str, size: int, most: int) -> _ErrorReply:
    if what == "tokens":
        return 400, {"detail": f"The max allowed tokens per submitted batch is {most}. Your batch has {size} tokens."}
    return 400, {"detail": f"The batch size limit is {most} {what}. Your batch size is {size}."}


def _mistral(what: str, size: int, most: int) -> _ErrorReply:
    if what == "tokens":
        message = f"Too many tokens in batch. Max is {most} got {size}"
        return 400, _flat(message, "invalid_request_error", None)
    return 400, _flat(f"Too many {what} in request, split into more batches.", "invalid_request_prompt", "3210")


def _flat(message: str, kind: str, code: str | None) -> dict[str, object]:
    return {"object": "error", "message": message, "type": kind, "param": None, "code": code}


_WORDS: Final[Mapping[Words, Callable[[str, int, int], _ErrorReply]]] = {
    "openai": _openai,
    "cohere": lambda what, size, most: (
        400,
        {"message": f"invalid request: the number of {what} in one request must be at most {most}; received {size}"},
    ),
    "voyage": _voyage,
    "mistral": _mistral,
    "tei": lambda what, size, most: (
        422,
        {"error": f"batch size {size} > maximum allowed batch size {most} ({what})", "error_type": "Validation"},
    ),
    "gemini": lambda what, _, most: (
        400,
        {"error": {"code": 400, "message": f"at most {most} {what} can be in one batch", "status": "INVALID_ARGUMENT"}},
    ),
    "llama.cpp": lambda *_: (
        500,
        {"error": {"code": 500, "message": "input is too large to process. increase the physical batch size"}},
    ),
    "proxy": lambda *_: (413, "<html><body><h1>413 Request Entity Too Large</h1></body></html>\n"),
}
