"""Reads rate limit headers, and the time that an API asks to wait, from headers, error fields and messages.

Names and formats differ between providers, and values may be nonsense: -1, or a limit of 0. The functions are tolerant
and drop such values. `Window.observe` decides for how long the others count.
"""

from __future__ import annotations

import math
import re
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from asyncembed._models import LimitHeader, RateLimitHeaders

if TYPE_CHECKING:
    from collections.abc import Mapping


_SECONDS: Final = {
    "ns": 1e-9, "us": 1e-6, "\u00b5s": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0
}  # fmt: skip
_PART: Final = (
    r"(\d{1,9}(?:\.\d{1,9})?) ?"
    r"(ns|us|\u00b5s|ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)(?![a-z])"
)
# Strings, which `re` compiles and caches on first use: compiling is slow, and few programs need them.
_DURATION: Final = rf"(?:{_PART}(?:,? and |, | )?)+"
_WAIT_PHRASE: Final = (
    rf"(?:try(?:ing)? again|retry(?:ing)?(?: (?:your|the|this) requests?)?|wait(?:ing)?|come back|available|resets?)"
    rf"(?: again)?(?: in| after| for)?(?: about| at least)? ({_DURATION})"
)
_RESETS: Final = ("x-ratelimit-reset", "ratelimit-reset", "x-rate-limit-reset")
_FIELDS: Final = ("retry_after", "retryAfter", "retry_after_seconds", "estimated_time")
"""Fields of an error body with seconds. Hugging Face estimates how long it will be loading a model."""

_MAX_DELAY: Final = 1e8
"""Largest number that counts as seconds from now; a larger one is a point in time."""

_MAX_LIMIT: Final = 1e15
"""Largest limit that makes sense; a larger one limits nothing."""

_MINUTE: Final = 60

_MAX_UNIX_TIME: Final = 1e11
"""Largest number that counts as Unix time in seconds; a larger one is in milliseconds or smaller units."""


def number(text: str | None) -> float | None:
    """Parse a finite number; None for any other text."""
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def duration(text: str | None) -> float | None:
    """Return the seconds of a duration such as `6m0s`, `12ms`, `33.38s` or `5`; None for any other text."""
    seconds = number(text)
    if seconds is not None:
        return seconds if seconds >= 0 else None
    text = (text or "").strip()
    return _sum(text) if re.fullmatch(_DURATION, text) else None


def wait_in_words(message: str) -> float | None:
    """Return the seconds that a message asks to wait: "Please try again in 1.156s", "retry after 55 seconds"."""
    found = re.search(_WAIT_PHRASE, message, re.IGNORECASE)
    return _sum(found[1].lower()) if found else None


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Return the seconds that headers ask to wait: `retry-after-ms`, `Retry-After`, or else the reset of a limit.

    Args:
        headers: Response headers, a case-insensitive mapping. A point in time counts from their `Date`, because the
            clocks of client and server may differ.
        now: Unix time if there is no `Date`; by default that of the client's clock.
    """
    wait = wait_in_headers(headers, now)
    return until_reset(headers, now) if wait is None else wait


def wait_in_headers(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Return the seconds in `retry-after-ms` or `Retry-After`; the latter holds seconds, a duration or a date."""
    if (milliseconds := number(headers.get("retry-after-ms"))) is not None:
        return max(0.0, milliseconds / 1000)
    value = headers.get("retry-after")
    if (seconds := number(value)) is not None:
        return max(0.0, seconds)
    return _wait(value, headers, now)


def until_reset(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Return the seconds until a limit resets, from `X-RateLimit-Reset`.

    The header may hold seconds from now, a duration such as "6m0s", a date, or Unix time in seconds or smaller units.
    """
    value = next(filter(None, map(headers.get, _RESETS)), None)
    moment = number(value)
    if moment is None:
        return _wait(value, headers, now)
    if 0 <= moment < _MAX_DELAY:
        return moment
    while moment > _MAX_UNIX_TIME:
        moment /= 1000
    left = moment - _now(headers, now)
    return left if left > 0 else None


def wait_in_body(document: object, message: str) -> float | None:
    """Return the seconds that an error asks to wait, from its fields or its message."""
    error = document.get("error") if isinstance(document, dict) else None
    for fields in (error, document):
        if isinstance(fields, dict) and (seconds := _wait_in_fields(fields)) is not None:
            return seconds
    return wait_in_words(message)


def _wait_in_fields(fields: Mapping[object, object]) -> float | None:
    details = fields.get("details")
    for detail in details if isinstance(details, list) else ():
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None  # Google's RetryInfo
        if isinstance(delay, str) and (seconds := duration(delay)) is not None:
            return seconds
    for name in _FIELDS:
        value = fields.get(name)
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            seconds = duration(str(value))
            if seconds is not None:
                return seconds
    metadata = fields.get("metadata")
    headers = metadata.get("headers") if isinstance(metadata, dict) else None  # OpenRouter quotes the upstream headers
    if isinstance(headers, dict):
        return retry_after({str(name).lower(): str(value) for name, value in headers.items()})
    return None


def _wait(value: str | None, headers: Mapping[str, str], now: float | None) -> float | None:
    """Return the seconds of a duration, or until a date; 0 for a date in the past."""
    if not value:
        return None
    seconds = duration(value)
    if seconds is not None:
        return seconds
    moment = _moment(value)
    return None if moment is None else max(0.0, moment - _now(headers, now))


def _now(headers: Mapping[str, str], now: float | None) -> float:
    """Return the Unix time at which the server answered."""
    answered = _moment(headers.get("date", ""))
    if answered is not None:
        return answered
    return time.time() if now is None else now


def _moment(value: str) -> float | None:
    """Return the Unix time of an HTTP or ISO 8601 date; None for any other text."""
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = read(value.strip())
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            continue
    return None


def _sum(text: str) -> float:
    return sum(float(count) * _SECONDS[_short(unit)] for count, unit in re.findall(_PART, text))


def _short(unit: str) -> str:
    if unit in _SECONDS:
        return unit
    return "ms" if unit.startswith("milli") else unit[0]


class _Form(NamedTuple):
    """The names of one limit's headers, and the period to which they refer, in seconds."""

    limit: str
    remaining: str
    reset: str
    period: int = _MINUTE


def _form(unit: str, period: int = _MINUTE) -> _Form:
    return _Form(f"x-ratelimit-limit-{unit}", f"x-ratelimit-remaining-{unit}", f"x-ratelimit-reset-{unit}", period)


_TRIAL: Final = _Form("x-trial-endpoint-call-limit", "x-trial-endpoint-call-remaining", "")
_REQUESTS: Final = (_form("requests"), _form("req-minute"), _form("req-10-second", 10), _TRIAL)
_TOKENS: Final = (_form("tokens"), _form("tokens-minute"))


def read_limit_headers(headers: Mapping[str, str]) -> RateLimitHeaders | None:
    """Read the rate limit headers of a response; None if it has none.

    Args:
        headers: Response headers, a case-insensitive mapping.
    """
    requests, tokens = _first(headers, _REQUESTS), _first(headers, _TOKENS)
    return RateLimitHeaders(requests, tokens) if requests or tokens else None


def _first(headers: Mapping[str, str], forms: tuple[_Form, ...]) -> LimitHeader | None:
    return next(filter(None, (_limit_header(headers, form) for form in forms)), None)


def _limit_header(headers: Mapping[str, str], form: _Form) -> LimitHeader | None:
    limit, remaining = number(headers.get(form.limit)), number(headers.get(form.remaining))
    if limit is not None and not 1 <= limit <= _MAX_LIMIT:
        return None  # the other values make no sense either
    if remaining is not None and remaining < 0:
        remaining = None
    if limit is None and remaining is None:
        return None
    text = headers.get(form.reset)
    reset = duration(text)
    # Only OpenAI sends durations with a unit, and its reset is the time until the bucket is full again.
    refills = reset is not None and number(text) is None
    if form.period < _MINUTE:
        reset = form.period if reset is None else reset
        periods = _MINUTE / form.period
        if limit is not None:
            remaining = remaining and remaining + limit * (periods - 1)  # the other periods of the minute are untouched
            limit *= periods
    return LimitHeader(limit, remaining, reset, refills=refills)
