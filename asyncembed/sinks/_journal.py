"""What has arrived of a file in the making, safe from any end of the process and from power cuts.

A journal is a folder beside the file, `vectors.parquet.partial/`, with a log of rows (see `_log`) and a note of what
they are. So there is one way to survive crashes for all formats: they are made of a journal when it is complete.

The input is not kept. Each commit holds a digest of all texts up to there, so whoever resumes must bring the same.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import orjson
from filelock import FileLock, Timeout

from asyncembed._errors import ConfigurationError, ResumeError
from asyncembed._models import EmbedBlock, EmbedInput
from asyncembed.sinks._disk import sync, write_whole
from asyncembed.sinks._log import VECTORS, RowLog
from asyncembed.sinks._provenance import Fingerprint, Provenance

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Self

    from asyncembed._models import EmbedFailure

RUN: Final = "run.json"
LOCK: Final = "lock"

_OURS: Final = ("run.json", "ready.json", "commits.jsonl", "vectors.npy", "finished.vectors", LOCK)
"""How the names of files in a journal's folder begin; others are left alone."""


class Journal:
    """The rows of one run; used from one thread at a time, and not from the event loop's.

    Use `create` or `open` to get one, and `close` it.

    Attributes:
        folder: Where it is.
        provenance: What the run was begun with.
        total: How many texts there are, if the run was told.
        may_replace: Whether the run may replace the file it makes.
        fingerprint: Of the texts that were added, or recognised by whoever resumes.
    """

    def __init__(self, folder: Path, lock: FileLock) -> None:
        self.folder = folder
        self._lock = lock
        try:
            run = orjson.loads((folder / RUN).read_bytes())
            self.provenance = Provenance(**run["provenance"])
            self.total: int | None = run["total"]
            self.may_replace: bool = run["may_replace"]
            self._log = RowLog(folder, self.provenance)
        except BaseException:
            lock.release()
            raise
        self.fingerprint = Fingerprint()

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
        run = {"provenance": provenance.to_dict(), "total": total, "may_replace": may_replace}
        try:
            remove_files(folder, but=LOCK)
            write_whole(folder / RUN, orjson.dumps(run, option=orjson.OPT_INDENT_2))
            sync(folder.parent)
        except BaseException:
            lock.release()
            raise
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
            raise ResumeError(f"{folder} is damaged and cannot be resumed: {error}") from None

    @property
    def settled(self) -> int:
        """Texts that need not be asked for again: those with a row, and those that were given up."""
        return self._log.committed.settled

    @property
    def rows(self) -> int:
        """Rows that are safe."""
        return self._log.committed.rows

    @property
    def width(self) -> int:
        """Numbers in each row; 0 before there is one."""
        return self._log.width

    @property
    def vectors(self) -> Path:
        """The file with the rows, as `NpyFile` reads it."""
        return self.folder / VECTORS

    def check_input(self) -> None:
        """Raise `ResumeError` unless the texts in `fingerprint` are those that were settled."""
        committed, found = self._log.committed, self.fingerprint
        if found.texts < committed.settled:
            raise ResumeError(
                f"{self.folder} holds the first {committed.settled} texts of another input; this one has only "
                f"{found.texts}"
            )
        if committed.settled and found.hexdigest() != committed.digest:
            raise ResumeError(
                f"{self.folder} belongs to other texts: the first {committed.settled} texts, or their ids, are not "
                "the same now"
            )

    def add(self, items: Sequence[EmbedBlock | EmbedFailure]) -> None:
        """Bring results to the disk; they must follow one another, and what was settled before.

        Raises:
            OSError: if they cannot be written; everything before them stays as it was.
            ResumeError: if their vectors have another dimension than those before.
        """
        try:
            for item in items:
                assert item.index == self.fingerprint.texts, "a result does not follow the one before it"
                if isinstance(item, EmbedBlock):
                    self._check_width(item)
                    self._log.append(item.index, item.embeddings, item.inputs)
                    self.fingerprint.add(item.inputs)
                else:
                    self.fingerprint.add([EmbedInput(item.text, item.id)])
            self._log.commit(self.fingerprint.texts, self.fingerprint.hexdigest())
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.folder)) from None

    def close(self) -> None:
        """Let go of the files; a second call does nothing."""
        self._log.close()
        self._lock.release()

    def _check_width(self, block: EmbedBlock) -> None:
        width = block.embeddings.shape[1]
        if self.width not in {0, width}:
            raise ResumeError(
                f"{self.folder} holds vectors of {self.width} numbers, but those that come now have {width}: the "
                "model is another one"
            )


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
