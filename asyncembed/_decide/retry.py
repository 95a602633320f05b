"""Decides how long to wait before a retry, and when to stop retrying. No I/O."""

from __future__ import annotations

import random
import re
import time
from typing import TYPE_CHECKING, Final

from asyncembed._exceptions import (
    APIStatusError,
    AsyncEmbedError,
    InvalidInputError,
    QuotaExceededError,
    ResponseError,
    TransportError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncembed._config import RetryPolicy


RETRYABLE_STATUSES: Final = frozenset({408, 409, 425, 429})  # and every 5xx except 501 and 505
OVERLOAD_STATUSES: Final = frozenset({429, 503, 529})
_PERMANENT_STATUSES: Final = frozenset({501, 505})
_MAX_DOUBLINGS: Final = 64

_LONG_LIMIT: Final = (
    r"(?i)\b(?:per|a|each|every)[ -]?(?:day|month)\b|\bdaily\b|\bmonthly\b|\bquotas?\b|/ ?(?:day|month)\b"
)
"""Words of limits that last for a day or longer."""


def is_retryable(error: AsyncEmbedError) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(error, QuotaExceededError | InvalidInputError):
        return False  # whatever the status: llama.cpp blames a text with 500
    if isinstance(error, APIStatusError):
        status = error.status or 0
        return (status in RETRYABLE_STATUSES or status // 100 == 5) and status not in _PERMANENT_STATUSES  # noqa: PLR2004
    return isinstance(error, TransportError | ResponseError) and error.retryable


def ceiling(policy: RetryPolicy, doublings: int) -> float:
    """Return the longest wait in seconds after a number of doublings."""
    return min(policy.max_backoff, policy.initial_backoff * 2.0 ** min(doublings, _MAX_DOUBLINGS))


def is_overload(error: AsyncEmbedError) -> bool:
    """Whether the API says that it is overloaded."""
    return isinstance(error, APIStatusError) and error.status in OVERLOAD_STATUSES


class Backoff:
    """Counts the failed attempts of one batch and computes the wait before the next.

    Args:
        policy: Limits and waits.
        clock: Monotonic seconds; replaced in tests.
        draw: Uniform random number in [0, 1); replaced in tests.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,  # noqa: S311  # jitter, no secret
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._draw = draw
        self._failed = 0
        self._deadline: float | None = None
        self._too_long: float | None = None  # a requested wait of more than `max_elapsed`
        self.is_hopeless = False
        """Whether the API has confirmed a wait of more than `max_elapsed`, so that every batch would fail."""

    def progressed(self) -> None:
        """Note that an attempt delivered a new result, and start counting again."""
        self._failed = 0
        self._deadline = None
        self._too_long = None

    @property
    def is_over(self) -> bool:
        """Whether `max_elapsed` has passed, for example during another wait."""
        return self._deadline is not None and self._clock() > self._deadline

    def describe(self) -> str:
        """Describe the attempts, if there were several, and a wait that was too long."""
        if self._deadline is None:
            return ""
        elapsed = self._clock() - self._deadline + self._policy.max_elapsed
        attempts = f" ({self._failed} attempts in {elapsed:.1f} s)" if self._failed > 1 else ""
        wait = f"; it asks to wait for {self._too_long:g} s, longer than max_elapsed" if self.is_hopeless else ""
        return attempts + wait

    def next_delay(self, error: AsyncEmbedError) -> float | None:
        """Count a failed attempt and return the seconds to wait before the next; None if there is none."""
        self._failed += 1
        now = self._clock()
        if self._deadline is None:
            self._deadline = now + self._policy.max_elapsed
        requested: float | None = getattr(error, "retry_after", None)
        if requested is not None and requested > self._policy.max_elapsed:
            # It may be a mistake: Azure sometimes asks for a day, and the next attempt succeeds.
            self.is_hopeless = self._too_long is not None or _names_long_limit(error)
            self._too_long = requested
        if self.is_hopeless or self._failed >= self._policy.max_attempts:
            return None
        wait = self._wait(requested)
        return wait if now + wait <= self._deadline else None

    def _wait(self, requested: float | None) -> float:
        policy, longest = self._policy, ceiling(self._policy, self._failed - 1)
        if requested is None:
            return longest * self._draw()
        # Jitter spreads the clients that were all asked to wait equally long.
        return min(policy.max_backoff, requested + min(longest, policy.initial_backoff) * self._draw())


def _names_long_limit(error: AsyncEmbedError) -> bool:
    return isinstance(error, APIStatusError) and re.search(_LONG_LIMIT, error.provider_message) is not None
