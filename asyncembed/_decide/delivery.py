"""Vectors that have arrived while the dimension of their run is not agreed on.

Without I/O. They are held back until it is, or until their response ends, so that nothing waits for another response.

What of a batch has arrived, and what is still missing: no vector twice, none to the wrong text.

Without I/O. An attempt asks for all that is missing, or for a part of it. A response is trusted position by position
while it streams, and its count must be right at its end. When the count is wrong and positions follow from the order
alone, or when a position comes twice, nobody knows which vector belongs to which text. Asking again would not help the
texts that were served already, so such a fault is final, unless nobody has used their vectors yet: see `withdraw`.

A batch as matrices instead of single results: no object, and no way through the outbox, for each row.

The rows of a chunk go into one matrix in one step, and it is handed over when the batch is complete, or what there is
of it when `rest` asks. Where inputs are missing, it is cut into views of the rows between them.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from bisect import bisect_left
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Generic, TypeAlias, TypeVar, cast

import numpy as np

from asyncembed._exceptions import ResponseError
from asyncembed._models import EmbedBlock, EmbedResult, Withdrawal
from asyncembed._parser.vectors import doubtful_rows, fault_in, quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from asyncembed._decide.chunker import Batch
    from asyncembed._models import EmbedInput, Matrix, Vector
    from asyncembed._parser.parser import ResponseParser
    from asyncembed._parser.vectors import RawRow, Value, VectorDecoder


MAX_PENDING: Final = 4
"""Vectors of a response that are held back: more than that were never alike, and are asked for again."""

RowT = TypeVar("RowT", bound="RawRow")
Entry: TypeAlias = tuple[int, "EmbedInput", RowT]
"""Index, text and vector."""


class PendingRows(Generic[RowT]):
    """The vectors of one batch that are held back.

    Args:
        decoder: What they were decoded with; it knows whether their dimension is agreed on.
    """

    def __init__(self, decoder: VectorDecoder) -> None:
        self._decoder = decoder
        self._waiting: list[Entry[RowT]] = []

    def sift(self, arrived: list[Entry[RowT]], *, is_last: bool = False) -> tuple[list[Entry[RowT]], list[Entry[RowT]]]:
        """Take what a chunk has brought, and return what is to be delivered now and what is to be asked for again.

        At the end of a response nothing is held back: a vector that no other one contradicts is believed then.
        """
        self._waiting += arrived
        if is_last and self._waiting:
            self._decoder.conclude()
        if self._decoder.is_open and not is_last:
            refused = self._waiting[:-MAX_PENDING]
            del self._waiting[:-MAX_PENDING]
            return [], refused
        waiting, self._waiting = self._waiting, []
        good: list[Entry[RowT]] = []
        bad: list[Entry[RowT]] = []
        for entry in waiting:
            (bad if self.misfit(entry[2]) else good).append(entry)
        return good, bad

    def misfit(self, row: RawRow) -> str:
        """Say what is wrong with the size of a row; nothing if it is right."""
        if isinstance(row, bytearray) or len(row) == self._decoder.width:  # bytes are of the right size from the start
            return ""
        other = ", and no other one has as many" if self._decoder.is_open else f" instead of {self._decoder.width}"
        return f"a vector has {len(row)} numbers{other}"


SURPLUS: Final = 16
"""Vectors beyond twice what was asked for that are waited for, before a response is given up without its end."""

Arrived: TypeAlias = tuple["Sequence[int]", "Sequence[EmbedInput]", "Sequence[RowT]"]
"""Indices, texts and vectors of what has arrived; of one at least."""


class Delivery(ABC, Generic[RowT]):
    """Keeps the books of one batch over all its attempts, and makes results of its vectors."""

    def __init__(self, batch: Batch, decoder: VectorDecoder) -> None:
        self._decoder = decoder
        self._held: PendingRows[RowT] | None = PendingRows(decoder) if decoder.is_open else None
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
        self, held: PendingRows[RowT], arrived: list[Entry[RowT]], *, is_last: bool = False
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


MISSING, WAITING, GIVEN = b"\0", b"\1", b"\2"
_WAITING: Final = re.compile(WAITING + b"+")


class BlockDelivery(Delivery["RawRow"]):
    """Keeps the books of one batch, and gives its vectors as blocks.

    Args:
        batch: The batch.
        decoder: What decodes its vectors.
        withholds: Whether only `rest` gives blocks, also when the batch is complete.
    """

    def __init__(self, batch: Batch, decoder: VectorDecoder, *, withholds: bool = False) -> None:
        super().__init__(batch, decoder)
        self._withholds = withholds
        self._inputs = batch.inputs
        self._indices = list(batch.inputs)
        self._first = min(batch.inputs, default=0)
        # A run that goes on with an earlier one may ask for texts that lie far apart.
        self._places = None if self._is_dense() else {index: place for place, index in enumerate(self._indices)}
        self._matrix: Matrix | None = None  # of the rows from the first that is missing to the last
        self._start = 0  # the place of its first row
        self._state = bytearray(len(self._indices))  # of each place: MISSING, WAITING or GIVEN
        self.waiting = 0
        """Rows that have arrived and were not handed over."""

    @property
    def decode(self) -> Callable[[Value], RawRow]:
        return self._decoder.decode_row

    @property
    def decode_run(self) -> Callable[[Sequence[Value]], list[RawRow] | None]:
        return self._decoder.decode_rows

    def rest(self) -> Sequence[EmbedBlock]:
        """Return blocks of what arrived and was not handed over, without the gaps."""
        matrix, state, start = self._matrix, self._state, self._start
        if matrix is None or not self.waiting:
            return ()
        # A few rows are copied, or each of them would keep the memory of all.
        are_few = 2 * self.waiting < len(matrix)
        self._state, self.waiting = state.replace(WAITING, GIVEN), 0
        if not are_few or 2 * self._state.count(MISSING) < len(matrix):
            self._matrix = None
        blocks = [self._block(matrix, first, last, start) for first, last in self._stretches(state)]
        return [replace(block, embeddings=block.embeddings.copy()) for block in blocks] if are_few else blocks

    def _pack(self, arrived: Arrived[RawRow]) -> Sequence[EmbedBlock]:
        indices, _, rows = arrived
        if self._matrix is None:
            self._start, last = self._state.find(MISSING), self._state.rfind(MISSING)
            self._matrix = np.empty((last + 1 - self._start, self._decoder.width), self._decoder.stored)
        bad = self._copy(self._matrix, indices, rows)
        self.waiting += len(indices) - len(bad)
        for index, fault in bad:
            self._put_back({index: self._inputs[index]}, fault)
        return () if self.count_missing or self._withholds else self.rest()

    def withdraw(self) -> tuple[Sequence[EmbedBlock], Withdrawal | None]:
        """Forget what the response of the current attempt gave, so that it is asked for again.

        Returns:
            Blocks of earlier attempts that were not handed over, and what takes back what was, if anything.
        """
        given = [index for position, index in enumerate(self._asked) if position not in self._awaited]
        places = [index - self._first if self._places is None else self._places[index] for index in given]
        state = self._state
        taken = [index for index, place in zip(given, places, strict=True) if state[place : place + 1] == GIVEN]
        for place in places:
            self.waiting -= state[place : place + 1] == WAITING
            state[place : place + 1] = MISSING
        blocks = self.rest()
        self._put_back({index: self._inputs[index] for index in given}, "")
        self._matrix = None
        return blocks, Withdrawal(taken, [self._inputs[index] for index in taken]) if taken else None

    def _copy(self, matrix: Matrix, indices: Sequence[int], rows: Sequence[RawRow]) -> list[tuple[int, str]]:
        """Copy rows to the places of these inputs, and return the inputs whose rows are no vectors, with the reason."""
        first, count = indices[0], len(indices)
        if list(indices) != list(range(first, first + count)):
            pairs = zip(indices, rows, strict=True)
            return [bad for index, row in pairs for bad in self._copy(matrix, [index], [row])]
        place = first - self._first if self._places is None else self._places[first]
        part = matrix[place - self._start :][:count]
        with quiet():
            _fill(part, rows)
            doubtful = {row: fault_in(part[row], is_base64=type(rows[row]) is bytearray) for row in doubtful_rows(part)}
        self._state[place : place + count] = WAITING * count
        bad = [(row, fault) for row, fault in doubtful.items() if fault]
        for row, _ in bad:
            self._state[place + row : place + row + 1] = MISSING
        return [(first + row, fault) for row, fault in bad]

    def _block(self, matrix: Matrix, first: int, last: int, start: int) -> EmbedBlock:
        indices = self._indices[first:last]
        rows = matrix[first - start : last - start]
        return EmbedBlock(indices[0], rows, [self._inputs[index] for index in indices])

    def _stretches(self, state: bytearray) -> Iterator[tuple[int, int]]:
        """Give begin and end of each stretch of places that wait, and whose inputs follow one another."""
        for found in _WAITING.finditer(state):
            start, stop = found.span()
            if self._places is None:
                yield start, stop
                continue
            indices = self._indices
            cuts = [place for place in range(start + 1, stop) if indices[place] != indices[place - 1] + 1]
            yield from zip([start, *cuts], [*cuts, stop], strict=True)

    def _is_dense(self) -> bool:
        """Whether the batch holds all texts from its first to its last."""
        return self._indices == list(range(self._first, self._first + len(self._indices)))


def _fill(matrix: Matrix, rows: Sequence[RawRow]) -> None:
    """Copy rows into a matrix of as many."""
    if set(map(type, rows)) != {bytearray}:
        np.concatenate([_numbers(row) for row in rows], out=matrix.reshape(-1), casting="same_kind")
        return
    memoryview(matrix.data).cast("B")[:] = b"".join(cast("Sequence[bytearray]", rows))


def _numbers(row: RawRow) -> npt.NDArray[np.generic]:
    return np.frombuffer(row, np.float32) if isinstance(row, bytearray) else row
