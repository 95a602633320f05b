"""What of a batch has arrived, and what is still missing: no vector twice, none to the wrong text.

Without I/O. An attempt asks for all that is missing, or for a part of it. A response is trusted position by position
while it streams, and its count must be right at its end. When the count is wrong and positions follow from the order
alone, or when a position comes twice, nobody knows which vector belongs to which text. Asking again would not help the
texts that were served already, so such a fault is final.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, Generic, TypeAlias, TypeVar

from asyncembed._errors import ResponseError
from asyncembed._models import EmbedResult
from asyncembed.pipeline._held import Held

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from asyncembed._models import EmbedBlock, EmbedInput, Vector
    from asyncembed.pipeline._chunker import Batch
    from asyncembed.wire._parser import ResponseParser
    from asyncembed.wire._vectors import RawRow, Value, VectorDecoder


SURPLUS: Final = 16
"""Vectors beyond twice what was asked for that are waited for, before a response is given up without its end."""

RowT = TypeVar("RowT", bound="RawRow")
Arrived: TypeAlias = list[tuple[int, "EmbedInput", RowT]]
"""Index, text and vector of what has arrived."""


class Delivery(ABC, Generic[RowT]):
    """Keeps the books of one batch over all its attempts, and makes results of its vectors."""

    def __init__(self, batch: Batch, decoder: VectorDecoder) -> None:
        self._decoder = decoder
        self._held: Held[RowT] | None = Held(decoder) if decoder.is_open else None
        self._missing = dict(batch.inputs)
        self._asked = list(self._missing)
        self.attempts = 0
        """How often texts of the batch were asked for."""
        self._fault: ResponseError | None = None
        self._refused: list[str] = []  # why vectors that came in this attempt are still missing

    @property
    @abstractmethod
    def decode(self) -> Callable[[Value], RowT]:
        """What decodes a vector of a response; it raises `ResponseError` if that is none."""

    @abstractmethod
    def _pack(self, arrived: Arrived[RowT]) -> Sequence[EmbedResult | EmbedBlock]:
        """Make results of what has arrived."""

    @property
    def missing(self) -> tuple[int, ...]:
        """Input indices that the current attempt asks for and that have not arrived, ascending."""
        return tuple(index for index in self._asked if index in self._missing)

    @property
    def count_missing(self) -> int:
        """How many texts of the whole batch have not arrived and were not given up."""
        return len(self._missing)

    @property
    def is_complete(self) -> bool:
        """Whether everything that the current attempt asks for has arrived."""
        return not self._missing or not any(index in self._missing for index in self._asked)

    def ask(self, indices: Iterable[int] | None = None) -> list[str]:
        """Begin an attempt and return the texts to ask for: those of `indices`, or of all, that are missing."""
        wanted = self._missing if indices is None else indices
        self._asked = [index for index in wanted if index in self._missing]
        self._refused.clear()
        self.attempts += bool(self._asked)
        return [self._missing[index].text for index in self._asked]

    def accept(self, vectors: Iterable[tuple[int, RowT]]) -> Sequence[EmbedResult | EmbedBlock]:
        """Turn vectors, with their positions in the current attempt, into results.

        Stops at a position that is out of range or came before; `check` raises it, once the results are safe.
        """
        arrived: Arrived[RowT] = []
        for position, vector in vectors:
            index = self._asked[position] if 0 <= position < len(self._asked) else -1
            item = self._missing.pop(index, None)
            if item is None:
                what = "two vectors" if index >= 0 else "a vector too many,"
                self._fault = self._misaligned(f"it holds {what} for position {position} of {len(self._asked)}")
                break
            arrived.append((index, item, vector))
        return self._pack(self._sift(self._held, arrived) if self._held else arrived)

    def settle(self) -> Sequence[EmbedResult | EmbedBlock]:
        """End a response, however it ended, and return results of what was held back."""
        return self._pack(self._sift(self._held, [], is_last=True)) if self._held else ()

    def rest(self) -> Sequence[EmbedBlock]:
        """Return what arrived and was not handed over yet, when nothing more is to come."""
        return ()

    def check(self, claimed: int = 0) -> None:
        """Raise the `ResponseError` that `accept` met, or one if the response claims to hold far too many vectors."""
        if self._fault:
            raise self._fault
        if claimed > 2 * len(self._asked) + SURPLUS:
            raise self._misaligned(f"it holds over {claimed} vectors for {len(self._asked)} texts")

    def finish(self, parser: ResponseParser[RowT], message: str) -> None:
        """End an attempt whose response was read to its end.

        Args:
            parser: What read it.
            message: The error message inside the response, if there was one, fit to be shown.

        Raises:
            ResponseError: if vectors are missing, or the response held another number of them than was asked for.
        """
        asked = len(self._asked)
        if parser.by_order and 0 < parser.count != asked:
            raise self._misaligned(f"it holds {parser.count} vectors for {asked} texts")
        if missing := self.missing:
            reasons = [*(parser.faults + self._refused)[:1], *filter(None, [message])]
            reasons = reasons or [f"the response holds {parser.count} vectors for {asked} texts"]
            raise ResponseError(
                f"{len(missing)} of {asked} vectors did not arrive: {'; '.join(reasons)}", missing=missing
            )

    def give_up(self) -> list[tuple[int, EmbedInput]]:
        """Forget what is missing of what the current attempt asks for, and return it."""
        return [(index, self._missing.pop(index)) for index in self.missing]

    def _sift(self, held: Held[RowT], arrived: Arrived[RowT], *, is_last: bool = False) -> Arrived[RowT]:
        good, bad = held.sift(arrived, is_last=is_last)
        if bad:
            inputs = {index: item for index, item, _ in bad}
            self._put_back(inputs, inputs, held.misfit(bad[0][2]))
        if not self._decoder.is_open:
            self._held = None
        return good

    def _put_back(self, indices: Iterable[int], inputs: Mapping[int, EmbedInput], why: str) -> None:
        """Say that what arrived for these indices is no good."""
        self._missing = dict(sorted({**self._missing, **{index: inputs[index] for index in indices}}.items()))
        self._refused = [why]

    def _misaligned(self, what: str) -> ResponseError:
        return ResponseError(
            f"the response cannot be matched to its texts: {what}; vectors that it gave for texts {self._asked[0]} to "
            f"{self._asked[-1]} before this was seen may belong to other texts",
            missing=self.missing,
            retryable=False,
        )


class ResultDelivery(Delivery["Vector"]):
    """Makes a result of each vector."""

    @property
    def decode(self) -> Callable[[Value], Vector]:
        return self._decoder.decode

    def _pack(self, arrived: Arrived[Vector]) -> Sequence[EmbedResult]:
        return [EmbedResult(index, vector, item.text, item.id) for index, item, vector in arrived]
