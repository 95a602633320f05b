"""Dead-letter files: failed texts as JSON lines that you can use as input again.

A line looks like this: `{"index": 7, "id": ..., "text": "...", "error": ...}`. The file is opened for each write, so it
needs no closing and several runs can share it. A lock ensures that one process at a time writes, so an incomplete last
line is from a process that was killed, and can be removed.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson

from asyncembed._exceptions import ConfigurationError
from asyncembed.sinks._labels import json_id
from asyncembed.sinks._safe_open import open_to_append, sync, write_all

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator, Mapping, Sequence

    from asyncembed._models import EmbedFailure

LOCK_TIMEOUT: Final = 30.0
"""Seconds to wait for the lock."""

_IDENTITY: Final = ("index", "id", "text", "provider", "model")
"""Fields that are equal in two lines about the same failure."""

_START: Final = b'{"index":'
"""Start of every line."""

_END: Final = re.compile(rb'"provider":"[^"]*","model":"[^"]*","time":"[^"]*"}\s*\Z')
"""End of every line."""

_BLOCK: Final = 65_536
"""Bytes to read at once when looking for the end of a line."""

MAX_LINE_BYTES: Final = 64_000_000
"""Maximum length of a line. A longer one was not written by this module, and is not read."""


class DeadLetterFile:
    """The file to which one run appends its failures.

    Args:
        path: The file. It is created if it does not exist.
        provider: Name of the provider, written with each failure.
        model: Name of the model, written with each failure.
    """

    def __init__(self, path: str | os.PathLike[str], *, provider: str, model: str) -> None:
        given = Path(path).absolute()
        self._path = given.parent.resolve() / given.name  # the folder may be a symbolic link, but not the file
        self._origin = {"provider": provider, "model": model}
        self._known: set[bytes] = set()

    def check(self) -> None:
        """Create the file if it does not exist.

        Raises:
            ConfigurationError: if the file cannot be written, or is not a dead-letter file.
        """
        try:
            with _open(self._path) as file:
                _check_format(file)
        except ConfigurationError:
            raise
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"dead_letter={str(self._path)!r} cannot be written: {getattr(error, 'strerror', None) or error}"
            ) from None

    def write(self, failures: Sequence[EmbedFailure]) -> None:
        """Append a line for each failure and flush it to disk; failures that `recognise` found are left out.

        Raises:
            OSError: if writing fails. The file is unchanged then.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        rows = [{**_row(failure), **self._origin, "time": now} for failure in failures]
        lines = [_line(row) for row in rows if not self._known or _digest(row) not in self._known]
        try:
            if lines:
                _append(self._path, b"".join(lines))
        except OSError as error:
            found = OSError(error.errno, error.strerror, str(self._path))
            found.add_note(f"{len(lines)} failed texts could not be written to this file, so the run was stopped")
            raise found from None

    def recognise(self, first: int) -> None:
        """Remember the failures with index `first` or higher in the file, so that `write` does not repeat them.

        Raises:
            OSError: if the file cannot be read.
        """
        with self._path.open("rb") as lines:
            while line := lines.readline(MAX_LINE_BYTES):
                with suppress(ValueError, TypeError, KeyError, AttributeError):  # someone may have edited the line
                    row = orjson.loads(line)
                    if row["index"] >= first:
                        self._known.add(_digest(row))


def _row(failure: EmbedFailure) -> dict[str, str | int | None]:
    error = failure.error
    return {
        "index": failure.index,
        "id": json_id(failure.id),
        "text": failure.text,
        "error": type(error).__name__,
        "message": str(error),
        "status": getattr(error, "status", None),
        "code": getattr(error, "code", None),
        "request_id": getattr(error, "request_id", None),
    }


def _line(row: Mapping[str, str | int | None]) -> bytes:
    fields = {name: json_id(value) for name, value in row.items()}
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)


def _digest(row: Mapping[str, str | int | None]) -> bytes:
    return blake2b(orjson.dumps([json_id(row[name]) for name in _IDENTITY]), digest_size=16).digest()


def _append(path: Path, lines: bytes) -> None:
    """Append lines after the last complete one, either all of them or none."""
    with _open(path) as file, _locked(file):
        size = _repair_end(file)
        try:
            write_all(file, lines)
            os.fsync(file.fileno())
        except BaseException:
            with suppress(OSError):
                file.truncate(size)
            raise
    if not size:
        sync(path.parent)  # the file may be new


@contextmanager
def _open(path: Path) -> Iterator[io.FileIO]:
    with open_to_append(path) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        yield file


@contextmanager
def _locked(file: io.FileIO) -> Iterator[None]:
    """Keep other processes from writing while the context is open."""
    if sys.platform == "win32":  # a lock on Windows would also keep out readers
        yield
        return
    deadline = time.monotonic() + LOCK_TIMEOUT
    while not _try_lock(file):
        if time.monotonic() >= deadline:
            raise OSError(errno.EAGAIN, f"another process has kept it locked for {LOCK_TIMEOUT:.0f} s")
        time.sleep(0.01)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)  # closing does not unlock while a forked process has the file open


def _try_lock(file: io.FileIO) -> bool:
    if sys.platform != "win32":
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _repair_end(file: io.FileIO) -> int:
    """Remove an incomplete last line, whose failure was never reported, and return the length of the file."""
    size = file.seek(0, os.SEEK_END)
    end = _end_of_last_line(file, size)
    if end < size:
        if size - end > MAX_LINE_BYTES:
            raise OSError(errno.EINVAL, "its last line is not a failed text")
        file.seek(end)
        if _is_failure(file.read(size - end)):  # some editors drop the last line break
            file.write(b"\n")
            return size + 1
        file.truncate(end)
    return end


def _end_of_last_line(file: io.FileIO, size: int) -> int:
    while size:
        start = max(0, size - _BLOCK)
        file.seek(start)
        found = file.read(size - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        size = start
    return 0


def _check_format(file: io.FileIO) -> None:
    """Raise `ConfigurationError` if a file does not begin with a failure or an incomplete one."""
    file.seek(0)
    start = file.read(_BLOCK)
    end = start.find(b"\n")
    if end >= 0 or len(start) < _BLOCK:
        first = start[: end + 1] if end >= 0 else start
        is_incomplete = end < 0 and (first.startswith(_START) or _START.startswith(first))
        is_valid = is_incomplete or _is_failure(first)
    else:
        is_valid = start.startswith(_START) and _is_long_failure(file)
    if not is_valid:
        raise ConfigurationError(
            f"dead_letter={str(file.name)!r} exists and is not a dead-letter file; choose another name"
        )


def _is_long_failure(file: io.FileIO) -> bool:
    """Return whether the rest of a first line longer than a block may be a failure, complete or not."""
    before, length = b"", _BLOCK
    while block := file.read(_BLOCK):
        length += len(block)
        if length > MAX_LINE_BYTES:
            return False
        line, found, _ = (before + block).partition(b"\n")
        if found:
            return _END.search(line[-_BLOCK:]) is not None
        before = block
    return True


def _is_failure(line: bytes) -> bool:
    try:
        row = orjson.loads(line)
    except ValueError:
        return False
    return isinstance(row, dict) and "text" in row and "error" in row
