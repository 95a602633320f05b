"""Files that nobody but us may have put where they are.

In a folder where everybody may write, such as /tmp, somebody can put a symbolic link at a name that we are going to
write to, and have us write into a file of ours that is elsewhere. So none is followed, in any folder: neither at the
name nor at the folder that we have made. Only folders that the caller has named may be links.

Files that survive a power cut: what is written is on the disk when these functions return.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from asyncembed._exceptions import ConfigurationError

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator
    from pathlib import Path


_NO_LINKS: Final = getattr(os, "O_NOFOLLOW", 0)  # Windows does not have it, nor links for everybody
_FOLDER: Final = _NO_LINKS | getattr(os, "O_DIRECTORY", 0)


def open_log(path: Path) -> io.FileIO:
    """Open a file to read and write it without a buffer; it is made if it is not there.

    Raises:
        ConfigurationError: if it is a link, or its folder is.
    """
    return cast("io.FileIO", _open(path, "r+b", os.O_CREAT, buffering=0))


def open_to_read(path: Path) -> io.FileIO:
    """Open a file to read it without a buffer.

    Raises:
        ConfigurationError: if it is a link, or its folder is.
    """
    return cast("io.FileIO", _open(path, "rb", 0, buffering=0))


def open_to_append(path: Path) -> io.FileIO:
    """Open a file to read it, and to write behind its end without a buffer; it is made if it is not there.

    Raises:
        ConfigurationError: if it is a link, or its folder is, or another user may have put it there.
    """
    file = cast("io.FileIO", _open(path, "a+b", 0, buffering=0))
    try:
        check_owner(path, os.fstat(file.fileno()))
    except BaseException:
        file.close()
        raise
    return file


def open_lock(path: Path) -> int:
    """Open a file to lock it, and return its handle; it is made if it is not there.

    Raises:
        ConfigurationError: if it is a link, or its folder is.
    """
    with _inside(path) as (name, folder):
        return os.open(name, os.O_RDWR | os.O_CREAT | _NO_LINKS, 0o666, dir_fd=folder)


def new_file(path: Path) -> BinaryIO:
    """Make a file in the place of one that may be there, and open it for writing.

    Raises:
        ConfigurationError: if its folder is a link.
    """
    with _inside(path) as (name, folder), suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)  # a link itself, and not what it leads to
    return cast("BinaryIO", _open(path, "xb", 0))


def read_file(path: Path) -> bytes:
    """Return what is in a file.

    Raises:
        ConfigurationError: if it is a link, or its folder is.
    """
    with open_to_read(path) as file:
        return file.read()


def check_folder(path: Path) -> None:
    """Raise `ConfigurationError` if a folder that was there before us is a link, or was put there by another user."""
    found = os.lstat(path)
    if stat.S_ISLNK(found.st_mode):
        raise _link(path)
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigurationError(f"{path} exists, and is no folder; move it away")
    check_owner(path, found)


def check_owner(path: Path, found: os.stat_result | None = None) -> None:
    """Raise `ConfigurationError` if somebody else may have put there what we are going to use or replace.

    As Linux does for links in such folders, the owner of the folder is trusted, as he can do anything there.
    """
    if sys.platform == "win32":
        return
    found = found or os.lstat(path)
    folder = path.parent.stat()
    if folder.st_mode & stat.S_IWOTH and found.st_uid not in {os.geteuid(), folder.st_uid}:
        raise ConfigurationError(
            f"{path} was made by another user, in a folder where everybody may write; choose another name or folder"
        )


def _open(path: Path, mode: str, flags: int, *, buffering: int = -1) -> object:
    def opener(_: str, wanted: int) -> int:
        with _inside(path) as (name, folder):
            return os.open(name, wanted | flags | _NO_LINKS, 0o666, dir_fd=folder)

    return open(path, mode, buffering=buffering, opener=opener)  # the caller closes it


@contextmanager
def _inside(path: Path) -> Iterator[tuple[str, int | None]]:
    """Give a name and the folder it is in, which is held so that it cannot be exchanged for a link meanwhile."""
    if os.open not in os.supports_dir_fd:
        yield str(path), None
        return
    folder = None
    try:
        folder = os.open(path.parent, os.O_RDONLY | _FOLDER)
        yield path.name, folder
    except OSError:
        if link := next(filter(os.path.islink, (path.parent, path)), None):
            raise _link(link) from None
        raise
    finally:
        if folder is not None:
            os.close(folder)


def _link(path: Path) -> ConfigurationError:
    return ConfigurationError(
        f"{path} is a symbolic link, and nothing is written through one; remove it, or choose another name"
    )


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
