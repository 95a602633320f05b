"""The rows of a journal in the order of their texts, for the formats that are made of them.

Rows lie in the journal as they arrived. Those that arrived together lie together, so most of what is read here is read
in long stretches.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

import numpy as np

from asyncembed._errors import ResumeError
from asyncembed.sinks._base import Block, VectorFile
from asyncembed.sinks._fingerprint import Fingerprint
from asyncembed.sinks._labels import MAX_BYTES, label_reader
from asyncembed.sinks._log import LABELS, RECORDS
from asyncembed.sinks._own import open_to_read
from asyncembed.sinks._records import RECORD, STEP, find_latest, gather, read_into, stretches
from asyncembed.sinks.npy import BLOCK_BYTES, HEADER_BYTES, rows_in_block

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    import numpy.typing as npt

    from asyncembed._models import Matrix
    from asyncembed.sinks._journal import Journal
    from asyncembed.sinks._provenance import Provenance


class OrderedRows(VectorFile):
    """Reads a complete journal in the order of its texts; a context manager that closes its files.

    It takes 4 bytes a text, 8 where there are over four billion.

    Args:
        journal: The journal.
        block_bytes: Most bytes of vectors in a block, as nearly as one row allows.
    """

    def __init__(self, journal: Journal, block_bytes: int = BLOCK_BYTES) -> None:
        self._block_bytes = block_bytes
        self._folder = journal.folder
        self._number = journal.provenance.number
        self._committed = committed = journal.committed
        self._order: npt.NDArray[np.uint32 | np.uint64] = np.zeros(0, np.uint32)  # numbers of records, from 1
        self.provenance: Provenance | None = None
        self.rows, self.width = journal.rows, committed.width
        self.fingerprint = Fingerprint()
        """Of all texts, once `arrange` has come to its end."""
        self.is_in_order = committed.rows == journal.rows
        """Whether the rows lie in the journal as they are given here."""
        with ExitStack() as stack:
            self._records, self._labels, self._vectors = (
                stack.enter_context(open_to_read(path))
                for path in (journal.folder / RECORDS, journal.folder / LABELS, journal.vectors)
            )
            self._open = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def arrange(self) -> Iterator[None]:
        """Find the order, stopping now and then; nothing can be read before.

        Raises:
            ResumeError: if the journal does not have a result for each text.
        """
        latest = find_latest(self._records, self._committed.records, self._committed.reach)
        found = 0
        for start in range(0, len(latest), STEP):
            part = latest[start : start + STEP]
            records = self._read_records(part)
            if (records["index"] != np.arange(start, start + len(part))).any():
                raise ResumeError(f"{self._folder} is damaged and cannot be resumed: its records are mixed up")
            self.fingerprint.add_digests(records["digest"].tobytes())
            has_row = records["row"] >= 0
            rows = records["row"][has_row]
            self.is_in_order &= bool((rows == np.arange(found, found + len(rows))).all())
            latest[found : found + len(rows)] = part[has_row]  # in place: there is no second list
            found += len(rows)
            yield
        if found != self.rows:
            raise ResumeError(
                f"{self._folder} is damaged and cannot be resumed: it does not have all rows it speaks of"
            )
        self._order = latest[:found]

    def blocks(self) -> Iterator[Block]:
        """Give the rows; the same ones make a block in whatever order they arrived."""
        step, start = rows_in_block(self.width * self._number.itemsize, self._block_bytes), 0
        while start < self.rows:
            records = self._read_records(self._order[start : start + step])
            records = records[: _rows_of(records["label_bytes"])]
            start += len(records)
            yield self._block(records)  # which is not kept here: the next one is read in its place

    def _block(self, records: npt.NDArray[np.void]) -> Block:
        vectors = gather(self._vectors, records["row"], self.width * self._number.itemsize, HEADER_BYTES)
        lines = self._read_lines(records)
        matrix: Matrix = vectors.view(self._number).reshape(len(records), self.width)
        return Block(matrix, label_reader(lines, self._folder / LABELS), lines)

    def _read_records(self, numbers: npt.NDArray[np.uint32 | np.uint64]) -> npt.NDArray[np.void]:
        if not numbers.all():
            raise ResumeError(f"{self._folder} is damaged and cannot be resumed: a text has no result")
        found = gather(self._records, numbers.astype(np.int64) - 1, RECORD.itemsize)
        return found.view(RECORD).reshape(len(numbers))

    def _read_lines(self, records: npt.NDArray[np.void]) -> list[bytes]:
        lines: list[bytes] = []
        for first, last in stretches(records["row"]):
            start = int(records["label"][first])
            room = bytearray(int(records["label"][last - 1]) + int(records["label_bytes"][last - 1]) - start)
            read_into(self._labels, memoryview(room), start)
            lines += bytes(room).splitlines(keepends=True)
        return lines


def _rows_of(label_bytes: npt.NDArray[np.uint32]) -> int:
    """How many rows with labels of these lengths make a block."""
    before = np.cumsum(label_bytes, dtype=np.int64) - label_bytes
    return int(np.count_nonzero(before < MAX_BYTES))
