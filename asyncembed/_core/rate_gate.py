"""How many tokens a request has, without a tokenizer: too many at first, and then what the API has billed before.

Mean and deviation are learned as TCP learns the time of a round trip, and the estimate lies above the mean: what is
reckoned too high is given back when the answer comes, what is reckoned too low may have been refused by then.

Leave to send a request: asked of the rate limits, and told afterwards what the API made of it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import anyio

from asyncembed._http.headers import read_limit_headers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asyncembed._core.observer import Observer
    from asyncembed._ratelimit import Limiter, Slot


MOST: Final = 1.0
"""Tokens a byte before anything is known: no tokenizer makes more of a text than it has bytes, but for its ends."""

USUAL: Final = 0.5
"""Tokens a byte where the API never says how many there were; English has about 0.25, code 0.33."""

BESIDES: Final = 128
"""Tokens that a text may have besides its bytes: those that mark its ends, and what a server writes before each."""

DEVIATIONS: Final = 2
_GAIN: Final = 1 / 8
_DEVIATION_GAIN: Final = 1 / 4


def believed(tokens: int | None, size: int, texts: int) -> int | None:
    """Return what an answer says about the tokens of a request, None if it does not or if that cannot be true.

    Args:
        tokens: What it says.
        size: Bytes of the whole body of the request, as its fields may hold a prompt.
        texts: How many texts are in it.
    """
    return tokens if tokens is not None and 0 <= tokens <= MOST * size + BESIDES * texts else None


class TokenEstimate:
    """Tokens a byte, for one model."""

    def __init__(self) -> None:
        self._mean: float | None = None
        self._deviation = 0.0

    @property
    def is_learned(self) -> bool:
        """Whether anything is known yet."""
        return self._mean is not None

    def of(self, size: int) -> int:
        """Return how many tokens a request of so many bytes is reckoned at."""
        a_byte = MOST if self._mean is None else self._mean + DEVIATIONS * self._deviation
        return math.ceil(size * a_byte)

    def likely(self, size: int) -> int:
        """Return the most likely number of tokens in a request of `size` bytes."""
        return round(size * (USUAL if self._mean is None else self._mean))

    def learn(self, size: int, tokens: int | None) -> None:
        """Note how many tokens a request of so many bytes had; None if the API has not said."""
        seen = (tokens or size * USUAL) / max(size, 1)
        if self._mean is None:
            self._mean, self._deviation = seen, seen / 4
        else:
            error = seen - self._mean
            self._mean += _GAIN * error
            self._deviation += _DEVIATION_GAIN * (abs(error) - self._deviation)


class Billed(NamedTuple):
    """What one answer has cost.

    Attributes:
        tokens: Tokens that it says were billed.
        unreported_bytes: Bytes of the texts in the request, if it was billed and did not say so.
    """

    tokens: int
    unreported_bytes: int


class RatePermit:
    """Leave to send one request, once: `begin` comes before it, or else `withdraw`."""

    def __init__(self, limiter: Limiter, ticket: Slot, estimate: TokenEstimate, size: int, observer: Observer) -> None:
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
        if quota := read_limit_headers(headers):
            self._limiter.observe(self._ticket, quota)

    def settle(self, tokens: int | None, *, complete: bool, ended: bool, estimates: bool = False) -> Billed:
        """Take over how many tokens the answer says it was, and return what it was billed.

        Args:
            tokens: What the answer says; None if it does not, or nothing that can be true.
            complete: Whether it has brought all that was asked for.
            ended: Whether it was read to its end; one that was not is billed all the same, and might have said it.
            estimates: Whether an answer that was read to its end is estimated, too, if it does not say it.
        """
        if tokens or (complete and ended):
            self._estimate.learn(self._size, tokens)
            self._limiter.settle(self._ticket, tokens or self._estimate.of(self._size))
        if (tokens is None and not ended) or (not tokens and estimates and complete):
            return Billed(0, self._size)
        return Billed(tokens or 0, 0)

    async def _wait(self, look: Callable[[Slot], float]) -> None:
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


class RateGate:
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

    async def ask(self, inputs: int, size: int) -> RatePermit:
        """Wait until a request of so many texts and bytes may be sent; where there are no texts, at once.

        A wait that is cancelled has used nothing.
        """
        ticket = self._limiter.book(inputs, self._estimate.of(size))
        permit = RatePermit(self._limiter, ticket, self._estimate, size, self._observer)
        await permit.granted()
        return permit
