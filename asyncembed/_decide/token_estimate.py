"""Estimates how many tokens a request has from its bytes, and learns from the billed tokens. No I/O.

`TokenEstimate` starts with an upper bound and learns mean and deviation of tokens per byte, as TCP learns the
round-trip time. The estimate lies above the mean, because tokens that were estimated too high are given back when the
response arrives, and an API may refuse a request whose tokens were estimated too low.

`token_count.estimate_tokens` reads the text itself, and so also tells apart the languages of single texts. It learns
nothing from the API, and takes much longer.
"""

from __future__ import annotations

import math
from typing import Final

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
