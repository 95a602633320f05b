"""Leave to send a request: asked of the rate limits, and told afterwards what the API made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from asyncembed.wire._quota import read_quota

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncembed.flow._rate import Limiter, Ticket
    from asyncembed.flow._tokens import TokenEstimate
    from asyncembed.pipeline._observer import Observer


class Permit:
    """Leave to send one request, once."""

    def __init__(self, limiter: Limiter, ticket: Ticket, estimate: TokenEstimate, size: int) -> None:
        self._limiter = limiter
        self._ticket = ticket
        self._estimate = estimate
        self._size = size

    def begin(self) -> None:
        """Say that the request is sent now."""
        self._limiter.begin(self._ticket)

    def heard(self, headers: Mapping[str, str]) -> None:
        """Take over what the answer says about the limits of the API."""
        if quota := read_quota(headers):
            self._limiter.observe(self._ticket, quota)

    def settle(self, tokens: int | None, *, complete: bool) -> None:
        """Take over how many tokens the answer says it was; one that is complete and does not say never will."""
        if tokens or complete:
            self._estimate.learn(self._size, tokens)
            self._limiter.settle(self._ticket, tokens or self._estimate.of(self._size))


class Admission:
    """Asks for leave in the name of one run.

    Args:
        limiter: The limits.
        estimate: How many tokens the texts have.
        observer: Whom to tell of waits.
    """

    def __init__(self, limiter: Limiter, estimate: TokenEstimate, observer: Observer) -> None:
        self._limiter = limiter
        self._estimate = estimate
        self._observer = observer

    async def ask(self, inputs: int, size: int) -> Permit:
        """Wait until a request of so many texts and bytes may be sent; where there are no texts, at once.

        Whoever is cancelled meanwhile has used nothing.
        """
        ticket = self._limiter.book(inputs, self._estimate.of(size))
        try:
            if left := self._limiter.seconds_left(ticket):
                await self._wait(ticket, left)
        except BaseException:
            self._limiter.withdraw(ticket)
            raise
        return Permit(self._limiter, ticket, self._estimate, size)

    async def _wait(self, ticket: Ticket, left: float) -> None:
        with self._observer.limit_hold as hold:
            while left:
                hold.begins(left)
                await anyio.sleep(left)
                left = self._limiter.seconds_left(ticket)  # it may have been put off
