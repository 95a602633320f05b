"""Matches the vectors of a batch to its texts: none is duplicated, none goes to the wrong text. No I/O.

A `Delivery` lives as long as its batch. Each attempt asks for all missing texts, or for a part of them. The delivery
trusts a streaming response position by position, and checks the number of vectors at its end. If that number is wrong
and the response has no indices, or if a position comes twice, the vectors cannot be matched to their texts. A retry
would not help the texts that already have a vector, so this error is final, unless those vectors are still unused: see
`BlockDelivery.withdraw`.

While the dimension of a run is undecided, `PendingRows` holds the vectors back, at most until their response ends, so
that no response waits for another one.

`ResultDelivery` makes one result per vector. `BlockDelivery` avoids the cost of an object per row: it copies the rows
of each piece into one matrix, and hands that over when the batch is complete or when you call `flush`. If vectors are
missing then, it returns views of the rows between them.
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
    from asyncembed._models import EmbedInput, Matrix, Scalar, Vector
    from asyncembed._parser.parser import ResponseParser
    from asyncembed._parser.vectors import RawRow, Value, VectorDecoder


MAX_PENDING: Final = 4
"""Vectors of a response that are held back. If more arrive undecided, the oldest are rejected."""

RowT = TypeVar("RowT", bound="RawRow")
Entry: TypeAlias = tuple[int, "EmbedInput", RowT]
"""Index, text and vector."""


class PendingRows(Generic[RowT]):
    """Holds back the vectors of one batch until their dimension is decided.

    Args:
        decoder: Decoder of the vectors; it knows whether their dimension is decided.
    """

    def __init__(self, decoder: VectorDecoder) -> None:
        self._decoder = decoder
        self._waiting: list[Entry[RowT]] = []

    def sift(self, arrived: list[Entry[RowT]], *, is_last: bool = False) -> tuple[list[Entry[RowT]], list[Entry[RowT]]]:
        """Take the vectors of a piece and return those to deliver now and those to reject.

        At the end of a response it holds nothing back: it accepts a vector that no other one contradicts.
        """
        self._waiting += arrived
        if is_last and self._waiting:
            self._decoder.conclude()
        if self._decoder.is_open and not is_last:
            rejected = self._waiting[:-MAX_PENDING]
            del self._waiting[:-MAX_PENDING]
            return [], rejected
        waiting, self._waiting = self._waiting, []
        good: list[Entry[RowT]] = []
        bad: list[Entry[RowT]] = []
        for entry in waiting:
            if self.size_fault(entry[2]):
                bad.append(entry)
            else:
                good.append(entry)
        return good, bad

    def size_fault(self, row: RawRow) -> str:
        """Describe what is wrong with the size of a row; empty if it is right."""
        if isinstance(row, bytearray) or len(row) == self._decoder.width:  # the decoder has checked the size of bytes
            return ""
        other = ", and no other vector has as many" if self._decoder.is_open else f" instead of {self._decoder.width}"
        return f"a vector has {len(row)} numbers{other}"


MAX_SURPLUS: Final = 16
"""Vectors beyond twice the requested number at which a response is abandoned before its end."""

Arrived: TypeAlias = tuple["Sequence[int]", "Sequence[EmbedInput]", "Sequence[RowT]"]
"""Indices, texts and vectors that have arrived; at least one of each."""


class Delivery(ABC, Generic[RowT]):
    """Tracks which texts of a batch are missing, across all attempts, and makes results of its vectors.

    Args:
        batch: The batch.
        decoder: Decoder of its vectors.
        truncated: What is known of all texts: whether their vectors are those of their starts.
    """

    def __init__(self, batch: Batch, decoder: VectorDecoder, *, truncated: bool | None = None) -> None:
        self._decoder = decoder
        self._truncated = truncated
        self._pending: PendingRows[RowT] | None = PendingRows(decoder) if decoder.is_open else None
        self._missing = dict(batch.inputs)
        self._requested = list(self._missing)
        self._awaited = set(range(len(self._requested)))  # positions in the current attempt
        self.attempts = 0
        """Number of attempts so far."""
        self._fault: ResponseError | None = None
        self.mismatch = ""
        """Why the current response cannot be matched to its texts; empty if it can."""
        self._rejected: list[str] = []  # why vectors of this attempt were rejected

    @property
    @abstractmethod
    def decode(self) -> Callable[[Value], RowT]:
        """The function that decodes one vector. It raises `ResponseError` for anything else."""

    @property
    @abstractmethod
    def decode_run(self) -> Callable[[Sequence[Value]], list[RowT] | None]:
        """The function that decodes many vectors at once, or returns None if it cannot."""

    @abstractmethod
    def _pack(self, arrived: Arrived[RowT]) -> Sequence[EmbedResult[Scalar] | EmbedBlock[Scalar]]:
        """Make results of the vectors that have arrived."""

    @property
    def missing(self) -> tuple[int, ...]:
        """Indices of the texts that the current attempt still awaits, ascending."""
        return tuple(self._requested[position] for position in sorted(self._awaited))

    @property
    def count_missing(self) -> int:
        """Number of texts of the batch that have neither a vector nor failed."""
        return len(self._missing)

    @property
    def is_complete(self) -> bool:
        """Whether all vectors of the current attempt have arrived."""
        return not self._awaited

    def begin_attempt(self, indices: Iterable[int] | None = None) -> list[str]:
        """Begin an attempt and return its texts: the missing ones, limited to `indices` (ascending) if given."""
        if indices is None:
            self._requested = sorted(self._missing)
        else:
            self._requested = [index for index in indices if index in self._missing]
        self._awaited = set(range(len(self._requested)))
        self._rejected.clear()
        self._fault, self.mismatch = None, ""
        if self._requested:
            self.attempts += 1
        return [self._missing[index].text for index in self._requested]

    def accept(self, vectors: Sequence[tuple[int, RowT]]) -> Sequence[EmbedResult[Scalar] | EmbedBlock[Scalar]]:
        """Make results of vectors and their positions in the current attempt.

        Stops at a position that is out of range or came before. `check` raises that error later, so that you can hand
        over the results first.
        """
        if not vectors:
            return []
        positions, rows = zip(*vectors, strict=True)
        distinct = set(positions)
        if len(distinct) < len(positions) or not distinct <= self._awaited:
            return self._accept_up_to_fault(vectors)
        self._awaited -= distinct
        indices = [*map(self._requested.__getitem__, positions)]
        inputs = [*map(self._missing.pop, indices)]
        if self._pending:
            return self._sift(self._pending, list(zip(indices, inputs, rows, strict=True)))
        return self._pack((indices, inputs, rows))

    def settle(self) -> Sequence[EmbedResult[Scalar] | EmbedBlock[Scalar]]:
        """End a response, complete or not, and return the results that were held back."""
        return self._sift(self._pending, [], is_last=True) if self._pending else []

    def flush(self) -> Sequence[EmbedBlock[Scalar]]:
        """Return all vectors that have arrived but were not handed over. Call it when no more will arrive."""
        return ()

    def check(self, claimed: int = 0) -> None:
        """Raise the `ResponseError` that `accept` met, or one if the response holds far too many vectors."""
        if self._fault:
            raise self._fault
        if claimed > 2 * len(self._requested) + MAX_SURPLUS:
            raise self._misaligned(f"it holds more than {claimed} vectors for {len(self._requested)} texts")

    def finish(self, parser: ResponseParser[RowT], message: str) -> None:
        """End an attempt after reading its whole response.

        Args:
            parser: The parser of the response.
            message: The redacted error message inside the response, if any.

        Raises:
            ResponseError: if vectors are missing, or their number differs from the number of texts.
        """
        requested = len(self._requested)
        if parser.by_order and 0 < parser.count != requested:
            raise self._misaligned(f"it holds {parser.count} vectors for {requested} texts")
        if (missing := self.missing) and parser.are_nested:  # the model gives them for every text
            raise ResponseError(
                "the response holds lists, such as one vector per token, instead of one vector per text",
                missing=missing,
                provider_message=message,
                retryable=False,
            )
        if missing:
            reasons = [*(parser.faults + self._rejected)[:1], *filter(None, [message])]
            is_short = not reasons and parser.count < requested
            reasons = reasons or [f"the response holds {parser.count} vectors for {requested} texts"]
            raise ResponseError(
                f"{len(missing)} of {requested} vectors did not arrive: {'; '.join(reasons)}",
                missing=missing,
                provider_message=message,
                is_empty=len(missing) == requested and not self._rejected,
                is_short=is_short,
            )

    def give_up(self) -> list[tuple[int, EmbedInput]]:
        """Drop the texts that the current attempt still awaits, and return them."""
        lost = [(index, self._missing.pop(index)) for index in self.missing]
        self._awaited.clear()
        return lost

    def _accept_up_to_fault(
        self, vectors: Sequence[tuple[int, RowT]]
    ) -> Sequence[EmbedResult[Scalar] | EmbedBlock[Scalar]]:
        results: list[EmbedResult[Scalar] | EmbedBlock[Scalar]] = []
        for position, row in vectors:
            if position not in self._awaited:
                break
            results += self.accept([(position, row)])
        else:  # the first vector of a repeated position was rejected, so its second one was awaited
            return results
        what = "two vectors" if 0 <= position < len(self._requested) else "an extra vector"
        self._fault = self._misaligned(f"it holds {what} for position {position} of {len(self._requested)}")
        return results

    def _sift(
        self, pending: PendingRows[RowT], arrived: list[Entry[RowT]], *, is_last: bool = False
    ) -> Sequence[EmbedResult[Scalar] | EmbedBlock[Scalar]]:
        good, bad = pending.sift(arrived, is_last=is_last)
        if bad:
            self._put_back({index: item for index, item, _ in bad}, pending.size_fault(bad[0][2]))
        if not self._decoder.is_open:
            self._pending = None
        if not good:
            return []
        indices, texts, rows = zip(*good, strict=True)
        return self._pack((indices, texts, rows))

    def _put_back(self, inputs: Mapping[int, EmbedInput], why: str) -> None:
        """Reject the vectors of these inputs, so that they are missing again."""
        self._missing.update(inputs)
        self._awaited.update([bisect_left(self._requested, index) for index in inputs])
        self._rejected = [why]

    def _misaligned(self, what: str) -> ResponseError:
        self.mismatch = what
        return ResponseError(
            f"the response cannot be matched to its texts: {what}; vectors delivered so far for texts "
            f"{self._requested[0]} to {self._requested[-1]} may belong to other texts",
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

    def _pack(self, arrived: Arrived[Vector]) -> Sequence[EmbedResult[Scalar]]:
        indices, inputs, vectors = arrived
        truncated = self._truncated
        return [
            EmbedResult(index, vector, item.text, item.id, item.metadata, truncated)
            for index, item, vector in zip(indices, inputs, vectors, strict=True)
        ]


MISSING, WAITING, DELIVERED = b"\0", b"\1", b"\2"
_WAITING: Final = re.compile(WAITING + b"+")


class BlockDelivery(Delivery["RawRow"]):
    """Makes matrices of the vectors of a batch.

    Args:
        batch: The batch.
        decoder: Decoder of its vectors.
        truncated: What is known of all texts: whether their vectors are those of their starts.
        withholds: Whether only `flush` returns blocks, even if the batch is complete.
    """

    def __init__(
        self, batch: Batch, decoder: VectorDecoder, *, truncated: bool | None = None, withholds: bool = False
    ) -> None:
        super().__init__(batch, decoder, truncated=truncated)
        self._withholds = withholds
        self._inputs = batch.inputs
        self._indices = list(batch.inputs)
        self._first = min(batch.inputs, default=0)
        # A resumed run may ask for texts that lie far apart.
        self._places = None if self._is_dense() else {index: place for place, index in enumerate(self._indices)}
        self._matrix: Matrix | None = None  # from the first missing row to the last
        self._start = 0  # the place of its first row
        self._state = bytearray(len(self._indices))  # by place: MISSING, WAITING or DELIVERED
        self.waiting = 0
        """Rows that have arrived but were not handed over."""

    @property
    def decode(self) -> Callable[[Value], RawRow]:
        return self._decoder.decode_row

    @property
    def decode_run(self) -> Callable[[Sequence[Value]], list[RawRow] | None]:
        return self._decoder.decode_rows

    def flush(self) -> Sequence[EmbedBlock[Scalar]]:
        """Return blocks of the rows that have arrived but were not handed over."""
        matrix, state, start = self._matrix, self._state, self._start
        if matrix is None or not self.waiting:
            return ()
        # Copies of a few rows let the memory of the whole matrix go.
        are_few = 2 * self.waiting < len(matrix)
        self._state, self.waiting = state.replace(WAITING, DELIVERED), 0
        if not are_few or 2 * self._state.count(MISSING) < len(matrix):
            self._matrix = None
        blocks = [self._block(matrix, first, last, start) for first, last in self._stretches(state)]
        return [replace(block, embeddings=block.embeddings.copy()) for block in blocks] if are_few else blocks

    def _pack(self, arrived: Arrived[RawRow]) -> Sequence[EmbedBlock[Scalar]]:
        indices, _, rows = arrived
        if self._matrix is None:
            self._start, last = self._state.find(MISSING), self._state.rfind(MISSING)
            self._matrix = np.empty((last + 1 - self._start, self._decoder.width), self._decoder.stored)
        bad = self._copy(self._matrix, indices, rows)
        self.waiting += len(indices) - len(bad)
        for index, fault in bad:
            self._put_back({index: self._inputs[index]}, fault)
        return () if self.count_missing or self._withholds else self.flush()

    def withdraw(self) -> tuple[Sequence[EmbedBlock[Scalar]], Withdrawal | None]:
        """Forget the vectors of the current attempt, so that their texts are missing again.

        Returns:
            Blocks of earlier attempts that were not handed over, and a `Withdrawal` of the rows that were; None if
            there are no such rows.
        """
        arrived = [index for position, index in enumerate(self._requested) if position not in self._awaited]
        places = [index - self._first if self._places is None else self._places[index] for index in arrived]
        state = self._state
        delivered = [i for i, place in zip(arrived, places, strict=True) if state[place : place + 1] == DELIVERED]
        for place in places:
            self.waiting -= state[place : place + 1] == WAITING
            state[place : place + 1] = MISSING
        blocks = self.flush()
        self._put_back({index: self._inputs[index] for index in arrived}, "")
        self._matrix = None
        return blocks, Withdrawal(delivered, [self._inputs[index] for index in delivered]) if delivered else None

    def _copy(self, matrix: Matrix, indices: Sequence[int], rows: Sequence[RawRow]) -> list[tuple[int, str]]:
        """Copy rows to the places of these inputs. Return the inputs whose rows are invalid, with the reasons."""
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

    def _block(self, matrix: Matrix, first: int, last: int, start: int) -> EmbedBlock[Scalar]:
        indices = self._indices[first:last]
        rows = matrix[first - start : last - start]
        inputs = [self._inputs[index] for index in indices]
        return EmbedBlock(indices[0], rows, inputs, [self._truncated] * len(inputs))

    def _stretches(self, state: bytearray) -> Iterator[tuple[int, int]]:
        """Yield start and stop of each stretch of waiting places with consecutive indices."""
        for found in _WAITING.finditer(state):
            start, stop = found.span()
            if self._places is None:
                yield start, stop
                continue
            indices = self._indices
            cuts = [place for place in range(start + 1, stop) if indices[place] != indices[place - 1] + 1]
            yield from zip([start, *cuts], [*cuts, stop], strict=True)

    def _is_dense(self) -> bool:
        """Whether the indices of the batch have no gaps."""
        return self._indices == list(range(self._first, self._first + len(self._indices)))


def _fill(matrix: Matrix, rows: Sequence[RawRow]) -> None:
    """Copy rows into a matrix with the same number of rows."""
    if set(map(type, rows)) != {bytearray}:
        np.concatenate([_numbers(row) for row in rows], out=matrix.reshape(-1), casting="same_kind")
        return
    memoryview(matrix.data).cast("B")[:] = b"".join(cast("Sequence[bytearray]", rows))


def _numbers(row: RawRow) -> npt.NDArray[np.generic]:
    return np.frombuffer(row, np.float32) if isinstance(row, bytearray) else row
