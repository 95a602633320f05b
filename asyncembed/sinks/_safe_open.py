"""Functions that open files safely in shared folders, and write them durably.

In a folder where every user may write, such as /tmp, another user can create a symbolic link with the name of a file
that this process is about to write, and so make it overwrite another file of its user. So these functions follow no
symbolic link: neither for the file nor for its folder. A caller that allows a folder to be a link resolves it first.

`write_whole` and `sync` return when the data is on disk, so that it survives a power cut.
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


if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


_LOCKED_BYTE: Final = 1_000_000
"""Position of the locked byte on Windows, after the content, because a locked byte cannot be read."""

_NO_LINKS: Final = getattr(os, "O_NOFOLLOW", 0)  # missing on Windows, where links need special rights
_FOLDER: Final = _NO_LINKS | getattr(os, "O_DIRECTORY", 0)


def open_log(path: Path) -> io.FileIO:
    """Open a file for reading and writing without a buffer. It is created if it does not exist.

    Raises:
        ConfigurationError: if the file or its folder is a symbolic link.
    """
    return cast("io.FileIO", _open(path, "r+b", os.O_CREAT, buffering=0))


def open_to_read(path: Path) -> io.FileIO:
    """Open a file for reading without a buffer.

    Raises:
        ConfigurationError: if the file or its folder is a symbolic link.
    """
    return cast("io.FileIO", _open(path, "rb", 0, buffering=0))


def open_to_append(path: Path) -> io.FileIO:
    """Open a file for reading and appending without a buffer. It is created if it does not exist.

    Raises:
        ConfigurationError: if the file or its folder is a symbolic link, or another user may have created the file.
    """
    file = cast("io.FileIO", _open(path, "a+b", 0, buffering=0))
    try:
        check_owner(path, os.fstat(file.fileno()))
    except BaseException:
        file.close()
        raise
    return file


def open_lock(path: Path) -> int:
    """Open a file to lock it, and return its descriptor. It is created if it does not exist.

    Raises:
        ConfigurationError: if the file or its folder is a symbolic link.
    """
    with _inside(path) as (name, folder):
        return os.open(name, os.O_RDWR | os.O_CREAT | _NO_LINKS, 0o666, dir_fd=folder)


def try_lock(handle: int) -> bool:
    """Lock an open file, and return whether that worked: not if another process, or another handle, holds the lock."""
    try:
        if sys.platform == "win32":
            os.lseek(handle, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def unlock(handle: int) -> None:
    """Release a lock. To close the file is not enough, as a forked process may have it open, too."""
    if sys.platform == "win32":
        os.lseek(handle, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)
    else:
        fcntl.flock(handle, fcntl.LOCK_UN)


def new_file(path: Path) -> BinaryIO:
    """Create a file and open it for writing. An existing file of this name is removed first.

    Raises:
        ConfigurationError: if its folder is a symbolic link.
    """
    with _inside(path) as (name, folder), suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)  # removes a link itself, not its target
    return cast("BinaryIO", _open(path, "xb", 0))


def read_file(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        ConfigurationError: if the file or its folder is a symbolic link.
    """
    with open_to_read(path) as file:
        return file.read()


def check_folder(path: Path) -> None:
    """Raise `ConfigurationError` if an existing folder is a link, not a folder, or from another user."""
    found = os.lstat(path)
    if stat.S_ISLNK(found.st_mode):
        raise _link(path)
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigurationError(f"{path} exists and is not a folder; move it away")
    check_owner(path, found)


def check_owner(path: Path, found: os.stat_result | None = None) -> None:
    """Raise `ConfigurationError` if a file or folder may be from another user, in a folder where every user may write.

    The owner of that folder is trusted, as Linux does for links, because the owner can replace files there anyway.
    """
    if sys.platform == "win32":
        return
    found = found or os.lstat(path)
    folder = path.parent.stat()
    if folder.st_mode & stat.S_IWOTH and found.st_uid not in {os.geteuid(), folder.st_uid}:
        raise ConfigurationError(
            f"{path} belongs to another user, in a folder where every user may write; choose another name or folder"
        )


def _open(path: Path, mode: str, flags: int, *, buffering: int = -1) -> object:
    def opener(_: str, wanted: int) -> int:
        with _inside(path) as (name, folder):
            return os.open(name, wanted | flags | _NO_LINKS, 0o666, dir_fd=folder)

    return open(path, mode, buffering=buffering, opener=opener)  # the caller closes it


@contextmanager
def _inside(path: Path) -> Iterator[tuple[str, int | None]]:
    """Yield the name of a file and a descriptor of its folder, so that no process can replace the folder by a link."""
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
        f"{path} is a symbolic link, which is not followed for safety; remove it, or choose another name"
    )


def write_all(file: io.FileIO, data: bytes | memoryview) -> None:
    """Write all of `data`, although a file without a buffer may write only a part per call."""
    rest = memoryview(data).cast("B")
    while rest:
        rest = rest[file.write(rest) :]


def write_whole(path: Path, data: bytes) -> None:
    """Write a file atomically: afterwards it has all of its new content, or is unchanged."""
    temporary = path.with_name(f"{path.name}.new")
    with new_file(temporary) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to disk."""
    if os.name == "nt" and path.is_dir():
        return  # not possible on Windows
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
