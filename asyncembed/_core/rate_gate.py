"""Waits for the rate limits before each request (`RateGate`), and reports the billed tokens to them (`RatePermit`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import anyio

from asyncembed._http.headers import read_limit_headers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asyncembed._core.observer import Observer
    from asyncembed._decide.token_estimate import TokenEstimate
    from asyncembed._ratelimit import Limiter, ScheduledRequest


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

    def try_begin(self) -> bool:
        """Do as `begin` does if the request may be sent at once, and return whether it may."""
        return not self._limiter.begin(self._request)

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
