"""Error answers of all providers, read by one tolerant extractor, as one of our exceptions."""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

import orjson

from asyncembed._errors import (
    APIStatusError,
    AuthenticationError,
    InvalidInputError,
    ModelNotFoundError,
    QuotaExceededError,
    RateLimitError,
    ServerError,
)
from asyncembed.wire._excess import TOO_LARGE_TO_PROCESS
from asyncembed.wire._hints import asked_in_words, duration, number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncembed.wire._secrets import Secrets

MAX_CODE: Final = 100
"""Characters of an error code or a request id that are kept."""

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
_TOO_MUCH: Final = frozenset({429, 503})
"""Statuses whose body may say how long to wait, where no header does."""

_QUOTA_CODES: Final = frozenset({"insufficient_quota", "AUTHZ_INSUFFICIENT_BALANCE"})
_TEXT_FIELDS: Final = frozenset({"input", "inputs", "texts", "text", "content", "contents", "requests", "prompt"})
_REQUEST_ID_HEADERS: Final = ("x-request-id", "x-debug-trace-id", "apim-request-id", "mistral-correlation-id")
_MESSAGE_PATHS: Final = (
    ("error", "message"),
    ("error",),
    ("message",),
    ("detail",),
    ("errors", 0, "message"),
    ("title",),
)
_CODE_PATHS: Final = (("error", "code"), ("error", "type"), ("code",), ("error_type",), ("type",))


def status_error(
    provider: str, status: int, headers: Mapping[str, str], body: bytes, secrets: Secrets
) -> APIStatusError:
    """Build the exception for an error answer.

    Args:
        provider: Name of the provider, for the message.
        status: HTTP status.
        headers: Response headers, looked up without regard to case.
        body: The first bytes of the body, in any form a provider or a proxy uses.
        secrets: Keys, which some services repeat; they are blotted out of everything that is kept.
    """
    document = _json(body)
    words = (
        _fastapi_words(document) or _first_string(document, _MESSAGE_PATHS) or body.decode("utf-8", "replace").strip()
    )
    words = secrets.blot(words)
    code = secrets.blot(_first_string(document, _CODE_PATHS), MAX_CODE) or None
    named = [headers[name] for name in _REQUEST_ID_HEADERS if name in headers]
    request_id = secrets.blot((*named, _first_string(document, (("request_id",), ("id",))))[0], MAX_CODE) or None
    kind = _ERRORS.get(status, ServerError if status >= 500 else APIStatusError)  # noqa: PLR2004
    if code in _QUOTA_CODES:
        kind = QuotaExceededError
    elif TOO_LARGE_TO_PROCESS in words:
        kind = InvalidInputError
    elif kind is InvalidInputError and (field := _field(document)) and field not in _TEXT_FIELDS:
        kind = APIStatusError  # no text is to blame: every request would be refused
    asked = retry_after(headers)
    if asked is None and status in _TOO_MUCH:
        asked = _retry_delay(document, words)
    return kind(
        f"{provider} answered {status}: {words or 'no message'}" + (f" (request {request_id})" if request_id else ""),
        status=status,
        code=code,
        request_id=request_id,
        retry_after=asked,
        provider_message=words,
    )


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds the API asks to wait: `retry-after-ms`, `Retry-After` (seconds or date), `X-RateLimit-Reset` (unix)."""
    now = time.time() if now is None else now
    if (milliseconds := number(headers.get("retry-after-ms"))) is not None:
        return max(0.0, milliseconds / 1000)
    if value := headers.get("retry-after"):
        seconds = number(value)
        moment = _date(value) if seconds is None else now + seconds
        return None if moment is None else max(0.0, moment - now)
    if (reset := number(headers.get("x-ratelimit-reset"))) is not None and reset > now:
        return reset - now
    return None


def _retry_delay(document: object, words: str) -> float | None:
    """Seconds that the body of an error asks to wait: Google's `RetryInfo`, or the words of the message."""
    details = _item(_item(document, "error"), "details")
    for detail in details if isinstance(details, list) else ():
        delay = _item(detail, "retryDelay")
        if isinstance(delay, str) and (seconds := duration(delay)) is not None:
            return seconds
    return asked_in_words(words)


def _fastapi_words(document: object) -> str:
    """Return where and what the first fault is, of a list of `{"loc": [...], "msg": "..."}`."""
    fault = _item(_item(document, "detail"), 0)
    place, words = _item(fault, "loc"), _item(fault, "msg")
    if not isinstance(words, str):
        return ""
    return f"{'.'.join(map(str, place))}: {words}" if isinstance(place, list) and place else words


def _field(document: object) -> str:
    """Return which field of the request is blamed, if one is: OpenAI's `param`, or FastAPI's `loc`."""
    place = _item(_item(_item(document, "detail"), 0), "loc")
    steps = [step for step in place if step != "body"] if isinstance(place, list) else []
    named = steps[0] if steps else _first_string(document, (("error", "param"), ("param",)))
    found = re.search(r"\w+", named) if isinstance(named, str) else None
    return found[0] if found else ""


def _json(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _first_string(document: object, paths: tuple[tuple[str | int, ...], ...]) -> str:
    for path in paths:
        value = document
        for key in path:
            value = _item(value, key)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    return ""


def _item(value: object, key: str | int) -> object:
    if isinstance(value, dict):
        return value.get(key)
    if isinstance(value, list) and isinstance(key, int):
        return value[key] if key < len(value) else None
    return None


def _date(value: str) -> float | None:
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None
