"""Texts to batches, without I/O: bounded by count, tokens, bytes and memory, checked one text at a time."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from itertools import islice, repeat
from typing import TYPE_CHECKING, Final, TypeAlias

from asyncembed._errors import ConfigurationError, InvalidInputError
from asyncembed._models import EmbedInput, make_many
from asyncembed.pipeline._excerpt import excerpt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncembed.flow._cost import CostModel
    from asyncembed.providers import Limits

TextLike: TypeAlias = str | tuple[str | int, str] | EmbedInput
"""What one text may be given as: the text, an (id, text) pair, or an `EmbedInput`."""

BYTES_PER_TOKEN: Final = 2
"""UTF-8 bytes reckoned for one token. English has about 4, code about 3; a low figure gives smaller requests."""

JSON_OVERHEAD: Final = 3
"""Bytes around one text in a request: two quotes and a comma."""

STRETCH: Final = 64
"""Most texts that are taken without a look at each limit, because all of them together stay below it."""


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

    `fill` is for speed alone: it takes many texts at once where no limit is near.

    Args:
        limits: What one request of this provider may hold; they may be changed for the next batch.
        chunk_size: Most texts in a batch, if the caller wants fewer than the provider allows.
        cost: What a batch may need in memory.
        budget: Bytes a batch may need at most; a single text that needs more still makes a batch of its own.
    """

    def __init__(self, limits: Limits, chunk_size: int | None, cost: CostModel, budget: int) -> None:
        self.limits = limits
        self._chunk_size = chunk_size
        self._most = 0
        self._cost = cost
        self.budget = budget
        self._batch = Batch()
        self._count = 0
        # What the batch leaves of each limit, as costs grow with every text by what it is reckoned at alone.
        self._tokens = self._bytes = self._memory = self._each = 0

    @property
    def pending(self) -> int:
        """Texts in the batch that is not complete yet."""
        return self._count

    @property
    def is_full(self) -> bool:
        """Whether the batch holds as many texts as it may."""
        return 0 < self._most <= self._count

    def add(self, item: EmbedInput, index: int, text_bytes: int) -> list[Batch]:
        """Take the text at `index`, `text_bytes` long in UTF-8, and return the batches that are complete now."""
        done = self._make_room(item.text, text_bytes + JSON_OVERHEAD, text_bytes // BYTES_PER_TOKEN + 1)
        self._batch.inputs[index] = item
        return done if self._count < self._most else done + self.flush()

    def fill(self, texts: Iterator[TextLike], index: int) -> list[TextLike] | None:
        """Take the next texts, from `index` on, into the batch that was begun, as far as they are sure to fit.

        Only strings of ASCII, which most are. What stops it, because it has to be looked at, is given back; None if
        there are no more texts.
        """
        most = min(self._most - self._count, STRETCH)
        taken: list[str] = []
        room = left = self._room_for(most)
        try:
            for item in islice(texts, most):
                if type(item) is not str or not item.isascii() or not 0 < len(item) <= left:
                    return [item]
                left -= len(item)
                taken.append(item)
        finally:  # if the caller's iterable raises, too
            self._take(taken, index, room - left)
        return [] if len(taken) == most else None

    def refuse(self, item: EmbedInput, index: int, error: InvalidInputError) -> list[Batch]:
        """Take a text that will not be sent, and return the batches that are complete now."""
        size = len(item.text.encode("utf-8", "surrogatepass"))
        done = self._make_room(item.text, size + JSON_OVERHEAD, 0)
        self._batch.refused.append((index, item, error))
        return done if self._count < self._most else done + self.flush()

    def flush(self) -> list[Batch]:
        """Return the batch that is not complete yet, if it holds anything."""
        if not self._count:
            return []
        batch, self._batch, self._count = self._batch, Batch(), 0
        return [batch]

    def _begin(self) -> None:
        """Give a batch all the room there is now."""
        self._most = min(self._chunk_size or self.limits.inputs, self.limits.inputs)
        self._tokens = sys.maxsize if self.limits.tokens is None else self.limits.tokens
        self._bytes = self.limits.request_bytes
        self._memory = self.budget - self._cost.working(0)
        self._each = self._cost.waiting(1, 0)

    def _make_room(self, text: str, size: int, tokens: int) -> list[Batch]:
        """Reckon with one more text, and return the batch that it does not fit into any more, if that is so."""
        # A string of ASCII takes its length, beside what is reckoned for every result.
        memory = size if size == len(text) + JSON_OVERHEAD else sys.getsizeof(text)
        need = size + memory + self._each
        done: list[Batch] = []
        if size > self._bytes or tokens > self._tokens or need > self._memory or not self._count:
            done = self.flush()  # if it is the first, it goes alone
            self._begin()
        self._reckon(1, size, memory, tokens)
        return done

    def _room_for(self, count: int) -> int:
        """Bytes that so many texts of ASCII may have together, whatever each of them has."""
        own, each = self._bytes - count * JSON_OVERHEAD, self._each + 2 * JSON_OVERHEAD
        return min(own, (self._tokens - count) * BYTES_PER_TOKEN, (self._memory - count * each) // 2)

    def _take(self, texts: list[str], index: int, text_bytes: int) -> None:
        count = len(texts)
        inputs = make_many(EmbedInput, texts, repeat(None))
        self._batch.inputs.update(zip(range(index, index + count), inputs, strict=True))
        size = text_bytes + count * JSON_OVERHEAD  # also in memory
        self._reckon(count, size, size, text_bytes // BYTES_PER_TOKEN + count)

    def _reckon(self, count: int, size: int, memory: int, tokens: int) -> None:
        self._bytes -= size
        self._tokens -= tokens
        self._memory -= size + memory + count * self._each
        self._count += count
        self._batch.request_bytes += size
        self._batch.text_memory += memory


def _describe(item: object) -> str:
    if isinstance(item, bytes):
        return "bytes (decode them first)"
    if isinstance(item, EmbedInput):
        return f"an EmbedInput of a {type(item.text).__name__} with a {type(item.id).__name__} as its id"
    if isinstance(item, tuple):
        return f"a tuple of {', '.join(type(part).__name__ for part in item)}"
    return f"a {type(item).__name__}"
