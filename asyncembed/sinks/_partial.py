"""What can be seen of a file in the making without holding its folder: another process may be writing it."""

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
    """How a file in the making stands.

    Attributes:
        folder: Where it is made.
        provenance: What its vectors are made with.
        total: How many texts there are, if the run was told.
        commit: What is safe.
        is_whole: Whether it lacks nothing but its name.
        holder: Who writes it now, in words; empty if nobody does.
    """

    folder: Path
    provenance: Provenance
    total: int | None
    commit: Commit
    is_whole: bool
    holder: str


def read_partial(path: Path) -> Partial | None:
    """Return how the file at `path` stands that is being made, or the one that is made in the folder `path`.

    Returns:
        None if there is no such folder, or nothing in it.

    Raises:
        ResumeError: if the folder is damaged, or was written by another version that this one cannot go on from.
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
        return Commit()  # the run has only just begun
    with file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - MAX_COMMIT_BYTES))
        return last_commit(file.read())[1]
