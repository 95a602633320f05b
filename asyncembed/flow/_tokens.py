"""How many tokens a request has, without a tokenizer: too many at first, and then what the API has billed before.

Mean and deviation are learned as TCP learns the time of a round trip, and the estimate lies above the mean: what is
reckoned too high is given back when the answer comes, what is reckoned too low may have been refused by then.
"""

from __future__ import annotations

import math
from typing import Final

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
