"""Status 429 with every hint that APIs send about when to retry."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asyncembed.testing._exchange import Exchange

Hint: TypeAlias = Literal[
    "none", "seconds", "date", "milliseconds", "reset", "openai", "mistral", "azure", "google", "bogus"
]

BOGUS_SECONDS: Final = 86_400
"""A `Retry-After` that Azure sometimes sends by mistake, in seconds."""


@dataclass(frozen=True, slots=True)
class TooManyRequests:
    """Answers 429 with a hint about when to retry.

    Attributes:
        hint: "none" sends no hint, like Cohere. "seconds" and "date" send the two forms of `Retry-After`,
            "milliseconds" sends `retry-after-ms`, and "reset" sends `X-RateLimit-Reset` in Unix time. "openai" sends
            OpenAI's headers and message; "mistral" only a header that says that nothing remains; "azure" a message
            with the code "429" and a `Retry-After`; "google" a `RetryInfo` in the body. "bogus" sends a `Retry-After`
            of a day.
        wait: Seconds until the client may retry.
    """

    hint: Hint = "none"
    wait: float = 1.0

    async def __call__(self, exchange: Exchange) -> None:
        """Refuse the request."""
        headers = _HEADERS[self.hint](self.wait) if self.hint in _HEADERS else {}
        if self.hint in _BODIES:
            await exchange.say(json.dumps(_BODIES[self.hint](self.wait)).encode(), 429, headers)
        else:
            message = "rate limit reached; slow down"
            await exchange.refuse(429, message, code="rate_limit_exceeded", kind="requests", headers=headers)


@dataclass(frozen=True, slots=True)
class QuotaUsedUp:
    """Answers 429 with OpenAI's code for an exhausted quota, which no waiting restores; other formats get a 402."""

    async def __call__(self, exchange: Exchange) -> None:
        """Refuse the request."""
        code = "insufficient_quota"
        status = 429 if exchange.request.layout == "openai" else 402
        await exchange.refuse(status, "the quota of this account is used up", code=code, kind=code)


def _ceil_text(wait: float) -> str:
    return str(math.ceil(wait))


def _openai_headers(wait: float) -> dict[str, str]:
    return {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": f"{wait:g}s"}


_HEADERS: Final[Mapping[Hint, Callable[[float], dict[str, str]]]] = {
    "seconds": lambda wait: {"Retry-After": f"{wait:g}"},
    "date": lambda wait: {"Retry-After": formatdate(math.ceil(time.time() + wait), usegmt=True)},
    "milliseconds": lambda wait: {"retry-after-ms": _ceil_text(wait * 1000)},
    "reset": lambda wait: {"X-RateLimit-Reset": _ceil_text(time.time() + wait)},
    "openai": _openai_headers,
    "mistral": lambda _: {"x-ratelimit-limit-req-minute": "60", "x-ratelimit-remaining-req-minute": "0"},
    "azure": lambda wait: {"Retry-After": _ceil_text(wait)},
    "bogus": lambda _: {"Retry-After": str(BOGUS_SECONDS)},
}
_BODIES: Final[Mapping[Hint, Callable[[float], dict[str, object]]]] = {
    "openai": lambda wait: {
        "error": {
            "message": f"Rate limit reached for requests. Please try again in {_ceil_text(wait * 1000)}ms.",
            "type": "requests",
            "param": None,
            "code": "rate_limit_exceeded",
        }
    },
    "mistral": lambda _: {"object": "error", "message": "Rate limit exceeded", "type": "rate_limited", "code": "1300"},
    "azure": lambda wait: {
        "error": {"code": "429", "message": f"Rate limit is exceeded. Please retry after {_ceil_text(wait)} seconds."}
    },
    "google": lambda wait: {
        "error": {
            "code": 429,
            "message": f"Quota exceeded. Please retry in {wait:g}s.",
            "status": "RESOURCE_EXHAUSTED",
            "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{wait:g}s"}],
        }
    },
}
