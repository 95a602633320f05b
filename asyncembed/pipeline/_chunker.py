"""Texts to batches, without I/O: bounded by count, tokens, bytes and memory, checked one text at a time."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from asyncembed._errors import ConfigurationError, InvalidInputError
from asyncembed._models import EmbedInput
from asyncembed.pipeline._excerpt import excerpt

if TYPE_CHECKING:
    from asyncembed.flow._cost import CostModel
    from asyncembed.providers import Limits

TextLike: TypeAlias = str | tuple[str | int, str] | EmbedInput
"""What one text may be given as: the text, an (id, text) pair, or an `EmbedInput`."""

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
    """

    inputs: dict[int, EmbedInput] = field(default_factory=dict)
    refused: list[tuple[int, EmbedInput, InvalidInputError]] = field(default_factory=list)
    request_bytes: int = 0
    text_memory: int = 0

    def __len__(self) -> int:
        return len(self.inputs) + len(self.refused)


def as_input(item: TextLike, index: int) -> EmbedInput:
    """Return what the caller gave as an `EmbedInput`.

    Raises:
        ConfigurationError: if it is none of the forms a text may have.
    """
    if isinstance(item, str):
        return EmbedInput(item)
    if isinstance(item, EmbedInput) and isinstance(item.text, str) and isinstance(item.id, str | int | None):
        return item
    match item:
        case tuple((str() | int() as given_id, str() as text)):
            return EmbedInput(text, given_id)
    raise ConfigurationError(f"texts[{index}] is {_describe(item)}; give a str, an (id, str) pair or an EmbedInput")


def check_text(text: str, index: int) -> int:
    """Return the length of a text in UTF-8 bytes.

    Raises:
        InvalidInputError: if every API would refuse the text, before it takes the texts around it along.
    """
    if not text:
        raise InvalidInputError(f"texts[{index}] is empty; leave it out or replace it", indices=(index,))
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"texts[{index}] holds half a surrogate pair at character {error.start} of '{excerpt(text)}', which is not "
            "valid Unicode; clean it with text.encode('utf-8', 'replace').decode()",
            indices=(index,),
        ) from None


class Chunker:
    """Groups texts into batches; `add` gives the batches that a text completes, `flush` the rest.

    Args:
        limits: What one request of this provider may hold; they may be changed for the next batch.
        chunk_size: Most texts in a batch, if the caller wants fewer than the provider allows.
        cost: What a batch may need in memory.
        budget: Bytes a batch may need at most; a single text that needs more still makes a batch of its own.
    """

    def __init__(self, limits: Limits, chunk_size: int | None, cost: CostModel, budget: int) -> None:
        self.limits = limits
        self.budget = budget
        self._chunk_size = chunk_size
        self._cost = cost
        self._batch = Batch()
        # What the batch leaves of each limit, and what each text needs in memory besides itself.
        self._inputs = self._tokens = self._bytes = self._memory = self._each = 0

    @property
    def pending(self) -> int:
        """Texts in the batch that is not complete yet."""
        return len(self._batch)

    def add(
        self, item: EmbedInput, index: int, text_bytes: int, refusal: InvalidInputError | None = None
    ) -> list[Batch]:
        """Take the text at `index` and return the batches that are complete now.

        Args:
            item: The text.
            index: Its place in the input.
            text_bytes: Its length in UTF-8.
            refusal: Why it will not be sent; it keeps its place in the batch all the same.
        """
        size = text_bytes + JSON_OVERHEAD
        tokens = 0 if refusal else text_bytes // BYTES_PER_TOKEN + 1
        # A string of ASCII takes its length, besides what is counted for every result.
        memory = size if text_bytes == len(item.text) else sys.getsizeof(item.text)
        need = size + memory + self._each
        done: list[Batch] = []
        if size > self._bytes or tokens > self._tokens or need > self._memory or not self._inputs:
            done = self.flush()  # if the text is the first, it goes alone
            self._begin()
            need = size + memory + self._each
        self._inputs -= 1
        self._bytes -= size
        self._tokens -= tokens
        self._memory -= need
        batch = self._batch
        batch.request_bytes += size
        batch.text_memory += memory
        if refusal:
            batch.refused.append((index, item, refusal))
        else:
            batch.inputs[index] = item
        return done if self._inputs else done + self.flush()

    def flush(self) -> list[Batch]:
        """Return the batch that is not complete yet, if it holds anything."""
        batch, self._batch, self._inputs = self._batch, Batch(), 0
        return [batch] if len(batch) else []

    def _begin(self) -> None:
        """Give a batch all the room there is now."""
        limits = self.limits
        self._inputs = min(self._chunk_size or limits.inputs, limits.inputs)
        self._tokens = sys.maxsize if limits.tokens is None else limits.tokens
        self._bytes = limits.request_bytes
        self._memory = self.budget - self._cost.working(0)
        self._each = self._cost.waiting(1, 0)


def _describe(item: object) -> str:
    if isinstance(item, bytes):
        return "bytes (decode them first)"
    if isinstance(item, EmbedInput):
        return f"an EmbedInput of a {type(item.text).__name__} with a {type(item.id).__name__} as its id"
    if isinstance(item, tuple):
        return f"a tuple of {', '.join(type(part).__name__ for part in item)}"
    return f"a {type(item).__name__}"
