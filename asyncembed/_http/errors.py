"""What aiohttp raises, in our words; its errors can hold request headers, and so the key, and are never chained.

What an error answer blames: fields of the request, and texts by their position.

The body of an error answer: what it holds, whatever it is wrapped in.

Gateways put a byte order mark before the JSON, a list around it, or a string; some send a line of JSON for each error;
a body that repeats all texts is cut off where it gets too long. LiteLLM puts the error of the service behind it into
its own message, as JSON or as Python writes a dict.

Error answers of all providers, read by one tolerant extractor, as one value and as one of our exceptions.
"""

from __future__ import annotations

import asyncio
import codecs
import errno
import json
import re
import ssl
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import aiohttp
import orjson

from asyncembed._decide.signs import meaning_of
from asyncembed._decide.too_large import is_too_large_to_process
from asyncembed._exceptions import (
    TEXT_FIELDS,
    APIStatusError,
    AuthenticationError,
    EmbedTimeoutError,
    ErrorAnswer,
    InvalidInputError,
    ModelNotFoundError,
    QuotaExceededError,
    RateLimitError,
    ServerError,
    TransportError,
)
from asyncembed._http.headers import TOO_MUCH, asked_in_body, asked_in_headers, until_reset
from asyncembed._redaction import MAX_WORDS, without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from asyncembed._redaction import Secrets


_NEEDS_LOGIN: Final = 407

FAILURES: Final = (aiohttp.ClientError, OSError, ValueError, RuntimeError, asyncio.IncompleteReadError)
"""What aiohttp raises: RuntimeError for a session that is closed, ValueError for what cannot be sent."""

_KINDS: Final[Mapping[type, str]] = {
    aiohttp.ServerDisconnectedError: "the server closed the connection",
    aiohttp.ClientPayloadError: "the response broke off",
}


_AGAIN_LATER: Final = frozenset({408, 425, 429})
"""Refusals of a proxy that may be over soon, besides those with 5xx."""


def timeout_error(error: TimeoutError, words: str, way: str = "") -> TransportError:
    """Say that it took too long: to connect, or `words` where it was something else."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return EmbedTimeoutError(f"the connection took too long{way}", phase="connect")
    return EmbedTimeoutError(f"{words}{way}", phase="answer")


def proxy_error(status: int, reason: str, way: str = "") -> TransportError:
    """Say that a proxy does not let a request through; what it says of login and rules holds for every request."""
    hint = "; the variable needs user:password@ before the host" if status == _NEEDS_LOGIN and way else ""
    retryable = status >= 500 or status in _AGAIN_LATER  # noqa: PLR2004
    return TransportError(f"the proxy refused: {status} {reason}".rstrip() + way + hint, retryable=retryable)


def transport_error(error: Exception, secrets: Secrets, way: str = "", trust: str = "") -> TransportError:
    """Say in our words what went wrong on the way to the server or back.

    Args:
        error: What aiohttp has raised.
        secrets: Keys, to be blotted out.
        way: Where the request was sent, in brackets; may be empty.
        trust: What to say where a certificate is not believed.
    """
    if isinstance(error, TransportError):  # of our own making: a time-out is an OSError, too
        return error
    words = secrets.redact(str(error) or type(error).__name__)
    if isinstance(error, ssl.SSLError | aiohttp.ClientSSLError):
        return _tls_error(error, words, way, trust)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return proxy_error(error.status, secrets.redact(error.message), way)
    if isinstance(error, ValueError | RuntimeError):  # aiohttp's InvalidURL is a ValueError
        return TransportError(f"the request cannot be sent: {words}{way}", retryable=False)
    if isinstance(error, OSError) and (isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT):
        phase: Literal["connect", "body"] = "connect" if isinstance(error, aiohttp.ClientConnectorError) else "body"
        return EmbedTimeoutError(f"the connection failed: {words}{way}", phase=phase)
    said = _KINDS.get(type(error)) or f"the connection failed: {words}"
    if isinstance(error, aiohttp.ClientResponseError):
        said = f"the answer is not HTTP: {secrets.redact(error.message)}"
    return TransportError(f"{said}{way}")


def _tls_error(error: Exception, words: str, way: str, trust: str) -> TransportError:
    is_certificate = isinstance(error, ssl.SSLCertVerificationError | aiohttp.ClientConnectorCertificateError)
    advice = f"; {trust}" if trust and is_certificate else ""
    return TransportError(f"TLS failed: {words}{way}{advice}", retryable=not isinstance(error, aiohttp.ClientSSLError))


MAX_NAMED: Final = 100
"""Fields and positions that are kept."""

_NO_FIELDS: Final = frozenset({
    "attributes", "body", "data", "header", "headers", "options", "parameters", "params", "query", "root"
})  # fmt: skip
_AROUND: Final = _NO_FIELDS | {"instances", "requests"}
"""Objects that fields stand in."""

_STEP: Final = r"[A-Za-z_][\w-]*|\d{1,9}"
_PLAIN_STEP: Final = r"[\w.$/#-]+(?:\[\d+\][\w.]*)*"
"""A step that is a name; others are the types between which pydantic had to choose, as "list[str]"."""

# Compiled, and kept by `re`, when they are first needed: few programs meet such an error, and it takes a while.
_PATH: Final = (
    r"(?i)(?<![\w.-])(?:\$\.|#/|body\.|\w{0,60}request\.)?((?:inputs?|texts?|contents?|requests|instances|documents?|prompts?)"
    r"(?: ?\[\d{1,6}\]|[./]\d{1,6}\b)[\w.\[\]/]{0,200})"
)
_FAULT_IN_REPR: Final = r"""['"]loc['"]\s*:\s*[\[(]([^\])]{1,200})[\])]"""
_FAULT_IN_LINES: Final = r"validation errors? for [\w.\[\]]+\s*\n([\w.-]{1,200})\s*\n"
_PATHS: Final = (_PATH, _FAULT_IN_REPR, _FAULT_IN_LINES)

_ONE: Final = (
    "(?:input|text|item|element|document|string|example|sentence|prompt|instance|passage|chunk|entry|row|query)"
)
_GOES_ON: Final = "(?:is|has|was|had|contains?|cannot|could|must|exceeds|failed|of|in)"
_PLACES: Final = (
    rf"(?i)\b{_ONE}s? ?\[(\d{{1,6}})\](?!\w)",
    rf"(?i)\b{_ONE}s? (?:at |with |in )?(?:the )?(?:index|position|place)(?: of)?:? #?(\d{{1,6}})\b(?!\.\d)",
    rf"(?i)\b(?:index|position) #?(\d{{1,6}}) (?:of|in) (?:the |your )?(?:{_ONE}s?|batch|request)\b",
    rf"(?i)\b{_ONE} (?:number |no\.? ?)?#(\d{{1,6}})\b",
    rf"(?i)\b{_ONE} id (\d{{1,6}}) has\b",
    rf"(?i)\b{_ONE} (\d{{1,6}})(?= ?(?:[:;)]|$)|[.,](?!\d)| {_GOES_ON}\b(?! \d))",
)
"""What names the position of a text in words; a number of tokens or texts must not look like one."""


def blamed(documents: Iterable[Mapping[str, object]], message: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the fields that an error blames, and the positions of the texts that it names.

    Args:
        documents: The error, and the one that its message quotes; empty where there is none.
        message: The words.
    """
    fields: dict[str, None] = {}
    positions: set[int] = set()
    for steps in (*chain.from_iterable(map(_in_document, documents)), *_in_words(message)):
        names = [step for step in steps if not step.isdigit()]
        while len(names) > 1 and (names[0] in _AROUND or _is_type(names[0])):
            names.pop(0)
        if names and names[0] not in _NO_FIELDS:
            fields[names[0]] = None
            if names[0].lower() in TEXT_FIELDS:
                positions.update([int(step) for step in steps if step.isdigit()][:1])
    if not positions:
        positions.update(int(found) for pattern in _PLACES for found in re.findall(pattern, message))
    return tuple(fields)[:MAX_NAMED], tuple(sorted(positions)[:MAX_NAMED])


def _in_document(document: Mapping[str, object]) -> Iterator[list[str]]:
    """Return each place in the request that fields of the error name, as the steps on the way to it."""
    for holder in (document.get("error"), document):
        if not isinstance(holder, dict):
            continue
        yield _steps(holder.get("param"))  # OpenAI
        for fault in _items(holder.get("detail")):
            yield _steps(fault.get("loc"))  # FastAPI
        for detail in _items(holder.get("details")):
            for violation in _items(detail.get("fieldViolations")):
                yield _steps(violation.get("field"))  # Google
        faults = holder.get("errors")
        for fault in _items(faults):
            yield _steps(fault.get("loc") or fault.get("field") or fault.get("param"))
        for name in faults if isinstance(faults, dict) else ():  # ASP.NET: lists of words, by field
            yield _steps(name)


def _in_words(message: str) -> Iterator[list[str]]:
    for pattern in _PATHS:
        for found in re.findall(pattern, message):
            yield re.findall(_STEP, found)


def _is_type(name: str) -> bool:
    """Whether a step is the name of a type, such as "TextInput", and not of a field."""
    return name[:1].isupper() and name.lower() not in TEXT_FIELDS


def _items(value: object) -> list[Mapping[str, object]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _steps(place: object) -> list[str]:
    parts = [str(part) for part in (place if isinstance(place, list) else [place]) if isinstance(part, str | int)]
    parts = [part for part in parts if re.fullmatch(_PLAIN_STEP, part) and part not in {"None", "null"}]
    return [step for part in parts for step in re.findall(_STEP, part)]


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


MAX_CODE: Final = 100
"""Characters of an error code, a field's name or a request id that are kept."""

MAX_CODES: Final = 20

MAX_MESSAGE: Final = 2_000
"""Characters of a message that decisions are made by; the exception shows fewer."""

_MOST_LOOKED_AT: Final = 16_000
"""Characters of a message in which the error of another service is looked for."""

_ERRORS: Final[Mapping[int, type[APIStatusError]]] = {
    400: InvalidInputError,
    401: AuthenticationError,
    402: QuotaExceededError,
    403: AuthenticationError,
    404: ModelNotFoundError,
    413: InvalidInputError,
    422: InvalidInputError,
    429: RateLimitError,
}
_UNAUTHORIZED: Final = frozenset({401, 403})
_NOT_FOUND: Final = 404
_QUOTA_CODES: Final = frozenset({"insufficient_quota", "AUTHZ_INSUFFICIENT_BALANCE"})
_REQUEST_ID_HEADERS: Final = (
    "x-request-id", "x-debug-trace-id", "apim-request-id", "mistral-correlation-id", "x-amzn-requestid",
)  # fmt: skip

_REQUEST_ID_FIELDS: Final = ("request_id", "requestId", "id")

_WORDS: Final = (
    "error", "message", "detail", "error_description", "msg", "errors", "errorMessage", "error_message", "Message",
    "title", "fault", "faultstring", "status_msg", "base_resp", "description", "reason",
)  # fmt: skip
"""Where the words of an error are, at every depth; the first that has some is taken."""

_REASONS: Final = frozenset({
    "bad request", "conflict", "forbidden", "gateway timeout", "internal server error", "not found", "payment required",
    "service unavailable", "too many requests", "unauthorized", "unprocessable entity",
})  # fmt: skip
"""What a status is called; taken for the words of an error where it has no others."""

_CODES: Final = (
    ("error", "code"), ("error", "type"), ("code",), ("error_type",), ("type",), ("error", "status"), ("error_code",),
    ("errorCode",), ("Code",), ("detail", "code"), ("detail", "type"), ("error", "error_type"),
    ("fault", "detail", "errorcode"), ("base_resp", "status_code"),
)  # fmt: skip
_NO_CODES: Final = frozenset({"", "None", "null", "about:blank"})
_MOST_DEPTH: Final = 5


def status_error(
    provider: str,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    secrets: Secrets,
    *,
    advice: str = "",
    where: str | None = None,
) -> APIStatusError:
    """Build the exception for an error answer.

    Args:
        provider: Name of the provider, for the message.
        status: HTTP status.
        headers: Response headers, looked up without regard to case.
        body: The first bytes of the body, in any form a provider or a proxy uses.
        secrets: Keys, which some services repeat; they are blotted out of everything that is kept.
        advice: What to say besides, if the API wants a key.
        where: The address that was asked, without secrets, if that is not the provider's own.
    """
    answer = read_answer(status, headers, body, secrets)
    words = answer.provider_message[:MAX_WORDS]
    request = f" (request {answer.request_id})" if answer.request_id else ""
    is_address = meaning_of(answer) == "address"
    notes = [
        _redirect(headers, secrets) if 300 <= status < 400 else "",  # noqa: PLR2004
        advice if status in _UNAUTHORIZED else "",
        "is base_url= right?" if where and is_address else "",
    ]
    asked = f" at {where}" if where else ""
    return _kind_of(answer, is_address=is_address)(
        "; ".join(filter(None, (f"{provider}{asked} answered {status}: {words or 'no message'}{request}", *notes))),
        status=status,
        code=answer.code,
        request_id=answer.request_id,
        retry_after=answer.retry_after,
        provider_message=words,
        answer=answer,
    )


def _redirect(headers: Mapping[str, str], secrets: Secrets) -> str:
    """Say where a redirect leads, which is not followed, because the key would go there."""
    location = headers.get("location", "")
    try:
        target = secrets.redact(" ".join(without_secrets(location).split()), MAX_WORDS)
    except ValueError:
        target = ""
    return f"it redirects to {target}, and redirects are not followed" if target else "it redirects without a Location"


def read_answer(status: int, headers: Mapping[str, str], body: bytes, secrets: Secrets) -> ErrorAnswer:
    """Return all facts that an error answer holds; see `status_error` for the arguments."""
    found = read_body(body)
    words = _words(found.document) or (found.is_html and title_of(found.text)) or found.text
    another = another_inside(words[:_MOST_LOOKED_AT])
    if another and words[:1] in {"{", "["}:
        words = _words(another) or words
    words = secrets.redact(_with_violations(found.document, words), MAX_MESSAGE)
    documents = (found.document, another)
    codes = [*_codes(found.document), *_codes(another), *_codes_in(headers)]
    fields, positions = blamed(documents, words)
    named = [str(value) for name in _REQUEST_ID_FIELDS if isinstance(value := found.document.get(name), str | int)]
    asked = asked_in_headers(headers)
    if asked is None and status in TOO_MUCH:
        resets = until_reset(headers)
        asked = asked_in_body(found.document, words) if resets is None else resets
    return ErrorAnswer(
        status=status,
        codes=tuple(dict.fromkeys(secrets.redact(code, MAX_CODE) for code in codes))[:MAX_CODES],
        provider_message=words,
        fields=tuple(dict.fromkeys(secrets.redact(field, MAX_CODE) for field in fields)),
        positions=positions,
        is_api_form=bool(_words(found.document)) or any(_codes(found.document)),
        is_html=found.is_html,
        request_id=request_id_in(headers, secrets) or ((secrets.redact(named[0], MAX_CODE) or None) if named else None),
        retry_after=asked,
        should_retry={"true": True, "false": False}.get(headers.get("x-should-retry", "").lower()),
    )


def request_id_in(headers: Mapping[str, str], secrets: Secrets) -> str | None:
    """Return the provider's id of the request, if the headers of its answer tell one."""
    named = next((headers[name] for name in _REQUEST_ID_HEADERS if name in headers), "")
    return secrets.redact(named, MAX_CODE) or None


def _kind_of(answer: ErrorAnswer, *, is_address: bool) -> type[APIStatusError]:
    if answer.status == _NOT_FOUND and is_address:
        return APIStatusError
    kind = _ERRORS.get(answer.status, ServerError if answer.status >= 500 else APIStatusError)  # noqa: PLR2004
    if not _QUOTA_CODES.isdisjoint(answer.codes):
        return QuotaExceededError
    if is_too_large_to_process(answer.provider_message):
        return InvalidInputError
    # If no text is to blame, every request would be refused.
    return APIStatusError if kind is InvalidInputError and answer.blames_no_text else kind


def _words(document: Document) -> str:
    """Return the words of an error: a sentence if there is one, else what there is."""
    found = list(_all_words(document))
    sentences = (words for words in found if " " in words and not _is_reason(words))
    others = (words for words in found if not _is_reason(words))
    return next(sentences, None) or next(others, None) or next(iter(found), "")


def _is_reason(words: str) -> bool:
    return words.strip(" .!").lower() in _REASONS


def _all_words(value: object, depth: int = 0) -> Iterator[str]:
    if isinstance(value, str) and value.strip():
        yield _joined(value)
    if isinstance(value, list) and depth < _MOST_DEPTH:
        for item in value[:_MOST_DEPTH]:
            yield from _all_words(item, depth + 1)
    if not isinstance(value, dict) or depth >= _MOST_DEPTH:
        return
    if isinstance(value.get("msg"), str) and isinstance(place := value.get("loc"), list) and place:
        yield _joined(f"{'.'.join(str(step) for step in place if isinstance(step, str | int))}: {value['msg']}")
    if isinstance(faults := value.get("detail"), list):  # FastAPI says most there
        yield from _all_words(faults, depth + 1)
    if isinstance(faults := value.get("errors"), dict):  # ASP.NET too
        for name, words in faults.items():
            yield from (_joined(f"{name}: {word}") for word in _all_words(words, depth + 1))
    for name in _WORDS:
        yield from _all_words(value.get(name), depth + 1)


def _joined(words: str) -> str:
    """Return words in which both halves of surrogate pairs are joined, and half ones replaced."""
    return words.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _with_violations(document: Document, words: str) -> str:
    """Return the words, and what Google says of each field that it blames, where they do not say it."""
    error = document.get("error")
    details = error.get("details") if isinstance(error, dict) else None
    for detail in details if isinstance(details, list) else ():
        violations = detail.get("fieldViolations") if isinstance(detail, dict) else None
        for violation in violations[:_MOST_DEPTH] if isinstance(violations, list) else ():
            if isinstance(violation, dict) and isinstance(said := violation.get("description"), str):
                field = violation.get("field")
                words += "" if said in words or not isinstance(field, str) else _joined(f" ({field}: {said})")
    return words


def _codes(document: Document) -> Iterator[str]:
    """Return every code, type and reason that an error names."""
    for path in _CODES:
        value: object = document
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        yield from _code(value)
    error = document.get("error")
    for holder in (error, document):
        if not isinstance(holder, dict):
            continue
        for name, inner in (("details", "reason"), ("errors", "code"), ("errors", "reason")):
            items = holder.get(name)
            for item in items if isinstance(items, list) else ():
                yield from _code(item.get(inner) if isinstance(item, dict) else None)
                yield from _violated(item)
        amazon = holder.get("__type")
        yield from _code(amazon.rpartition("#")[2] if isinstance(amazon, str) else None)
    if isinstance(error, str) and " " not in error and "error_description" in document:  # OAuth
        yield from _code(error)


def _violated(detail: object) -> Iterator[str]:
    """Return the names of the quotas that Google says are used up."""
    violations = detail.get("violations") if isinstance(detail, dict) else None
    for violation in violations if isinstance(violations, list) else ():
        yield from _code(violation.get("quotaId") if isinstance(violation, dict) else None)


def _code(value: object) -> Iterator[str]:
    if isinstance(value, str | int) and not isinstance(value, bool) and (code := str(value)) not in _NO_CODES:
        yield _joined(code)


def _codes_in(headers: Mapping[str, str]) -> Iterator[str]:
    """Return the code that Amazon puts into a header, without the address behind it."""
    yield from _code(headers.get("x-amzn-errortype", "").partition(":")[0])
