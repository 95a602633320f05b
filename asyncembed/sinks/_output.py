"""An output file: claimed before any request, and written from its journal when all results have arrived.

The file is written inside its `.partial` folder. When it is complete and on disk, `ready.json` is written there. Only
then are files renamed: first an existing file is moved into the folder, then the sidecar files get their names, and
the vectors last. Each step can be repeated, so a run that finds `ready.json` can finish the renames of an earlier one.
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
from asyncembed.sinks._journal import Journal, OrderedRows, damaged, read_provenance
from asyncembed.sinks._partial_dir import RUN, PartialFolder, folder_of
from asyncembed.sinks._provenance import PACKED, Provenance, differences
from asyncembed.sinks._safe_open import check_owner, read_file, sync, write_whole
from asyncembed.sinks._totals import TOTALS_SUFFIX, read_totals, write_totals
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
    """A complete file that only needs to be renamed; the content of `ready.json`.

    Attributes:
        provenance: Provenance of the vectors.
        format: Name of the file format.
        names: Names of the files in the folder, by suffix. The vectors have the suffix "" and come last.
        sizes: Sizes of the files, by suffix.
        may_replace: Whether existing files may be replaced.
    """

    provenance: Provenance
    format: str
    names: Mapping[str, str]
    sizes: Mapping[str, int]
    may_replace: bool


def is_stale_totals(path: Path, suffix: str) -> bool:
    """Return whether a sidecar of `path` has the totals of a file that no longer exists, and may be replaced."""
    return (
        suffix == TOTALS_SUFFIX
        and not os.path.lexists(path)
        and read_totals(path.with_name(path.name + TOTALS_SUFFIX)) is not None
    )


def make_ready(folder: Path, provenance: Provenance, *, kind: str, names: Mapping[str, str], may_replace: bool) -> None:
    """Flush the files to disk, and write `ready.json`."""
    for name in names.values():
        sync(folder / name)
    sizes = {suffix: (folder / name).stat().st_size for suffix, name in names.items()}
    ready = Ready(provenance, kind, names, sizes, may_replace)
    write_whole(folder / READY, orjson.dumps(asdict(ready)))


def read_ready(folder: Path) -> Ready | None:
    """Return the content of `ready.json`; None if it does not exist."""
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
    """Rename the files that have not been renamed yet.

    Raises:
        ConfigurationError: if another program has created one of the files during the run.
        ResumeError: if a file in the folder is damaged, or a file that was renamed has gone.
    """
    made = {suffix: folder / name for suffix, name in ready.names.items() if (folder / name).exists()}
    if "" not in made and not path.exists():
        raise ResumeError(f"{path} was finished, but has been removed; remove {folder} to write it again")
    for suffix, file in made.items():
        if file.stat().st_size != ready.sizes[suffix]:
            raise ResumeError(f"{file} is damaged: its size has changed since it was finished")
        if os.path.lexists(f"{path}{suffix}") and not ready.may_replace and not is_stale_totals(path, suffix):
            raise ConfigurationError(
                f"{path}{suffix} was created by another program during the run; move it away, and continue with "
                "--resume (resume=True)"
            )
    if "" in made and os.path.lexists(path):
        path.replace(folder / REPLACED)  # so that old vectors are never beside the texts of the new file
    for suffix, file in made.items():
        file.replace(f"{path}{suffix}")
    sync(path.parent)


FINISHED: Final = "finished.vectors"

SMALL_BLOCK_BYTES: Final = 1_000_000
"""Bytes of vectors to read at once for formats whose files do not depend on the size of the blocks."""


class Output:
    """One output file, from its first row to its final name.

    Args:
        path: The file to write.
        kind: Its format.
        folder: Its folder, which this object releases; None if the file already has its final name.
        journal: The journal of its rows; None if the file is complete.
        finished: Provenance of the file, if it is complete.
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
        """Number of rows of the finished file."""
        return self._kind.file(self.path).rows

    @property
    def totals(self) -> RunTotals | None:
        """Totals of all runs of the finished file; None if they are not known."""
        return read_totals(Path(f"{self.path}{TOTALS_SUFFIX}"))

    @property
    def kept(self) -> str:
        """Message about what a later run can resume; "" if there is nothing to say."""
        with suppress(OSError):
            if self._folder and self._folder.has_run:
                if (self._folder.path / READY).exists():
                    return f"all rows are kept in {self._folder.path}; continue with --resume (resume=True)"
                if self.journal and self.journal.settled:
                    rows = f"{self.journal.rows:,} rows are" if self.journal.rows != 1 else "1 row is"
                    return f"{rows} kept in {self._folder.path}; continue with --resume (resume=True)"
            return "" if self.finished else "nothing is kept"
        return ""

    def finish(self) -> Iterator[None]:
        """Write the file from the journal and rename it. Without rows, no file is written.

        Iterate to the end; each step is short.

        Raises:
            ConfigurationError: if another program has created the file during the run.
            ResumeError: if the number of texts differs from the one at the start of the run.
            OSError: if the file cannot be written.
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
        ready = read_ready(self._folder.path) if self._folder.has_run else None
        if ready:
            publish(self._folder.path, self.path, ready)
        self._folder.clear()

    def close(self) -> None:
        """Close the journal, release the folder, and remove the folder if it has no results."""
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
        totals_path = Path(f"{made}{TOTALS_SUFFIX}")
        totals, with_messages = journal.committed.totals, provenance.keep_text
        write_totals(totals_path, totals, texts=provenance.texts, rows=rows.rows, with_messages=with_messages)
        # The vectors are renamed last: a file with its final name has all its sidecars.
        names = {suffix: f"{made.name}{suffix}" for suffix in (*sidecar_suffixes(self._kind), "")}
        make_ready(journal.folder, provenance, kind=self._kind.name, names=names, may_replace=journal.note.may_replace)

    def _write(self, made: Path, rows: OrderedRows, provenance: Provenance, columns: Columns) -> Iterator[None]:
        try:
            yield from self._kind.write(made, rows, provenance, columns)
        except BaseException:
            for suffix in ("", *self._kind.sidecars):
                Path(f"{made}{suffix}").unlink(missing_ok=True)  # frees the disk, which may be full
            raise


def sidecar_suffixes(kind: Format) -> tuple[str, ...]:
    """Return the suffixes of all files that are stored beside a file of this format."""
    return (*kind.sidecars, TOTALS_SUFFIX)


def check_new(path: Path, kind: Format) -> None:
    """Check what `open_output` checks without `resume` and `overwrite`, and claim nothing.

    Raises:
        ConfigurationError: if the file or one beside it exists, or a run was stopped.
    """
    _check_free(path, kind, overwrite=False)
    _check_no_run(folder_of(path), has_run=(folder_of(path) / RUN).is_file())


def open_output(
    path: Path, kind: Format, provenance: Provenance, *, resume: bool, overwrite: bool, total: int | None
) -> Output:
    """Claim an output file before any request is sent, or resume the file of an earlier run.

    Args:
        path: The file to write.
        kind: Its format.
        provenance: Provenance of the vectors.
        resume: Whether to resume an earlier run.
        overwrite: Whether to replace an existing file.
        total: Number of texts, if known.

    Raises:
        ConfigurationError: if the file exists or cannot be written.
        ResumeError: if the earlier run had other settings or texts.
    """
    if resume and overwrite:
        raise ConfigurationError("resume and overwrite contradict each other; choose one of them")
    try:
        if not resume:
            _check_free(path, kind, overwrite=overwrite)
        elif path.is_file() and not folder_of(path).exists():
            return Output(path, kind, finished=_check_finished(path, kind, provenance))
        folder = PartialFolder.acquire(path)
    except ConfigurationError:
        raise
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}") from None
    try:
        if resume and (folder.has_run or path.is_file()):
            return _resume(path, kind, folder, provenance, total)
        _check_free(path, kind, overwrite=overwrite)
        _check_no_run(folder.path, has_run=folder.has_run and not overwrite)
        journal = Journal.create(folder, provenance, total=total, may_replace=overwrite)
        return Output(path, kind, folder, journal=journal)
    except BaseException:
        folder.release()
        raise


def _resume(path: Path, kind: Format, folder: PartialFolder, provenance: Provenance, total: int | None) -> Output:
    if not folder.has_run:
        return Output(path, kind, folder, finished=_check_finished(path, kind, provenance))
    if ready := read_ready(folder.path):
        if ready.format != kind.name:
            raise ResumeError(
                f"{folder.path} has a complete {ready.format} file, not {kind.name}; resume with the same format"
            )
        check_same_settings(folder.path, ready.provenance, provenance)
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
    """Raise `ConfigurationError` if one of the files to write exists and may not be replaced."""
    for suffix in ("", *sidecar_suffixes(kind)):
        file = f"{path}{suffix}"
        try:
            found = os.lstat(file)
        except FileNotFoundError:
            continue
        if not overwrite and is_stale_totals(path, suffix):
            continue
        if not overwrite or os.path.isdir(file):  # noqa: PTH112
            raise ConfigurationError(
                f"{file} exists; replace it with --overwrite (overwrite=True), or choose another name"
            )
        check_owner(Path(file), found)


def _check_no_run(folder: Path, *, has_run: bool) -> None:
    if has_run:
        raise ConfigurationError(
            f"{folder} exists, from a run that was stopped; continue it with --resume (resume=True), or "
            "replace it with --overwrite (overwrite=True)"
        )


def _check_finished(path: Path, kind: Format, provenance: Provenance) -> Provenance:
    check_owner(path)
    found = kind.file(path).provenance
    if found is None or not found.fingerprint:
        raise ResumeError(
            f"{path} exists, but does not say which texts it is from; replace it with --overwrite (overwrite=True)"
        )
    check_same_settings(path, found, provenance)
    return found


def check_same_settings(path: Path, found: Provenance, provenance: Provenance) -> None:
    """Raise `ResumeError` if the vectors of a file were made with other settings."""
    _check_same(path, found.identity, provenance)


def _check_same(path: Path, found: Mapping[str, object], provenance: Provenance) -> None:
    if different := differences(found, provenance.identity):
        raise ResumeError(f"{path} belongs to a run with other settings: {'; '.join(different)}")
