"""The journal: the results of an unfinished file, safe from crashes and power cuts.

A journal is a folder beside the file with `run.json`, which describes the run, and a log of the results in the order in
which they arrived (see `_row_log`). All formats are written from a complete journal, so they survive crashes in the
same way. For that, `OrderedRows` reads the rows in the order of their texts.

The journal does not store the input. It stores a digest of each text, so `KnownTexts` can check that a resumed run has
the same texts.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, Self

import numpy as np
import orjson

from asyncembed._exceptions import ResumeError
from asyncembed._models import EmbedBlock
from asyncembed._version import __version__
from asyncembed.sinks._base import Block, VectorFile
from asyncembed.sinks._labels import MAX_BYTES, label_reader
from asyncembed.sinks._partial_dir import RUN
from asyncembed.sinks._provenance import NUMPY_TYPES, Fingerprint, Provenance, digests_of
from asyncembed.sinks._row_log import (
    DROPPED,
    LABELS,
    RECORD,
    RECORDS,
    STEP,
    VECTORS,
    Commit,
    RowLog,
    consecutive_ranges,
    find_latest,
    gather,
    read_into,
)
from asyncembed.sinks._safe_open import open_to_read, read_file, sync, write_whole
from asyncembed.sinks.npy import BLOCK_BYTES, HEADER_BYTES, rows_in_block

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    import numpy.typing as npt

    from asyncembed._models import EmbedFailure, EmbedInput, Matrix, RunTotals, Scalar, Withdrawal
    from asyncembed.sinks._partial_dir import PartialFolder


JOURNAL_VERSION: Final = 2
"""Version of the journal format. Journals of version 0.1 of this package do not have the number."""


class RunNote:
    """The settings of a run, read from the file `run.json` of its folder.

    Args:
        folder: The folder.

    Attributes:
        provenance: Provenance of the vectors.
        identity: Properties that a later run must share to resume this one.
        total: Number of texts, if known at the start.
        may_replace: Whether the run may replace an existing output file.

    Raises:
        ResumeError: if the file is damaged, or from a version of this package that this one cannot resume.
    """

    def __init__(self, folder: Path) -> None:
        try:
            note = orjson.loads(read_file(folder / RUN))
        except ValueError as error:
            raise damaged(folder, error) from None
        try:
            version = note["provenance"]["version"]
            journal_version = note.get("journal", 1)
            if journal_version < JOURNAL_VERSION:
                raise ResumeError(
                    f"{folder} was left by asyncembed {version}, whose journal does not record which texts it has and "
                    "cannot be read by this version; finish the file with that version, or start again with "
                    "--overwrite (overwrite=True)"
                )
            if journal_version > JOURNAL_VERSION:
                raise newer(folder, version, f"has a journal of format {journal_version}")
            self.provenance = read_provenance(folder, note["provenance"])
            self.identity: Mapping[str, object] = dict(note["identity"])
            self.total: int | None = note["total"]
            self.may_replace: bool = note["may_replace"]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise unreadable(folder, note, error) from None

    @staticmethod
    def write(folder: Path, provenance: Provenance, *, total: int | None, may_replace: bool) -> None:
        """Write the settings of a run into its folder."""
        note = {
            "journal": JOURNAL_VERSION,
            "identity": provenance.identity,
            "provenance": provenance.to_dict(),
            "total": total,
            "may_replace": may_replace,
        }
        write_whole(folder / RUN, orjson.dumps(note, option=orjson.OPT_INDENT_2))


class Journal:
    """The results of all runs of one file.

    Use `create` or `open` to get a journal, and `close` it. The methods block: call them from one thread at a time, and
    not from the thread of the event loop.

    Attributes:
        folder: The folder of the journal.
        note: Settings of the run.
        is_broken: Whether a write has failed. No more results are accepted then.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.note = RunNote(folder)
        self._log = RowLog(folder, self.note.provenance)
        self.is_broken = False

    @classmethod
    def create(cls, folder: PartialFolder, provenance: Provenance, *, total: int | None, may_replace: bool) -> Self:
        """Start a journal. The results of earlier runs in the folder are deleted.

        Raises:
            OSError: if the journal cannot be written.
        """
        folder.clear()
        RunNote.write(folder.path, provenance, total=total, may_replace=may_replace)
        sync(folder.path.parent)
        return cls(folder.path)

    @classmethod
    def open(cls, folder: PartialFolder) -> Self:
        """Open the journal of an earlier run.

        Raises:
            ResumeError: if it is damaged, or from a version of this package that this one cannot resume.
        """
        try:
            return cls(folder.path)
        except (ValueError, TypeError, KeyError) as error:
            raise damaged(folder.path, error) from None

    @property
    def provenance(self) -> Provenance:
        """Provenance of the vectors."""
        return self.note.provenance

    @property
    def committed(self) -> Commit:
        """Counts of what is safely on disk."""
        return self._log.committed

    @property
    def settled(self) -> int:
        """Number of texts with a result: a row or a failure. They are not embedded again."""
        return self.committed.settled

    @property
    def rows(self) -> int:
        """Number of texts with a row on disk."""
        return self.committed.settled - self.committed.failed

    @property
    def width(self) -> int:
        """Numbers per row; 0 before the first row."""
        return self.committed.width

    @property
    def vectors(self) -> Path:
        """The .npy file with the rows in the order in which they arrived."""
        return self.folder / VECTORS

    def check_total(self, total: int | None) -> None:
        """Raise `ResumeError` if the number of texts differs from the one at the start of the run."""
        if None not in {total, self.note.total} and total != self.note.total:
            raise ResumeError(
                f"{self.folder} is for {self.note.total} texts, but the input has {total} now; pass the same texts"
            )

    def add(
        self, items: Sequence[EmbedBlock[Scalar] | EmbedFailure | Withdrawal], totals: RunTotals | None = None
    ) -> None:
        """Write results to disk, in any order, with the totals of all runs so far if they have changed.

        Raises:
            OSError: if the results cannot be written. Earlier results stay safe.
            ResumeError: if the dimension of the vectors differs from that of earlier ones.
        """
        if self.is_broken:
            raise RuntimeError(f"an earlier write to {self.folder} failed; open the journal again")
        try:
            self._check_widths(items)
            if items:
                self._log.append(items)
            self._log.commit(totals or self.committed.totals)
        except OSError as error:
            self.is_broken = True
            raise OSError(error.errno, error.strerror, str(self.folder)) from None
        except BaseException:
            self.is_broken = True
            raise

    def close(self) -> None:
        """Close the files. A second call does nothing."""
        self._log.close()

    def _check_widths(self, items: Sequence[EmbedBlock[Scalar] | EmbedFailure | Withdrawal]) -> None:
        known = self._log.width
        for block in items:
            if isinstance(block, EmbedBlock):
                width = block.embeddings.shape[1]
                known = known or width
                if known != width:
                    raise ResumeError(
                        f"{self.folder} has vectors of {known} numbers, but the new ones have {width}: they are from "
                        "another model"
                    )


class KnownTexts:
    """Recognises the texts of an earlier run when the input is read again.

    It needs 4 bytes of memory per text.

    Args:
        folder: The folder of its journal.
        commit: Counts of what is safely on disk.
        number: Type of the numbers of its vectors.
    """

    def __init__(self, folder: Path, commit: Commit, number: np.dtype[np.float32 | np.int8 | np.uint8]) -> None:
        self._folder = folder
        self._commit = commit
        self._number = number
        self.reach = commit.reach
        """Number of texts at the start of the input that include all settled ones."""
        with open_to_read(folder / RECORDS) as records:
            self._latest = find_latest(records, commit.records, self.reach)

    def recognise(self, first: int, inputs: Sequence[EmbedInput]) -> list[int]:
        """Return the positions, within `inputs`, of the texts that are not settled.

        Args:
            first: Index of the first of these texts in the whole input.
            inputs: Consecutive texts of the input.

        Raises:
            ResumeError: if a settled text differs from the one in the input.
        """
        places, records = self._records(first, len(inputs))
        is_settled = records["row"] != DROPPED
        settled = places[is_settled]
        found = np.frombuffer(digests_of([inputs[place] for place in settled.tolist()]), "<u8").reshape(-1, 2)
        is_different = (found != records["digest"][is_settled]).any(axis=1)
        if is_different.any():
            index = first + int(settled[is_different][0])
            raise ResumeError(
                f"{self._folder} belongs to other texts: the text with index {index}, or its id or metadata, has "
                "changed; pass the same texts, or start again with --overwrite (overwrite=True)"
            )
        is_missing = np.ones(len(inputs), np.bool_)
        is_missing[settled] = False
        return np.flatnonzero(is_missing).tolist()

    def rows(self, first: int, count: int) -> list[tuple[int, int]]:
        """Return the position and the row number of each of `count` texts, from index `first`, that has a vector."""
        places, records = self._records(first, count)
        has_row = records["row"] >= 0
        return list(zip(places[has_row].tolist(), records["row"][has_row].tolist(), strict=True))

    def vectors(self, rows: Sequence[int]) -> Matrix:
        """Return the vectors of these rows, as an array of shape (n, width)."""
        width, number = self._commit.width, self._number
        with open_to_read(self._folder / VECTORS) as file:
            found = gather(file, np.array(rows, np.int64), width * number.itemsize, HEADER_BYTES)
        matrix: Matrix = found.view(number).reshape(len(rows), width)
        return matrix

    def _records(self, first: int, count: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.void]]:
        """Return the positions of the texts that have a record, and their latest records."""
        latest = self._latest[first : first + count]
        places = np.flatnonzero(latest)
        numbers = latest[places].astype(np.int64) - 1
        with open_to_read(self._folder / RECORDS) as file:
            return places, gather(file, numbers, RECORD.itemsize).view(RECORD).reshape(len(numbers))

    def check_count(self, texts: int) -> None:
        """Raise `ResumeError` if the input has only this number of texts and so lacks settled ones."""
        if texts < self.reach:
            raise ResumeError(
                f"{self._folder} has results for the first {self.reach} texts, but the input has only {texts}; pass "
                "the same texts"
            )


def read_provenance(folder: Path, fields: Mapping[str, object]) -> Provenance:
    """Return a provenance that was read from a folder.

    Raises:
        ResumeError: if it has fields or a dtype of a later version of this package that this one does not know.
    """
    provenance, unknown = Provenance.from_dict(fields)
    if unknown:
        raise newer(folder, provenance.version, f"uses {', '.join(unknown)}")
    if provenance.dtype not in NUMPY_TYPES:
        raise newer(folder, provenance.version, f"has vectors of type {provenance.dtype}")
    return provenance


def newer(folder: Path, version: str, what: str) -> ResumeError:
    """Return the error for a folder that only a later version of this package can resume."""
    return ResumeError(
        f"{folder} was written by asyncembed {version} and {what}, which this version does not know; continue with "
        f"asyncembed {version} or later"
    )


def unreadable(folder: Path, note: object, error: Exception) -> ResumeError:
    """Return the error for a folder whose `run.json` cannot be read; another version may have written it."""
    match note:
        case {"provenance": {"version": str(version)}} if version != __version__:
            return newer(folder, version, f"has a {RUN} that cannot be read ({error})")
    return damaged(folder, error)


def damaged(folder: Path, error: Exception) -> ResumeError:
    """Return the error for a damaged folder."""
    return ResumeError(f"{folder} is damaged and cannot be resumed: {error}")


class OrderedRows(VectorFile):
    """Reads a complete journal in the order of its texts.

    Use it as a context manager, which closes its files.

    It needs 4 bytes of memory per text, or 8 if there are more than four billion records.

    Args:
        journal: The journal.
        block_bytes: Maximum bytes of vectors per block; a block has at least one row.
    """

    def __init__(self, journal: Journal, block_bytes: int = BLOCK_BYTES) -> None:
        self._block_bytes = block_bytes
        self._folder = journal.folder
        self._number = journal.provenance.number
        self._committed = committed = journal.committed
        self._order: npt.NDArray[np.uint32 | np.uint64] = np.zeros(0, np.uint32)  # record numbers, from 1
        self.provenance: Provenance | None = None
        self.rows, self.width = journal.rows, committed.width
        self.fingerprint = Fingerprint()
        """Fingerprint of all texts; complete after `arrange`."""
        self.is_in_order = committed.rows == journal.rows
        """Whether the rows are in the journal in the order of their texts, without gaps; final after `arrange`."""
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
        """Find the order of the rows. Iterate to the end before you read `blocks`; each step is short.

        Raises:
            ResumeError: if the journal is damaged or does not have a result for each text.
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
            latest[found : found + len(rows)] = part[has_row]  # in place, to save memory
            found += len(rows)
            yield
        if found != self.rows:
            raise ResumeError(f"{self._folder} is damaged and cannot be resumed: some of its rows are missing")
        self._order = latest[:found]

    def blocks(self) -> Iterator[Block]:
        """Yield the rows in blocks, whose limits do not depend on the order of arrival."""
        step, start = rows_in_block(self.width * self._number.itemsize, self._block_bytes), 0
        while start < self.rows:
            records = self._read_records(self._order[start : start + step])
            records = records[: _rows_that_fit(records["label_bytes"])]
            start += len(records)
            yield self._block(records)  # no local name, so that the memory of the block is free before the next is read

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
        for first, last in consecutive_ranges(records["row"]):
            start = int(records["label"][first])
            end = int(records["label"][last - 1]) + int(records["label_bytes"][last - 1])
            buffer = bytearray(end - start)
            read_into(self._labels, memoryview(buffer), start)
            lines += bytes(buffer).splitlines(keepends=True)
        return lines


def _rows_that_fit(label_bytes: npt.NDArray[np.uint32]) -> int:
    """Return how many rows with labels of these lengths fit into a block."""
    before = np.cumsum(label_bytes, dtype=np.int64) - label_bytes
    return int(np.count_nonzero(before < MAX_BYTES))
