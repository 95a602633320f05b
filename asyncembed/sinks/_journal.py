"""What has arrived of a file in the making, safe from any end of the process and from power cuts.

A journal is a folder beside the file, `vectors.parquet.partial/`. Rows are appended to `vectors.npy`, their labels to
`vectors.npy.texts.jsonl`; when both are on the disk, a line in `commits.jsonl` says how far they count. Whatever lies
behind the last whole line of that file never happened, and is cut off when the journal is opened again. So there is
one way to survive crashes for all formats: they are made of a journal when it is complete.

The input is not kept. Each commit holds a digest of all texts up to there, so whoever resumes must bring the same.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson
from filelock import FileLock, Timeout

from asyncembed._errors import ConfigurationError, ResumeError
from asyncembed._models import EmbedBlock, EmbedInput
from asyncembed.sinks._disk import sync, write_all, write_whole
from asyncembed.sinks._labels import label_line
from asyncembed.sinks._provenance import Fingerprint, Provenance
from asyncembed.sinks.npy import TEXTS, write_header

if TYPE_CHECKING:
    import io
    from collections.abc import Sequence
    from typing import Self

    from asyncembed._models import EmbedFailure, Matrix

RUN: Final = "run.json"
VECTORS: Final = "vectors.npy"
LABELS: Final = f"{VECTORS}{TEXTS}"
COMMITS: Final = "commits.jsonl"
LOCK: Final = "lock"

_TAIL_BYTES: Final = 4_096
"""Bytes from the end of `commits.jsonl` that hold its last whole line."""

_HEADER_BYTES: Final = 128

_OURS: Final = ("run.json", "ready.json", "commits.jsonl", "vectors.npy", "finished.vectors", LOCK)
"""How the names of files in a journal's folder begin; others are left alone."""


class Journal:
    """The rows of one run; used from one thread at a time, and not from the event loop's.

    Use `create` or `open` to get one, and `close` it.

    Attributes:
        provenance: What the run was begun with.
        total: How many texts there are, if the run was told.
        may_replace: Whether the run may replace the file it makes.
        settled: Texts that need not be asked for again: those with a row, and those that were given up.
        rows: Rows that count.
        fingerprint: Of the texts that were added, or recognised by whoever resumes.
    """

    def __init__(self, folder: Path, lock: FileLock) -> None:
        self.folder = folder
        self._lock = lock
        run = orjson.loads((folder / RUN).read_bytes())
        self.provenance = Provenance(**run["provenance"])
        self.total: int | None = run["total"]
        self.may_replace: bool = run["may_replace"]
        self.width = 0
        self.rows = self.settled = self._written = self._label_bytes = 0
        self._digest = Fingerprint().hexdigest()
        self.fingerprint = Fingerprint()
        self._files: list[io.FileIO] = []
        try:
            self._vectors, self._labels, self._commits = map(self._append_to, (VECTORS, LABELS, COMMITS))
            self._go_back_to_last_commit()
        except BaseException:
            self.close()
            raise

    @classmethod
    def create(cls, folder: Path, provenance: Provenance, *, total: int | None, may_replace: bool) -> Self:
        """Begin a journal; what another run left in the folder is lost.

        Raises:
            ConfigurationError: if the folder cannot be made, or another process is writing it.
        """
        try:
            folder.mkdir(exist_ok=True)
            lock = _take(folder)
        except OSError as error:
            file = folder.with_name(folder.stem)
            raise ConfigurationError(f"{file} cannot be written: {error.strerror}") from None
        remove_files(folder, but=LOCK)
        run = {"provenance": provenance.to_dict(), "total": total, "may_replace": may_replace}
        write_whole(folder / RUN, orjson.dumps(run, option=orjson.OPT_INDENT_2))
        sync(folder.parent)
        return cls(folder, lock)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Go on with a journal.

        Raises:
            ConfigurationError: if another process is writing it.
            ResumeError: if it is damaged.
        """
        lock = _take(folder)
        try:
            return cls(folder, lock)
        except (ValueError, TypeError, KeyError) as error:
            lock.release()
            raise ResumeError(f"{folder} is damaged and cannot be resumed: {error}") from None

    @property
    def vectors(self) -> Path:
        """The file with the rows, as `NpyFile` reads it."""
        return self.folder / VECTORS

    def check_input(self) -> None:
        """Raise `ResumeError` unless the texts in `fingerprint` are those that were settled."""
        if self.fingerprint.texts < self.settled:
            raise ResumeError(
                f"{self.folder} holds the first {self.settled} texts of another input; this one has only "
                f"{self.fingerprint.texts}"
            )
        if self.fingerprint.hexdigest() != self._digest:
            raise ResumeError(
                f"{self.folder} belongs to other texts: the first {self.settled} texts, or their ids, are not the "
                "same now"
            )

    def add(self, items: Sequence[EmbedBlock | EmbedFailure]) -> None:
        """Bring results to the disk; they must follow one another, and what was settled before.

        Raises:
            OSError: if they cannot be written; everything before them stays as it was.
            ResumeError: if their vectors have another dimension than those before.
        """
        try:
            for item in items:
                if isinstance(item, EmbedBlock):
                    self._write(item.index, item.embeddings, item.inputs)
                else:
                    self.fingerprint.add([EmbedInput(item.text, item.id)])
            self._commit()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.folder)) from None

    def close(self) -> None:
        """Let go of the files; a second call does nothing."""
        for file in self._files:
            file.close()
        self._lock.release()

    def _append_to(self, name: str) -> io.FileIO:
        path = self.folder / name
        path.touch()
        file = path.open("r+b", buffering=0)
        self._files.append(file)
        return file

    def _go_back_to_last_commit(self) -> None:
        size = self._commits.seek(0, os.SEEK_END)
        start = self._commits.seek(max(0, size - _TAIL_BYTES))
        tail = self._commits.read()
        whole = tail[: tail.rfind(b"\n") + 1]
        if last := whole.splitlines()[-1:]:
            commit = orjson.loads(last[0])
            self.settled, self.rows, self._label_bytes = commit["settled"], commit["rows"], commit["label_bytes"]
            self._written = self.rows
            self.width, self._digest = commit["width"], commit["digest"]
        end = start + len(whole)
        vector_bytes = _HEADER_BYTES + self.rows * self._row_bytes if self.rows else 0
        for file, length in ((self._commits, end), (self._labels, self._label_bytes), (self._vectors, vector_bytes)):
            if file.seek(0, os.SEEK_END) < length:
                raise ValueError(f"{Path(str(file.name)).name} is shorter than what was committed")
            file.truncate(length)
            file.seek(length)

    @property
    def _row_bytes(self) -> int:
        return self.width * self.provenance.number.itemsize

    def _write(self, first: int, vectors: Matrix, inputs: Sequence[EmbedInput]) -> None:
        if not self.width:
            self.width = vectors.shape[1]
            self._write_header()
        if vectors.shape[1] != self.width:
            raise ResumeError(
                f"{self.folder} holds vectors of {self.width} numbers, but those that come now have "
                f"{vectors.shape[1]}: the model is another one"
            )
        assert first == self.fingerprint.texts, "a block does not follow the one before it"
        keep_text = self.provenance.keep_text
        lines = b"".join(label_line(first + row, item, keep_text=keep_text) for row, item in enumerate(inputs))
        write_all(self._vectors, vectors.data)
        write_all(self._labels, lines)
        self.fingerprint.add(inputs)
        self._written += len(inputs)
        self._label_bytes += len(lines)

    def _commit(self) -> None:
        if os.fstat(self._commits.fileno()).st_nlink == 0:
            raise FileNotFoundError(2, "the folder was removed while it was being written")
        if self._written:
            self._write_header()
            os.fsync(self._vectors.fileno())
            os.fsync(self._labels.fileno())
        commit = {
            "settled": self.fingerprint.texts,
            "rows": self._written,
            "label_bytes": self._label_bytes,
            "width": self.width,
            "digest": self.fingerprint.hexdigest(),
        }
        write_all(self._commits, orjson.dumps(commit, option=orjson.OPT_APPEND_NEWLINE))
        os.fsync(self._commits.fileno())
        self.settled, self.rows = self.fingerprint.texts, self._written

    def _write_header(self) -> None:
        """Say how many rows there are, so that `numpy.load` takes the file as it is."""
        self._vectors.seek(0)
        write_header(self._vectors, self.provenance.number, (self._written, self.width))
        self._vectors.seek(0, os.SEEK_END)


def exists(folder: Path) -> bool:
    """Whether there is a journal; a folder without a whole `run.json` holds nothing that counts."""
    return (folder / RUN).is_file()


def remove_files(folder: Path, but: str = "") -> None:
    """Remove what makes a journal, first what makes it count, and the folder if nothing else is in it."""
    (folder / RUN).unlink(missing_ok=True)
    for file in folder.glob("*"):
        if file.name != but and file.name.startswith(_OURS):
            file.unlink()
    if not but:
        with suppress(OSError):  # it has gone, or somebody keeps other files there
            folder.rmdir()


def _take(folder: Path) -> FileLock:
    lock = FileLock(folder / LOCK, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise ConfigurationError(f"{folder} is being written by another process") from None
    return lock
