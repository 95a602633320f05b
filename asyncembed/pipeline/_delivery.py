"""What of a batch has arrived, and what is still missing: no vector twice, none to the wrong text.

Without I/O. An attempt asks for all that is missing, or for a part of it. A response is trusted position by position
while it streams, and its count must be right at its end. When the count is wrong and positions follow from the order
alone, or when a position comes twice, nobody knows which vector belongs to which text. Asking again would not help the
texts that were served already, so such a fault is final, unless nobody has used their vectors yet: see `withdraw`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from typing import TYPE_CHECKING, Final, Generic, TypeAlias, TypeVar

from asyncembed._errors import ResponseError
from asyncembed._models import EmbedResult
from asyncembed.pipeline._held import Entry, Held

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from asyncembed._models import EmbedBlock, EmbedInput, Vector
    from asyncembed.pipeline._chunker import Batch
    from asyncembed.wire._parser import ResponseParser
    from asyncembed.wire._vectors import RawRow, Value, VectorDecoder


SURPLUS: Final = 16
"""Vectors beyond twice what was asked for that are waited for, before a response is given up without its end."""

RowT = TypeVar("RowT", bound="RawRow")
Arrived: TypeAlias = tuple["Sequence[int]", "Sequence[EmbedInput]", "Sequence[RowT]"]
"""Indices, texts and vectors of what has arrived; of one at least."""


class Delivery(ABC, Generic[RowT]):
    """Keeps the books of one batch over all its attempts, and makes results of its vectors."""

    def __init__(self, batch: Batch, decoder: VectorDecoder) -> None:
        self._decoder = decoder
        self._held: Held[RowT] | None = Held(decoder) if decoder.is_open else None
        self._missing = dict(batch.inputs)
        self._asked = list(self._missing)
        self._awaited = set(range(len(self._asked)))  # positions, of the current attempt
        self.attempts = 0
        """How often texts of the batch were asked for."""
        self._fault: ResponseError | None = None
        self.mismatch = ""
        """Why the response of the current attempt cannot be matched to its texts, if that is so."""
        self._refused: list[str] = []  # why vectors that came in this attempt are still missing

    @property
    @abstractmethod
    def decode(self) -> Callable[[Value], RowT]:
        """What decodes a vector of a response; it raises `ResponseError` if that is none."""

    @property
    @abstractmethod
    def decode_run(self) -> Callable[[Sequence[Value]], list[RowT] | None]:
        """What decodes many of them at once, or gives None if that cannot be done."""

    @abstractmethod
    def _pack(self, arrived: Arrived[RowT]) -> Sequence[EmbedResult | EmbedBlock]:
        """Make results of what has arrived."""

    @property
    def missing(self) -> tuple[int, ...]:
        """Input indices that the current attempt asks for and that have not arrived, ascending."""
        return tuple(self._asked[position] for position in sorted(self._awaited))

    @property
    def count_missing(self) -> int:
        """How many texts of the whole batch have not arrived and were not given up."""
        return len(self._missing)

    @property
    def is_complete(self) -> bool:
        """Whether everything that the current attempt asks for has arrived."""
        return not self._awaited

    def ask(self, indices: Iterable[int] | None = None) -> list[str]:
        """Begin an attempt and return the texts to ask for: the missing ones, of `indices` (ascending) if given."""
        wanted = sorted(self._missing) if indices is None else indices
        self._asked = [*filter(self._missing.__contains__, wanted)]
        self._awaited = set(range(len(self._asked)))
        self._refused.clear()
        self._fault, self.mismatch = None, ""
        self.attempts += bool(self._asked)
        return [self._missing[index].text for index in self._asked]

    def accept(self, vectors: Sequence[tuple[int, RowT]]) -> Sequence[EmbedResult | EmbedBlock]:
        """Turn vectors, with their positions in the current attempt, into results.

        Stops at a position that is out of range or came before; `check` raises it, once the results are safe.
        """
        if not vectors:
            return []
        positions, rows = zip(*vectors, strict=True)
        fitting = set(positions)
        if len(fitting) < len(positions) or not fitting <= self._awaited:
            return self._accept_to_fault(vectors)
        self._awaited -= fitting
        indices = [*map(self._asked.__getitem__, positions)]
        inputs = [*map(self._missing.pop, indices)]
        if self._held:
            return self._sift(self._held, list(zip(indices, inputs, rows, strict=True)))
        return self._pack((indices, inputs, rows))

    def settle(self) -> Sequence[EmbedResult | EmbedBlock]:
        """End a response, however it ended, and return results of what was held back."""
        return self._sift(self._held, [], is_last=True) if self._held else []

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
                f"{len(missing)} of {asked} vectors did not arrive: {'; '.join(reasons)}",
                missing=missing,
                provider_message=message,
                is_empty=len(missing) == asked and not self._refused,
            )

    def give_up(self) -> list[tuple[int, EmbedInput]]:
        """Forget what is missing of what the current attempt asks for, and return it."""
        lost = [(index, self._missing.pop(index)) for index in self.missing]
        self._awaited.clear()
        return lost

    def _accept_to_fault(self, vectors: Sequence[tuple[int, RowT]]) -> Sequence[EmbedResult | EmbedBlock]:
        results: list[EmbedResult | EmbedBlock] = []
        for position, row in vectors:
            if position not in self._awaited:
                break
            results += self.accept([(position, row)])
        else:  # what came before was no good, so the same position is awaited again
            return results
        what = "two vectors" if 0 <= position < len(self._asked) else "a vector too many,"
        self._fault = self._misaligned(f"it holds {what} for position {position} of {len(self._asked)}")
        return results

    def _sift(
        self, held: Held[RowT], arrived: list[Entry[RowT]], *, is_last: bool = False
    ) -> Sequence[EmbedResult | EmbedBlock]:
        good, bad = held.sift(arrived, is_last=is_last)
        if bad:
            self._put_back({index: item for index, item, _ in bad}, held.misfit(bad[0][2]))
        if not self._decoder.is_open:
            self._held = None
        if not good:
            return []
        indices, texts, rows = zip(*good, strict=True)
        return self._pack((indices, texts, rows))

    def _put_back(self, inputs: Mapping[int, EmbedInput], why: str) -> None:
        """Say that what arrived for these inputs is no good."""
        self._missing.update(inputs)
        self._awaited.update([bisect_left(self._asked, index) for index in inputs])
        self._refused = [why]

    def _misaligned(self, what: str) -> ResponseError:
        self.mismatch = what
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

    @property
    def decode_run(self) -> Callable[[Sequence[Value]], list[Vector] | None]:
        return self._decoder.decode_run

    def _pack(self, arrived: Arrived[Vector]) -> Sequence[EmbedResult]:
        indices, inputs, vectors = arrived
        return [
            EmbedResult(index, vector, item.text, item.id, item.metadata)
            for index, item, vector in zip(indices, inputs, vectors, strict=True)
        ]
