"""How large a request may be, learned from those that were too large; smaller than what the provider has published.

What an API says is only believed where it fits the request that it says it of: then the cap follows from it, and else a
request of half the size is tried next, and half of that.

The parts of a batch that are asked for when the API does not take it as a whole: batches of their own.

Three ways to cut, all without I/O:

- `halves`: one of the texts is bad, and nothing says which. When the first half is taken, the other one must hold the
  bad text, and is halved without being asked for. So one bad text among n costs at most 2·⌈log2 n⌉ requests more than
  none, and the others are paid for once. When the first half is refused, too, both are looked into side by side.
- `apart`: the answer names the bad texts. The rest is asked for; if that is taken, the named ones were the bad ones.
- `smaller`: the request is too large. Then each of the parts may be fine.
"""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from asyncembed._decide.blame import Case
from asyncembed._decide.chunker import BYTES_PER_TOKEN, JSON_OVERHEAD, Batch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from asyncembed._decide.retry import Backoff
    from asyncembed._decide.too_large import TooLarge
    from asyncembed._exceptions import AsyncEmbedError
    from asyncembed._models import EmbedInput, Limits


MARGIN: Final = 0.9
"""Share of a limit in tokens or bytes that is used, as the next texts are not exactly like these."""

LEAST_SHARE: Final = 1 / 64
"""Smallest share of a request that a cap may come down to at once: numbers in a message may mean anything."""


@dataclass(slots=True)
class LearnedLimits:
    """Most texts, tokens as they are estimated, and bytes of texts in one request; None where none was met."""

    inputs: int | None = None
    tokens: int | None = None
    request_bytes: int | None = None

    def learn(self, excess: TooLarge, inputs: int, size: int) -> int:
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


@dataclass(slots=True, eq=False)
class SubBatch:
    """Texts that are asked for together.

    Attributes:
        batch: The texts.
        case: What is known about them.
        backoff: The waits between attempts that count for them; None if none was made.
        refusal: What the whole was refused with.
        after: The part that is asked for first, as its outcome tells something about this one.
        other: The part that must hold a bad text if this one holds none.
        is_guilty: Whether it must hold a bad text, so that it need not be asked for to be halved.
        suspects: Texts that were named as bad, and are if this part is taken.
        is_settled: Whether it was asked for, and taken or refused.
    """

    batch: Batch
    case: Case = field(default_factory=Case)
    backoff: Backoff | None = None
    refusal: AsyncEmbedError | None = None
    after: SubBatch | None = None
    other: SubBatch | None = None
    is_guilty: bool = False
    suspects: Mapping[int, EmbedInput] = field(default_factory=dict)
    is_settled: bool = False

    def __len__(self) -> int:
        return len(self.batch.inputs)

    @property
    def may_be_asked(self) -> bool:
        """Whether it has to wait for no other part."""
        return self.after is None or self.after.is_settled

    def taken(self) -> None:
        """Note that all of it has arrived."""
        self.is_settled = True
        if self.other:
            self.other.is_guilty = True


def halves(part: SubBatch, inputs: Mapping[int, EmbedInput], refusal: AsyncEmbedError) -> list[SubBatch]:
    """Return the halves of texts that were refused for one of them; there are two texts at least."""
    indices = sorted({**inputs, **part.suspects})
    both = {**inputs, **part.suspects}
    middle = len(indices) // 2
    first, second = (
        SubBatch(batch_of({index: both[index] for index in some}), part.case.of_part(), refusal=refusal)
        for some in (indices[:middle], indices[middle:])
    )
    first.other, second.after = second, first
    return [first, second]


def apart(
    part: SubBatch, inputs: Mapping[int, EmbedInput], named: Iterable[int], refusal: AsyncEmbedError
) -> list[SubBatch]:
    """Return the texts without the named ones, which are suspects from now on."""
    names = set(named)
    rest = {index: item for index, item in inputs.items() if index not in names}
    suspects = {**part.suspects, **{index: inputs[index] for index in sorted(names)}}
    case = part.case.of_part()
    case.named = part.case.named
    return [SubBatch(batch_of(rest), case, refusal=refusal, suspects=suspects)]


def smaller(
    part: SubBatch, inputs: Mapping[int, EmbedInput], limits: Limits, refusal: AsyncEmbedError | None
) -> list[SubBatch]:
    """Return parts that keep to these limits, and are smaller than the whole in any case if that was refused."""
    groups = _grouped(inputs, limits)
    if len(groups) == 1 and refusal and len(inputs) > 1:
        indices = sorted(inputs)
        middle = len(indices) // 2
        groups = [{index: inputs[index] for index in some} for some in (indices[:middle], indices[middle:])]
    return [
        SubBatch(batch_of(group), part.case.of_part(), copy(part.backoff), refusal or part.refusal, suspects=suspects)
        for group, suspects in zip(groups, [part.suspects, *[{}] * len(groups)], strict=False)
    ]


def fits(batch: Batch, limits: Limits) -> bool:
    """Whether a batch keeps to limits; one text always does."""
    count = len(batch.inputs)
    if count <= 1:
        return True
    tokens = (batch.request_bytes - JSON_OVERHEAD * count) // BYTES_PER_TOKEN
    too_many_tokens = limits.tokens is not None and tokens > limits.tokens
    return count <= limits.inputs and batch.request_bytes <= limits.request_bytes and not too_many_tokens


def batch_of(inputs: Mapping[int, EmbedInput]) -> Batch:
    """Return a batch of these texts; their memory is reserved already."""
    return Batch(dict(inputs), request_bytes=sum(_size(item) for item in inputs.values()))


def _grouped(inputs: Mapping[int, EmbedInput], limits: Limits) -> list[dict[int, EmbedInput]]:
    """Return the texts in order, in as few groups as the limits allow; a text beyond them stands alone."""
    groups: list[dict[int, EmbedInput]] = [{}]
    size = tokens = 0
    for index, item in sorted(inputs.items()):
        more, more_tokens = _size(item), _size(item) // BYTES_PER_TOKEN
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
