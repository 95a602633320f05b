"""Waits for the rate limits before each request (`RateGate`), and reports to them what the API billed (`RatePermit`).

`TokenEstimate` says how many tokens a request has, without a tokenizer. It starts with an upper bound and learns from
the billed tokens: mean and deviation of tokens per byte, as TCP learns the round-trip time. The estimate lies above the
mean, because tokens that were estimated too high are given back when the response arrives, and an API may refuse a
request whose tokens were estimated too low.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import anyio

from asyncembed._http.headers import read_limit_headers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asyncembed._core.observer import Observer
    from asyncembed._ratelimit import Limiter, ScheduledRequest


MAX_TOKENS_PER_BYTE: Final = 1.0
"""Estimate before the first response: no tokenizer makes more tokens than bytes, except for special tokens."""

ASSUMED_TOKENS_PER_BYTE: Final = 0.5
"""Estimate where the API never reports tokens; English has about 0.25, code 0.33."""

MAX_EXTRA_TOKENS: Final = 128
"""Tokens that a text may have beyond its bytes: special tokens, and a prefix that the server adds."""

DEVIATIONS: Final = 2
_GAIN: Final = 1 / 8
_DEVIATION_GAIN: Final = 1 / 4


def plausible_tokens(tokens: int | None, size: int, texts: int) -> int | None:
    """Return the reported tokens of a request, or None if the response reports none or an impossible number.

    Args:
        tokens: The number that the response reports.
        size: Bytes of the whole request body, as its fields may hold a prompt.
        texts: Number of texts in the request.
    """
    return (
        tokens if tokens is not None and 0 <= tokens <= MAX_TOKENS_PER_BYTE * size + MAX_EXTRA_TOKENS * texts else None
    )


class TokenEstimate:
    """Tokens per byte of one model."""

    def __init__(self) -> None:
        self._mean: float | None = None
        self._deviation = 0.0

    @property
    def is_learned(self) -> bool:
        """Whether a response has reported tokens."""
        return self._mean is not None

    def of(self, size: int) -> int:
        """Return how many tokens to count for a request of `size` bytes, with a safety margin."""
        per_byte = MAX_TOKENS_PER_BYTE if self._mean is None else self._mean + DEVIATIONS * self._deviation
        return math.ceil(size * per_byte)

    def likely(self, size: int) -> int:
        """Return the most likely number of tokens in a request of `size` bytes."""
        return round(size * (ASSUMED_TOKENS_PER_BYTE if self._mean is None else self._mean))

    def learn(self, size: int, tokens: int | None) -> None:
        """Learn from the `tokens` of a request of `size` bytes; None if the API did not report them."""
        per_byte = (tokens or size * ASSUMED_TOKENS_PER_BYTE) / max(size, 1)
        if self._mean is None:
            self._mean, self._deviation = per_byte, per_byte / 4
        else:
            error = per_byte - self._mean
            self._mean += _GAIN * error
            self._deviation += _DEVIATION_GAIN * (abs(error) - self._deviation)


class Billed(NamedTuple):
    """What one or more requests cost.

    Attributes:
        tokens: Tokens that responses report.
        unreported_bytes: Bytes of the requests that the API billed without reporting their tokens.
    """

    tokens: int
    unreported_bytes: int


class RatePermit:
    """Permission to send one request. The holder calls `begin` right before sending it, or `withdraw` instead."""

    def __init__(
        self, limiter: Limiter, request: ScheduledRequest, estimate: TokenEstimate, size: int, observer: Observer
    ) -> None:
        self._limiter = limiter
        self._request = request
        self._estimate = estimate
        self._size = size
        self._observer = observer

    async def begin(self) -> None:
        """Return when the request may be sent: at once, unless it was delayed since the permit was granted.

        If the request is delayed again afterwards, call this again. A cancelled call uses nothing of the limits.
        """
        await self._wait(self._limiter.begin)

    async def wait_until_granted(self) -> None:
        """Return when the limits allow the request."""
        await self._wait(self._limiter.seconds_left)

    def withdraw(self) -> None:
        """Give back a permit whose request will not be sent."""
        self._limiter.withdraw(self._request)

    def observe_headers(self, headers: Mapping[str, str]) -> None:
        """Adjust the limits to the rate-limit headers of the response."""
        if quota := read_limit_headers(headers):
            self._limiter.observe(self._request, quota)

    def settle(self, tokens: int | None, *, complete: bool, ended: bool, counts_all: bool = False) -> Billed:
        """Charge the limits with the billed tokens, and return what the request cost.

        Args:
            tokens: The tokens that the response reports; None if it reports none or an impossible number.
            complete: Whether the response brought all requested vectors.
            ended: Whether the response was read to its end. Otherwise it is billed too, but its report is lost.
            counts_all: Whether a complete response that reports no tokens counts as billed and unreported.
        """
        if tokens or (complete and ended):
            self._estimate.learn(self._size, tokens)
            self._limiter.settle(self._request, tokens or self._estimate.of(self._size))
        if (tokens is None and not ended) or (not tokens and complete and counts_all):
            return Billed(0, self._size)
        return Billed(tokens or 0, 0)

    async def _wait(self, seconds_left: Callable[[ScheduledRequest], float]) -> None:
        try:
            if seconds := seconds_left(self._request):
                with self._observer.rate_limit_notice as notice:
                    while seconds:
                        notice.starts(seconds)
                        await anyio.sleep(seconds)
                        seconds = seconds_left(self._request)  # the limiter may have moved it to a later time
        except BaseException:
            self.withdraw()
            raise


class RateGate:
    """Waits for the rate limits on behalf of one run.

    Args:
        limiter: The rate limits.
        estimate: Estimates the tokens of the run's texts.
        observer: Reports long waits.
        is_query: Whether the run asks for queries, which go first.
    """

    def __init__(
        self, limiter: Limiter, estimate: TokenEstimate, observer: Observer, *, is_query: bool = False
    ) -> None:
        self._limiter = limiter
        self._estimate = estimate
        self._observer = observer
        self._is_query = is_query

    async def acquire(self, inputs: int, size: int) -> RatePermit:
        """Wait until the limits allow a request of `inputs` texts and `size` bytes, and return the permit.

        A cancelled call uses nothing of the limits.
        """
        request = self._limiter.schedule(inputs, self._estimate.of(size), is_query=self._is_query)
        permit = RatePermit(self._limiter, request, self._estimate, size, self._observer)
        await permit.wait_until_granted()
        return permit
