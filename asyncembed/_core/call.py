"""The checked arguments of one call, which a verb passes to its run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncembed._config import EmbedOptions, OnError
    from asyncembed._core.endpoint import Endpoint
    from asyncembed._models import EmbedFailure


class DeadLetters(Protocol):
    """Stores failed texts for later. Its methods are called in worker threads."""

    def write(self, failures: Sequence[EmbedFailure]) -> None:
        """Write failures to disk; raise if that fails."""
        ...

    def recognise(self, first: int) -> None:
        """From now on, skip failures from index `first` on that an earlier run has already written."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The checked arguments of one call.

    Attributes:
        endpoint: The API that the requests go to.
        options: Model, dimension and other options of the requests.
        chunk_size: Maximum number of texts per request; None for the provider's maximum.
        max_wait: How long a partly filled request waits for more texts, in seconds.
        on_error: What happens to texts that cannot be embedded.
        dead_letters: Stores those texts, if the caller wants that.
        max_text_tokens: Maximum number of tokens of one text, if the caller sets it.
        dedupe_bytes: Memory for vectors that equal texts share, in bytes; 0 to request each text.
        identity: Digest of everything that shapes a vector besides its text; set only for equal texts or a cache.
    """

    endpoint: Endpoint
    options: EmbedOptions
    chunk_size: int | None
    max_wait: float
    on_error: OnError
    dead_letters: DeadLetters | None = None
    max_text_tokens: int | None = None
    dedupe_bytes: int = 0
    identity: bytes = b""

    @property
    def dimension(self) -> int | None:
        """Dimension of the vectors, if it is requested or known.

        A model's name implies its dimension only at the provider's own address.
        """
        provider, options = self.endpoint.provider, self.options
        return provider.dimension(options) if self.endpoint.knows_models else options.dimensions

    @property
    def known_dimension(self) -> int | None:
        """Dimension of the delivered vectors, if it is requested, known, or learned from earlier responses."""
        options = self.options
        learned = None if options.extra else self.endpoint.learned.dimensions.get((options.model, options.dimensions))
        known = self.dimension or learned
        return min(known, options.cut_to) if known and options.cut_to else known
