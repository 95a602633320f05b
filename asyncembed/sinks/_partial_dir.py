"""The folder of an unfinished file, `vectors.npy.partial/`, which one process at a time may use.

A process holds the lock of the folder from before it checks whether the file exists until it has cleaned up. The lock
is released when the process ends, however it ends. The lock file is in the folder and is removed with it, so a process
that gets the lock checks that the file it locked still has its name. (Libraries for file locks leave their file behind
instead.) The lock file contains a description of its holder, for the error message that other processes show.

A folder has a run if it contains `run.json`, which is written first and removed first.
"""

from __future__ import annotations

import os
import platform
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Self

import orjson
import psutil

from asyncembed._exceptions import ConfigurationError
from asyncembed.sinks._safe_open import check_folder, open_lock, read_file, try_lock

if TYPE_CHECKING:
    from pathlib import Path


RUN: Final = "run.json"
LOCK: Final = "lock"

_OWN_PREFIXES: Final = (
    RUN,
    "ready.json",
    "commits.jsonl",
    "records.bin",
    "vectors.npy",
    "finished.vectors",
    "replaced",
)
"""Prefixes of the names of the files in the folder. Files with other names are never removed."""

_MAX_TRIES: Final = 100
"""Maximum number of tries, in which another process removes the folder while this one acquires it."""


class PartialFolder:
    """The locked folder of one file. Use `acquire` to get it, and `release` it.

    Args:
        path: The folder.
        handle: File descriptor of its lock.
    """

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self._handle: int | None = handle

    @classmethod
    def acquire(cls, file: Path) -> Self:
        """Lock the folder of a file, and create it if it does not exist.

        Raises:
            ConfigurationError: if another process holds the lock, or the folder is a link or from another user.
            OSError: if the folder cannot be created.
        """
        path = folder_of(file)
        for _ in range(_MAX_TRIES):
            _make(path)
            with suppress(FileNotFoundError):
                if handle := _lock(path / LOCK):
                    return cls(path, handle)
        raise ConfigurationError(f"{path} is being written by other processes")

    @property
    def has_run(self) -> bool:
        """Whether the folder has a run that can be resumed."""
        return (self.path / RUN).is_file()

    def clear(self) -> None:
        """Remove the files of the run, `run.json` first."""
        (self.path / RUN).unlink(missing_ok=True)
        for file in self.path.glob("*"):
            if file.name.startswith(_OWN_PREFIXES):
                file.unlink()

    def release(self) -> None:
        """Release the lock, and remove the folder if it has no run. A second call does nothing."""
        handle, self._handle = self._handle, None
        if handle is None:
            return
        if self.has_run or not _is_same_file(handle, self.path / LOCK):
            with suppress(OSError):
                os.ftruncate(handle, 0)
            os.close(handle)
            return
        with suppress(OSError):  # it may be gone already, or contain files of other programs
            self.clear()
            if sys.platform == "win32":
                os.close(handle)
                handle = None
            (self.path / LOCK).unlink()
            self.path.rmdir()
        if handle is not None:
            os.close(handle)


def folder_of(file: Path) -> Path:
    """Return the folder of an unfinished file."""
    return file.with_name(f"{file.name}.partial")


def read_holder(folder: Path) -> str:
    """Return a description of the process that holds a folder; "" if there is none or it is not known."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        note = orjson.loads(read_file(folder / LOCK))
        if note["host"] != platform.node() or psutil.pid_exists(note["pid"]):
            return f"process {note['pid']} on {note['host']} since {note['since']}"
    return ""


def _make(path: Path) -> None:
    try:
        path.mkdir()
    except FileExistsError:
        with suppress(FileNotFoundError):  # another process has just removed it
            check_folder(path)


def _lock(path: Path) -> int | None:
    """Lock a file and return its descriptor; None if its previous holder has just removed it."""
    handle = open_lock(path)
    try:
        if not try_lock(handle):
            holder = read_holder(path.parent)
            details = f": {holder}" if holder else ""
            raise ConfigurationError(  # noqa: TRY301
                f"{path.parent} is being written by another process{details}"
            )
        if _is_same_file(handle, path):
            _write_holder(handle)
            return handle
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return None


def _write_holder(handle: int) -> None:
    """Write the description of this process into a lock."""
    note = {"pid": os.getpid(), "host": platform.node(), "since": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"}
    with suppress(OSError):  # the disk may be full
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, orjson.dumps(note))


def _is_same_file(handle: int, path: Path) -> bool:
    """Return whether an open file is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False
