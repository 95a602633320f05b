"""The maximum that a run may spend, and the estimated tokens of one request. No I/O."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from asyncembed._decide.token_count import estimate_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

MILLION: Final = 1_000_000

SAMPLE: Final = 64
"""Maximum number of texts per request to estimate: an estimate takes more time than all other work on a text."""


@dataclass(frozen=True, slots=True)
class SpendingCap:
    """The maximum that a run may spend: tokens, dollars or both.

    Attributes:
        max_tokens: Maximum number of tokens, if limited.
        max_cost: Maximum cost in US dollars, if limited.
        price: US dollars for a million tokens; known if `max_cost` is set.
    """

    max_tokens: int | None
    max_cost: float | None
    price: float | None

    @property
    def tokens(self) -> int:
        """The smaller maximum, in tokens."""
        return min(part for part in (self.max_tokens, self._affordable) if part is not None)

    @property
    def _affordable(self) -> int | None:
        if self.max_cost is None or self.price is None:
            return None
        return math.floor(self.max_cost / self.price * MILLION)

    def describe(self, spent: int) -> str:
        """Describe which maximum is reached, and what the run has spent."""
        if self.tokens == self.max_tokens:
            return f"max_tokens={self.max_tokens} is reached: {spent:,} tokens are spent"
        assert self.price is not None
        cost = spent * self.price / MILLION
        return f"max_cost={self.max_cost:g} is reached: {spent:,} tokens are spent, which cost ${cost:,.4f}"


class RequestTokens:
    """Estimates the tokens of a request.

    Args:
        texts: The texts.
        prompt: The prefix of each text.
        overhead: Bytes that a request adds to each text, prefix included.

    Attributes:
        sizes: Bytes of each text in the request.
    """

    def __init__(self, texts: Sequence[str], prompt: str, overhead: int) -> None:
        self._texts = texts
        self._prompt = prompt
        self.sizes = [overhead + (len(text) if text.isascii() else len(text.encode())) for text in texts]

    def estimate(self, size: int) -> int:
        """Return the estimated tokens of `size` bytes of the request."""
        return math.ceil(size * self._density)

    @cached_property
    def _density(self) -> float:
        step = math.ceil(len(self._texts) / SAMPLE)
        tokens = sum(estimate_tokens(self._prompt + text) for text in self._texts[::step])
        return tokens / sum(self.sizes[::step])


class Grant(NamedTuple):
    """Permission to send the first texts of a request.

    Attributes:
        texts: Number of texts.
        tokens: Tokens reserved for them.
        request: Estimates the tokens of the texts.
        size: Bytes of the texts in the request.
        is_estimated: Whether the reservation is an estimate; otherwise it is one token per byte.
    """

    texts: int
    tokens: int
    request: RequestTokens
    size: int
    is_estimated: bool

    def estimate(self) -> int:
        """Return the estimated tokens of the texts."""
        return self.request.estimate(self.size)
