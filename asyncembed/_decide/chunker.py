"""Texts to batches, without I/O: bounded by count, tokens, bytes and memory, checked one text at a time."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from asyncembed._decide.texts import as_input, as_input_or_refused, check_input, metadata_bytes
from asyncembed._exceptions import InvalidInputError
from asyncembed._models import EmbedInput

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asyncembed._decide.cost import CostModel
    from asyncembed._decide.duplicates import Lead
    from asyncembed._decide.texts import TextLike
    from asyncembed._models import Limits, Vector


BYTES_PER_TOKEN: Final = 2
"""UTF-8 bytes reckoned for one token. English has about 4, code about 3; a low figure gives smaller requests."""

JSON_OVERHEAD: Final = 3
"""Bytes around one text in a request: two quotes and a comma."""


@dataclass(slots=True)
class Batch:
    """Texts that travel in one request.

    Attributes:
        inputs: The texts, by index.
        refused: Texts that were not fit to be sent, with the reason; they keep their place, and so their memory.
        request_bytes: About how long the request body is, as if nothing were refused.
        text_memory: Bytes that the texts take as strings.
        recalled: Texts that are not asked for, with their vectors.
        followers: Texts that get the vector of an equal text.
    """

    inputs: dict[int, EmbedInput] = field(default_factory=dict)
    refused: list[tuple[int, EmbedInput, InvalidInputError]] = field(default_factory=list)
    request_bytes: int = 0
    text_memory: int = 0
    recalled: list[tuple[int, EmbedInput, Vector]] = field(default_factory=list)
    followers: list[tuple[tuple[int, EmbedInput], Lead[Any]]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.inputs) + len(self.refused) + len(self.recalled) + len(self.followers)

    def add(self, other: Batch) -> None:
        """Carry along the texts of another batch that are not asked for."""
        self.recalled += other.recalled
        self.followers += other.followers
        self.text_memory += other.text_memory


class _Room(NamedTuple):
    """What a batch may still hold; `each` is what every result takes of the memory."""

    inputs: int
    tokens: int
    bytes: int
    memory: int
    each: int


_NO_ROOM: Final = _Room(0, 0, 0, 0, 0)


class Chunker:
    """Groups texts into batches; `take` gives those that the texts complete, `flush` the rest.

    Args:
        limits: What one request of this provider may hold; they may be changed for the next batch.
        chunk_size: Most texts in a batch, if the caller wants fewer than the provider allows.
        cost: What a batch may need in memory.
        budget: Bytes a batch may need at most; a single text that needs more still makes a batch of its own.
        first: Index of the first text.
        prefix: Bytes of what is put before each text in a request.
        strict: Whether a text that no API would take raises, or gets a place in its batch as refused.
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
        self._overhead = JSON_OVERHEAD + prefix
        self._least_tokens = 1 + prefix // BYTES_PER_TOKEN
        self._chunk_size = chunk_size
        self._cost = cost
        self._batch = Batch()
        self._full = self._left = _NO_ROOM

    @property
    def max_inputs(self) -> int:
        """Number of texts in a full batch."""
        return min(self._chunk_size or self.limits.inputs, self.limits.inputs)

    @property
    def pending(self) -> int:
        """Texts in the batch that is not complete yet."""
        return len(self._batch)

    def take(self, texts: Iterable[TextLike]) -> list[Batch]:
        """Take texts until they complete a batch, or there are no more, and return the batches that are complete.

        Raises:
            ConfigurationError: if an item is no text.
            InvalidInputError: if no API would take a text, and the chunker is strict.
            Exception: what the iterable raises; the texts before it were taken.
        """
        # Local names: with attributes of an object, a text costs twice as many bytecodes (190 instead of 90).
        inputs, tokens, size, memory, each = self._left
        index, batch, overhead, least = self.index, self._batch, self._overhead, self._least_tokens
        as_given = as_input if self._strict else as_input_or_refused
        done: list[Batch] = []
        try:
            for item in texts:
                given = EmbedInput(item) if type(item) is str else as_given(item, index)
                text = given.text
                text_size, text_tokens = len(text) + overhead, len(text) // BYTES_PER_TOKEN + least
                need = text_size + text_size + each  # in the request, as a string of ASCII, and as a result
                refusal = None
                if not text or not text.isascii():
                    text_size, text_tokens, refusal = self._measure(given, index)
                    need = text_size + (sys.getsizeof(text) if text else JSON_OVERHEAD) + each
                if given.metadata:
                    need += metadata_bytes(given.metadata)
                if text_size > size or text_tokens > tokens or need > memory or not inputs:
                    self._left = _Room(inputs, tokens, size, memory, each)
                    done += self.flush()  # if the text is the first, it goes alone
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
        """Return the batch that is not complete yet, if it holds anything."""
        batch, count = self._batch, len(self._batch)
        if not count:
            return []
        batch.request_bytes = self._full.bytes - self._left.bytes
        batch.text_memory = self._full.memory - self._left.memory - batch.request_bytes - count * self._full.each
        self._batch, self._left = Batch(), _NO_ROOM
        return [batch]

    def _measure(self, given: EmbedInput, index: int) -> tuple[int, int, InvalidInputError | None]:
        """Return how many bytes and tokens a text takes in a request, and why it is not to be sent if that is so."""
        try:
            size = check_input(given, index)
        except InvalidInputError as error:
            if self._strict:
                raise
            return len(given.text.encode("utf-8", "surrogatepass")) + JSON_OVERHEAD, 0, error
        return size + self._overhead, size // BYTES_PER_TOKEN + self._least_tokens, None

    def _begin(self) -> _Room:
        """Give a batch all the room there is now."""
        limits = self.limits
        self._full = _Room(
            inputs=self.max_inputs,
            tokens=sys.maxsize if limits.tokens is None else limits.tokens,
            bytes=limits.request_bytes,
            memory=self.budget - self._cost.working(0),
            each=self._cost.waiting(1, 0),
        )
        return self._full
