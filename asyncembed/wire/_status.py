"""Error answers of all providers, read by one tolerant extractor, as one of our exceptions."""

from __future__ import annotations

import math
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

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_MESSAGE: Final = 500
"""Characters of the provider's words that are kept."""

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
_QUOTA_CODES: Final = frozenset({"insufficient_quota", "AUTHZ_INSUFFICIENT_BALANCE"})
_REQUEST_ID_HEADERS: Final = ("x-request-id", "x-debug-trace-id", "apim-request-id", "mistral-correlation-id")
_MESSAGE_PATHS: Final = (
    ("error", "message"),
    ("error",),
    ("message",),
    ("detail",),
    ("detail", 0, "msg"),
    ("errors", 0, "message"),
    ("title",),
)
_CODE_PATHS: Final = (("error", "code"), ("error", "type"), ("code",), ("error_type",), ("type",))


def status_error(
    provider: str, status: int, headers: Mapping[str, str], body: bytes, secrets: Sequence[str]
) -> APIStatusError:
    """Build the exception for an error answer.

    Args:
        provider: Name of the provider, for the message.
        status: HTTP status.
        headers: Response headers, looked up without regard to case.
        body: The first bytes of the body, in any form a provider or a proxy uses.
        secrets: Keys, which some services repeat in their messages; they are blotted out.
    """
    document = _json(body)
    words = _first_string(document, _MESSAGE_PATHS) or body.decode("utf-8", "replace").strip()
    words = _blot(words, secrets)[:MAX_MESSAGE]
    code = _blot(_first_string(document, _CODE_PATHS), secrets)[:MAX_CODE] or None
    request_id = next((headers[name] for name in _REQUEST_ID_HEADERS if name in headers), "")
    request_id = _blot(request_id or _first_string(document, (("request_id",), ("id",))), secrets)[:MAX_CODE] or None
    kind = _ERRORS.get(status, ServerError if status >= 500 else APIStatusError)  # noqa: PLR2004
    if code in _QUOTA_CODES:
        kind = QuotaExceededError
    return kind(
        f"{provider} answered {status}: {words or 'no message'}" + (f" (request {request_id})" if request_id else ""),
        status=status,
        code=code,
        request_id=request_id,
        retry_after=retry_after(headers),
        provider_message=words,
    )


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds the API asks to wait: `retry-after-ms`, `Retry-After` (seconds or date), `X-RateLimit-Reset` (unix)."""
    now = time.time() if now is None else now
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return max(0.0, milliseconds / 1000)
    if value := headers.get("retry-after"):
        seconds = _number(value)
        moment = _date(value) if seconds is None else now + seconds
        return None if moment is None else max(0.0, moment - now)
    if (reset := _number(headers.get("x-ratelimit-reset"))) is not None and reset > now:
        return reset - now
    return None


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


def _blot(words: str, secrets: Sequence[str]) -> str:
    for secret in filter(None, secrets):
        words = words.replace(secret, "***")
    return words


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _date(value: str) -> float | None:
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None
