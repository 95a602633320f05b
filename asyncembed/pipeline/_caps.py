"""How large a request may be, learned from those that were too large; smaller than what the provider has published.

What an API says is only believed where it fits the request that it says it of: then the cap follows from it, and else a
request of half the size is tried next, and half of that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from asyncembed.pipeline._chunker import BYTES_PER_TOKEN, JSON_OVERHEAD

if TYPE_CHECKING:
    from asyncembed._decide.excess import Excess
    from asyncembed.providers import Limits

MARGIN: Final = 0.9
"""Share of a limit in tokens or bytes that is used, as the next texts are not exactly like these."""

LEAST_SHARE: Final = 1 / 64
"""Smallest share of a request that a cap may come down to at once: numbers in a message may mean anything."""


@dataclass(slots=True)
class Caps:
    """Most texts, tokens as they are estimated, and bytes of texts in one request; None where none was met."""

    inputs: int | None = None
    tokens: int | None = None
    request_bytes: int | None = None

    def learn(self, excess: Excess, inputs: int, size: int) -> int:
        """Take over that a request was too large, and return in how many parts it fits.

        Args:
            excess: What the API said.
            inputs: Texts in the request.
            size: Bytes that these texts took in it.
        """
        if excess.unit == "inputs":
            most = excess.most or 0
            is_believed = excess.size in {None, inputs} and inputs * LEAST_SHARE <= most < inputs
            self.inputs = min(self.inputs or inputs, most if is_believed else math.ceil(inputs / 2))
            return math.ceil(inputs / self.inputs)
        # Where the API does not say how much, half of the texts are to fit, though they are not exactly alike.
        half = 0.5 + 0.5 / max(inputs, 1) if inputs > 2 else 0.5  # noqa: PLR2004
        share = max(LEAST_SHARE, MARGIN * excess.share) if excess.is_told else half
        if excess.unit == "tokens":
            # As the chunker estimates them, or a little less: it rounds for each text.
            estimate = (size - JSON_OVERHEAD * inputs) / BYTES_PER_TOKEN + inputs / 2
            self.tokens = _smaller(self.tokens, share * estimate)
        else:
            self.request_bytes = _smaller(self.request_bytes, share * size)
        return math.ceil(1 / share)

    def within(self, limits: Limits) -> Limits:
        """Return these limits, none of them above its cap."""
        if not (self.inputs or self.tokens or self.request_bytes):
            return limits
        return replace(
            limits,
            inputs=min(limits.inputs, self.inputs or limits.inputs),
            tokens=self.tokens if limits.tokens is None else min(limits.tokens, self.tokens or limits.tokens),
            request_bytes=min(limits.request_bytes, self.request_bytes or limits.request_bytes),
        )


def _smaller(cap: int | None, size: float) -> int:
    return max(1, min(cap or math.floor(size), math.floor(size)))
