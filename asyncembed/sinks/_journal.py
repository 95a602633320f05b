"""What has arrived of a file in the making, safe from any end of the process and from power cuts.

A journal is a log of rows (see `_log`) and a note of what they are, in a folder beside the file. So there is one way to
survive crashes for all formats: they are made of a journal when it is complete.

The input is not kept. Each commit holds a digest of all texts up to there, so whoever resumes must bring the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from asyncembed._errors import ResumeError
from asyncembed._models import EmbedBlock, EmbedInput
from asyncembed.sinks._disk import sync, write_whole
from asyncembed.sinks._folder import RUN
from asyncembed.sinks._log import VECTORS, RowLog
from asyncembed.sinks._own import read_file
from asyncembed.sinks._provenance import Fingerprint, Provenance

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Self

    from asyncembed._models import EmbedFailure
    from asyncembed.sinks._folder import PartialFolder


class Journal:
    """The rows of one run; used from one thread at a time, and not from the event loop's.

    Use `create` or `open` to get one, and `close` it.

    Attributes:
        folder: Where it is.
        provenance: What the run was begun with.
        total: How many texts there are, if the run was told.
        may_replace: Whether the run may replace the file it makes.
        fingerprint: Of the texts that were added, or recognised by whoever resumes.
        is_broken: Whether something could not be written; then nothing more is.
    """

    def __init__(self, folder: Path) -> None:
        run = orjson.loads(read_file(folder / RUN))
        self.folder = folder
        self.provenance = Provenance(**run["provenance"])
        self.total: int | None = run["total"]
        self.may_replace: bool = run["may_replace"]
        self._log = RowLog(folder, self.provenance)
        self._failed = self._log.committed.failed
        self.fingerprint = Fingerprint()
        self.is_broken = False

    @classmethod
    def create(cls, folder: PartialFolder, provenance: Provenance, *, total: int | None, may_replace: bool) -> Self:
        """Begin a journal; what another run left in the folder is lost.

        Raises:
            OSError: if it cannot be written.
        """
        run = {"provenance": provenance.to_dict(), "total": total, "may_replace": may_replace}
        folder.clear()
        write_whole(folder.path / RUN, orjson.dumps(run, option=orjson.OPT_INDENT_2))
        sync(folder.path.parent)
        return cls(folder.path)

    @classmethod
    def open(cls, folder: PartialFolder) -> Self:
        """Go on with a journal.

        Raises:
            ResumeError: if it is damaged.
        """
        try:
            return cls(folder.path)
        except (ValueError, TypeError, KeyError) as error:
            raise ResumeError(f"{folder.path} is damaged and cannot be resumed: {error}") from None

    @property
    def settled(self) -> int:
        """Texts that need not be asked for again: those with a row, and those that were given up."""
        return self._log.committed.settled

    @property
    def rows(self) -> int:
        """Rows that are safe."""
        return self._log.committed.rows

    @property
    def failed(self) -> int:
        """Texts that were given up."""
        return self._log.committed.failed

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

    def check_total(self, total: int | None) -> None:
        """Raise `ResumeError` if there are not as many texts as the run was begun with."""
        if None not in {total, self.total} and total != self.total:
            raise ResumeError(f"{self.folder} was begun with {self.total} texts, and there are {total} now")

    def add(self, items: Sequence[EmbedBlock | EmbedFailure]) -> None:
        """Bring results to the disk; they must follow one another, and what was settled before.

        Raises:
            OSError: if they cannot be written; everything before them stays as it was.
            ResumeError: if their vectors have another dimension than those before.
        """
        try:
            for item in items:
                self._append(item)
            self._log.commit(self.fingerprint.texts, self._failed, self.fingerprint.hexdigest())
        except OSError as error:
            self.is_broken = True
            raise OSError(error.errno, error.strerror, str(self.folder)) from None
        except BaseException:
            self.is_broken = True
            raise

    def close(self) -> None:
        """Let go of the files; a second call does nothing."""
        self._log.close()

    def _append(self, item: EmbedBlock | EmbedFailure) -> None:
        if self.is_broken or item.index != self.fingerprint.texts:
            raise RuntimeError(f"the result of text {item.index} does not follow that of {self.fingerprint.texts - 1}")
        if isinstance(item, EmbedBlock):
            self._check_width(item)
            self._log.append(item.index, item.embeddings, item.inputs)
            self.fingerprint.add(item.inputs)
        else:
            self._failed += 1
            self.fingerprint.add([EmbedInput(item.text, item.id)])

    def _check_width(self, block: EmbedBlock) -> None:
        width = block.embeddings.shape[1]
        if self.width not in {0, width}:
            raise ResumeError(
                f"{self.folder} holds vectors of {self.width} numbers, but those that come now have {width}: the "
                "model is another one"
            )
