"""Groups texts into batches, bounded by count, tokens, bytes and memory. Checks each text. No I/O."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from asyncembed._decide.duplicates import Lead
from asyncembed._decide.texts import as_input, as_input_or_refused, check_input, metadata_bytes
from asyncembed._exceptions import InvalidInputError
from asyncembed._models import EmbedInput

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asyncembed._decide.cost import CostModel
    from asyncembed._decide.texts import TextLike
    from asyncembed._models import Limits, Vector


BYTES_PER_TOKEN: Final = 2
"""Estimated UTF-8 bytes per token. English has about 4, code about 3; a low figure gives smaller requests."""

JSON_OVERHEAD: Final = 3
"""Bytes that a request adds to one text: two quotes and a comma."""


@dataclass(slots=True)
class Batch:
    """The texts of one request.

    Attributes:
        inputs: The texts, by index.
        refused: Invalid texts, with the reason. They are not sent, but count as part of the batch and its memory.
        request_bytes: Estimated length of the request body, refused texts included.
        text_memory: Memory of the text strings, in bytes.
        recalled: Texts that are not sent, with their vectors.
        followers: Texts that are not sent and get the vector of an equal text.
        is_apart: Whether these texts were taken out of other batches because they seem too long.
        prefix: Bytes of the prompt that a request puts before each text.
    """

    inputs: dict[int, EmbedInput] = field(default_factory=dict)
    refused: list[tuple[int, EmbedInput, InvalidInputError]] = field(default_factory=list)
    request_bytes: int = 0
    text_memory: int = 0
    recalled: list[tuple[int, EmbedInput, Vector]] = field(default_factory=list)
    followers: list[tuple[tuple[int, EmbedInput], Lead[Any]]] = field(default_factory=list)
    is_apart: bool = False
    prefix: int = 0

    def __len__(self) -> int:
        return len(self.inputs) + len(self.refused) + len(self.recalled) + len(self.followers)

    def add_unsent(self, index: int, item: EmbedInput, found: Vector | Lead[Any]) -> None:
        """Add a text that is not sent, with its vector or the equal text that it follows."""
        if isinstance(found, Lead):
            self.followers.append(((index, item), found))
        else:
            self.recalled.append((index, item, found))
        self.text_memory += sys.getsizeof(item.text) + metadata_bytes(item.metadata or {})

    def add(self, other: Batch) -> None:
        """Carry along the texts of another batch that are not asked for."""
        self.recalled += other.recalled
        self.followers += other.followers
        self.text_memory += other.text_memory


class _Room(NamedTuple):
    """What a batch may still hold; `each` is the memory of one result."""

    inputs: int
    tokens: int
    bytes: int
    memory: int
    each: int


_NO_ROOM: Final = _Room(0, 0, 0, 0, 0)


class Chunker:
    """Groups texts into batches: `take` returns complete batches, `flush` the last one.

    Args:
        limits: The provider's limits on one request. You may replace them between batches.
        chunk_size: Maximum number of texts in a batch, if the caller wants fewer than the provider allows.
        cost: Estimates the memory of a batch.
        budget: Maximum memory of a batch, in bytes. A text that alone needs more forms its own batch.
        first: Index of the first text.
        prefix: Bytes of the prefix that the provider adds to each text.
        strict: Whether an invalid text raises. Otherwise the batch lists it as refused.
    """

    def __init__(
        self,
        limits: Limits,
        chunk_size: int | None,
        cost: CostModel,
        budget: int,
        *,
        first: int = 0,
        prefix: int = 0,
        strict: bool = False,
    ) -> None:
        self.limits = limits
        self.budget = budget
        self.index = first
        """Index of the next text."""
        self._strict = strict
        self._prefix = prefix
        self._overhead = JSON_OVERHEAD + prefix
        self._least_tokens = 1 + prefix // BYTES_PER_TOKEN
        self._chunk_size = chunk_size
        self._cost = cost
        self._batch = Batch(prefix=prefix)
        self._full = self._left = _NO_ROOM

    @property
    def max_inputs(self) -> int:
        """Number of texts in a full batch."""
        return min(self._chunk_size or self.limits.inputs, self.limits.inputs)

    @property
    def pending(self) -> int:
        """Texts in the incomplete batch."""
        return len(self._batch)

    def take(self, texts: Iterable[TextLike]) -> list[Batch]:
        """Consume texts until they complete a batch or the iterable ends, and return the complete batches.

        Raises:
            ConfigurationError: if the chunker is strict and an item is not a text.
            InvalidInputError: if the chunker is strict and no API would accept a text.
            Exception: any exception of the iterable. The chunker keeps the texts before it.
        """
        # Local variables halve the cost: a text takes 90 bytecodes, with attributes 190.
        inputs, tokens, size, memory, each = self._left
        index, batch, overhead, least = self.index, self._batch, self._overhead, self._least_tokens
        as_given = as_input if self._strict else as_input_or_refused
        done: list[Batch] = []
        try:
            for item in texts:
                given = EmbedInput(item) if type(item) is str else as_given(item, index)
                text = given.text
                text_size, text_tokens = len(text) + overhead, len(text) // BYTES_PER_TOKEN + least
                need = text_size + text_size + each  # request body, ASCII string, result
                refusal = None
                if not text or not text.isascii():
                    text_size, text_tokens, refusal = self._measure(given, index)
                    need = text_size + (sys.getsizeof(text) if text else JSON_OVERHEAD) + each
                if given.metadata:
                    need += metadata_bytes(given.metadata)
                if text_size > size or text_tokens > tokens or need > memory or not inputs:
                    self._left = _Room(inputs, tokens, size, memory, each)
                    done += self.flush()  # returns nothing before the first text, which then goes alone
                    need -= each
                    inputs, tokens, size, memory, each = self._begin()
                    need += each
                    batch = self._batch
                inputs -= 1
                tokens -= text_tokens
                size -= text_size
                memory -= need
                if refusal:
                    batch.refused.append((index, given, refusal))
                else:
                    batch.inputs[index] = given
                index += 1
                if done or not inputs:
                    break
        finally:
            self._left, self.index = _Room(inputs, tokens, size, memory, each), index
        return done if inputs else done + self.flush()

    def flush(self) -> list[Batch]:
        """Return the incomplete batch, if it holds any text."""
        batch, count = self._batch, len(self._batch)
        if not count:
            return []
        batch.request_bytes = self._full.bytes - self._left.bytes
        batch.text_memory = self._full.memory - self._left.memory - batch.request_bytes - count * self._full.each
        self._batch, self._left = Batch(prefix=self._prefix), _NO_ROOM
        return [batch]

    def _measure(self, given: EmbedInput, index: int) -> tuple[int, int, InvalidInputError | None]:
        """Return the bytes and tokens of a text in a request, and the error if the text is invalid."""
        try:
            size = check_input(given, index)
        except InvalidInputError as error:
            if self._strict:
                raise
            return len(given.text.encode("utf-8", "surrogatepass")) + JSON_OVERHEAD, 0, error
        return size + self._overhead, size // BYTES_PER_TOKEN + self._least_tokens, None

    def _begin(self) -> _Room:
        """Start a batch with the current limits."""
        limits = self.limits
        self._full = _Room(
            inputs=self.max_inputs,
            tokens=sys.maxsize if limits.tokens is None else limits.tokens,
            bytes=limits.request_bytes,
            memory=self.budget - self._cost.working(0),
            each=self._cost.waiting(1, 0),
        )
        return self._full
