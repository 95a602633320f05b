"""A cache of vectors in a SQLite file, which several processes may use at once.

A row is keyed by a digest of the text and of all that shapes its vector, so that another model, prompt or dtype never
gives the wrong vector. A checksum guards each row: a damaged one counts as missing. The cache only saves money, so a
failure while it is used is logged once, and the run goes on without it. While another process locks the file for long,
the run goes on without it, too.
"""

from __future__ import annotations

import sqlite3
import time
import zlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from asyncembed._events import LOGGER
from asyncembed._exceptions import ConfigurationError
from asyncembed._util import OneThread, transaction

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Mapping

T = TypeVar("T")

BUSY_SECONDS: Final = 2.0
"""Seconds to wait for another process that writes."""

LAST_SECONDS: Final = 0.5
"""Seconds to wait for it at the end of a run, when the caller waits, too."""

KEYS_AT_ONCE: Final = 500
"""Keys in one statement; old versions of SQLite take 999."""

USED_SECONDS: Final = 3_600
"""The cache updates the time of use of a row at most once in this many seconds."""

EVICTED: Final = 10
"""A full cache drops one row in this many."""

_CHECK_BYTES: Final = 4
_VERSION: Final = 2
"""Enters the checksum, so that rows of another version count as missing."""
_FLAGS: Final = (False, True, None)
_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_COLUMNS: Final = frozenset({"key", "used", "vector"})
_STORE_TABLE: Final = "asyncembed_fingerprints"
"""The table that marks a file of `SqliteVectors`; this module is below the stores and cannot ask them."""
_SCHEMA: Final = (
    "create table if not exists vectors (key blob primary key, used int not null, vector blob not null) without rowid",
    "create index if not exists vectors_by_use on vectors (used)",
)
_EVICT: Final = (
    "delete from vectors where key in "
    "(select key from vectors order by used limit (select count(*) / ? + 1 from vectors))"
)


class CachedVector(NamedTuple):
    """A vector out of the cache.

    Attributes:
        vector: Its bytes.
        truncated: Whether it is that of the start of the text alone; None if unknown.
    """

    vector: bytes
    truncated: bool | None


class VectorCache:
    """Vectors by key, in a file.

    Args:
        path: The file; it is made if it does not exist.
        max_bytes: Size above which the cache deletes the least recently used rows.

    Raises:
        ConfigurationError: by each method, if the file is not a cache, or cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str], max_bytes: int) -> None:
        self._path = Path(path)
        self._max_bytes = max_bytes
        self._thread: OneThread | None = None
        self._database: sqlite3.Connection | None = None
        self._used: set[bytes] = set()
        self._has_failed = False
        self._is_locked = False  # the last call has waited in vain

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

    async def find(self, keys: Collection[bytes]) -> dict[bytes, CachedVector]:
        """Return the vectors that are there."""
        return await self._run(partial(self._find, list(keys)), BUSY_SECONDS) or {}

    async def get(self, keys: Collection[bytes]) -> dict[bytes, bytes]:
        """Return the bytes of the vectors that are there."""
        return {key: found.vector for key, found in (await self.find(keys)).items()}

    async def put(
        self,
        rows: Mapping[bytes, bytes],
        truncated: Mapping[bytes, bool | None] | None = None,
        *,
        is_last: bool = False,
    ) -> None:
        """Store the bytes of vectors, and delete old rows if there are too many.

        Args:
            rows: The bytes, by key.
            truncated: What is known of each vector, see `CachedVector`; nothing is known of the others.
            is_last: Whether the caller waits, so that the rows are dropped soon while another process locks the file.
        """
        await self._run(partial(self._put, rows, truncated or {}), LAST_SECONDS if is_last else BUSY_SECONDS)

    async def aclose(self) -> None:
        """Close the file; the next call opens it again."""
        thread, self._thread = self._thread, None
        if thread:
            with thread:
                await thread.run(self._close)

    async def _run(self, function: Callable[[sqlite3.Connection], T], seconds: float) -> T | None:
        """Call a function in the thread of the file.

        Returns:
            None if the file has failed, now or before, or if another process locks it for more than `seconds`.
        """
        if self._has_failed:
            return None
        self._thread = self._thread or OneThread()
        try:
            return await self._thread.run(lambda: self._call(function, seconds))
        except sqlite3.Error as error:
            self._has_failed = True
            LOGGER.warning("the cache %s is not used any more: %s", self._path, error)
            return None

    def _call(self, function: Callable[[sqlite3.Connection], T], seconds: float) -> T | None:
        if self._is_locked:
            seconds = 0.0  # one wait is enough: the run must not pause at each write until the file is free
        try:
            return function(self._open(seconds))
        except sqlite3.OperationalError as error:
            if not _is_lock(error):
                raise
            if not self._is_locked:
                LOGGER.warning("the cache %s is locked by another process; it is not used meanwhile", self._path)
            self._is_locked = True
            return None

    def _open(self, seconds: float) -> sqlite3.Connection:
        if self._database is None:
            try:
                self._database = self._connect(seconds)
            except ConfigurationError:
                raise
            except (sqlite3.Error, ValueError) as error:  # a ValueError is about a path that no file can have
                if isinstance(error, sqlite3.OperationalError) and _is_lock(error):
                    raise
                raise ConfigurationError(
                    f"cache={str(self._path)!r} cannot be used: {error}; choose another file"
                ) from None
        self._database.execute(f"pragma busy_timeout = {round(1_000 * seconds)}")
        return self._database

    def _connect(self, seconds: float) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, timeout=seconds, isolation_level=None, check_same_thread=False)
        try:
            self._check_is_cache(database)
            database.execute("pragma journal_mode = wal")
            database.execute("pragma synchronous = normal")
            for statement in _SCHEMA:
                database.execute(statement)
        except BaseException:
            database.close()
            raise
        return database

    def _check_is_cache(self, database: sqlite3.Connection) -> None:
        """Raise `ConfigurationError` if the file is a database of something else, which may not want our tables."""
        tables = {
            name for (name,) in database.execute("select name from sqlite_master where type in ('table', 'view')")
        }
        columns = {row[1] for row in database.execute("pragma table_info(vectors)")}
        if _STORE_TABLE in tables:
            what = "is a store of vectors (SqliteVectors)"
        elif tables and columns != _COLUMNS:
            what = "is the database of another program"
        else:
            return
        raise ConfigurationError(f"cache={str(self._path)!r} {what}, and no cache; choose another file")

    def _close(self) -> None:
        database, self._database = self._database, None
        if database:
            try:
                if self._used:
                    database.execute(f"pragma busy_timeout = {round(1_000 * LAST_SECONDS)}")
                    with transaction(database):
                        self._note_uses(database)
            except sqlite3.Error as error:
                LOGGER.debug("the uses of the cache %s were not noted: %s", self._path, error)
            database.close()

    def _find(self, keys: list[bytes], database: sqlite3.Connection) -> dict[bytes, CachedVector]:
        found: dict[bytes, CachedVector] = {}
        noted_before = int(time.time()) - USED_SECONDS
        for start in range(0, len(keys), KEYS_AT_ONCE):
            some = keys[start : start + KEYS_AT_ONCE]
            places = ",".join("?" * len(some))
            rows = database.execute(f"select key, used, vector from vectors where key in ({places})", some)  # noqa: S608
            for key, used, row in rows:
                vector = _from_row(key, row)
                if vector is not None:
                    found[key] = vector
                    if used < noted_before:
                        self._used.add(key)
        return found

    def _put(
        self, rows: Mapping[bytes, bytes], truncated: Mapping[bytes, bool | None], database: sqlite3.Connection
    ) -> None:
        now = int(time.time())
        values = ((key, now, _to_row(key, vector, truncated.get(key))) for key, vector in rows.items())
        with transaction(database):
            database.executemany("insert or replace into vectors values (?, ?, ?)", values)
            if self._size(database) > self._max_bytes:
                database.execute(_EVICT, (EVICTED,))
            self._note_uses(database)
        self._is_locked = False  # a read does not say so, because a process that writes locks out other writes only

    def _note_uses(self, database: sqlite3.Connection) -> None:
        used, self._used = self._used, set()
        if used:
            now = int(time.time())
            database.executemany("update vectors set used = ? where key = ?", [(now, key) for key in used])

    def _size(self, database: sqlite3.Connection) -> int:
        pages, free, size = (
            database.execute(f"pragma {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        total: int = (pages - free) * size
        return total


def _is_lock(error: sqlite3.Error) -> bool:
    """Return whether an error says that another process uses the file, and is none of the file itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY


def _to_row(key: bytes, vector: bytes, truncated: bool | None) -> bytes:
    content = bytes([_FLAGS.index(truncated)]) + vector
    return _check(key, content) + content


def _from_row(key: bytes, row: object) -> CachedVector | None:
    """Return the vector of a row, or None if the row is damaged or of another version."""
    if not isinstance(row, bytes) or len(row) <= _CHECK_BYTES or row[:_CHECK_BYTES] != _check(key, row[_CHECK_BYTES:]):
        return None
    return CachedVector(row[_CHECK_BYTES + 1 :], _FLAGS[row[_CHECK_BYTES]])


def _check(key: bytes, content: bytes) -> bytes:
    return zlib.crc32(content, zlib.crc32(key, _VERSION)).to_bytes(_CHECK_BYTES)
