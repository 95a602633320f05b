"""Vectors as BLOBs in a table of an SQLite file. It needs no extension and no other package."""

from __future__ import annotations

import heapq
import sqlite3
from functools import partial
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from asyncembed._config import check_count, check_path, check_text
from asyncembed._exceptions import ConfigurationError, ResumeError
from asyncembed._util import OneThread, transaction
from asyncembed.sinks._provenance import NUMPY_TYPES, PACKED
from asyncembed.stores._fingerprint import (
    check_fingerprint,
    check_unmarked,
    fingerprint_from_json,
    fingerprint_to_json,
)
from asyncembed.stores._nearest import similarities
from asyncembed.stores._store import Found
from asyncembed.stores._values import OWN_COLUMNS, names_of, plain_id, scalar

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeVar

    from asyncembed._config import Dtype
    from asyncembed._models import Matrix, Metadata, TextId, Vector
    from asyncembed.stores._store import StoreFingerprint

    T = TypeVar("T")

BUSY_SECONDS: Final = 30.0
"""How many seconds a write waits for the write of another process."""

IDS_AT_ONCE: Final = 500
"""Ids in one query; every SQLite allows 999 parameters."""

ROWS_AT_ONCE: Final = 2_000
"""Vectors that a search reads at once."""

FINGERPRINTS: Final = "asyncembed_fingerprints"
"""The table with the fingerprint of each table."""


class SqliteVectors:
    """A table of an SQLite file with the columns id, hash, embedding and text, and one for each name in metadata.

    `embedding` holds the numbers of a vector in little-endian order: `np.frombuffer(row, "<f4")`. UUIDs are stored as
    text, and so are dates, lists and mappings in metadata. A run sets the file to WAL mode, so others can read it
    meanwhile. Methods that only read leave a file as it is.

    Args:
        path: The file, which is created if it does not exist.
        table: The table, which is created if it does not exist.

    Raises:
        ConfigurationError: if the table has a name that SQLite cannot use, or the path is ":memory:".
    """

    def __init__(self, path: str | os.PathLike[str], table: str = "embeddings") -> None:
        check_path("path", path)
        check_text("table", table)
        if not table or "\0" in table or table.lower() == FINGERPRINTS or table.lower().startswith("sqlite_"):
            raise ConfigurationError(f"table={table!r} cannot be the name of a table in SQLite; choose another one")
        if str(path) == ":memory:":
            raise ConfigurationError(
                "SqliteVectors keeps its rows in a file and opens it twice; name a file, not :memory:"
            )
        self._path = Path(path)
        self._table = table
        self._name = _quoted(table)
        self._reads = _Database(self._path, _reader)
        self._writes = _Database(self._path, _writer)

    def __repr__(self) -> str:
        return f"SqliteVectors({str(self._path)!r}, {self._table!r})"

    async def prepare(self, fingerprint: StoreFingerprint, dimension: int | None) -> int | None:
        """Create the table if it does not exist; see `Store`."""
        return await self._writes.run(partial(self._prepare, fingerprint, dimension))

    async def present(self, ids: Sequence[TextId], hashes: Sequence[bytes]) -> Sequence[bool]:
        """Return for each id whether the table has it with this hash; see `Store`."""
        return await self._reads.run(partial(self._present, list(map(plain_id, ids)), hashes))

    async def put(
        self,
        ids: Sequence[TextId],
        hashes: Sequence[bytes],
        vectors: Matrix,
        texts: Sequence[str] | None,
        metadata: Sequence[Metadata | None],
    ) -> None:
        """Store rows in one transaction; see `Store`."""
        await self._writes.run(partial(self._put, ids, hashes, vectors, texts, metadata))

    async def fingerprint(self) -> StoreFingerprint | None:
        """Return the fingerprint of the table, None if it has none."""
        if not self._path.exists():
            return None
        found = await self._reads.run(self._read_fingerprint)
        return found[0] if found else None

    async def dimension(self) -> int | None:
        """Return the dimension of the vectors, None if it is not known yet."""
        if not self._path.exists():
            return None
        found = await self._reads.run(self._read_fingerprint)
        return found[1] if found else None

    async def search(self, vector: Vector, k: int = 10) -> list[Found]:
        """Return the `k` rows whose vectors are nearest to `vector`. It compares every row.

        Raises:
            ConfigurationError: if the vector has another length, `k` is below 1, or the table does not exist.
        """
        check_count("k", k)
        if not self._path.exists():
            raise ConfigurationError(f"the file {str(self._path)!r} does not exist")
        return await self._reads.run(partial(self._search, vector, k))

    async def count(self) -> int:
        """Return the number of rows."""
        return await self._reads.run(self._count) if self._path.exists() else 0

    async def columns(self) -> list[str]:
        """Return the names of the columns with metadata."""
        if not self._path.exists():
            return []
        names = await self._reads.run(self._all_columns)
        return [name for name in names if name.lower() not in OWN_COLUMNS]

    async def aclose(self) -> None:
        """Close the file. The next call opens it again."""
        await self._reads.aclose()
        await self._writes.aclose()

    def _prepare(
        self, fingerprint: StoreFingerprint, dimension: int | None, database: sqlite3.Connection
    ) -> int | None:
        with transaction(database):
            database.execute(
                f"create table if not exists {FINGERPRINTS} "
                "(name text primary key, fingerprint text not null, dimension int)"
            )
            database.execute(
                f"create table if not exists {self._name} "
                "(id not null primary key, hash blob not null, embedding blob not null, text text)"
            )
            if missing := OWN_COLUMNS - self._own_columns(database):
                raise ResumeError(f"{self!r} has no column {', '.join(sorted(missing))}; choose another table")
            found = self._read_fingerprint(database)
            if found is None or (found[1] is None and self._is_empty(database)):
                check_unmarked(repr(self), is_empty=self._is_empty(database))
                row = (self._table, fingerprint_to_json(fingerprint), dimension)
                database.execute(f"insert or replace into {FINGERPRINTS} values (?, ?, ?)", row)  # noqa: S608
                return dimension
            check_fingerprint(repr(self), found[0], fingerprint, found[1], dimension)
            return found[1]

    def _read_fingerprint(self, database: sqlite3.Connection) -> tuple[StoreFingerprint, int | None] | None:
        if not _exists(database, FINGERPRINTS):
            return None
        question = f"select fingerprint, dimension from {FINGERPRINTS} where name = ?"  # noqa: S608
        row = database.execute(question, (self._table,)).fetchone()
        return (fingerprint_from_json(row[0], repr(self)), row[1]) if row else None

    def _is_empty(self, database: sqlite3.Connection) -> bool:
        return database.execute(f"select 1 from {self._name} limit 1").fetchone() is None  # noqa: S608

    def _count(self, database: sqlite3.Connection) -> int:
        if not _exists(database, self._table):
            return 0
        count: int = database.execute(f"select count(*) from {self._name}").fetchone()[0]  # noqa: S608
        return count

    def _present(self, ids: list[str | int], hashes: Sequence[bytes], database: sqlite3.Connection) -> list[bool]:
        known: dict[str | int, bytes] = {}
        for start in range(0, len(ids), IDS_AT_ONCE):
            some = ids[start : start + IDS_AT_ONCE]
            places = ",".join("?" * len(some))
            known.update(database.execute(f"select id, hash from {self._name} where id in ({places})", some))  # noqa: S608
        return [known.get(id_) == hash_ for id_, hash_ in zip(ids, hashes, strict=True)]

    def _put(  # noqa: PLR0917  # called by `put` alone
        self,
        ids: Sequence[TextId],
        hashes: Sequence[bytes],
        vectors: Matrix,
        texts: Sequence[str] | None,
        metadata: Sequence[Metadata | None],
        database: sqlite3.Connection,
    ) -> None:
        names = list({name.lower(): name for name in reversed(names_of(metadata))}.values())[::-1]
        folded = [{name.lower(): value for name, value in (row or {}).items()} for row in metadata] if names else []
        little = np.ascontiguousarray(vectors, vectors.dtype.newbyteorder("<"))
        data, width = little.tobytes(), little.shape[1] * little.itemsize
        blobs = (data[start : start + width] for start in range(0, len(data), width))
        columns: list[Iterable[object]] = [map(plain_id, ids), hashes, blobs, texts or [None] * len(ids)]
        columns += [[scalar(row.get(name.lower())) for row in folded] for name in names]
        listed = ["id", "hash", "embedding", "text", *map(_quoted, names)]
        sets = ", ".join(f"{name} = excluded.{name}" for name in listed[1:])
        with transaction(database):
            self._add_columns(names, database)
            rows = zip(*columns, strict=True)
            # Many rows per statement: SQLite releases the interpreter lock for each, and must wait to get it back.
            at_once = database.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) // len(listed)
            while some := list(islice(rows, at_once)):
                places = ", ".join([f"({', '.join('?' * len(listed))})"] * len(some))
                database.execute(
                    f"insert into {self._name} ({', '.join(listed)}) values {places} "  # noqa: S608
                    f"on conflict (id) do update set {sets}",
                    list(chain.from_iterable(some)),
                )

    def _add_columns(self, names: Sequence[str], database: sqlite3.Connection) -> None:
        if not names:
            return
        there = self._own_columns(database)
        for name in names:
            if name.lower() not in there:
                database.execute(f"alter table {self._name} add column {_quoted(name)}")
                there.add(name.lower())

    def _own_columns(self, database: sqlite3.Connection) -> set[str]:
        """Return the names of the columns in lower case, as SQLite ignores case."""
        return {name.lower() for name in self._all_columns(database)}

    def _all_columns(self, database: sqlite3.Connection) -> list[str]:
        return [row[1] for row in database.execute(f"pragma table_info({self._name})")]

    def _search(self, vector: Vector, k: int, database: sqlite3.Connection) -> list[Found]:
        found = self._read_fingerprint(database) if _exists(database, self._table) else None
        if found is None:
            raise ConfigurationError(f"{self!r} is not a table of embed_to_store")
        dtype: Dtype = found[0]["dtype"]  # type: ignore[assignment]
        number = np.dtype(NUMPY_TYPES[dtype]).newbyteorder("<")
        best: list[tuple[float, str | int]] = []
        cursor = database.execute(f"select id, embedding from {self._name}")  # noqa: S608
        while rows := cursor.fetchmany(ROWS_AT_ONCE):
            matrix = np.frombuffer(b"".join(row[1] for row in rows), number).reshape(len(rows), -1)
            if matrix.shape[1] != len(vector):
                raise ConfigurationError(
                    f"the query has {len(vector)} numbers, but the vectors of {self!r} have {matrix.shape[1]}"
                )
            scores = similarities(matrix, vector, packed=dtype in PACKED)
            found_here = ((float(score), row[0]) for score, row in zip(scores, rows, strict=True))
            best = heapq.nlargest(k, [*best, *found_here], key=itemgetter(0))
        return [self._found(id_, score, database) for score, id_ in best]

    def _found(self, id_: str | int, score: float, database: sqlite3.Connection) -> Found:
        cursor = database.execute(f"select * from {self._name} where id = ?", (id_,))  # noqa: S608
        values = dict(zip((column[0] for column in cursor.description), cursor.fetchone(), strict=True))
        metadata = {name: value for name, value in values.items() if name.lower() not in OWN_COLUMNS}
        return Found(values["id"], score, values["text"], metadata)


class _Database:
    """A connection with a thread of its own while it is open.

    Args:
        path: The file.
        connected: Opens it, and raises if it is no database.
    """

    def __init__(self, path: Path, connected: Callable[[Path], sqlite3.Connection]) -> None:
        self._path = path
        self._connected = connected
        self._thread: OneThread | None = None
        self._connection: sqlite3.Connection | None = None

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        self._thread = self._thread or OneThread()
        return await self._thread.run(lambda: function(self._open()))

    async def aclose(self) -> None:
        thread, self._thread = self._thread, None
        if thread:
            with thread:
                await thread.run(self._close)

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            try:
                self._connection = self._connected(self._path)
            except sqlite3.DatabaseError as error:
                if error.sqlite_errorcode in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN}:
                    raise ConfigurationError(f"{str(self._path)!r} cannot be opened: {error}") from None
                raise
            except ValueError as error:  # of a path that no file can have
                raise ConfigurationError(f"{str(self._path)!r} cannot be opened: {error}") from None
        return self._connection

    def _close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None


def _writer(path: Path) -> sqlite3.Connection:
    """Open a file to write, and create it if it does not exist."""
    return _with_pragmas(
        sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False),
        "page_size = 8192",  # for a new file
        "journal_mode = wal",
        "synchronous = full",
    )


def _reader(path: Path) -> sqlite3.Connection:
    """Open an existing file to read.

    It is not opened with `mode=ro`, because such a connection to a file in WAL mode leaves two files beside it.
    """
    place = f"{path.absolute().as_uri()}?mode=rw"
    return _with_pragmas(
        sqlite3.connect(place, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=True),
        "query_only = on",
        "schema_version",  # reads the file
    )


def _with_pragmas(connection: sqlite3.Connection, *pragmas: str) -> sqlite3.Connection:
    try:
        for pragma in pragmas:
            connection.execute(f"pragma {pragma}").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _exists(database: sqlite3.Connection, table: str) -> bool:
    question = "select 1 from sqlite_master where type in ('table', 'view') and name = ? collate nocase"
    return database.execute(question, (table,)).fetchone() is not None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
