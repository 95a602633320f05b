"""The files of a journal: an append-only log of results with commits.

Vectors are appended to `vectors.npy`, their labels to `vectors.npy.texts.jsonl`, and a record of fixed length for each
text to `records.bin`, all in the order in which results arrive. The latest record of a text is valid. When the three
files are on disk, a line in `commits.jsonl` records their lengths. Data after the last complete commit is removed when
the log is opened again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import numpy as np
import orjson

from asyncembed._exceptions import ConfigurationError
from asyncembed._models import EmbedBlock, EmbedFailure, EmbedInput, RunTotals
from asyncembed.sinks._columns import Columns
from asyncembed.sinks._labels import label_line
from asyncembed.sinks._provenance import DIGEST_BYTES, digests_of
from asyncembed.sinks._safe_open import open_log, sync, write_all, write_whole
from asyncembed.sinks._totals import totals_from_dict, totals_to_dict
from asyncembed.sinks.npy import HEADER_BYTES, TEXTS, header_of

if TYPE_CHECKING:
    import io
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from asyncembed._models import Scalar, Withdrawal
    from asyncembed.sinks._provenance import Provenance


RECORD: Final = np.dtype([
    ("index", "<i8"),
    ("row", "<i8"),  # row number in the file of vectors, from 0; or FAILED or DROPPED
    ("label", "<u8"),  # position of its line in the file of labels
    ("label_bytes", "<u4"),
    ("reserved", "<u4"),
    ("digest", "<u8", 2),
])
FAILED: Final = -1
"""In place of a row number: the text could not be embedded."""
DROPPED: Final = -2
"""In place of a row number: the vector of the text cannot be trusted, and the text must be embedded again."""

STEP: Final = 8_192
"""Records to process in one step."""


def read_records(file: io.FileIO, start: int, count: int) -> npt.NDArray[np.void]:
    """Return consecutive records."""
    return gather(file, np.arange(start, start + count), RECORD.itemsize).view(RECORD).reshape(count)


def find_latest(file: io.FileIO, records: int, texts: int) -> npt.NDArray[np.uint32 | np.uint64]:
    """Return for each index below `texts` the number of its latest record, counted from 1; 0 if there is none.

    It needs 4 bytes of memory per text, or 8 if there are more than four billion records.
    """
    number = np.uint32 if records < np.iinfo(np.uint32).max else np.uint64
    latest: npt.NDArray[np.uint32 | np.uint64] = np.zeros(texts, number)
    for start in range(0, records, STEP):
        part = read_records(file, start, min(STEP, records - start))
        latest[part["index"]] = np.arange(
            start + 1, start + 1 + len(part), dtype=number
        )  # of several records of a text, NumPy keeps the last
    return latest


def gather(file: io.FileIO, numbers: npt.NDArray[np.integer], size: int, start: int = 0) -> npt.NDArray[np.uint8]:
    """Return the items with these numbers, each of `size` bytes, as the rows of a matrix.

    Item 0 is at position `start` of the file. Consecutive items are read together.
    """
    items = np.empty((len(numbers), size), np.uint8)
    for first, last in consecutive_ranges(numbers):
        read_into(file, items[first:last].data, start + int(numbers[first]) * size)
    return items


def consecutive_ranges(numbers: npt.NDArray[np.integer]) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each range of positions whose numbers are consecutive."""
    if not len(numbers):
        return
    cuts = np.flatnonzero(np.diff(numbers.astype(np.int64)) != 1) + 1
    yield from zip([0, *cuts.tolist()], [*cuts.tolist(), len(numbers)], strict=True)


def read_into(file: io.FileIO, buffer: memoryview, position: int) -> None:
    """Fill a buffer with the bytes at a position of a file.

    Raises:
        ValueError: if the file is too short.
    """
    file.seek(position)
    rest = buffer.cast("B")
    while rest:
        read = file.readinto(rest)
        if not read:
            raise ValueError(f"{file.name!r} is shorter than its last commit says")
        rest = rest[read:]


VECTORS: Final = "vectors.npy"
LABELS: Final = f"{VECTORS}{TEXTS}"
RECORDS: Final = "records.bin"
COMMITS: Final = "commits.jsonl"

MAX_COMMIT_BYTES: Final = 1_000_000
"""Size at which `commits.jsonl` is replaced by its last line."""

_TAIL_BYTES: Final = 65_536
"""Bytes at the end of `commits.jsonl` in which the last valid line is searched."""


@dataclass(slots=True)
class Commit:
    """The valid contents of the files of a journal.

    Attributes:
        settled: Number of texts with a result, a row or a failure.
        failed: Number of settled texts that failed.
        reach: 1 + the highest index with a record. Lower indices that are not settled are gaps.
        records: Number of records.
        rows: Number of rows in the file of vectors.
        label_bytes: Length of the file of labels.
        width: Numbers per row; 0 before the first row.
        totals: Totals of all runs so far.
        columns: Kinds of values of the ids and metadata.
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
        """Return a copy."""
        counts = self.settled, self.failed, self.reach, self.records, self.rows, self.label_bytes, self.width
        return Commit(*counts, self.totals, self.columns)

    def to_json(self, *, with_messages: bool) -> bytes:
        """Return this commit as a JSON line."""
        line = {
            "settled": self.settled,
            "failed": self.failed,
            "reach": self.reach,
            "records": self.records,
            "rows": self.rows,
            "label_bytes": self.label_bytes,
            "width": self.width,
            "totals": totals_to_dict(self.totals, with_messages=with_messages),
            "columns": self.columns.to_dict(),
        }
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def from_json(cls, line: bytes) -> Self:
        """Return the commit of a line that `to_json` made. Unknown fields of later versions are ignored.

        Raises:
            ValueError: if the line is not a commit.
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
        folder: The folder of the journal. Missing files are created.
        provenance: Provenance of the rows.

    Attributes:
        committed: The last commit.

    Raises:
        ValueError, TypeError: if the files are shorter than the last commit says, or damaged.
    """

    def __init__(self, folder: Path, provenance: Provenance) -> None:
        self._folder = folder
        self._provenance = provenance
        self._files: list[io.FileIO] = []
        self._header = b""  # for 0 rows; cached because making one takes as long as writing many rows
        try:
            self._vectors, self._labels, self._records, self._commits = map(
                self._open, (VECTORS, LABELS, RECORDS, COMMITS)
            )
            self.committed = self._roll_back()
        except BaseException:
            self.close()
            raise
        self._next = self.committed.copy()
        if self.committed.rows:
            self._write_header()  # it may have the number of rows before the rollback
        sync(folder)

    @property
    def width(self) -> int:
        """Numbers per row; 0 before the first row."""
        return self._next.width

    def append(self, items: Sequence[EmbedBlock[Scalar] | EmbedFailure | Withdrawal]) -> None:
        """Append results. They are valid after the next `commit`."""
        now, new = self._next, _NewRecords()
        keep_text = self._provenance.keep_text
        for item in items:
            if isinstance(item, EmbedBlock):
                if not now.width:
                    now.width = item.embeddings.shape[1]
                    self._write_header()
                write_all(self._vectors, item.embeddings.data)
                span = range(item.index, item.index + item.span)
                inputs = _with_truncated(item) if self._provenance.long_text else item.inputs
                lines = [label_line(n, text, keep_text=keep_text) for n, text in zip(span, inputs, strict=True)]
                new.add(span, range(now.rows, now.rows + len(span)), item.inputs, lines)
                now.rows += len(span)
                now.settled += len(span)
                now.columns = now.columns.after(inputs)
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
        """Flush the appended results to disk, then write a commit with the totals of all runs so far."""
        if os.fstat(self._commits.fileno()).st_nlink == 0:
            raise FileNotFoundError(2, "another program removed the folder during the run")
        self._next.totals = totals
        commit = self._next.copy()
        if commit.rows > self.committed.rows:
            self._write_header()
            os.fsync(self._vectors.fileno())
            os.fsync(self._labels.fileno())
        if commit.records > self.committed.records:
            os.fsync(self._records.fileno())
        self._write_commit(commit.to_json(with_messages=self._provenance.keep_text))
        self.committed = commit

    def close(self) -> None:
        """Close the files. A second call does nothing."""
        for file in self._files:
            file.close()

    def _open(self, name: str) -> io.FileIO:
        file = open_log(self._folder / name)
        self._files.append(file)
        return file

    def _roll_back(self) -> Commit:
        size = self._commits.seek(0, os.SEEK_END)
        start = self._commits.seek(max(0, size - _TAIL_BYTES))
        end, commit = last_commit(self._commits.read())
        _truncate(self._commits, start + end)
        _truncate(self._records, commit.records * RECORD.itemsize)
        _truncate(self._labels, commit.label_bytes)
        row_bytes = commit.width * self._provenance.number.itemsize
        _truncate(self._vectors, HEADER_BYTES + commit.rows * row_bytes if commit.rows else 0)
        return commit

    def _write_commit(self, line: bytes) -> None:
        if self._commits.tell() < MAX_COMMIT_BYTES:
            write_all(self._commits, line)
            os.fsync(self._commits.fileno())
        else:  # start a new file: only the last commit is needed
            self._commits.close()
            write_whole(self._folder / COMMITS, line)
            self._commits = self._open(COMMITS)
            self._commits.seek(0, os.SEEK_END)

    def _write_header(self) -> None:
        """Write the number of rows into the header, so that `numpy.load` can read the file as it is."""
        if not self._header:
            self._header = header_of(self._provenance.number, (0, self.width))
        empty, full = b"(0, ", b"(%d, " % self._next.rows
        header = self._header.replace(empty, full, 1).replace(b" " * (len(full) - len(empty)) + b"\n", b"\n")
        self._vectors.seek(0)
        write_all(self._vectors, header)
        self._vectors.seek(0, os.SEEK_END)


TRUNCATED: Final = "truncated"
"""Name of the column that says which texts were cut because they were too long."""


def _with_truncated(block: EmbedBlock[Scalar]) -> list[EmbedInput]:
    """Return the inputs of a block, which say in their metadata whether they were cut.

    Raises:
        ConfigurationError: if the metadata of an input has this name already.
    """
    marked = []
    for position, (item, flag) in enumerate(zip(block.inputs, block.truncated, strict=True), block.index):
        metadata = item.metadata or {}
        if TRUNCATED in metadata:
            raise ConfigurationError(
                f"texts[{position}] has metadata with the name {TRUNCATED!r}, which the file uses for its own column "
                "with long_text='truncate'; choose another name"
            )
        marked.append(EmbedInput(item.text, item.id, {**metadata, TRUNCATED: flag}))
    return marked


def last_commit(tail: bytes) -> tuple[int, Commit]:
    """Return where the line of the last valid commit ends, and that commit.

    Args:
        tail: The end of a file of commits.

    Raises:
        ValueError: if there are lines, but none is valid.
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
        raise ValueError(f"none of its commits is valid: {error}")
    return 0, Commit()


class _NewRecords:
    """Collects records and labels of several results, and makes them in one step, which is much faster."""

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
        """Return the records and the label lines; `start` is the length of the file of labels so far."""
        lengths = np.fromiter(map(len, self._lines), np.int64, len(self._lines))
        records = np.zeros(len(self.indices), RECORD)
        records["index"] = self.indices
        records["row"] = self._rows
        records["label"] = start + np.cumsum(lengths) - lengths
        records["label_bytes"] = lengths
        records["digest"] = np.frombuffer(digests_of(self._inputs), "<u8").reshape(-1, DIGEST_BYTES // 8)
        return records, b"".join(self._lines)


def _truncate(file: io.FileIO, length: int) -> None:
    if file.seek(0, os.SEEK_END) < length:
        raise ValueError(f"{Path(str(file.name)).name} is shorter than its last commit says")
    file.truncate(length)
    file.seek(length)
