"""What a name may mean that is not the name of a file of vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncembed import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

_SQLITE: Final = b"SQLite format 3\0"


def check_place(path: Path) -> None:
    """Refuse the name of a database, which has tables, and that of an unfinished file that is finished now.

    Raises:
        ConfigurationError: if it is one of these; the message says what to write instead.
        OSError: if the file cannot be read.
    """
    if path.suffix == ".partial" and not path.exists():
        finished = path.with_suffix("")
        raise ConfigurationError(
            f"there is no folder {path}{f'; {finished} is finished' if finished.is_file() else ''}"
        )
    if path.is_dir() and any(path.glob("*.lance")):
        raise ConfigurationError(f"{path} is a LanceDB database; name one of its tables: lancedb:{path}#TABLE")
    if path.is_file() and _starts_with(path, _SQLITE):
        raise ConfigurationError(f"{path} is an SQLite database; name one of its tables: sqlite:{path}#TABLE")


def _starts_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic
