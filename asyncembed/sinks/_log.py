"""Rows that are appended and then committed: three files in which nothing counts before its commit is on the disk.

Rows go to `vectors.npy`, their labels to `vectors.npy.texts.jsonl`; when both are on the disk, a line in
`commits.jsonl` says how far they count. Whatever lies behind the last whole line of that file never happened, and is
cut off when the log is opened again.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson

from asyncembed.sinks._disk import sync, write_all, write_whole
from asyncembed.sinks._labels import label_line
from asyncembed.sinks._own import open_log
from asyncembed.sinks.npy import HEADER_BYTES, TEXTS, write_header

if TYPE_CHECKING:
    import io
    from collections.abc import Sequence

    from asyncembed._models import EmbedInput, Matrix
    from asyncembed.sinks._provenance import Provenance

VECTORS: Final = "vectors.npy"
LABELS: Final = f"{VECTORS}{TEXTS}"
COMMITS: Final = "commits.jsonl"

MAX_COMMIT_BYTES: Final = 1_000_000
"""Bytes of `commits.jsonl` at which it is begun anew."""

_TAIL_BYTES: Final = 65_536
"""Bytes from its end in which its last good line is looked for."""


@dataclass(frozen=True, slots=True)
class Commit:
    """How far the files count.

    Attributes:
        settled: Texts that need not be asked for again.
        failed: How many of them were given up.
        rows: Rows in the file of vectors.
        label_bytes: Length of the file of labels.
        width: Numbers in each row; 0 before there is one.
        digest: Fingerprint of the texts that are settled.
    """

    settled: int = 0
    failed: int = 0
    rows: int = 0
    label_bytes: int = 0
    width: int = 0
    digest: str = ""


class RowLog:
    """The files of one journal.

    Args:
        folder: Where they are, or are to be.
        provenance: What the rows are made with.

    Raises:
        ValueError, TypeError: if they do not hold what was committed.
    """

    def __init__(self, folder: Path, provenance: Provenance) -> None:
        self._folder = folder
        self._provenance = provenance
        self._files: list[io.FileIO] = []
        self.width = 0
        """Numbers in each row, once that is known."""
        try:
            self._vectors, self._labels, self._commits = map(self._open, (VECTORS, LABELS, COMMITS))
            self.committed = self._go_back_to_last_commit()
        except BaseException:
            self.close()
            raise
        self.width = self.committed.width
        self._rows, self._label_bytes = self.committed.rows, self.committed.label_bytes
        if self._rows:
            self._write_header()  # it may speak of rows that never counted
        sync(folder)

    def append(self, first: int, vectors: Matrix, inputs: Sequence[EmbedInput]) -> None:
        """Write rows and labels, which count from the next commit on."""
        if not self.width:
            self.width = vectors.shape[1]
            self._write_header()
        keep_text = self._provenance.keep_text
        lines = b"".join(label_line(first + row, item, keep_text=keep_text) for row, item in enumerate(inputs))
        write_all(self._vectors, vectors.data)
        write_all(self._labels, lines)
        self._rows += len(inputs)
        self._label_bytes += len(lines)

    def commit(self, settled: int, failed: int, digest: str) -> None:
        """Bring what was appended to the disk, and then say that it counts, and for how many texts."""
        if os.fstat(self._commits.fileno()).st_nlink == 0:
            raise FileNotFoundError(2, "the folder was removed while it was being written")
        if self._rows:
            self._write_header()
            os.fsync(self._vectors.fileno())
            os.fsync(self._labels.fileno())
        commit = Commit(settled, failed, self._rows, self._label_bytes, self.width, digest)
        self._write_commit(orjson.dumps(asdict(commit), option=orjson.OPT_APPEND_NEWLINE))
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
        tail = self._commits.read()
        whole, commit = _last_commit(tail[: tail.rfind(b"\n") + 1])
        row_bytes = commit.width * self._provenance.number.itemsize
        vector_bytes = HEADER_BYTES + commit.rows * row_bytes if commit.rows else 0
        _cut(self._commits, start + whole)
        _cut(self._labels, commit.label_bytes)
        _cut(self._vectors, vector_bytes)
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
        self._vectors.seek(0)
        write_header(self._vectors, self._provenance.number, (self._rows, self.width))
        self._vectors.seek(0, os.SEEK_END)


def _last_commit(lines: bytes) -> tuple[int, Commit]:
    """Return the last commit that can be read, and where its line ends."""
    error: Exception | None = None
    while lines:
        start = lines.rfind(b"\n", 0, -1) + 1
        try:
            return len(lines), Commit(**orjson.loads(lines[start:]))
        except (ValueError, TypeError) as found:
            error, lines = found, lines[:start]
    if error:
        raise ValueError(f"none of its commits can be read: {error}")
    return 0, Commit()


def _cut(file: io.FileIO, length: int) -> None:
    if file.seek(0, os.SEEK_END) < length:
        raise ValueError(f"{Path(str(file.name)).name} is shorter than what was committed")
    file.truncate(length)
    file.seek(length)
