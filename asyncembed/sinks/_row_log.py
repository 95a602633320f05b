"""What a journal keeps of each text, in records of one length, and how rows are found by the index of their text.

Records are appended in the order in which results arrive. The latest record of a text counts.

Results that are appended as they arrive and then committed: files in which nothing counts before its commit.

Vectors go to `vectors.npy`, their labels to `vectors.npy.texts.jsonl`, and a record for each text to `records.bin`, all
in the same order. When the three are on the disk, a line in `commits.jsonl` says how far they count. What lies behind
the last whole line of that file never happened, and is cut off when the log is opened again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import numpy as np
import orjson

from asyncembed._models import EmbedBlock, EmbedFailure, EmbedInput, RunTotals
from asyncembed.sinks._books import totals_from_dict, totals_to_dict
from asyncembed.sinks._columns import Columns
from asyncembed.sinks._labels import label_line
from asyncembed.sinks._provenance import DIGEST_BYTES, digests_of
from asyncembed.sinks._safe_open import open_log, sync, write_all, write_whole
from asyncembed.sinks.npy import HEADER_BYTES, TEXTS, header_of

if TYPE_CHECKING:
    import io
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from asyncembed._models import Scalar, Withdrawal
    from asyncembed.sinks._provenance import Provenance


RECORD: Final = np.dtype([
    ("index", "<i8"),
    ("row", "<i8"),  # in the file of vectors, from 0; or one of the two below
    ("label", "<u8"),  # where its line begins in the file of labels
    ("label_bytes", "<u4"),
    ("reserved", "<u4"),
    ("digest", "<u8", 2),
])
FAILED: Final = -1
"""In place of a row: the text was given up."""
DROPPED: Final = -2
"""In place of a row: what came for the text cannot be trusted, and it is to be asked for again."""

STEP: Final = 8_192
"""Records that are looked at in one step."""


def read_records(file: io.FileIO, start: int, count: int) -> npt.NDArray[np.void]:
    """Return consecutive records."""
    return gather(file, np.arange(start, start + count), RECORD.itemsize).view(RECORD).reshape(count)


def find_latest(file: io.FileIO, records: int, texts: int) -> npt.NDArray[np.uint32 | np.uint64]:
    """Return for each index below `texts` the number of its latest record, counted from 1; 0 where there is none.

    It takes 4 bytes a text, 8 where there are over four billion records.
    """
    number = np.uint32 if records < np.iinfo(np.uint32).max else np.uint64
    latest: npt.NDArray[np.uint32 | np.uint64] = np.zeros(texts, number)
    for start in range(0, records, STEP):
        part = read_records(file, start, min(STEP, records - start))
        latest[part["index"]] = np.arange(start + 1, start + 1 + len(part), dtype=number)  # of equal ones the last
    return latest


def gather(file: io.FileIO, numbers: npt.NDArray[np.integer], size: int, start: int = 0) -> npt.NDArray[np.uint8]:
    """Return items of `size` bytes by their numbers, as the rows of a matrix; the first item lies at `start`.

    Items that follow one another in the file, and are asked for so, are read together.
    """
    found = np.empty((len(numbers), size), np.uint8)
    for first, last in stretches(numbers):
        read_into(file, found[first:last].data, start + int(numbers[first]) * size)
    return found


def stretches(numbers: npt.NDArray[np.integer]) -> Iterator[tuple[int, int]]:
    """Give begin and end of each stretch in which numbers follow one another."""
    if not len(numbers):
        return
    cuts = np.flatnonzero(np.diff(numbers.astype(np.int64)) != 1) + 1
    yield from zip([0, *cuts.tolist()], [*cuts.tolist(), len(numbers)], strict=True)


def read_into(file: io.FileIO, room: memoryview, position: int) -> None:
    """Fill `room` with what lies at a position.

    Raises:
        ValueError: if the file ends before.
    """
    file.seek(position)
    rest = room.cast("B")
    while rest:
        read = file.readinto(rest)
        if not read:
            raise ValueError(f"{file.name!r} is shorter than what was committed")
        rest = rest[read:]


VECTORS: Final = "vectors.npy"
LABELS: Final = f"{VECTORS}{TEXTS}"
RECORDS: Final = "records.bin"
COMMITS: Final = "commits.jsonl"

MAX_COMMIT_BYTES: Final = 1_000_000
"""Bytes of `commits.jsonl` at which it is begun anew."""

_TAIL_BYTES: Final = 65_536
"""Bytes from its end in which its last good line is looked for."""


@dataclass(slots=True)
class Commit:
    """How far the files count.

    Attributes:
        settled: Texts that need not be asked for again.
        failed: How many of them were given up.
        reach: Texts up to the last one that has a record; those among them that are not settled are gaps.
        records: Records in their file.
        rows: Rows in the file of vectors.
        label_bytes: Length of the file of labels.
        width: Numbers in each row; 0 before there is one.
        totals: What all runs took up to there.
        columns: What their ids and metadata are.
    """

    settled: int = 0
    failed: int = 0
    reach: int = 0
    records: int = 0
    rows: int = 0
    label_bytes: int = 0
    width: int = 0
    totals: RunTotals = field(default_factory=RunTotals)
    columns: Columns = field(default_factory=Columns)

    def copy(self) -> Commit:
        """Return another one."""
        counts = self.settled, self.failed, self.reach, self.records, self.rows, self.label_bytes, self.width
        return Commit(*counts, self.totals, self.columns)

    def to_json(self, *, with_words: bool) -> bytes:
        """Return this as a line."""
        line = {
            "settled": self.settled,
            "failed": self.failed,
            "reach": self.reach,
            "records": self.records,
            "rows": self.rows,
            "label_bytes": self.label_bytes,
            "width": self.width,
            "totals": totals_to_dict(self.totals, with_words=with_words),
            "columns": self.columns.to_dict(),
        }
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def from_json(cls, line: bytes) -> Self:
        """Read what `to_json` gave, or a later version, which may say more.

        Raises:
            ValueError: if it is something else.
        """
        given = orjson.loads(line)
        if not isinstance(given, dict) or not all(isinstance(given.get(name), int) for name in _COUNTS):
            raise ValueError("it is not a commit")
        counts = {name: given[name] for name in _COUNTS}
        columns = Columns.from_dict(given.get("columns"))
        return cls(totals=totals_from_dict(given.get("totals") or {}), columns=columns, **counts)


_COUNTS: Final = ("settled", "failed", "reach", "records", "rows", "label_bytes", "width")


class RowLog:
    """The files of one journal.

    Args:
        folder: Where they are, or are to be.
        provenance: What the rows are made with.

    Attributes:
        committed: What counts.

    Raises:
        ValueError, TypeError: if they do not hold what was committed.
    """

    def __init__(self, folder: Path, provenance: Provenance) -> None:
        self._folder = folder
        self._provenance = provenance
        self._files: list[io.FileIO] = []
        self._header = b""  # for no rows: to make one takes as long as to write many rows
        try:
            self._vectors, self._labels, self._records, self._commits = map(
                self._open, (VECTORS, LABELS, RECORDS, COMMITS)
            )
            self.committed = self._go_back_to_last_commit()
        except BaseException:
            self.close()
            raise
        self._next = self.committed.copy()
        if self.committed.rows:
            self._write_header()  # it may speak of other rows than those that count
        sync(folder)

    @property
    def width(self) -> int:
        """Numbers in each row; 0 before there is one."""
        return self._next.width

    def append(self, items: Sequence[EmbedBlock[Scalar] | EmbedFailure | Withdrawal]) -> None:
        """Write results, which count from the next commit on."""
        now, new = self._next, _NewRecords()
        keep_text = self._provenance.keep_text
        for item in items:
            if isinstance(item, EmbedBlock):
                if not now.width:
                    now.width = item.embeddings.shape[1]
                    self._write_header()
                write_all(self._vectors, item.embeddings.data)
                span = range(item.index, item.index + item.span)
                lines = [label_line(n, text, keep_text=keep_text) for n, text in zip(span, item.inputs, strict=True)]
                new.add(span, range(now.rows, now.rows + len(span)), item.inputs, lines)
                now.rows += len(span)
                now.settled += len(span)
                now.columns = now.columns.after(item.inputs)
            elif isinstance(item, EmbedFailure):
                new.add([item.index], [FAILED], [EmbedInput(item.text, item.id, item.metadata)], [b""])
                now.failed += 1
                now.settled += 1
            else:
                count = len(item.indices)
                new.add(item.indices, [DROPPED] * count, item.inputs, [b""] * count)
                now.settled -= count
        records, labels = new.arrays(now.label_bytes)
        write_all(self._labels, labels)
        write_all(self._records, records.tobytes())
        now.label_bytes += len(labels)
        now.records += len(records)
        now.reach = max(now.reach, max(new.indices, default=-1) + 1)

    def commit(self, totals: RunTotals) -> None:
        """Bring what was appended to the disk, and then say that it counts, and what all runs took so far."""
        if os.fstat(self._commits.fileno()).st_nlink == 0:
            raise FileNotFoundError(2, "the folder was removed while it was being written")
        self._next.totals = totals
        commit = self._next.copy()
        if commit.rows > self.committed.rows:
            self._write_header()
            os.fsync(self._vectors.fileno())
            os.fsync(self._labels.fileno())
        if commit.records > self.committed.records:
            os.fsync(self._records.fileno())
        self._write_commit(commit.to_json(with_words=self._provenance.keep_text))
        self.committed = commit

    def close(self) -> None:
        """Close the files; a second call does nothing."""
        for file in self._files:
            file.close()

    def _open(self, name: str) -> io.FileIO:
        file = open_log(self._folder / name)
        self._files.append(file)
        return file

    def _go_back_to_last_commit(self) -> Commit:
        size = self._commits.seek(0, os.SEEK_END)
        start = self._commits.seek(max(0, size - _TAIL_BYTES))
        whole, commit = last_commit(self._commits.read())
        _cut(self._commits, start + whole)
        _cut(self._records, commit.records * RECORD.itemsize)
        _cut(self._labels, commit.label_bytes)
        row_bytes = commit.width * self._provenance.number.itemsize
        _cut(self._vectors, HEADER_BYTES + commit.rows * row_bytes if commit.rows else 0)
        return commit

    def _write_commit(self, line: bytes) -> None:
        if self._commits.tell() < MAX_COMMIT_BYTES:
            write_all(self._commits, line)
            os.fsync(self._commits.fileno())
        else:  # only the last one counts
            self._commits.close()
            write_whole(self._folder / COMMITS, line)
            self._commits = self._open(COMMITS)
            self._commits.seek(0, os.SEEK_END)

    def _write_header(self) -> None:
        """Say how many rows there are, so that `numpy.load` takes the file as it is."""
        if not self._header:
            self._header = header_of(self._provenance.number, (0, self.width))
        empty, full = b"(0, ", b"(%d, " % self._next.rows
        header = self._header.replace(empty, full, 1).replace(b" " * (len(full) - len(empty)) + b"\n", b"\n")
        self._vectors.seek(0)
        write_all(self._vectors, header)
        self._vectors.seek(0, os.SEEK_END)


def last_commit(tail: bytes) -> tuple[int, Commit]:
    """Return the last commit that can be read in the end of a file of them, and where its line ends.

    Raises:
        ValueError: if there are lines, and none can be read.
    """
    lines = tail[: tail.rfind(b"\n") + 1]
    error: Exception | None = None
    while lines:
        start = lines.rfind(b"\n", 0, -1) + 1
        try:
            return len(lines), Commit.from_json(lines[start:])
        except ValueError as found:
            error, lines = found, lines[:start]
    if error:
        raise ValueError(f"none of its commits can be read: {error}")
    return 0, Commit()


class _NewRecords:
    """Records of several results, made at once, as that takes hardly longer than for one."""

    def __init__(self) -> None:
        self.indices: list[int] = []
        self._rows: list[int] = []
        self._inputs: list[EmbedInput] = []
        self._lines: list[bytes] = []

    def add(
        self, indices: Iterable[int], rows: Iterable[int], inputs: Iterable[EmbedInput], lines: Iterable[bytes]
    ) -> None:
        self.indices += indices
        self._rows += rows
        self._inputs += inputs
        self._lines += lines

    def arrays(self, start: int) -> tuple[npt.NDArray[np.void], bytes]:
        """Return the records, and the labels that begin at a position of their file."""
        lengths = np.fromiter(map(len, self._lines), np.int64, len(self._lines))
        records = np.zeros(len(self.indices), RECORD)
        records["index"] = self.indices
        records["row"] = self._rows
        records["label"] = start + np.cumsum(lengths) - lengths
        records["label_bytes"] = lengths
        records["digest"] = np.frombuffer(digests_of(self._inputs), "<u8").reshape(-1, DIGEST_BYTES // 8)
        return records, b"".join(self._lines)


def _cut(file: io.FileIO, length: int) -> None:
    if file.seek(0, os.SEEK_END) < length:
        raise ValueError(f"{Path(str(file.name)).name} is shorter than what was committed")
    file.truncate(length)
    file.seek(length)
