"""The parts of a batch that are asked for when the API does not take it as a whole: batches of their own.

Three ways to cut, all without I/O:

- `halves`: one of the texts is bad, and nothing says which. When the first half is taken, the other one must hold the
  bad text, and is halved without being asked for. So one bad text among n costs at most 2·⌈log2 n⌉ requests more than
  none, and the others are paid for once. When the first half is refused, too, both are looked into side by side.
- `apart`: the answer names the bad texts. The rest is asked for; if that is taken, the named ones were the bad ones.
- `smaller`: the request is too large. Then each of the parts may be fine.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from asyncembed._decide.blame import Case
from asyncembed.pipeline._chunker import BYTES_PER_TOKEN, JSON_OVERHEAD, Batch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from asyncembed._errors import AsyncEmbedError
    from asyncembed._models import EmbedInput
    from asyncembed.flow._retry import Backoff
    from asyncembed.providers import Limits


@dataclass(slots=True, eq=False)
class Part:
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
    after: Part | None = None
    other: Part | None = None
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


def halves(part: Part, inputs: Mapping[int, EmbedInput], refusal: AsyncEmbedError) -> list[Part]:
    """Return the halves of texts that were refused for one of them; there are two texts at least."""
    indices = sorted({**inputs, **part.suspects})
    both = {**inputs, **part.suspects}
    middle = len(indices) // 2
    first, second = (
        Part(batch_of({index: both[index] for index in some}), part.case.of_part(), refusal=refusal)
        for some in (indices[:middle], indices[middle:])
    )
    first.other, second.after = second, first
    return [first, second]


def apart(part: Part, inputs: Mapping[int, EmbedInput], named: Iterable[int], refusal: AsyncEmbedError) -> list[Part]:
    """Return the texts without the named ones, which are suspects from now on."""
    names = set(named)
    rest = {index: item for index, item in inputs.items() if index not in names}
    suspects = {**part.suspects, **{index: inputs[index] for index in sorted(names)}}
    case = part.case.of_part()
    case.named = part.case.named
    return [Part(batch_of(rest), case, refusal=refusal, suspects=suspects)]


def smaller(
    part: Part, inputs: Mapping[int, EmbedInput], limits: Limits, refusal: AsyncEmbedError | None
) -> list[Part]:
    """Return parts that keep to these limits, and are smaller than the whole in any case if that was refused."""
    groups = _grouped(inputs, limits)
    if len(groups) == 1 and refusal and len(inputs) > 1:
        indices = sorted(inputs)
        middle = len(indices) // 2
        groups = [{index: inputs[index] for index in some} for some in (indices[:middle], indices[middle:])]
    return [
        Part(batch_of(group), part.case.of_part(), copy(part.backoff), refusal or part.refusal, suspects=suspects)
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
