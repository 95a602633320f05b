"""What may be spent, and how many tokens a request may have. No I/O."""

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
"""Texts of a request whose tokens are estimated at most, as that takes longer than all else that is done for them."""


@dataclass(frozen=True, slots=True)
class SpendingCap:
    """What may be spent, one of the two at least.

    Attributes:
        max_tokens: Tokens.
        max_cost: US dollars.
        price: US dollars for a million tokens; always known where there is a `max_cost`.
    """

    max_tokens: int | None
    max_cost: float | None
    price: float | None

    @property
    def tokens(self) -> int:
        """Tokens that may be spent."""
        return min(part for part in (self.max_tokens, self._affordable) if part is not None)

    @property
    def _affordable(self) -> int | None:
        if self.max_cost is None or self.price is None:
            return None
        return math.floor(self.max_cost / self.price * MILLION)

    def describe(self, spent: int) -> str:
        """Return which cap is reached, and what was spent until then."""
        if self.tokens == self.max_tokens:
            return f"max_tokens={self.max_tokens} is reached: {spent:,} tokens are spent"
        assert self.price is not None
        cost = spent * self.price / MILLION
        return f"max_cost={self.max_cost:g} is reached: {spent:,} tokens are spent, which cost ${cost:,.4f}"


class Grant(NamedTuple):
    """Leave to ask for the first texts of a request.

    Attributes:
        texts: How many.
        tokens: What was set aside for them.
        estimated: Tokens that they seem to have; 0 if nobody had to know.
    """

    texts: int
    tokens: int
    estimated: int


NOTHING: Final = Grant(0, 0, 0)


class RequestTokens:
    """The texts of a request, and how many tokens they seem to have.

    Args:
        texts: The texts.
        prompt: What is put before each.
        overhead: Bytes that a request has besides each text.
    """

    def __init__(self, texts: Sequence[str], prompt: str, overhead: int) -> None:
        self._texts = texts
        self._prompt = prompt
        self.sizes = [overhead + (len(text) if text.isascii() else len(text.encode())) for text in texts]

    def estimate(self, size: int) -> int:
        """Return about how many tokens so many bytes of them have."""
        return math.ceil(size * self._density)

    @cached_property
    def _density(self) -> float:
        step = math.ceil(len(self._texts) / SAMPLE)
        tokens = sum(estimate_tokens(self._prompt + text) for text in self._texts[::step])
        return tokens / sum(self.sizes[::step])
