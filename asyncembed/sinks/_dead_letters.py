"""Failures as JSON lines that can be read again as an input: `{"index": 7, "id": ..., "text": "...", "error": ...}`.

The file is opened for each write, so there is nothing to close and many runs may share it. A lock keeps processes
apart while one of them writes, which is what makes it safe to cut off a line that a killed one has left half written.
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

PATIENCE: Final = 30.0
"""Seconds to wait for another process that is writing."""

_SAME: Final = ("index", "id", "text", "provider", "model")
"""What makes two lines the same failure."""

_START: Final = b'{"index":'
"""How every line begins."""

_END: Final = re.compile(rb'"provider":"[^"]*","model":"[^"]*","time":"[^"]*"}\s*\Z')
"""How every line ends."""

_BLOCK: Final = 65_536
"""Bytes read at once to find the end of a line."""

MAX_LINE_BYTES: Final = 64_000_000
"""Longest line there may be: a longer one is none of ours, and is not read."""


class DeadLetterFile:
    """The file that the failures of one run are written to.

    Args:
        path: The file; it is made if it is not there, and else appended to.
        provider: Name of the provider, to be written with each failure.
        model: The model that was asked for, likewise.
    """

    def __init__(self, path: str | os.PathLike[str], *, provider: str, model: str) -> None:
        given = Path(path).absolute()
        self._path = given.parent.resolve() / given.name  # the folder may be a link, and the file may not
        self._origin = {"provider": provider, "model": model}
        self._known: set[bytes] = set()

    def check(self) -> None:
        """Make the file if it is not there.

        Raises:
            ConfigurationError: if that is not possible, or it holds something else.
        """
        try:
            with _open(self._path) as file:
                _check_ours(file)
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"dead_letter={str(self._path)!r} cannot be written: {getattr(error, 'strerror', None) or error}"
            ) from None

    def write(self, failures: Sequence[EmbedFailure]) -> None:
        """Bring a line for each failure to the disk, but for those that were recognised.

        Raises:
            OSError: if that failed; the file is as it was then.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        rows = [{**_row(failure), **self._origin, "time": now} for failure in failures]
        lines = [_line(row) for row in rows if not self._known or _digest(row) not in self._known]
        try:
            if lines:
                _append(self._path, b"".join(lines))
        except OSError as error:
            found = OSError(error.errno, error.strerror, str(self._path))
            found.add_note(f"{len(lines)} failed texts could not be written there, so the run was ended")
            raise found from None

    def recognise(self, first: int) -> None:
        """Leave out, from now on, failures from index `first` on that are in the file already.

        Raises:
            OSError: if it cannot be read.
        """
        with self._path.open("rb") as lines:
            while line := lines.readline(MAX_LINE_BYTES):
                with suppress(ValueError, TypeError, KeyError, AttributeError):  # whatever somebody has made of it
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
    return blake2b(orjson.dumps([json_id(row[name]) for name in _SAME]), digest_size=16).digest()


def _append(path: Path, lines: bytes) -> None:
    """Write lines behind the last whole one, all of them or none."""
    with _open(path) as file, _alone(file):
        size = _mend(file)
        try:
            write_all(file, lines)
            os.fsync(file.fileno())
        except BaseException:
            with suppress(OSError):
                file.truncate(size)
            raise
    if not size:
        sync(path.parent)  # the name may be as new as the lines


@contextmanager
def _open(path: Path) -> Iterator[io.FileIO]:
    with open_to_append(path) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        yield file


@contextmanager
def _alone(file: io.FileIO) -> Iterator[None]:
    """Keep other processes from writing."""
    if sys.platform == "win32":  # nothing there keeps writers apart without keeping readers out
        yield
        return
    deadline = time.monotonic() + PATIENCE
    while not _lock(file):
        if time.monotonic() >= deadline:
            raise OSError(errno.EAGAIN, f"another process has kept it locked for {PATIENCE:.0f} s")
        time.sleep(0.01)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)  # a forked process may have the file open, too


def _lock(file: io.FileIO) -> bool:
    if sys.platform != "win32":
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _mend(file: io.FileIO) -> int:
    """Cut off a line that is not whole, because it was never reported, and return the length of the file."""
    size = file.seek(0, os.SEEK_END)
    whole = _end_of_last_line(file, size)
    if whole < size:
        if size - whole > MAX_LINE_BYTES:
            raise OSError(errno.EINVAL, "it ends in something that is no failed text")
        file.seek(whole)
        if _is_ours(file.read(size - whole)):  # an editor may have left out the last line break
            file.write(b"\n")
            return size + 1
        file.truncate(whole)
    return whole


def _end_of_last_line(file: io.FileIO, size: int) -> int:
    while size:
        start = max(0, size - _BLOCK)
        file.seek(start)
        found = file.read(size - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        size = start
    return 0


def _check_ours(file: io.FileIO) -> None:
    """Raise `ConfigurationError` if a file begins with something else than a failure, or a part of one."""
    file.seek(0)
    start = file.read(_BLOCK)
    end = start.find(b"\n")
    if end >= 0 or len(start) < _BLOCK:
        first = start[: end + 1] if end >= 0 else start
        is_part = end < 0 and (first.startswith(_START) or _START.startswith(first))
        is_ours = is_part or _is_ours(first)
    else:
        is_ours = start.startswith(_START) and _is_long_line(file)
    if not is_ours:
        raise ConfigurationError(f"dead_letter={str(file.name)!r} exists and holds something else; choose another name")


def _is_long_line(file: io.FileIO) -> bool:
    """Whether a line that goes on may be a failure, or the beginning of one that was not written to its end."""
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


def _is_ours(line: bytes) -> bool:
    try:
        row = orjson.loads(line)
    except ValueError:
        return False
    return isinstance(row, dict) and "text" in row and "error" in row
