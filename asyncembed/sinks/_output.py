"""Giving a file its name, in steps that can each be taken twice.

When the file is whole and on the disk, inside the folder, a note `ready.json` says so. Only then is anything renamed:
what it replaces is put aside first, then come the files that belong to it, and the vectors last. Whoever finds the note
goes on with what is still there.

A file in the making: claimed before anything is paid for, made of its journal when all results are there.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson

from asyncembed._exceptions import ConfigurationError, ResumeError
from asyncembed.sinks._base import write_meta
from asyncembed.sinks._books import BOOKS, read_books, write_books
from asyncembed.sinks._journal import Journal, OrderedRows, damaged, read_provenance
from asyncembed.sinks._partial_dir import PartialFolder, folder_of
from asyncembed.sinks._provenance import PACKED, Provenance, differences
from asyncembed.sinks._safe_open import check_owner, read_file, sync, write_whole
from asyncembed.sinks.npy import BLOCK_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from asyncembed._models import RunTotals
    from asyncembed.sinks._base import Format
    from asyncembed.sinks._columns import Columns


READY: Final = "ready.json"
REPLACED: Final = "replaced"


@dataclass(frozen=True, slots=True)
class Ready:
    """What is known of a file that lacks nothing but its name.

    Attributes:
        provenance: What it was made with.
        format: The name of its format.
        names: What its files are called in the folder, by ending; the vectors have none and come last.
        sizes: Their lengths, by ending.
        may_replace: Whether the run may replace files.
    """

    provenance: Provenance
    format: str
    names: Mapping[str, str]
    sizes: Mapping[str, int]
    may_replace: bool


def is_left(path: Path, ending: str) -> bool:
    """Whether a file beside the one at `path` is what was told of a file that has gone, and may be replaced."""
    return ending == BOOKS and not os.path.lexists(path) and read_books(path.with_name(path.name + BOOKS)) is not None


def make_ready(folder: Path, provenance: Provenance, *, kind: str, names: Mapping[str, str], may_replace: bool) -> None:
    """Bring files to the disk, and say that they are whole."""
    for name in names.values():
        sync(folder / name)
    sizes = {ending: (folder / name).stat().st_size for ending, name in names.items()}
    ready = Ready(provenance, kind, names, sizes, may_replace)
    write_whole(folder / READY, orjson.dumps(asdict(ready)))


def read_ready(folder: Path) -> Ready | None:
    """Return what the note says, None if there is none."""
    try:
        note = orjson.loads(read_file(folder / READY))
    except FileNotFoundError:
        return None
    try:
        known = {field.name: note[field.name] for field in fields(Ready)}
        return Ready(**{**known, "provenance": read_provenance(folder, note["provenance"])})
    except (KeyError, TypeError, AttributeError) as error:
        raise damaged(folder, error) from None


def publish(folder: Path, path: Path, ready: Ready) -> None:
    """Rename what has not been renamed yet.

    Raises:
        ConfigurationError: if a file was made by somebody else meanwhile.
        ResumeError: if a file of the folder is not the one that was whole.
    """
    made = {ending: folder / name for ending, name in ready.names.items() if (folder / name).exists()}
    if "" not in made and not path.exists():
        raise ResumeError(f"{path} was finished, and has gone; remove {folder} to make it again")
    for ending, file in made.items():
        if file.stat().st_size != ready.sizes[ending]:
            raise ResumeError(f"{file} is damaged: it is not as long as it was when it was whole")
        if os.path.lexists(f"{path}{ending}") and not ready.may_replace and not is_left(path, ending):
            raise ConfigurationError(
                f"{path}{ending} was made by somebody else meanwhile; move it away, and go on with --resume "
                "(resume=True)"
            )
    if "" in made and os.path.lexists(path):
        path.replace(folder / REPLACED)  # else it would have the texts of the new one beside it for a moment
    for ending, file in made.items():
        file.replace(f"{path}{ending}")
    sync(path.parent)


FINISHED: Final = "finished.vectors"

SMALL_BLOCK_BYTES: Final = 1_000_000
"""Bytes of vectors that are read at once for a file in which blocks are not to be seen."""


class Output:
    """One file, from its first row to its name.

    Args:
        path: The file to make.
        kind: Its format.
        folder: Where it is made, held by this; None if the file is finished and nothing is left to be done.
        journal: The rows it is made of; None if it lacks nothing, or nothing but its name.
        finished: What it was made of, if that is so.
    """

    def __init__(
        self,
        path: Path,
        kind: Format,
        folder: PartialFolder | None = None,
        *,
        journal: Journal | None = None,
        finished: Provenance | None = None,
    ) -> None:
        self.path = path
        self.journal = journal
        self.finished = finished
        self._kind = kind
        self._folder = folder

    @property
    def rows(self) -> int:
        """Rows of the file, once it is whole."""
        return self._kind.file(self.path).rows

    @property
    def totals(self) -> RunTotals | None:
        """What all runs of the file took, once it is whole; None if that is not known."""
        return read_books(Path(f"{self.path}{BOOKS}"))

    @property
    def kept(self) -> str:
        """What there is to go on with, in words; empty if that is not the question."""
        with suppress(OSError):
            if self._folder and self._folder.counts:
                if (self._folder.path / READY).exists():
                    return f"all rows are kept in {self._folder.path}; go on with --resume (resume=True)"
                if self.journal and self.journal.settled:
                    rows = f"{self.journal.rows:,} rows are" if self.journal.rows != 1 else "1 row is"
                    return f"{rows} kept in {self._folder.path}; go on with --resume (resume=True)"
            return "" if self.finished else "nothing is kept"
        return ""

    def finish(self) -> Iterator[None]:
        """Make the file of the journal and give it its name, stopping now and then; no rows make no file.

        Raises:
            ConfigurationError: if the file was made by somebody else meanwhile.
            ResumeError: if there were other texts than the run was begun with.
            OSError: if it cannot be written.
        """
        if self._folder is None:
            return
        if self.journal:
            self.journal.check_total(self.journal.settled)
            if self.journal.settled != self.journal.committed.reach:
                raise damaged(self._folder.path, ValueError("a text before the last one has no result"))
            if self.journal.rows:
                yield from self._make(self.journal)
            self.journal.close()
        ready = read_ready(self._folder.path) if self._folder.counts else None
        if ready:
            publish(self._folder.path, self.path, ready)
        self._folder.clear()

    def close(self) -> None:
        """Let go of everything, and remove the folder if it holds nothing."""
        if self.journal:
            self.journal.close()
            if self._folder and not self.journal.settled:
                self._folder.clear()
        if self._folder:
            self._folder.release()

    def _make(self, journal: Journal) -> Iterator[None]:
        with OrderedRows(journal, SMALL_BLOCK_BYTES if self._kind.is_journal else BLOCK_BYTES) as rows:
            yield from rows.arrange()
            provenance = replace(
                journal.provenance,
                dimension=rows.width * (8 if journal.provenance.dtype in PACKED else 1),
                texts=journal.settled,
                fingerprint=rows.fingerprint.hexdigest(),
            )
            if self._kind.is_journal and rows.is_in_order:
                made = journal.vectors
                write_meta(made, provenance, rows.rows)
            else:
                made = journal.folder / FINISHED
                yield from self._write(made, rows, provenance, journal.committed.columns)
        books = Path(f"{made}{BOOKS}")
        totals, with_words = journal.committed.totals, provenance.keep_text
        write_books(books, totals, texts=provenance.texts, rows=rows.rows, with_words=with_words)
        # The vectors come last: where they are, the rest is.
        names = {ending: f"{made.name}{ending}" for ending in (*endings_of(self._kind), "")}
        make_ready(journal.folder, provenance, kind=self._kind.name, names=names, may_replace=journal.note.may_replace)

    def _write(self, made: Path, rows: OrderedRows, provenance: Provenance, columns: Columns) -> Iterator[None]:
        try:
            yield from self._kind.write(made, rows, provenance, columns)
        except BaseException:
            for ending in ("", *self._kind.sidecars):
                Path(f"{made}{ending}").unlink(missing_ok=True)  # the disk may be full of it
            raise


def endings_of(kind: Format) -> tuple[str, ...]:
    """Return the endings of all files that lie beside a file of this format."""
    return (*kind.sidecars, BOOKS)


def open_output(
    path: Path, kind: Format, provenance: Provenance, *, resume: bool, overwrite: bool, total: int | None
) -> Output:
    """Claim a file before anything is paid for, or find what an earlier run left of it.

    Args:
        path: The file to make.
        kind: Its format.
        provenance: What it is to be made with.
        resume: Whether to go on with what an earlier run left.
        overwrite: Whether files that exist may be replaced.
        total: How many texts there are, if that is known.

    Raises:
        ConfigurationError: if the file exists or cannot be written.
        ResumeError: if what is there was made with something else.
    """
    if resume and overwrite:
        raise ConfigurationError("resume and overwrite contradict each other; give one of them")
    try:
        if not resume:
            _check_free(path, kind, overwrite=overwrite)
        elif path.is_file() and not folder_of(path).exists():
            return Output(path, kind, finished=_check_finished(path, kind, provenance))
        folder = PartialFolder.take(path)
    except ConfigurationError:
        raise
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}") from None
    try:
        if resume and (folder.counts or path.is_file()):
            return _go_on(path, kind, folder, provenance, total)
        _check_free(path, kind, overwrite=overwrite)
        if folder.counts and not overwrite:
            raise ConfigurationError(  # noqa: TRY301
                f"{folder.path} exists: a run that was stopped left it; go on with it by --resume (resume=True), or "
                "replace it with --overwrite (overwrite=True)"
            )
        journal = Journal.create(folder, provenance, total=total, may_replace=overwrite)
        return Output(path, kind, folder, journal=journal)
    except BaseException:
        folder.release()
        raise


def _go_on(path: Path, kind: Format, folder: PartialFolder, provenance: Provenance, total: int | None) -> Output:
    if not folder.counts:
        return Output(path, kind, folder, finished=_check_finished(path, kind, provenance))
    if ready := read_ready(folder.path):
        if ready.format != kind.name:
            raise ResumeError(f"{folder.path} holds a whole {ready.format} file, and not one of {kind.name}")
        _check_same(folder.path, ready.provenance.identity, provenance)
        return Output(path, kind, folder, finished=ready.provenance)
    journal = Journal.open(folder)
    try:
        _check_same(folder.path, journal.note.identity, provenance)
        journal.check_total(total)
        _check_free(path, kind, overwrite=journal.note.may_replace)
    except BaseException:
        journal.close()
        raise
    return Output(path, kind, folder, journal=journal)


def _check_free(path: Path, kind: Format, *, overwrite: bool) -> None:
    """Raise `ConfigurationError` if a file that is to be made exists, and may not be replaced."""
    for ending in ("", *endings_of(kind)):
        file = f"{path}{ending}"
        try:
            found = os.lstat(file)
        except FileNotFoundError:
            continue
        if not overwrite and is_left(path, ending):
            continue
        if not overwrite or os.path.isdir(file):  # noqa: PTH112
            raise ConfigurationError(
                f"{file} exists; replace it with --overwrite (overwrite=True), or choose another name"
            )
        check_owner(Path(file), found)


def _check_finished(path: Path, kind: Format, provenance: Provenance) -> Provenance:
    check_owner(path)
    found = kind.file(path).provenance
    if found is None or not found.fingerprint:
        raise ResumeError(f"{path} exists, and does not say which texts it is from; replace it with overwrite")
    _check_same(path, found.identity, provenance)
    return found


def _check_same(path: Path, found: Mapping[str, object], provenance: Provenance) -> None:
    if different := differences(found, provenance.identity):
        raise ResumeError(f"{path} belongs to another run: {'; '.join(different)}")
