"""Error answers of all providers, read by one tolerant extractor, as one value and as one of our exceptions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncembed._answer import ErrorAnswer
from asyncembed._decide.excess import is_too_large_to_process
from asyncembed._decide.signs import meaning_of
from asyncembed._errors import (
    APIStatusError,
    AuthenticationError,
    InvalidInputError,
    ModelNotFoundError,
    QuotaExceededError,
    RateLimitError,
    ServerError,
)
from asyncembed._secret import without_secrets
from asyncembed.wire._blamed import blamed
from asyncembed.wire._error_body import another_inside, read_body, title_of
from asyncembed.wire._hints import TOO_MUCH, asked_in_body, asked_in_headers, until_reset
from asyncembed.wire._secrets import MAX_WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from asyncembed.wire._error_body import Document
    from asyncembed.wire._secrets import Secrets

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
        target = secrets.blot(" ".join(without_secrets(location).split()), MAX_WORDS)
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
    words = secrets.blot(_with_violations(found.document, words), MAX_MESSAGE)
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
        codes=tuple(dict.fromkeys(secrets.blot(code, MAX_CODE) for code in codes))[:MAX_CODES],
        provider_message=words,
        fields=tuple(dict.fromkeys(secrets.blot(field, MAX_CODE) for field in fields)),
        positions=positions,
        is_api_form=bool(_words(found.document)) or any(_codes(found.document)),
        is_html=found.is_html,
        request_id=request_id_in(headers, secrets) or ((secrets.blot(named[0], MAX_CODE) or None) if named else None),
        retry_after=asked,
        should_retry={"true": True, "false": False}.get(headers.get("x-should-retry", "").lower()),
    )


def request_id_in(headers: Mapping[str, str], secrets: Secrets) -> str | None:
    """Return the provider's id of the request, if the headers of its answer tell one."""
    named = next((headers[name] for name in _REQUEST_ID_HEADERS if name in headers), "")
    return secrets.blot(named, MAX_CODE) or None


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
