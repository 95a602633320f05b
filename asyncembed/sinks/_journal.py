"""What has arrived of a file in the making, safe from any end of the process and from power cuts.

A journal is a log of results in the order in which they arrived (see `_log`) and a note of what they are, in a folder
beside the file. So there is one way to survive crashes for all formats: they are made of a journal when it is complete.

The input is not kept. Each text has a digest, so a run that is resumed must bring the same texts.

The rows of a journal in the order of their texts, for the formats that are made of them.

Rows lie in the journal as they arrived. Those that arrived together lie together, so most of what is read here is read
in long stretches.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, Self

import numpy as np
import orjson

from asyncembed._exceptions import ResumeError
from asyncembed._models import EmbedBlock
from asyncembed.sinks._base import Block, VectorFile
from asyncembed.sinks._labels import MAX_BYTES, label_reader
from asyncembed.sinks._partial_dir import RUN
from asyncembed.sinks._provenance import Fingerprint, Provenance, digests_of
from asyncembed.sinks._row_log import (
    DROPPED,
    LABELS,
    RECORD,
    RECORDS,
    STEP,
    VECTORS,
    Commit,
    RowLog,
    find_latest,
    gather,
    read_into,
    stretches,
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


JOURNAL: Final = 2
"""Number of the form that a journal has; that of version 0.1 had none."""


class RunNote:
    """What a run was begun with, as it is written into its folder.

    Args:
        folder: The folder.

    Attributes:
        provenance: What its vectors are made with.
        identity: What another run must share to go on with it.
        total: How many texts there are, if the run was told.
        may_replace: Whether the run may replace the file it makes.

    Raises:
        ResumeError: if another version wrote it that this one cannot go on from, or it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        try:
            note = orjson.loads(read_file(folder / RUN))
            version = note["provenance"]["version"]
            form = note.get("journal", 1)
            if form < JOURNAL:
                raise ResumeError(
                    f"{folder} was left by asyncembed {version}, whose journal does not say which texts it holds and "
                    "cannot be read any more; finish the file with that version, or begin again with --overwrite "
                    "(overwrite=True)"
                )
            if form > JOURNAL:
                raise newer(folder, version, f"has a journal of form {form}")
            self.provenance = read_provenance(folder, note["provenance"])
            self.identity: Mapping[str, object] = dict(note["identity"])
            self.total: int | None = note["total"]
            self.may_replace: bool = note["may_replace"]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise damaged(folder, error) from None

    @staticmethod
    def write(folder: Path, provenance: Provenance, *, total: int | None, may_replace: bool) -> None:
        """Write what is read again by making one."""
        note = {
            "journal": JOURNAL,
            "identity": provenance.identity,
            "provenance": provenance.to_dict(),
            "total": total,
            "may_replace": may_replace,
        }
        write_whole(folder / RUN, orjson.dumps(note, option=orjson.OPT_INDENT_2))


class Journal:
    """The results of all runs of one file; used from one thread at a time, and not from the event loop's.

    Use `create` or `open` to get one, and `close` it.

    Attributes:
        folder: Where it is.
        note: What the run was begun with.
        is_broken: Whether something could not be written; then nothing more is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.note = RunNote(folder)
        self._log = RowLog(folder, self.note.provenance)
        self.is_broken = False

    @classmethod
    def create(cls, folder: PartialFolder, provenance: Provenance, *, total: int | None, may_replace: bool) -> Self:
        """Begin a journal; what another run left in the folder is lost.

        Raises:
            OSError: if it cannot be written.
        """
        folder.clear()
        RunNote.write(folder.path, provenance, total=total, may_replace=may_replace)
        sync(folder.path.parent)
        return cls(folder.path)

    @classmethod
    def open(cls, folder: PartialFolder) -> Self:
        """Go on with a journal.

        Raises:
            ResumeError: if it is damaged, or another version wrote it that this one cannot go on from.
        """
        try:
            return cls(folder.path)
        except (ValueError, TypeError, KeyError) as error:
            raise damaged(folder.path, error) from None

    @property
    def provenance(self) -> Provenance:
        """What the vectors are made with."""
        return self.note.provenance

    @property
    def committed(self) -> Commit:
        """What is safe."""
        return self._log.committed

    @property
    def settled(self) -> int:
        """Texts that need not be asked for again: those with a row, and those that were given up."""
        return self.committed.settled

    @property
    def rows(self) -> int:
        """Texts with a row that is safe."""
        return self.committed.settled - self.committed.failed

    @property
    def width(self) -> int:
        """Numbers in each row; 0 before there is one."""
        return self.committed.width

    @property
    def vectors(self) -> Path:
        """The file with the rows in the order in which they arrived, as `NpyFile` reads it."""
        return self.folder / VECTORS

    def check_total(self, total: int | None) -> None:
        """Raise `ResumeError` if there are not as many texts as the run was begun with."""
        if None not in {total, self.note.total} and total != self.note.total:
            raise ResumeError(f"{self.folder} was begun with {self.note.total} texts, and there are {total} now")

    def add(
        self, items: Sequence[EmbedBlock[Scalar] | EmbedFailure | Withdrawal], totals: RunTotals | None = None
    ) -> None:
        """Bring results to the disk, in any order, and what all runs took so far, if there is news of that.

        Raises:
            OSError: if they cannot be written; everything before them stays as it was.
            ResumeError: if their vectors have another dimension than those before.
        """
        if self.is_broken:
            raise RuntimeError(f"{self.folder} could not be written before")
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
        """Let go of the files; a second call does nothing."""
        self._log.close()

    def _check_widths(self, items: Sequence[EmbedBlock[Scalar] | EmbedFailure | Withdrawal]) -> None:
        known = self._log.width
        for block in items:
            if isinstance(block, EmbedBlock):
                width = block.embeddings.shape[1]
                known = known or width
                if known != width:
                    raise ResumeError(
                        f"{self.folder} holds vectors of {known} numbers, but those that come now have {width}: the "
                        "model is another one"
                    )


class KnownTexts:
    """Recognises the texts of an earlier run as they are read again.

    It takes 4 bytes for each of them.

    Args:
        journal: What the earlier run left.
    """

    def __init__(self, journal: Journal) -> None:
        self._folder = journal.folder
        self.reach = journal.committed.reach
        """How many texts must be read to have seen all that are settled."""
        with open_to_read(self._folder / RECORDS) as records:
            self._latest = find_latest(records, journal.committed.records, self.reach)

    def recognise(self, first: int, inputs: Sequence[EmbedInput]) -> list[int]:
        """Return the places of those that are not settled among the next texts, of which `first` is the index.

        Raises:
            ResumeError: if one that is settled is another text.
        """
        latest = self._latest[first : first + len(inputs)]
        places = np.flatnonzero(latest)
        numbers = latest[places].astype(np.int64) - 1
        with open_to_read(self._folder / RECORDS) as file:
            records = gather(file, numbers, RECORD.itemsize).view(RECORD).reshape(len(numbers))
        is_settled = records["row"] != DROPPED
        settled = places[is_settled]
        found = np.frombuffer(digests_of([inputs[place] for place in settled.tolist()]), "<u8").reshape(-1, 2)
        is_other = (found != records["digest"][is_settled]).any(axis=1)
        if is_other.any():
            index = first + int(settled[is_other][0])
            raise ResumeError(
                f"{self._folder} belongs to other texts: the text with index {index}, or its id or metadata, is not "
                "the same now"
            )
        return _without(settled, len(inputs))

    def check_count(self, texts: int) -> None:
        """Raise `ResumeError` if the input has ended after so many texts, before all that are settled were seen."""
        if texts < self.reach:
            raise ResumeError(
                f"{self._folder} holds results for {self.reach} texts of another input; this one has only {texts}"
            )


def read_provenance(folder: Path, fields: Mapping[str, object]) -> Provenance:
    """Return the provenance that is noted in a folder.

    Raises:
        ResumeError: if a later version wrote it, and something in it that this one does not know of.
    """
    provenance, unknown = Provenance.from_dict(fields)
    if unknown:
        raise newer(folder, provenance.version, f"asks for {', '.join(unknown)}")
    return provenance


def newer(folder: Path, version: str, what: str) -> ResumeError:
    return ResumeError(
        f"{folder} was written by asyncembed {version} and {what}, which this version does not know; go on with "
        f"asyncembed {version} or later"
    )


def damaged(folder: Path, error: Exception) -> ResumeError:
    return ResumeError(f"{folder} is damaged and cannot be resumed: {error}")


def _without(places: npt.NDArray[np.intp], count: int) -> list[int]:
    is_left = np.ones(count, np.bool_)
    is_left[places] = False
    return np.flatnonzero(is_left).tolist()


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
