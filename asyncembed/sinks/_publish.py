"""Giving a file its name, in steps that can each be taken twice.

When the file is whole and on the disk, inside the folder, a note `ready.json` says so. Only then is anything renamed:
what it replaces is put aside first, then come the files that belong to it, and the vectors last. Whoever finds the note
goes on with what is still there.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Final

import orjson

from asyncembed._errors import ConfigurationError, ResumeError
from asyncembed.sinks._books import BOOKS, read_books
from asyncembed.sinks._disk import sync, write_whole
from asyncembed.sinks._journal import damaged, read_provenance
from asyncembed.sinks._own import read_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from asyncembed.sinks._provenance import Provenance

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
