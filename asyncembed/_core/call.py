"""What one call asks for, checked: the way from a verb's options to the run behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncembed._config import EmbedOptions, OnError
    from asyncembed._core.endpoint import Endpoint
    from asyncembed._decide.spending_cap import SpendingCap
    from asyncembed._models import EmbedFailure
    from asyncembed.providers import Price


class DeadLetters(Protocol):
    """Keeps failures for later; its methods are called in threads."""

    def write(self, failures: Sequence[EmbedFailure]) -> None:
        """Bring failures to the disk, and raise if they did not get there."""
        ...

    def recognise(self, first: int) -> None:
        """Leave out, from now on, failures from index `first` on that an earlier run has written already."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What one call asks for; everything in it has been checked.

    Attributes:
        endpoint: Where it asks.
        options: What it asks for each text.
        chunk_size: Most texts in one request, None for as many as the provider takes.
        max_wait: Seconds that a request which is not full waits for more texts.
        on_error: What becomes of texts that cannot be embedded.
        dead_letters: What keeps them, if that is wanted.
        dedupe_bytes: Memory for vectors that equal texts share; 0 if each text is asked for.
        identity: Digest of what shapes a vector besides its text; only where equal texts or a cache need it.
        price: What a million tokens cost, where that is known.
        cap: What may be spent, if that is limited.
    """

    endpoint: Endpoint
    options: EmbedOptions
    chunk_size: int | None
    max_wait: float
    on_error: OnError
    dead_letters: DeadLetters | None = None
    dedupe_bytes: int = 0
    identity: bytes = b""
    price: Price | None = None
    cap: SpendingCap | None = None

    @property
    def dimension(self) -> int | None:
        """Dimension of the vectors, if it is asked for or known; a model's name says it only at its own address."""
        provider, options = self.endpoint.provider, self.options
        return provider.dimension(options) if self.endpoint.knows_models else options.dimensions

    @property
    def known_dimension(self) -> int | None:
        """The same, or the dimension that vectors had before."""
        options = self.options
        learned = None if options.extra else self.endpoint.learned.dimensions.get((options.model, options.dimensions))
        known = self.dimension or learned
        return min(known, options.cut_to) if known and options.cut_to else known
