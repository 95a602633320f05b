"""The state of an unfinished file, read without a lock while another process may be writing it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asyncembed._exceptions import ConfigurationError
from asyncembed.sinks._journal import RunNote, damaged
from asyncembed.sinks._output import read_ready
from asyncembed.sinks._partial_dir import RUN, folder_of, read_holder
from asyncembed.sinks._row_log import COMMITS, MAX_COMMIT_BYTES, Commit, last_commit
from asyncembed.sinks._safe_open import open_to_read

if TYPE_CHECKING:
    from pathlib import Path

    from asyncembed.sinks._provenance import Provenance


@dataclass(frozen=True, slots=True)
class Partial:
    """The state of an unfinished file.

    Attributes:
        folder: The folder with its journal.
        provenance: Provenance of its vectors.
        total: Number of texts, if known.
        commit: Counts of what is safely on disk.
        is_complete: Whether the file is complete and needs only to be renamed.
        holder: Description of the process that is writing the file; "" if there is none.
    """

    folder: Path
    provenance: Provenance
    total: int | None
    commit: Commit
    is_complete: bool
    holder: str


def read_partial(path: Path) -> Partial | None:
    """Return the state of an unfinished file.

    Args:
        path: The file, or its `.partial` folder.

    Returns:
        None if there is no such folder, or no run in it.

    Raises:
        ResumeError: if the folder is damaged, or from a version of this package that this one cannot resume.
    """
    folder = path if path.name.endswith(".partial") else folder_of(path)
    if not (folder / RUN).is_file():
        return None
    note, ready = RunNote(folder), read_ready(folder)
    try:
        commit = _read_commit(folder)
    except ConfigurationError:
        raise
    except (OSError, ValueError) as error:
        raise damaged(folder, error) from None
    return Partial(folder, note.provenance, note.total, commit, ready is not None, read_holder(folder))


def _read_commit(folder: Path) -> Commit:
    try:
        file = open_to_read(folder / COMMITS)
    except FileNotFoundError:
        return Commit()  # the run has just started
    with file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - MAX_COMMIT_BYTES))
        return last_commit(file.read())[1]
