"""A cache of vectors in a SQLite file, which several processes may use at once.

A row is keyed by a digest of the text and of all that shapes its vector, so that another model, prompt or dtype never
gives the wrong vector. A checksum guards each row: a damaged one counts as missing. The cache only saves money, so a
failure while it is used is logged once, and the run goes on without it.
"""

from __future__ import annotations

import sqlite3
import time
import zlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from asyncembed._events import LOGGER
from asyncembed._exceptions import ConfigurationError
from asyncembed._util import OneThread

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Mapping

T = TypeVar("T")

BUSY_SECONDS: Final = 30.0
"""Seconds to wait for another process that writes."""

KEYS_AT_ONCE: Final = 500
"""Keys in one statement; old versions of SQLite take 999."""

USED_SECONDS: Final = 3_600
"""The cache updates the time of use of a row at most once in this many seconds."""

EVICTED: Final = 10
"""A full cache drops one row in this many."""

_CHECK_BYTES: Final = 4
_SCHEMA: Final = (
    "create table if not exists vectors (key blob primary key, used int not null, vector blob not null) without rowid",
    "create index if not exists vectors_by_use on vectors (used)",
)
_EVICT: Final = (
    "delete from vectors where key in "
    "(select key from vectors order by used limit (select count(*) / ? + 1 from vectors))"
)


class VectorCache:
    """Vectors by key, in a file.

    Args:
        path: The file; it is made if it does not exist.
        max_bytes: Size from which on the rows that were not used for longest are given up.

    Raises:
        ConfigurationError: by `get`, if the file is no database of SQLite, or cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str], max_bytes: int) -> None:
        self._path = Path(path)
        self._max_bytes = max_bytes
        self._thread: OneThread | None = None
        self._database: sqlite3.Connection | None = None
        self._used: set[bytes] = set()
        self._has_failed = False

    def __repr__(self) -> str:
        return f"VectorCache({str(self._path)!r})"

    @property
    def exists(self) -> bool:
        """Whether the file exists."""
        return self._path.exists()

    def __del__(self) -> None:
        """Close the file of a client that was dropped without `aclose`, or Python 3.13 warns."""
        if database := vars(self).get("_database"):
            database.close()

    async def get(self, keys: Collection[bytes]) -> dict[bytes, bytes]:
        """Return the bytes of the vectors that are there."""
        return await self._run(partial(self._get, list(keys))) or {}

    async def put(self, rows: Mapping[bytes, bytes]) -> None:
        """Store the bytes of vectors, and give up old rows if there are too many."""
        await self._run(partial(self._put, rows))

    async def aclose(self) -> None:
        """Close the file; the next call opens it again."""
        thread, self._thread = self._thread, None
        if thread:
            with thread:
                await thread.run(self._close)

    async def _run(self, function: Callable[[sqlite3.Connection], T]) -> T | None:
        """Call a function in the thread of the file; None if the file has failed, now or before."""
        if self._has_failed:
            return None
        self._thread = self._thread or OneThread()
        database = await self._thread.run(self._open)
        try:
            return await self._thread.run(lambda: function(database))
        except sqlite3.Error as error:
            self._has_failed = True
            LOGGER.warning("the cache %s is not used any more: %s", self._path, error)
            return None

    def _open(self) -> sqlite3.Connection:
        if self._database is not None:
            return self._database
        try:
            database = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            try:
                database.execute("pragma journal_mode = wal")
                database.execute("pragma synchronous = normal")
                for statement in _SCHEMA:
                    database.execute(statement)
            except BaseException:
                database.close()
                raise
        except sqlite3.Error as error:
            raise ConfigurationError(
                f"cache={str(self._path)!r} cannot be used: {error}; choose another file, or delete this one"
            ) from None
        self._database = database
        return database

    def _close(self) -> None:
        database, self._database = self._database, None
        if database:
            try:
                self._note_uses(database)
            except sqlite3.Error as error:
                LOGGER.debug("the uses of the cache %s were not noted: %s", self._path, error)
            database.close()

    def _get(self, keys: list[bytes], database: sqlite3.Connection) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        noted_before = int(time.time()) - USED_SECONDS
        for start in range(0, len(keys), KEYS_AT_ONCE):
            some = keys[start : start + KEYS_AT_ONCE]
            places = ",".join("?" * len(some))
            rows = database.execute(f"select key, used, vector from vectors where key in ({places})", some)  # noqa: S608
            for key, used, row in rows:
                vector = _checked(key, row)
                if vector is not None:
                    found[key] = vector
                    if used < noted_before:
                        self._used.add(key)
        return found

    def _put(self, rows: Mapping[bytes, bytes], database: sqlite3.Connection) -> None:
        now = int(time.time())
        values = ((key, now, _check(key, vector) + vector) for key, vector in rows.items())
        database.execute("begin immediate")
        try:
            database.executemany("insert or replace into vectors values (?, ?, ?)", values)
            if self._size(database) > self._max_bytes:
                database.execute(_EVICT, (EVICTED,))
            database.execute("commit")
        except BaseException:
            if database.in_transaction:
                database.execute("rollback")
            raise
        self._note_uses(database)

    def _note_uses(self, database: sqlite3.Connection) -> None:
        used, self._used = self._used, set()
        if used:
            now = int(time.time())
            database.execute("begin immediate")
            database.executemany("update vectors set used = ? where key = ?", [(now, key) for key in used])
            database.execute("commit")

    def _size(self, database: sqlite3.Connection) -> int:
        pages, free, size = (
            database.execute(f"pragma {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        total: int = (pages - free) * size
        return total


def _check(key: bytes, vector: bytes) -> bytes:
    return zlib.crc32(vector, zlib.crc32(key)).to_bytes(_CHECK_BYTES)


def _checked(key: bytes, row: object) -> bytes | None:
    """Return the vector of a row, or None if the row is damaged."""
    if not isinstance(row, bytes) or row[:_CHECK_BYTES] != _check(key, row[_CHECK_BYTES:]):
        return None
    return row[_CHECK_BYTES:]
