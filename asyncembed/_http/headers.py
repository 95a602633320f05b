"""Times to wait as APIs write them: in headers, in fields of an error body, and in the words of its message.

The rate limit headers of all providers, read by one tolerant function.

Names and forms differ, and values may be nonsense: -1, a limit of 0, a reset after a day. What makes no sense is left
out; how long to believe the rest is decided by who uses it.
"""

from __future__ import annotations

import math
import re
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from asyncembed._models import LimitHeader, RateLimitHeaders

if TYPE_CHECKING:
    from collections.abc import Mapping


TOO_MUCH: Final = frozenset({429, 503, 529})
"""Statuses that waiting may cure, so that the body, or the end of the limit's period, may say for how long."""

_SECONDS: Final = {
    "ns": 1e-9, "us": 1e-6, "\u00b5s": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0
}  # fmt: skip
_PART: Final = (
    r"(\d{1,9}(?:\.\d{1,9})?) ?"
    r"(ns|us|\u00b5s|ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)(?![a-z])"
)
# Compiled, and kept by `re`, when they are first needed: few programs meet such a text, and it takes a while.
_WHOLE: Final = rf"(?:{_PART}(?:,? and |, | )?)+"
_ASKED: Final = (
    rf"(?:try(?:ing)? again|retry(?:ing)?(?: (?:your|the|this) requests?)?|wait(?:ing)?|come back|available|resets?)"
    rf"(?: again)?(?: in| after| for)?(?: about| at least)? ({_WHOLE})"
)
_RESETS: Final = ("x-ratelimit-reset", "ratelimit-reset", "x-rate-limit-reset")
_FIELDS: Final = ("retry_after", "retryAfter", "retry_after_seconds", "estimated_time")
"""Of an error body: seconds. Hugging Face estimates how long it will be loading a model."""

_LONGEST_DELAY: Final = 1e8
"""Seconds; a larger number is a point in time."""

_LARGEST_UNIX_TIME: Final = 1e11
"""Seconds; a larger number counts milliseconds, or parts of those."""


def number(text: str | None) -> float | None:
    """Return a finite number, or None if the text is none."""
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def duration(text: str | None) -> float | None:
    """Return the seconds that `6m0s`, `12ms`, `33.38s` or `5` stand for; None for anything else."""
    seconds = number(text)
    if seconds is not None:
        return seconds if seconds >= 0 else None
    text = (text or "").strip()
    return _sum(text) if re.fullmatch(_WHOLE, text) else None


def asked_in_words(message: str) -> float | None:
    """Return the seconds that a message asks to wait: "Please try again in 1.156s", "retry after 55 seconds"."""
    found = re.search(_ASKED, message, re.IGNORECASE)
    return _sum(found[1].lower()) if found else None


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds that headers ask to wait: `retry-after-ms`, `Retry-After`, or the end of the limit's period."""
    asked = asked_in_headers(headers, now)
    return until_reset(headers, now) if asked is None else asked


def asked_in_headers(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds that headers ask to wait: `retry-after-ms` or `Retry-After`, in seconds, as a duration or as a date."""
    if (milliseconds := number(headers.get("retry-after-ms"))) is not None:
        return max(0.0, milliseconds / 1000)
    value = headers.get("retry-after")
    if (seconds := number(value)) is not None:
        return max(0.0, seconds)
    return _wait(value, now)


def until_reset(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds until the period of a limit is over, as `X-RateLimit-Reset` tells in one of many forms.

    It may be seconds from now, a duration such as "6m0s", a date, or Unix time in seconds, milliseconds or less.
    """
    value = next(filter(None, map(headers.get, _RESETS)), None)
    moment = number(value)
    if moment is None:
        return _wait(value, now)
    if 0 <= moment < _LONGEST_DELAY:
        return moment
    while moment > _LARGEST_UNIX_TIME:
        moment /= 1000
    left = moment - (time.time() if now is None else now)
    return left if left > 0 else None


def asked_in_body(document: object, words: str) -> float | None:
    """Seconds that the body of an error asks to wait, in one of its fields or in the words of its message."""
    error = document.get("error") if isinstance(document, dict) else None
    for place in (error, document):
        if isinstance(place, dict) and (seconds := _asked_in_fields(place)) is not None:
            return seconds
    return asked_in_words(words)


def _asked_in_fields(place: Mapping[object, object]) -> float | None:
    details = place.get("details")
    for detail in details if isinstance(details, list) else ():
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None  # Google's RetryInfo
        if isinstance(delay, str) and (seconds := duration(delay)) is not None:
            return seconds
    for name in _FIELDS:
        value = place.get(name)
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            seconds = duration(str(value))
            if seconds is not None:
                return seconds
    metadata = place.get("metadata")
    headers = metadata.get("headers") if isinstance(metadata, dict) else None  # OpenRouter's, of the service behind it
    if isinstance(headers, dict):
        return retry_after({str(name).lower(): str(value) for name, value in headers.items()})
    return None


def _wait(value: str | None, now: float | None) -> float | None:
    """Seconds that a duration lasts, or until a date; none are left to one that has passed."""
    if not value:
        return None
    seconds = duration(value)
    if seconds is not None:
        return seconds
    moment = _moment(value)
    return None if moment is None else max(0.0, moment - (time.time() if now is None else now))


def _moment(value: str) -> float | None:
    """Return the Unix time of a date, as HTTP or as ISO 8601 writes it."""
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


_Names = tuple[str, str, str]


def _names(unit: str) -> _Names:
    return f"x-ratelimit-limit-{unit}", f"x-ratelimit-remaining-{unit}", f"x-ratelimit-reset-{unit}"


_TRIAL: Final = ("x-trial-endpoint-call-limit", "x-trial-endpoint-call-remaining", "")
_REQUESTS: Final = (_names("requests"), _names("req-minute"), _TRIAL)
_TOKENS: Final = (_names("tokens"), _names("tokens-minute"))


def read_quota(headers: Mapping[str, str]) -> RateLimitHeaders | None:
    """Return what the headers of an answer say about the limits of the API, None if they say nothing.

    Args:
        headers: The headers, looked up without regard to case.
    """
    requests, tokens = _first(headers, _REQUESTS), _first(headers, _TOKENS)
    return RateLimitHeaders(requests, tokens) if requests or tokens else None


def _first(headers: Mapping[str, str], forms: tuple[_Names, ...]) -> LimitHeader | None:
    return next(filter(None, (_allowance(headers, names) for names in forms)), None)


def _allowance(headers: Mapping[str, str], names: _Names) -> LimitHeader | None:
    limit, remaining = number(headers.get(names[0])), number(headers.get(names[1]))
    if limit is not None and limit < 1:
        return None  # then the rest is worth nothing, either
    if remaining is not None and remaining < 0:
        remaining = None
    if limit is None and remaining is None:
        return None
    text = headers.get(names[2])
    reset = duration(text)
    # Only OpenAI writes durations with a unit, and its reset is the time until a bucket is full again.
    return LimitHeader(limit, remaining, reset, refills=reset is not None and number(text) is None)
