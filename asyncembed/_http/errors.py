"""Turns failures of aiohttp, and error answers of any provider or proxy, into exceptions of this package.

- `transport_error` and its siblings translate exceptions of aiohttp. These can hold request headers, and so the key;
  they are never chained.
- `read_answer` extracts the facts of an error answer from its status, headers and body: message, codes, the blamed
  request fields, the positions of the blamed texts, and the wait that it asks for. `status_error` makes an exception.

The extractor is tolerant, as the formats differ. Gateways put a byte order mark before the JSON, or wrap it into a list
or a string. Some send one line of JSON per error. A body that repeats all texts may be truncated. LiteLLM quotes the
error of the service behind it in its own message, as JSON or as the repr of a Python dict.
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
from asyncembed._http.headers import OVERLOADED, until_reset, wait_in_body, wait_in_headers
from asyncembed._redaction import MAX_WORDS, without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from asyncembed._redaction import Secrets


_NEEDS_LOGIN: Final = 407

FAILURES: Final = (aiohttp.ClientError, OSError, ValueError, RuntimeError, asyncio.IncompleteReadError)
"""Exceptions of aiohttp: RuntimeError for a closed session, ValueError for a request that cannot be sent."""

_KINDS: Final[Mapping[type, str]] = {
    aiohttp.ServerDisconnectedError: "the server closed the connection",
    aiohttp.ClientPayloadError: "the response broke off",
}


_RETRYABLE_PROXY_STATUSES: Final = frozenset({408, 425, 429})
"""Transient refusals of a proxy, in addition to every 5xx."""


def timeout_error(error: TimeoutError, message: str, route: str = "") -> TransportError:
    """Return the exception for a time-out: of the connection, or with `message` for any other."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return EmbedTimeoutError(f"connecting took too long{route}", phase="connect")
    return EmbedTimeoutError(f"{message}{route}", phase="answer")


def proxy_error(status: int, reason: str, route: str = "") -> TransportError:
    """Return the exception for a request that a proxy refused. A missing login or a rule would stop every request."""
    hint = "; the variable needs user:password@ before the host" if status == _NEEDS_LOGIN and route else ""
    retryable = status >= 500 or status in _RETRYABLE_PROXY_STATUSES  # noqa: PLR2004
    return TransportError(f"the proxy refused: {status} {reason}".rstrip() + route + hint, retryable=retryable)


def transport_error(error: Exception, secrets: Secrets, route: str = "", tls_advice: str = "") -> TransportError:
    """Return the exception for a failure on the way to the server or back.

    Args:
        error: The exception of aiohttp.
        secrets: Keys to redact.
        route: Address and proxy of the request, in brackets; may be empty.
        tls_advice: What to add if a certificate is not trusted.
    """
    if isinstance(error, TransportError):  # our own time-out, which is an OSError too
        return error
    words = secrets.redact(str(error) or type(error).__name__)
    if isinstance(error, ssl.SSLError | aiohttp.ClientSSLError):
        return _tls_error(error, words, route, tls_advice)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return proxy_error(error.status, secrets.redact(error.message), route)
    if isinstance(error, ValueError | RuntimeError):  # aiohttp's InvalidURL is a ValueError
        return TransportError(f"the request cannot be sent: {words}{route}", retryable=False)
    if isinstance(error, OSError) and (isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT):
        phase: Literal["connect", "body"] = "connect" if isinstance(error, aiohttp.ClientConnectorError) else "body"
        return EmbedTimeoutError(f"the connection failed: {words}{route}", phase=phase)
    message = _KINDS.get(type(error)) or f"the connection failed: {words}"
    if isinstance(error, aiohttp.ClientResponseError):
        message = f"the response is not valid HTTP: {secrets.redact(error.message)}"
    return TransportError(f"{message}{route}")


def _tls_error(error: Exception, words: str, route: str, advice: str) -> TransportError:
    is_certificate = isinstance(error, ssl.SSLCertVerificationError | aiohttp.ClientConnectorCertificateError)
    advice = f"; {advice}" if advice and is_certificate else ""
    return TransportError(
        f"TLS failed: {words}{route}{advice}", retryable=not isinstance(error, aiohttp.ClientSSLError)
    )


MAX_NAMED: Final = 100
"""Maximum number of blamed fields and of blamed positions."""

_NO_FIELDS: Final = frozenset({
    "attributes", "body", "data", "header", "headers", "options", "parameters", "params", "query", "root"
})  # fmt: skip
_CONTAINERS: Final = _NO_FIELDS | {"instances", "requests"}
"""Objects that contain the fields."""

_STEP: Final = r"[A-Za-z_][\w-]*|\d{1,9}"
_PLAIN_STEP: Final = r"[\w.$/#-]+(?:\[\d+\][\w.]*)*"
"""A step that is a name or index. Pydantic also writes the member of a union, such as "list[str]"."""

# Strings, which `re` compiles and caches on first use: compiling is slow, and few programs meet such an error.
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
_VERB: Final = "(?:is|has|was|had|contains?|cannot|could|must|exceeds|failed|of|in)"
_POSITIONS: Final = (
    rf"(?i)\b{_ONE}s? ?\[(\d{{1,6}})\](?!\w)",
    rf"(?i)\b{_ONE}s? (?:at |with |in )?(?:the )?(?:index|position|place)(?: of)?:? #?(\d{{1,6}})\b(?!\.\d)",
    rf"(?i)\b(?:index|position) #?(\d{{1,6}}) (?:of|in) (?:the |your )?(?:{_ONE}s?|batch|request)\b",
    rf"(?i)\b{_ONE} (?:number |no\.? ?)?#(\d{{1,6}})\b",
    rf"(?i)\b{_ONE} id (\d{{1,6}}) has\b",
    rf"(?i)\b{_ONE} (\d{{1,6}})(?= ?(?:[:;)]|$)|[.,](?!\d)| {_VERB}\b(?! \d))",
)
"""Phrases that name the position of a text. A count of tokens or texts must not match."""


def blamed(documents: Iterable[Mapping[str, object]], message: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the request fields that an error blames, and the positions of the texts that it names.

    Args:
        documents: The error document, and the one that its message quotes; either may be empty.
        message: The message.
    """
    fields: dict[str, None] = {}
    positions: set[int] = set()
    for steps in (*chain.from_iterable(map(_in_document, documents)), *_in_words(message)):
        names = [step for step in steps if not step.isdigit()]
        while len(names) > 1 and (names[0] in _CONTAINERS or _is_type(names[0])):
            names.pop(0)
        if names and names[0] not in _NO_FIELDS:
            fields[names[0]] = None
            if names[0].lower() in TEXT_FIELDS:
                positions.update([int(step) for step in steps if step.isdigit()][:1])
    if not positions:
        positions.update(int(found) for pattern in _POSITIONS for found in re.findall(pattern, message))
    return tuple(fields)[:MAX_NAMED], tuple(sorted(positions)[:MAX_NAMED])


def _in_document(document: Mapping[str, object]) -> Iterator[list[str]]:
    """Yield each path in the request that a field of the error names, as a list of steps."""
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
        for name in faults if isinstance(faults, dict) else ():  # ASP.NET: lists of messages, by field
            yield _steps(name)


def _in_words(message: str) -> Iterator[list[str]]:
    for pattern in _PATHS:
        for found in re.findall(pattern, message):
            yield re.findall(_STEP, found)


def _is_type(name: str) -> bool:
    """Whether a step is the name of a type, such as "TextInput", rather than a field."""
    return name[:1].isupper() and name.lower() not in TEXT_FIELDS


def _items(value: object) -> list[Mapping[str, object]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _steps(place: object) -> list[str]:
    parts = [str(part) for part in (place if isinstance(place, list) else [place]) if isinstance(part, str | int)]
    parts = [part for part in parts if re.fullmatch(_PLAIN_STEP, part) and part not in {"None", "null"}]
    return [step for part in parts for step in re.findall(_STEP, part)]


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


MAX_CODE: Final = 100
"""Maximum characters of an error code, a field name or a request id."""

MAX_CODES: Final = 20

MAX_MESSAGE: Final = 2_000
"""Maximum characters of a message in an `ErrorAnswer`. The exception shows fewer."""

_MAX_SEARCHED: Final = 16_000
"""Maximum characters of a message in which `quoted_error` searches."""

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
"""Fields that hold the message of an error, at every depth, by priority."""

_REASON_PHRASES: Final = frozenset({
    "bad request", "conflict", "forbidden", "gateway timeout", "internal server error", "not found", "payment required",
    "service unavailable", "too many requests", "unauthorized", "unprocessable entity",
})  # fmt: skip
"""Names of statuses. They serve as the message only if there is no other."""

_CODES: Final = (
    ("error", "code"), ("error", "type"), ("code",), ("error_type",), ("type",), ("error", "status"), ("error_code",),
    ("errorCode",), ("Code",), ("detail", "code"), ("detail", "type"), ("error", "error_type"),
    ("fault", "detail", "errorcode"), ("base_resp", "status_code"),
)  # fmt: skip
_NO_CODES: Final = frozenset({"", "None", "null", "about:blank"})
_MAX_DEPTH: Final = 5


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
        headers: Response headers, a case-insensitive mapping.
        body: The first bytes of the body, in any form.
        secrets: Keys to redact everywhere, as some services repeat them.
        advice: What to add if the API refuses the key.
        where: Address of the request, without secrets, if it is not the provider's own.
    """
    answer = read_answer(status, headers, body, secrets)
    words = answer.provider_message[:MAX_WORDS]
    request = f" (request {answer.request_id})" if answer.request_id else ""
    is_address = meaning_of(answer) == "address"
    notes = [
        _redirect(headers, secrets) if 300 <= status < 400 else "",  # noqa: PLR2004
        advice if status in _UNAUTHORIZED else "",
        "check base_url=" if where and is_address else "",
    ]
    at = f" at {where}" if where else ""
    return _kind_of(answer, is_address=is_address)(
        "; ".join(filter(None, (f"{provider}{at} answered {status}: {words or 'no message'}{request}", *notes))),
        status=status,
        code=answer.code,
        request_id=answer.request_id,
        retry_after=answer.retry_after,
        provider_message=words,
        answer=answer,
    )


def _redirect(headers: Mapping[str, str], secrets: Secrets) -> str:
    """Describe the target of a redirect. The client never follows one, as it would send the key there."""
    location = headers.get("location", "")
    try:
        target = secrets.redact(" ".join(without_secrets(location).split()), MAX_WORDS)
    except ValueError:
        target = ""
    return (
        f"it redirects to {target}, which the client does not follow" if target else "it redirects without a Location"
    )


def read_answer(status: int, headers: Mapping[str, str], body: bytes, secrets: Secrets) -> ErrorAnswer:
    """Return all facts of an error answer. See `status_error` for the arguments."""
    found = read_body(body)
    words = _words(found.document) or (title_of(found.text) if found.is_html else "") or found.text
    quoted = quoted_error(words[:_MAX_SEARCHED])
    if quoted and words[:1] in {"{", "["}:
        words = _words(quoted) or words
    words = secrets.redact(_with_violations(found.document, words), MAX_MESSAGE)
    codes = [*_codes(found.document), *_codes(quoted), *_codes_in(headers)]
    fields, positions = blamed((found.document, quoted), words)
    ids = [str(value) for name in _REQUEST_ID_FIELDS if isinstance(value := found.document.get(name), str | int)]
    wait = wait_in_headers(headers)
    if wait is None and status in OVERLOADED:
        resets = until_reset(headers)
        wait = wait_in_body(found.document, words) if resets is None else resets
    return ErrorAnswer(
        status=status,
        codes=tuple(dict.fromkeys(secrets.redact(code, MAX_CODE) for code in codes))[:MAX_CODES],
        provider_message=words,
        fields=tuple(dict.fromkeys(secrets.redact(field, MAX_CODE) for field in fields)),
        positions=positions,
        is_api_form=bool(_words(found.document)) or any(_codes(found.document)),
        is_html=found.is_html,
        request_id=request_id_in(headers, secrets) or secrets.redact(next(iter(ids), ""), MAX_CODE) or None,
        retry_after=wait,
        should_retry={"true": True, "false": False}.get(headers.get("x-should-retry", "").lower()),
    )


def request_id_in(headers: Mapping[str, str], secrets: Secrets) -> str | None:
    """Return the provider's id of the request; None if the response headers name none."""
    request_id = next((headers[name] for name in _REQUEST_ID_HEADERS if name in headers), "")
    return secrets.redact(request_id, MAX_CODE) or None


def _kind_of(answer: ErrorAnswer, *, is_address: bool) -> type[APIStatusError]:
    if answer.status == _NOT_FOUND and is_address:
        return APIStatusError
    kind = _ERRORS.get(answer.status, ServerError if answer.status >= 500 else APIStatusError)  # noqa: PLR2004
    if not _QUOTA_CODES.isdisjoint(answer.codes):
        return QuotaExceededError
    if is_too_large_to_process(answer.provider_message):
        return InvalidInputError
    # `InvalidInputError` would blame the texts.
    return APIStatusError if kind is InvalidInputError and answer.blames_no_text else kind


def _words(document: Document) -> str:
    """Return the message of an error: the first sentence, or else the first other string."""
    found = list(_all_words(document))
    sentences = (words for words in found if " " in words and not _is_reason_phrase(words))
    others = (words for words in found if not _is_reason_phrase(words))
    return next(sentences, None) or next(others, None) or next(iter(found), "")


def _is_reason_phrase(words: str) -> bool:
    return words.strip(" .!").lower() in _REASON_PHRASES


def _all_words(value: object, depth: int = 0) -> Iterator[str]:
    if isinstance(value, str) and value.strip():
        yield _joined(value)
    if isinstance(value, list) and depth < _MAX_DEPTH:
        for item in value[:_MAX_DEPTH]:
            yield from _all_words(item, depth + 1)
    if not isinstance(value, dict) or depth >= _MAX_DEPTH:
        return
    if isinstance(value.get("msg"), str) and isinstance(path := value.get("loc"), list) and path:
        yield _joined(f"{'.'.join(str(step) for step in path if isinstance(step, str | int))}: {value['msg']}")
    if isinstance(faults := value.get("detail"), list):  # FastAPI's details come first
        yield from _all_words(faults, depth + 1)
    if isinstance(faults := value.get("errors"), dict):  # so do those of ASP.NET
        for name, words in faults.items():
            yield from (_joined(f"{name}: {word}") for word in _all_words(words, depth + 1))
    for name in _WORDS:
        yield from _all_words(value.get(name), depth + 1)


def _joined(words: str) -> str:
    """Join surrogate pairs into characters, and replace lone surrogates."""
    return words.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _with_violations(document: Document, words: str) -> str:
    """Add Google's description of each blamed field to a message that does not contain it."""
    error = document.get("error")
    details = error.get("details") if isinstance(error, dict) else None
    for detail in details if isinstance(details, list) else ():
        violations = detail.get("fieldViolations") if isinstance(detail, dict) else None
        for violation in violations[:_MAX_DEPTH] if isinstance(violations, list) else ():
            if isinstance(violation, dict) and isinstance(text := violation.get("description"), str):
                field = violation.get("field")
                words += "" if text in words or not isinstance(field, str) else _joined(f" ({field}: {text})")
    return words


def _codes(document: Document) -> Iterator[str]:
    """Yield every code, type and reason that an error names."""
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
    """Yield the ids of Google's exceeded quotas."""
    violations = detail.get("violations") if isinstance(detail, dict) else None
    for violation in violations if isinstance(violations, list) else ():
        yield from _code(violation.get("quotaId") if isinstance(violation, dict) else None)


def _code(value: object) -> Iterator[str]:
    if isinstance(value, str | int) and not isinstance(value, bool) and (code := str(value)) not in _NO_CODES:
        yield _joined(code)


def _codes_in(headers: Mapping[str, str]) -> Iterator[str]:
    """Yield the code that Amazon sends in a header, without the address behind it."""
    yield from _code(headers.get("x-amzn-errortype", "").partition(":")[0])
