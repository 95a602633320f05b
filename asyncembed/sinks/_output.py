"""A file in the making, and how it gets its name.

Results go into a journal. When all are there, the file is made of it inside the journal's folder, brought to the disk,
and a note `ready.json` says so. Only then is anything renamed, and every step after that can be taken twice: whoever
finds the note goes on with the renaming.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import orjson

from asyncembed._errors import ConfigurationError, ResumeError
from asyncembed.sinks import _journal
from asyncembed.sinks._disk import sync, write_whole
from asyncembed.sinks._journal import Journal, remove_files
from asyncembed.sinks._provenance import PACKED, Provenance
from asyncembed.sinks._sidecar import write_meta
from asyncembed.sinks.npy import NpyFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from asyncembed.sinks._base import Format

READY: Final = "ready.json"
FINISHED: Final = "finished.vectors"


class Output:
    """One file, from its first row to its name.

    Args:
        path: The file to make.
        kind: Its format.
        journal: The rows it is made of; None if the file lacks nothing, or nothing but its name.
        finished: What the file was made of, if that is so.
    """

    def __init__(
        self, path: Path, kind: Format, journal: Journal | None = None, finished: Provenance | None = None
    ) -> None:
        self.path = path
        self.journal = journal
        self.finished = finished
        self._kind = kind
        self._folder = folder_of(path)

    @property
    def rows(self) -> int:
        """Rows of the file, once it is whole."""
        return self._kind.file(self.path).rows

    @property
    def kept(self) -> str:
        """What there is to go on with, in words."""
        if (self._folder / READY).exists():
            return f"all rows are kept in {self._folder}; go on with --resume (resume=True)"
        if self.journal is None or not self.journal.settled or not self._folder.exists():
            return "nothing is kept"
        rows = f"{self.journal.rows:,} rows are" if self.journal.rows != 1 else "1 row is"
        return f"{rows} kept in {self._folder}; go on with --resume (resume=True)"

    def finish(self) -> Iterator[None]:
        """Make the file of the journal and give it its name, stopping now and then; no rows make no file.

        Raises:
            ConfigurationError: if the file was made by somebody else meanwhile.
            OSError: if it cannot be written.
        """
        if self.journal and self.journal.rows:
            yield from self._make(self.journal)
        self.close()
        if (self._folder / READY).exists():
            self._publish()
        remove_files(self._folder)

    def close(self) -> None:
        """Let go of the journal, and remove it if it holds nothing."""
        if self.journal:
            self.journal.close()
            if not self.journal.settled:
                remove_files(self._folder)

    def _make(self, journal: Journal) -> Iterator[None]:
        provenance = replace(
            journal.provenance,
            dimension=journal.width * (8 if journal.provenance.dtype in PACKED else 1),
            texts=journal.settled,
            fingerprint=journal.fingerprint.hexdigest(),
        )
        made = journal.vectors
        if self._kind.write:
            made = journal.folder / FINISHED
            try:
                yield from self._kind.write(made, NpyFile(journal.vectors), provenance)
            except BaseException:
                made.unlink(missing_ok=True)  # the disk may be full of it
                raise
        else:
            write_meta(made, provenance, journal.rows)
        # The vectors come last: where they are, the rest is.
        names = {ending: f"{made.name}{ending}" for ending in (*self._kind.sidecars, "")}
        for name in names.values():
            sync(journal.folder / name)
        note = {
            "provenance": provenance.to_dict(),
            "format": self._kind.name,
            "names": names,
            "may_replace": journal.may_replace,
        }
        write_whole(journal.folder / READY, orjson.dumps(note))

    def _publish(self) -> None:
        note = orjson.loads((self._folder / READY).read_bytes())
        names: Mapping[str, str] = note["names"]
        is_made = (self._folder / names[""]).exists()
        if is_made and self.path.exists() and not note["may_replace"]:
            raise ConfigurationError(
                f"{self.path} was made by somebody else meanwhile; move it away, and go on with --resume (resume=True)"
            )
        for ending, name in names.items():
            if (made := self._folder / name).exists():
                made.replace(f"{self.path}{ending}")
        sync(self.path.parent)


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
    folder = folder_of(path)
    left = _journal.exists(folder)
    if resume and left:
        return _resume(path, kind, folder, provenance, total)
    if resume and path.is_file():
        return Output(path, kind, finished=_check_finished(path, kind, provenance))
    if path.exists() and not (overwrite and path.is_file()):
        raise ConfigurationError(f"{path} exists; replace it with --overwrite (overwrite=True), or choose another name")
    if left and not overwrite:
        raise ConfigurationError(
            f"{folder} exists: a run that was stopped left it, or another one is writing it; go on with it by "
            "--resume (resume=True), or replace it with --overwrite (overwrite=True)"
        )
    return Output(path, kind, Journal.create(folder, provenance, total=total, may_replace=overwrite))


def folder_of(path: Path) -> Path:
    """Where the journal of a file lies."""
    return path.with_name(f"{path.name}.partial")


def _resume(path: Path, kind: Format, folder: Path, provenance: Provenance, total: int | None) -> Output:
    if (folder / READY).exists():
        note = orjson.loads((folder / READY).read_bytes())
        if note["format"] != kind.name:
            raise ResumeError(f"{folder} holds a whole {note['format']} file, and not one of {kind.name}")
        finished = Provenance(**note["provenance"])
        _check_same(folder, finished, provenance)
        return Output(path, kind, finished=finished)
    journal = Journal.open(folder)
    try:
        _check_same(folder, journal.provenance, provenance)
        _check_fits(path, journal, total)
    except BaseException:
        journal.close()
        raise
    return Output(path, kind, journal)


def _check_fits(path: Path, journal: Journal, total: int | None) -> None:
    if None not in {total, journal.total} and total != journal.total:
        raise ResumeError(f"{journal.folder} was begun with {journal.total} texts, and there are {total} now")
    if path.exists() and not journal.may_replace:
        raise ConfigurationError(f"{path} exists, and {journal.folder} may not replace it; move one of them away")


def _check_finished(path: Path, kind: Format, provenance: Provenance) -> Provenance:
    found = kind.file(path).provenance
    if found is None or not found.fingerprint:
        raise ResumeError(f"{path} exists, and does not say which texts it is from; replace it with overwrite")
    _check_same(path, found, provenance)
    return found


def _check_same(path: Path, found: Provenance, provenance: Provenance) -> None:
    if differences := found.differences(provenance):
        raise ResumeError(f"{path} belongs to another run: {'; '.join(differences)}")
