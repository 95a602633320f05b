"""Files that survive a power cut: what is written is on the disk when these functions return."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from asyncembed.sinks._own import new_file

if TYPE_CHECKING:
    import io
    from pathlib import Path


def write_all(file: io.FileIO, data: bytes | memoryview) -> None:
    """Write all of `data`; a file without a buffer may take only a part at once."""
    rest = memoryview(data).cast("B")
    while rest:
        rest = rest[file.write(rest) :]


def write_whole(path: Path, data: bytes) -> None:
    """Make a file that is there with all its content, or not at all."""
    beside = path.with_name(f"{path.name}.new")
    with new_file(beside) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows has no way to ask for it
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
