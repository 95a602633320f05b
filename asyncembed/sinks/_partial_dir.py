"""The folder beside a file in the making, `vectors.npy.partial/`, held by one process at a time.

Everything that is decided about the file is decided while the folder is held, from the claim to the last clean-up. The
lock is a file in the folder that goes with it, so whoever locks it looks whether it is still the one that lies there;
libraries for locks leave their file behind instead. A process that ends in any way lets go of it. In the lock it is
written who holds it, for those who are refused.

`run.json` is what makes the folder count: it comes first and goes first.
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
from asyncembed.sinks._safe_open import check_folder, open_lock, read_file

if TYPE_CHECKING:
    from pathlib import Path


if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


RUN: Final = "run.json"
LOCK: Final = "lock"

_OURS: Final = (RUN, "ready.json", "commits.jsonl", "records.bin", "vectors.npy", "finished.vectors", "replaced")
"""How the names of our files begin; others are left alone."""

_LOCKED_BYTE: Final = 1_000_000
"""Where the lock lies on Windows, behind what is written into it: nobody may read a byte that is locked."""

_TRIES: Final = 100
"""Times that the folder may be removed by another process while this one is about to take it."""


class PartialFolder:
    """The folder of one file; use `take` to get it, and `release` it.

    Args:
        path: The folder.
        handle: Of its lock.
    """

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self._handle: int | None = handle

    @classmethod
    def take(cls, file: Path) -> Self:
        """Take the folder of a file, and make it if it is not there.

        Raises:
            ConfigurationError: if another process holds it, or it is not ours.
            OSError: if it cannot be made.
        """
        path = folder_of(file)
        for _ in range(_TRIES):
            _make(path)
            with suppress(FileNotFoundError):
                if handle := _lock(path / LOCK):
                    return cls(path, handle)
        raise ConfigurationError(f"{path} is being written by other processes")

    @property
    def counts(self) -> bool:
        """Whether there is something to go on with."""
        return (self.path / RUN).is_file()

    def clear(self) -> None:
        """Remove what is in it, first what makes it count."""
        (self.path / RUN).unlink(missing_ok=True)
        for file in self.path.glob("*"):
            if file.name.startswith(_OURS):
                file.unlink()

    def release(self) -> None:
        """Let go of the folder, and remove it if it holds nothing that counts; a second call does nothing."""
        handle, self._handle = self._handle, None
        if handle is None:
            return
        if self.counts or not _lies_at(handle, self.path / LOCK):
            with suppress(OSError):
                os.ftruncate(handle, 0)
            os.close(handle)
            return
        with suppress(OSError):  # it may have gone, or somebody keeps other files there
            self.clear()
            if sys.platform == "win32":
                os.close(handle)
                handle = None
            (self.path / LOCK).unlink()
            self.path.rmdir()
        if handle is not None:
            os.close(handle)


def folder_of(file: Path) -> Path:
    """Where a file lies while it is made."""
    return file.with_name(f"{file.name}.partial")


def read_holder(folder: Path) -> str:
    """Say which process holds a folder; empty if none does, or that is not known."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        note = orjson.loads(read_file(folder / LOCK))
        if note["host"] != platform.node() or psutil.pid_exists(note["pid"]):
            return f"process {note['pid']} on {note['host']} since {note['since']}"
    return ""


def _make(path: Path) -> None:
    try:
        path.mkdir()
    except FileExistsError:
        with suppress(FileNotFoundError):  # another process has removed it meanwhile
            check_folder(path)


def _lock(path: Path) -> int | None:
    """Lock a file, and return its handle; None if it was removed meanwhile, by whoever held it."""
    handle = open_lock(path)
    try:
        if sys.platform == "win32":
            os.lseek(handle, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _lies_at(handle, path):
            _sign(handle)
            return handle
    except (BlockingIOError, PermissionError):
        os.close(handle)
        holder = read_holder(path.parent)
        who = f": {holder}" if holder else ""
        raise ConfigurationError(f"{path.parent} is being written by another process{who}") from None
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return None


def _sign(handle: int) -> None:
    """Write into a lock who holds it."""
    note = {"pid": os.getpid(), "host": platform.node(), "since": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"}
    with suppress(OSError):  # the disk may be full
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, orjson.dumps(note))


def _lies_at(handle: int, path: Path) -> bool:
    """Whether a file that is open is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False
