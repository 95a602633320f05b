"""Splits a batch that the API refuses as a whole into sub-batches, and learns how large a request may be. No I/O.

There are three ways to split:

- `halves`: one of the texts is bad, but which is unknown. If the API accepts the first half, the second must hold the
  bad text, and is halved without being sent. So one bad text among n costs at most 2·⌈log2 n⌉ extra requests, and the
  other texts are paid for once. If the API refuses the first half too, both halves are searched at the same time.
- `apart`: the answer names the bad texts. The rest is sent; if the API accepts it, the named texts were the bad ones.
- `smaller`: the request is too large. Each of the parts may be fine.

`LearnedLimits` holds the limits that refusals have taught, below those that the provider documents. It believes numbers
in a message only if they match the refused request. Otherwise it halves the size until a request fits. If the search
for a bad text finds none, the texts were too many together, whatever the refusal said.
"""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from asyncembed._decide.blame import Case
from asyncembed._decide.chunker import BYTES_PER_TOKEN, JSON_OVERHEAD, Batch
from asyncembed._decide.too_large import MIN_SHARE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from asyncembed._decide.retry import Backoff
    from asyncembed._decide.spending_cap import Grant
    from asyncembed._decide.too_large import TooLarge
    from asyncembed._exceptions import AsyncEmbedError
    from asyncembed._models import EmbedInput, Limits


MARGIN: Final = 0.9
"""Share of a limit in tokens or bytes to use, as the next texts differ from these."""


@dataclass(slots=True)
class LearnedLimits:
    """Learned maximum of texts, estimated tokens and bytes in one request; None where no request was too large."""

    inputs: int | None = None
    tokens: int | None = None
    request_bytes: int | None = None
    _most_accepted: int = 0
    _has_refused_together: bool = False

    def accepted(self, inputs: int) -> None:
        """Note that the API took this number of texts in one request."""
        self._most_accepted = max(self._most_accepted, inputs)

    def refused_together(self, inputs: int) -> None:
        """Learn that the API refused this number of texts in one request, but took each of them in a smaller one.

        That is an accident if the API has taken as many before, and may be one the first time.
        """
        if inputs <= self._most_accepted:
            return
        if self._has_refused_together:
            self.limit_inputs(math.ceil(inputs / 2))
        self._has_refused_together = True

    def limit_inputs(self, inputs: int) -> None:
        """Learn that a request may have at most this number of texts, at least one."""
        self.inputs = max(1, min(self.inputs or inputs, inputs))

    def learn(self, excess: TooLarge, inputs: int, size: int) -> int:
        """Learn from a request that was too large, and return into how many parts to split it.

        Args:
            excess: What the API said.
            inputs: Texts in the request.
            size: Bytes of these texts in the request.
        """
        if excess.unit == "inputs":
            limit = excess.limit or 0
            is_believed = excess.size in {None, inputs} and inputs * MIN_SHARE <= limit < inputs
            self.inputs = min(self.inputs or inputs, limit if is_believed else math.ceil(inputs / 2))
            return math.ceil(inputs / self.inputs)
        # If the API names no numbers, half of the texts shall fit, with a margin as they differ in length.
        half = 0.5 + 0.5 / max(inputs, 1) if inputs > 2 else 0.5  # noqa: PLR2004
        share = max(MIN_SHARE, MARGIN * excess.share) if excess.has_numbers else half
        if excess.unit == "tokens":
            # The chunker's estimate or slightly less, as the chunker rounds for each text.
            estimate = (size - JSON_OVERHEAD * inputs) / BYTES_PER_TOKEN + inputs / 2
            self.tokens = _smaller(self.tokens, share * estimate)
        else:
            self.request_bytes = _smaller(self.request_bytes, share * size)
        return math.ceil(1 / share)

    def within(self, limits: Limits) -> Limits:
        """Return the provider's limits, lowered to the learned ones."""
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


@dataclass(slots=True, eq=False)
class SubBatch:
    """A part of a batch that is sent as one request.

    Attributes:
        batch: The texts.
        case: What is known about the texts.
        backoff: The retry state of the texts; None before their first attempt.
        refusal: The error that the whole batch was refused with.
        refused_together: Number of texts in the last refused request that had these texts.
        after: The part to send first, as its outcome says something about this one.
        other: The part that must hold a bad text if this one does not.
        is_guilty: Whether this part must hold a bad text, so that it is halved without being sent.
        suspects: Texts that the answer named. They are the bad ones if the API accepts this part.
        is_settled: Whether the API has accepted or refused this part.
        grant: Tokens reserved for its first request, if the run has a cap.
    """

    batch: Batch
    case: Case = field(default_factory=Case)
    backoff: Backoff | None = None
    refusal: AsyncEmbedError | None = None
    refused_together: int = 0
    after: SubBatch | None = None
    other: SubBatch | None = None
    is_guilty: bool = False
    suspects: Mapping[int, EmbedInput] = field(default_factory=dict)
    is_settled: bool = False
    grant: Grant | None = None

    def __len__(self) -> int:
        return len(self.batch.inputs)

    @property
    def is_ready(self) -> bool:
        """Whether it need not wait for another part."""
        return self.after is None or self.after.is_settled

    def accepted(self) -> None:
        """Note that all its vectors have arrived."""
        self.is_settled = True
        if self.other:
            self.other.is_guilty = True


def halves(part: SubBatch, inputs: Mapping[int, EmbedInput], refusal: AsyncEmbedError) -> list[SubBatch]:
    """Return two halves of at least two texts that were refused because of one of them."""
    texts = {**inputs, **part.suspects}
    batches = [batch_of(half, part.batch.prefix) for half in _in_two(texts)]
    first, second = (SubBatch(batch, part.case.of_part(), refusal=refusal) for batch in batches)
    first.other, second.after = second, first
    first.refused_together = second.refused_together = part.refused_together if part.is_guilty else len(texts)
    return [first, second]


def apart(
    part: SubBatch, inputs: Mapping[int, EmbedInput], named: Iterable[int], refusal: AsyncEmbedError
) -> list[SubBatch]:
    """Return a part without the named texts, which become its suspects."""
    names = set(named)
    rest = {index: item for index, item in inputs.items() if index not in names}
    suspects = {**part.suspects, **{index: inputs[index] for index in sorted(names)}}
    case = part.case.of_part()
    case.named = part.case.named
    return [SubBatch(batch_of(rest, part.batch.prefix), case, refusal=refusal, suspects=suspects)]


def smaller(
    part: SubBatch, inputs: Mapping[int, EmbedInput], limits: Limits, refusal: AsyncEmbedError | None
) -> list[SubBatch]:
    """Return parts within these limits; at least two after a refusal, unless there is only one text."""
    prefix = part.batch.prefix
    groups = _grouped(inputs, limits, prefix)
    if len(groups) == 1 and refusal and len(inputs) > 1:
        groups = _in_two(inputs)
    parts = [
        SubBatch(batch_of(group, prefix), part.case.of_part(), copy(part.backoff), refusal or part.refusal)
        for group in groups
    ]
    parts[0].suspects = part.suspects
    return parts


def first_and_rest(part: SubBatch, inputs: Mapping[int, EmbedInput], grant: Grant) -> list[SubBatch]:
    """Return a part with the texts that the grant is for, and a part with the rest."""
    indices = sorted(inputs)
    groups = [{index: inputs[index] for index in some} for some in (indices[: grant.texts], indices[grant.texts :])]
    parts = [SubBatch(batch_of(group), part.case.of_part(), copy(part.backoff), part.refusal) for group in groups]
    parts[0].suspects = part.suspects
    parts[0].grant = grant
    return parts


def fits(batch: Batch, limits: Limits) -> bool:
    """Whether a batch is within limits; a single text always is."""
    count = len(batch.inputs)
    if count <= 1:
        return True
    tokens = (batch.request_bytes - JSON_OVERHEAD * count) // BYTES_PER_TOKEN
    too_many_tokens = limits.tokens is not None and tokens > limits.tokens
    return count <= limits.inputs and batch.request_bytes <= limits.request_bytes and not too_many_tokens


def batch_of(inputs: Mapping[int, EmbedInput], prefix: int = 0) -> Batch:
    """Return a batch of these texts, whose memory is already reserved; a prompt of `prefix` bytes precedes each."""
    size = sum(_size(item) for item in inputs.values()) + prefix * len(inputs)
    return Batch(dict(inputs), request_bytes=size, prefix=prefix)


def _in_two(inputs: Mapping[int, EmbedInput]) -> list[dict[int, EmbedInput]]:
    indices = sorted(inputs)
    middle = len(indices) // 2
    return [{index: inputs[index] for index in half} for half in (indices[:middle], indices[middle:])]


def _grouped(inputs: Mapping[int, EmbedInput], limits: Limits, prefix: int) -> list[dict[int, EmbedInput]]:
    """Return the texts in order, in as few groups as the limits allow. A text above the limits stands alone."""
    groups: list[dict[int, EmbedInput]] = [{}]
    size = tokens = 0
    for index, item in sorted(inputs.items()):
        more = _size(item) + prefix
        more_tokens = more // BYTES_PER_TOKEN
        is_full = (
            len(groups[-1]) >= limits.inputs
            or size + more > limits.request_bytes
            or (limits.tokens is not None and tokens + more_tokens > limits.tokens)
        )
        if is_full and groups[-1]:
            groups.append({})
            size = tokens = 0
        groups[-1][index] = item
        size += more
        tokens += more_tokens
    return groups


def _size(item: EmbedInput) -> int:
    text = item.text
    return JSON_OVERHEAD + (len(text) if text.isascii() else len(text.encode()))
