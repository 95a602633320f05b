"""Leave to send a request: asked of the rate limits, and told afterwards what the API made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from asyncembed._models import Usage
from asyncembed.wire._quota import read_quota

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asyncembed.flow._rate import Limiter, Ticket
    from asyncembed.flow._tokens import TokenEstimate
    from asyncembed.pipeline._observer import Observer


class Permit:
    """Leave to send one request, once: `begin` comes before it, or else `withdraw`."""

    def __init__(
        self, limiter: Limiter, ticket: Ticket, estimate: TokenEstimate, size: int, observer: Observer
    ) -> None:
        self._limiter = limiter
        self._ticket = ticket
        self._estimate = estimate
        self._size = size
        self._observer = observer

    async def begin(self) -> None:
        """Return when the request may be sent: at once, unless something has held it up since leave was given.

        A request that is held up again after this begins again. One that is cancelled meanwhile has used nothing.
        """
        await self._wait(self._limiter.begin)

    async def granted(self) -> None:
        """Return when the limits give leave."""
        await self._wait(self._limiter.seconds_left)

    def withdraw(self) -> None:
        """Give back leave to send a request that will not be sent."""
        self._limiter.withdraw(self._ticket)

    def heard(self, headers: Mapping[str, str]) -> None:
        """Take over what the answer says about the limits of the API."""
        if quota := read_quota(headers):
            self._limiter.observe(self._ticket, quota)

    def settle(self, tokens: int | None, *, complete: bool, ended: bool) -> Usage:
        """Take over how many tokens the answer says it was, and return what it was billed.

        Args:
            tokens: What the answer says; None if it does not, or nothing that can be true.
            complete: Whether it has brought all that was asked for.
            ended: Whether it was read to its end; one that was not is billed all the same, and might have said it.
        """
        if tokens or (complete and ended):
            self._estimate.learn(self._size, tokens)
            self._limiter.settle(self._ticket, tokens or self._estimate.of(self._size))
        if tokens is None and not ended:
            return Usage(unreported_tokens=self._estimate.likely(self._size))
        return Usage(tokens or 0)

    async def _wait(self, look: Callable[[Ticket], float]) -> None:
        try:
            if left := look(self._ticket):
                with self._observer.limit_hold as hold:
                    while left:
                        hold.begins(left)
                        await anyio.sleep(left)
                        left = look(self._ticket)  # it may have been put off
        except BaseException:
            self.withdraw()
            raise


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

        A wait that is cancelled has used nothing.
        """
        ticket = self._limiter.book(inputs, self._estimate.of(size))
        permit = Permit(self._limiter, ticket, self._estimate, size, self._observer)
        await permit.granted()
        return permit
