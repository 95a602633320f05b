"""The rate limit headers of all providers, read by one tolerant function.

Names and forms differ, and values may be nonsense: -1, a limit of 0, a reset after a day. What makes no sense is left
out; how long to believe the rest is decided by who uses it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncembed._models import Allowance, Quota
from asyncembed.wire._hints import duration, number

if TYPE_CHECKING:
    from collections.abc import Mapping

_Names = tuple[str, str, str]


def _names(unit: str) -> _Names:
    return f"x-ratelimit-limit-{unit}", f"x-ratelimit-remaining-{unit}", f"x-ratelimit-reset-{unit}"


_TRIAL: Final = ("x-trial-endpoint-call-limit", "x-trial-endpoint-call-remaining", "")
_REQUESTS: Final = (_names("requests"), _names("req-minute"), _TRIAL)
_TOKENS: Final = (_names("tokens"), _names("tokens-minute"))


def read_quota(headers: Mapping[str, str]) -> Quota | None:
    """Return what the headers of an answer say about the limits of the API, None if they say nothing.

    Args:
        headers: The headers, looked up without regard to case.
    """
    requests, tokens = _first(headers, _REQUESTS), _first(headers, _TOKENS)
    return Quota(requests, tokens) if requests or tokens else None


def _first(headers: Mapping[str, str], forms: tuple[_Names, ...]) -> Allowance | None:
    return next(filter(None, (_allowance(headers, names) for names in forms)), None)


def _allowance(headers: Mapping[str, str], names: _Names) -> Allowance | None:
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
    return Allowance(limit, remaining, reset, refills=reset is not None and number(text) is None)
