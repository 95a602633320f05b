"""Turns error answers of any provider or proxy into exceptions of this package. Pure: no I/O.

`read_answer` extracts the facts of an error answer from its status, headers and body: message, codes, the blamed
request fields, the positions of the blamed texts, and the wait that it asks for. `status_error` makes an exception.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncembed._decide.retry import OVERLOAD_STATUSES
from asyncembed._decide.signs import meaning_of
from asyncembed._decide.too_large import is_too_large_to_process
from asyncembed._exceptions import (
    APIStatusError,
    AuthenticationError,
    ErrorAnswer,
    InvalidInputError,
    ModelNotFoundError,
    QuotaExceededError,
    RateLimitError,
    ServerError,
)
from asyncembed._http.blamed_fields import blamed
from asyncembed._http.error_body import quoted_error, read_body, title_of
from asyncembed._http.headers import until_reset, wait_in_body, wait_in_headers
from asyncembed._redaction import MAX_WORDS, without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from asyncembed._http.error_body import Document
    from asyncembed._redaction import Secrets


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
    url: str = "",
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
        url: Address of the request, to which the target of a redirect may be relative.
    """
    answer = read_answer(status, headers, body, secrets)
    words = answer.provider_message[:MAX_WORDS]
    request = f" (request {answer.request_id})" if answer.request_id else ""
    is_address = meaning_of(answer) == "address"
    notes = [
        _redirect(url, headers, secrets) if 300 <= status < 400 else "",  # noqa: PLR2004
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


def _redirect(url: str, headers: Mapping[str, str], secrets: Secrets) -> str:
    """Describe the target of a redirect. The client never follows one, as it would send the key there."""
    location = headers.get("location", "").strip()
    if not location:
        return "it redirects without a Location"
    try:
        target = without_secrets(location, base=url)
    except ValueError:
        return "it redirects to an invalid Location"
    shown = secrets.redact(" ".join(target.split()), MAX_WORDS)
    return f"it redirects to {shown}, which the client does not follow"


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
    if wait is None and status in OVERLOAD_STATUSES:  # with others, the body and the reset of a limit are no wait
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
