"""Vectors in a table of PostgreSQL with the extension pgvector.

A batch goes into a staging table by binary COPY, whose bytes numpy makes for all vectors at once, and from there into
the table by an upsert, all in one transaction.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import struct
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, cast, get_args

import numpy as np

from asyncembed._config import check_choice, check_count, check_text
from asyncembed._exceptions import ConfigurationError, ResumeError
from asyncembed._missing import missing
from asyncembed._redaction import Secret, hide
from asyncembed.sinks._provenance import PACKED
from asyncembed.stores._fingerprint import (
    check_fingerprint,
    check_unmarked,
    fingerprint_from_json,
    fingerprint_to_json,
)
from asyncembed.stores._store import Found
from asyncembed.stores._values import OWN_COLUMNS, first_values, names_of, plain_id, to_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
    from typing import TypeVar

    import psycopg
    from psycopg import sql as psycopg_sql

    from asyncembed._config import Dtype
    from asyncembed._models import Matrix, Metadata, TextId, Vector
    from asyncembed.stores._store import StoreFingerprint

    T = TypeVar("T")

VectorType = Literal["vector", "halfvec", "bit"]

FINGERPRINTS: Final = "asyncembed_fingerprints"
"""The table with the fingerprint of each table of a schema."""

MAX_INDEXED: Final[dict[VectorType, int]] = {"vector": 2_000, "halfvec": 4_000, "bit": 64_000}
"""Maximum number of dimensions of an HNSW index."""

MAX_NAME_BYTES: Final = 63
"""Maximum length of a name; the server cuts longer ones."""

EF_SEARCH: Final = 40
"""Minimum number of candidates that a search in an HNSW index keeps: the default of pgvector."""

MAX_EF_SEARCH: Final = 1_000
"""Maximum number of these candidates, and so of rows that an HNSW index finds."""

SYSTEM_COLUMNS: Final = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
"""Columns that each table has, whose names no other column may have."""

CONNECT_SECONDS: Final = 30

_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_LOCK: Final = 0x6173796E63656D62
"""Key of the advisory lock that a transaction holds while it creates something, as IF NOT EXISTS has races."""
_INDEX_LOCK: Final = 0x6173796E
"""First part of the key of the lock that a transaction holds while it creates the index of a table."""

_NUMBERS: Final = frozenset({"bigint", "integer", "smallint"})
_JSON: Final = frozenset({"json", "jsonb"})
_ESCAPED: Final = re.compile(r"\\(?:\\|u0000)")
_NULL: Final = struct.pack(">i", -1)


class PgVector:
    """A table of PostgreSQL with the columns id, hash, embedding and text, and one for each name in metadata.

    The store creates the extension, the table and a small table `asyncembed_fingerprints` if they do not exist. `id` is
    bigint if the ids of the first batch are integers, else text. PostgreSQL does not keep NUL characters, so they
    become U+FFFD in texts and metadata. A column of jsonb holds NaN and infinities as text.

    Args:
        conninfo: How to connect, as libpq has it: a `postgresql://` address or `key=value` pairs. libpq takes what is
            missing, such as the password, from the environment (PGPASSWORD) or ~/.pgpass. It is never shown.
        table: The name of the table.
        schema: The schema of the table.
        type: Type of the column. None chooses it by the dtype: "vector" for float32, "halfvec" for int8 and uint8,
            which it holds exactly, and "bit" for packed bits. "halfvec" also holds float32, in half the space.
    """

    def __init__(
        self,
        conninfo: str,
        table: str = "embeddings",
        *,
        schema: str = "public",
        type: VectorType | None = None,  # noqa: A002  # as PostgreSQL calls it
    ) -> None:
        if not isinstance(conninfo, str):  # not shown, as it may hold a password
            raise ConfigurationError("conninfo= must be a str")
        for name, value in (("table", table), ("schema", schema)):
            check_text(name, value)
            if not _is_name(value) or value == FINGERPRINTS:
                raise ConfigurationError(
                    f"{name}={value!r} cannot be a name in PostgreSQL; use 1 to {MAX_NAME_BYTES} bytes of valid "
                    f"Unicode without NUL, and not {FINGERPRINTS!r}"
                )
        if type is not None:
            check_choice("type", type, VectorType)
        self._conninfo = Secret(conninfo)
        self._table = table
        self._schema = schema
        self._wanted = type
        self._type: VectorType = type or "vector"
        self._staged: str | None = None  # the columns of the staging table
        self._columns: dict[str, str] | None = None
        self._read_lock = asyncio.Lock()  # a connection runs one query at a time
        self._write_lock = asyncio.Lock()  # and one transaction
        self._reader: psycopg.AsyncConnection[Any] | None = None
        self._writer: psycopg.AsyncConnection[Any] | None = None

    def __repr__(self) -> str:
        return f"PgVector({self._schema}.{self._table})"

    def check_name(self, name: str) -> None:
        """Raise `ConfigurationError` if metadata must not have this name; see `Store`."""
        if not _is_name(name) or name in SYSTEM_COLUMNS:
            raise ConfigurationError(
                f"metadata has the name {name!r}, which no column of PostgreSQL can have; choose another one: 1 to "
                f"{MAX_NAME_BYTES} bytes of valid Unicode without NUL, and not a column of the system"
            )

    async def prepare(self, fingerprint: StoreFingerprint, dimension: int | None) -> int | None:
        """Create the extension and the table of fingerprints, and compare the fingerprint; see `Store`.

        Raises:
            ConnectionError: if the server cannot be reached or refuses the login.
            ConfigurationError: if the extension does not exist and cannot be created, the schema does not exist, or
                the role lacks a right.
        """
        dtype: Dtype = fingerprint["dtype"]  # type: ignore[assignment]
        self._type_of(dtype)  # refuses the wrong one before anything is sent
        async with self._writing(is_first=True) as connection:
            await self._lock(connection)
            await self._make_extension(connection)
            if not await self._exists(connection, FINGERPRINTS):  # the role may lack the right to create tables
                await connection.execute(
                    self._sql(
                        "create table if not exists {fingerprints} "
                        "(name text primary key, fingerprint text not null, dimension integer)"
                    )
                )
            found = await self._read_fingerprint(connection)
            is_empty = await self._is_empty(connection)
            # A run that knows its dimension may store its first rows at any time, so the table belongs to it.
            if found is None or (found[1] is None and is_empty):
                check_unmarked(repr(self), is_empty=is_empty)
                await connection.execute(
                    self._sql(
                        "insert into {fingerprints} values ($1, $2, $3) on conflict (name) do update "
                        "set fingerprint = excluded.fingerprint, dimension = excluded.dimension"
                    ),
                    (self._table, fingerprint_to_json(fingerprint), dimension),
                )
            else:
                try:
                    check_fingerprint(repr(self), found[0], fingerprint, found[1], dimension)
                except ResumeError as error:
                    if is_empty:
                        error.add_note(
                            "The table has no rows yet. If no other run fills it, free it by deleting its row in "
                            f"the table {self._schema}.{FINGERPRINTS}."
                        )
                    raise
                dimension = found[1]
            columns = await self._own_columns(connection)
            if columns and (missing := OWN_COLUMNS - columns.keys()):
                raise ResumeError(f"{self!r} has no column {', '.join(sorted(missing))}; choose another table")
            self._columns, self._type = columns, self._type_of(dtype, columns)
        return dimension

    async def present(self, ids: Sequence[TextId], hashes: Sequence[bytes]) -> Sequence[bool]:
        """Return for each id whether the table has it with this hash; see `Store`."""
        return await self._read(partial(self._present, ids, hashes))

    async def put(
        self,
        ids: Sequence[TextId],
        hashes: Sequence[bytes],
        vectors: Matrix,
        texts: Sequence[str] | None,
        metadata: Sequence[Metadata | None],
    ) -> None:
        """Store rows in one transaction; see `Store`."""
        import psycopg  # noqa: PLC0415

        values = first_values(metadata, names_of(metadata, self.check_name))
        async with self._writing() as connection:
            columns = await self._make_columns(connection, ids, vectors, values)
            keys = self._as_kind(ids, columns["id"])
            await self._stage(connection, vectors, keys[0])
            copied = _copied(keys, hashes, self._vectors(vectors), texts, metadata if values else None)
            copy = "copy pg_temp.asyncembed_stage from stdin with (format binary)"
            try:
                async with connection.cursor().copy(copy) as stream:
                    await stream.write(copied)
                await connection.execute(self._upsert(columns, list(values)))
            except (psycopg.DataError, psycopg.IntegrityError, psycopg.ProgrammingError) as error:
                raise ConfigurationError(f"{self!r} refused the rows: {_message_of(error)}") from None

    async def fingerprint(self) -> StoreFingerprint | None:
        """Return the fingerprint of the table, None if it has none."""
        found = await self._read(self._read_fingerprint)
        return found[0] if found else None

    async def dimension(self) -> int | None:
        """Return the dimension of the vectors, None if it is not known yet."""
        found = await self._read(self._read_fingerprint)
        return found[1] if found else None

    async def search(self, vector: Vector, k: int = 10) -> list[Found]:
        """Return the `k` rows whose vectors are nearest to `vector`. It uses the index if there is one.

        An index finds rows approximately, and up to 1,000 of them; where it finds fewer than `k`, and for more than
        1,000 rows, the search compares every row.

        Raises:
            ConfigurationError: if `k` is below 1, the vector has another length, or the table does not exist.
        """
        check_count("k", k)
        return await self._read(partial(self._search, vector, k))

    async def count(self) -> int:
        """Return the number of rows."""
        return await self._read(self._count)

    async def columns(self) -> list[str]:
        """Return the names of the columns with metadata."""
        return [name for name in await self._read(self._own_columns) if name not in OWN_COLUMNS]

    async def create_index(self) -> None:
        """Create an HNSW index for cosine distance, or for Hamming distance of bits. Call it after the load.

        Raises:
            ConfigurationError: if the vectors are too long for such an index, or there are none.
        """
        async with self._writing(is_first=True) as connection:
            found, columns = await self._read_fingerprint(connection), await self._own_columns(connection)
            if found is None or found[1] is None or not columns:
                raise ConfigurationError(f"{self!r} has no vectors yet")
            dimension = found[1]
            kind = self._type_of(found[0]["dtype"], columns)  # type: ignore[arg-type]
            if dimension > MAX_INDEXED[kind]:
                hint = f"; type='halfvec' holds up to {MAX_INDEXED['halfvec']:,}" if kind == "vector" else ""
                raise ConfigurationError(
                    f"an HNSW index of {kind} holds up to {MAX_INDEXED[kind]:,} dimensions, but these vectors have "
                    f"{dimension:,}{hint}; or embed with a smaller dimensions="
                )
            # Of the table alone: an index may take minutes, for which other tables must not wait.
            await connection.execute("select pg_advisory_xact_lock($1, hashtext($2))", (_INDEX_LOCK, self._table))
            operators = "bit_hamming_ops" if kind == "bit" else f"{kind}_cosine_ops"
            await connection.execute(
                self._sql(f"create index if not exists {{index}} on {{table}} using hnsw (embedding {operators})")
            )

    async def aclose(self) -> None:
        """Close the connections. The next call opens them again."""
        connections, self._reader, self._writer = [self._reader, self._writer], None, None
        for connection in connections:
            if connection:
                await connection.close()

    async def _present(
        self, ids: Sequence[TextId], hashes: Sequence[bytes], connection: psycopg.AsyncConnection[Any]
    ) -> list[bool]:
        kind = (await self._own_columns(connection)).get("id")
        if kind is None:
            return [False] * len(ids)
        cursor = await connection.execute(
            self._sql(
                f"select coalesce(t.hash = q.hash, false) from unnest($1::{kind}[], $2::bytea[]) "  # noqa: S608
                "with ordinality as q(id, hash, place) left join {table} t on t.id = q.id order by q.place"
            ),
            (self._as_kind(ids, kind), list(hashes)),
        )
        return [row[0] for row in await cursor.fetchall()]

    async def _count(self, connection: psycopg.AsyncConnection[Any]) -> int:
        if not await self._exists(connection, self._table):
            return 0
        cursor = await connection.execute(self._sql("select count(*) from {table}"))
        return sum(row[0] for row in await cursor.fetchall())

    async def _search(self, vector: Vector, k: int, connection: psycopg.AsyncConnection[Any]) -> list[Found]:
        found = await self._read_fingerprint(connection) if await self._exists(connection, self._table) else None
        if found is None:
            raise ConfigurationError(f"{self!r} is not a table of embed_to_store")
        columns = await self._own_columns(connection)
        kind = self._type_of(found[0]["dtype"], columns)  # type: ignore[arg-type]
        length = len(vector) * (8 if kind == "bit" else 1)
        if length != found[1]:
            raise ConfigurationError(f"the query has {length} dimensions, but the vectors of {self!r} have {found[1]}")
        is_bit = kind == "bit"
        literal = "".join(f"{number:08b}" for number in vector.view(np.uint8)) if is_bit else str(vector.tolist())
        order = "t.embedding <~> q.v" if is_bit else "t.embedding <=> q.v"
        score = f"1 - 2 * ({order}) / {length}" if is_bit else f"1 - ({order})"
        names = [name for name in columns if name not in {"hash", "embedding"}]
        question = self._sql(
            f"select {score}, {{listed}} from {{table}} t, (select $1::{kind}({length}) as v) q "  # noqa: S608
            f"order by {order} limit $2",
            listed=self._listed(names, "t"),
        )
        rows: list[tuple[Any, ...]] = []
        if k <= MAX_EF_SEARCH:
            await connection.execute(
                "select set_config('hnsw.ef_search', greatest("
                "$1::int, nullif(current_setting('hnsw.ef_search', true), '')::int)::text, true)",
                (max(k, EF_SEARCH),),
            )
            rows = await self._rows(connection, question, literal, k)
        if len(rows) < k:
            await connection.execute("set local enable_indexscan = off")
            rows = await self._rows(connection, question, literal, k)
        return [_found(dict(zip(names, row[1:], strict=True)), row[0]) for row in rows]

    @staticmethod
    async def _rows(
        connection: psycopg.AsyncConnection[Any], question: psycopg_sql.Composed, literal: str, k: int
    ) -> list[tuple[Any, ...]]:
        # The plan of a prepared statement would stay when the settings change.
        cursor = await connection.execute(question, (literal, k), prepare=False)
        return await cursor.fetchall()

    @asynccontextmanager
    async def _writing(self, *, is_first: bool = False) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """Begin a transaction. The first one of a run tests the connection that an earlier run left."""
        async with self._write_lock:
            if is_first and self._writer:
                with suppress(Exception):  # a failure marks it as closed
                    await self._writer.execute("select 1")
            if self._writer is None or self._writer.closed:
                self._writer, self._staged = await self._connect(), None
            try:
                with self._explaining():
                    async with self._writer.transaction():
                        yield self._writer
            except BaseException:
                self._staged = None  # the table may belong to this transaction
                raise

    async def _read(self, question: Callable[[psycopg.AsyncConnection[Any]], Awaitable[T]]) -> T:
        """Return the answer to a question. If the server closes the connection, ask once more over a new one."""
        async with self._read_lock:
            reader = self._reader
            if reader and not reader.closed:
                import psycopg  # noqa: PLC0415

                try:
                    return await self._answer(reader, question)
                except psycopg.OperationalError:
                    if not reader.closed:
                        raise
            self._reader = reader = await self._connect()
            return await self._answer(reader, question)

    async def _answer(
        self,
        connection: psycopg.AsyncConnection[Any],
        question: Callable[[psycopg.AsyncConnection[Any]], Awaitable[T]],
    ) -> T:
        with self._explaining():
            async with connection.transaction():
                return await question(connection)

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        """Raise `ConfigurationError` with the way out for errors that an administrator can mend."""
        from psycopg import errors  # noqa: PLC0415

        try:
            yield
        except errors.InvalidSchemaName:
            raise ConfigurationError(
                f"the schema of {self!r} does not exist; run CREATE SCHEMA, or choose another schema="
            ) from None
        except errors.InsufficientPrivilege as error:
            raise ConfigurationError(
                f"the role lacks a right for {self!r} ({_message_of(error)}); grant it USAGE on the schema, SELECT, "
                "INSERT and UPDATE on its tables, CREATE on the schema for new tables, and TEMPORARY on the database"
            ) from None

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        """Open a connection.

        Raises:
            ConnectionError: if that fails. The message shows neither the password nor anything else of `conninfo`.
        """
        try:
            import psycopg  # noqa: PLC0415
            from psycopg.conninfo import conninfo_to_dict, make_conninfo  # noqa: PLC0415
        except ImportError as error:
            raise missing("PgVector", "psycopg", "pgvector") from error
        wrong = secret = ""
        conninfo = self._conninfo
        try:
            given = conninfo_to_dict(conninfo)
            secret = hide(str(given.pop("password", "")))
            own: dict[str, str | int] = {"connect_timeout": CONNECT_SECONDS, "application_name": "asyncembed"}
            conninfo = Secret(make_conninfo(conninfo, **{name: own[name] for name in own.keys() - given.keys()}))
        except psycopg.Error:
            wrong = "it must be an address or key=value pairs"
        if wrong:  # raised here, because the error of psycopg may quote the password
            raise ConfigurationError(f"the conninfo of {self!r} cannot be read: {wrong}")
        try:
            return await psycopg.AsyncConnection.connect(
                conninfo,
                autocommit=True,
                cursor_factory=psycopg.AsyncRawCursor,  # its $1 leaves a % in a name alone
            )
        except psycopg.Error as error:
            wrong = _message_of(error)
        if secret:
            wrong = wrong.replace(str(secret), "***")
        raise ConnectionError(f"no connection for {self!r}: {wrong}")

    @staticmethod
    async def _lock(connection: psycopg.AsyncConnection[Any]) -> None:
        """Wait for other transactions that create something, and let later ones wait for this one."""
        await connection.execute("select pg_advisory_xact_lock($1)", (_LOCK,))

    async def _make_extension(self, connection: psycopg.AsyncConnection[Any]) -> None:
        import psycopg  # noqa: PLC0415

        cursor = await connection.execute("select 1 from pg_extension where extname = 'vector'")
        if await cursor.fetchone():
            return
        wrong = ""
        try:
            async with connection.transaction():
                await connection.execute("create extension if not exists vector")
        except psycopg.Error as error:
            wrong = _message_of(error)
        if wrong:
            raise ConfigurationError(
                f"the database of {self!r} lacks the extension pgvector, and creating it failed ({wrong}); ask an "
                "administrator to run CREATE EXTENSION vector"
            )

    async def _make_columns(
        self,
        connection: psycopg.AsyncConnection[Any],
        ids: Sequence[TextId],
        vectors: Matrix,
        values: dict[str, object],
    ) -> dict[str, str]:
        """Create the table and missing columns, and return the types of all columns."""
        if not self._columns:
            self._columns = await self._own_columns(connection)
        columns = self._columns
        missing = [name for name in values if name not in columns]
        if missing or not columns:
            await self._lock(connection)
        if not columns:
            await connection.execute(
                self._sql(
                    f"create table if not exists {{table}} (id {_id_type(ids)} primary key, hash bytea not null, "
                    f"embedding {self._type}({self._length(vectors)}) not null, text text)"
                )
            )
        for name in missing:
            await connection.execute(
                self._sql(
                    f"alter table {{table}} add column if not exists {{column}} {_column_type(values[name])}",
                    column=self._listed([name]),
                )
            )
        if missing or not columns:
            self._columns = None  # until the transaction is committed
            return await self._own_columns(connection)
        return columns

    async def _stage(self, connection: psycopg.AsyncConnection[Any], vectors: Matrix, key: str | int) -> None:
        """Create the staging table, once for each connection."""
        id_type = "bigint" if isinstance(key, int) else "text"
        columns = (
            f"id {id_type}, hash bytea, embedding {self._type}({self._length(vectors)}), text text, metadata jsonb"
        )
        if self._staged != columns:
            await connection.execute("drop table if exists pg_temp.asyncembed_stage")
            await connection.execute(
                self._sql(f"create temporary table asyncembed_stage ({columns}) on commit delete rows")
            )
            self._staged = columns

    def _length(self, vectors: Matrix) -> int:
        width: int = vectors.shape[1]
        return 8 * width if self._type == "bit" else width

    def _upsert(self, columns: dict[str, str], names: list[str]) -> psycopg_sql.Composed:
        from psycopg import sql  # noqa: PLC0415

        taken = [
            sql.SQL(
                f"nullif(metadata -> {{}}, 'null')::{columns[name]}"
                if columns[name] in _JSON
                else "(metadata ->> {})" + _cast("text", columns[name])
            ).format(sql.Literal(name))
            for name in names
        ]
        listed = self._listed(["id", "hash", "embedding", "text", *names])
        given = sql.SQL(", ").join([
            sql.SQL(
                f"id{_cast('bigint' if columns['id'] in _NUMBERS else 'text', columns['id'])}, hash, embedding, text"
            ),
            *taken,
        ])
        sets = sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in ["hash", "embedding", "text", *names]
        )
        return self._sql(
            "insert into {table} ({listed}) select {given} from pg_temp.asyncembed_stage "
            "on conflict (id) do update set {sets}",
            listed=listed,
            given=given,
            sets=sets,
        )

    def _vectors(self, vectors: Matrix) -> list[bytes]:
        """Return each vector as COPY takes it, after its length. numpy makes all of them at once."""
        count, width = vectors.shape
        if self._type == "bit":
            layout = np.dtype([("size", ">i4"), ("bits", ">i4"), ("data", "u1", (width,))])
            rows = np.empty(count, layout)
            rows["size"], rows["bits"], rows["data"] = 4 + width, 8 * width, vectors.view(np.uint8)
        else:
            number, size = (">f4", 4) if self._type == "vector" else (">f2", 2)
            head = [("size", ">i4"), ("dimension", ">i2"), ("unused", ">i2")]
            layout = np.dtype([*head, ("data", number, (width,))])
            rows = np.empty(count, layout)
            rows["size"], rows["dimension"], rows["unused"], rows["data"] = 4 + size * width, width, 0, vectors
        data, step = rows.tobytes(), layout.itemsize
        return [data[start : start + step] for start in range(0, len(data), step)]

    def _as_kind(self, ids: Sequence[TextId], kind: str) -> list[str | int]:
        """Return ids in the type of the column.

        Raises:
            ConfigurationError: if one of them has another type.
        """
        keys = list(map(plain_id, ids))
        is_number = kind in _NUMBERS
        for key in keys:
            if isinstance(key, int) != is_number:
                raise ConfigurationError(f"the id {key!r} does not fit into the column id of {self!r}, which is {kind}")
        return keys

    def _type_of(self, dtype: Dtype, columns: dict[str, str] | None = None) -> VectorType:
        """Return the type of the existing column, else the type of a new one."""
        own: VectorType = "bit" if dtype in PACKED else "vector" if dtype == "float32" else "halfvec"
        there = (columns or {}).get("embedding", "").partition("(")[0]
        for name in get_args(VectorType):
            if name == there:
                return cast("VectorType", name)
        wanted = self._wanted or own
        if (wanted == "bit") != (own == "bit"):
            raise ConfigurationError(f"type={wanted!r} cannot hold vectors of dtype {dtype!r}; use {own!r}")
        return wanted

    async def _read_fingerprint(
        self, connection: psycopg.AsyncConnection[Any]
    ) -> tuple[StoreFingerprint, int | None] | None:
        """Return the fingerprint of the table and its dimension; None if `embed_to_store` did not create it."""
        if not await self._exists(connection, FINGERPRINTS):
            return None
        question = self._sql("select fingerprint, dimension from {fingerprints} where name = $1")
        row = await (await connection.execute(question, (self._table,))).fetchone()
        return (fingerprint_from_json(row[0], repr(self)), row[1]) if row else None

    async def _is_empty(self, connection: psycopg.AsyncConnection[Any]) -> bool:
        if not await self._exists(connection, self._table):
            return True
        return await (await connection.execute(self._sql("select 1 from {table} limit 1"))).fetchone() is None

    async def _exists(self, connection: psycopg.AsyncConnection[Any], table: str) -> bool:
        question = "select 1 from information_schema.tables where table_schema = $1 and table_name = $2"
        return await (await connection.execute(question, (self._schema, table))).fetchone() is not None

    async def _own_columns(self, connection: psycopg.AsyncConnection[Any]) -> dict[str, str]:
        """Return the types of the columns by name; empty if the table does not exist."""
        cursor = await connection.execute(
            "select a.attname, format_type(a.atttypid, a.atttypmod) from pg_attribute a join pg_class c on "
            "c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relname = $2 "
            "and a.attnum > 0 and not a.attisdropped order by a.attnum",
            (self._schema, self._table),
        )
        return dict(await cursor.fetchall())

    def _listed(self, names: Sequence[str], *table: str) -> psycopg_sql.Composed:
        from psycopg import sql  # noqa: PLC0415

        return sql.SQL(", ").join(sql.Identifier(*table, name) for name in names)

    def _sql(self, text: str, **parts: psycopg_sql.Composable) -> psycopg_sql.Composed:
        from psycopg import sql  # noqa: PLC0415

        return sql.SQL(text).format(
            table=sql.Identifier(self._schema, self._table),
            fingerprints=sql.Identifier(self._schema, FINGERPRINTS),
            index=sql.Identifier(_index_name(self._table)),
            **parts,
        )


def _is_name(name: str) -> bool:
    """Return whether the server takes a name, and does not cut it."""
    try:
        return 0 < len(name.encode()) <= MAX_NAME_BYTES and "\0" not in name
    except UnicodeEncodeError:
        return False


def _index_name(table: str) -> str:
    """Return a name for the index of a table, which the server does not cut, and no other table shares."""
    name = f"{table}_embedding_hnsw"
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    end = f"_{hashlib.sha256(table.encode()).hexdigest()[:8]}_embedding_hnsw"
    return table.encode()[: MAX_NAME_BYTES - len(end)].decode(errors="ignore") + end


def _copied(
    keys: Sequence[str | int],
    hashes: Sequence[bytes],
    vectors: Sequence[bytes],
    texts: Sequence[str] | None,
    metadata: Sequence[Metadata | None] | None,
) -> bytes:
    """Return rows as binary COPY takes them, each value after its length."""
    pieces = [_SIGNATURE]
    for row, (key, hash_, vector) in enumerate(zip(keys, hashes, vectors, strict=True)):
        id_ = struct.pack(">hiq", 5, 8, key) if isinstance(key, int) else struct.pack(">h", 5) + _sized(key.encode())
        pieces += (id_, _sized(hash_), vector, _NULL if texts is None else _sized(_without_nul(texts[row]).encode()))
        more = metadata[row] if metadata else None
        pieces.append(_sized(b"\1" + _jsonb(more)) if more else _NULL)
    return b"".join([*pieces, b"\xff\xff"])


def _sized(value: bytes) -> bytes:
    return struct.pack(">i", len(value)) + value


def _without_nul(text: str) -> str:
    return text.replace("\0", "\ufffd")


def _jsonb(metadata: Metadata) -> bytes:
    """Return metadata as jsonb. It has no NUL, and no numbers that are not finite, which become their names."""
    text = to_json({
        name: str(float(value)) if isinstance(value, float | np.floating) and not np.isfinite(value) else value
        for name, value in metadata.items()
    })
    if "\\u0000" in text:
        text = _ESCAPED.sub(lambda escape: escape[0].replace("u0000", "ufffd"), text)
    return text.encode()


def _found(row: dict[str, Any], score: float) -> Found:
    metadata = {name: value for name, value in row.items() if name not in OWN_COLUMNS}
    return Found(row["id"], float(score), row["text"], metadata)


def _id_type(ids: Sequence[TextId]) -> str:
    kinds = {type(id_) for id_ in ids}
    if all(issubclass(kind, int | np.integer) for kind in kinds):
        return "bigint"
    return "text"


def _cast(given: str, kind: str) -> str:
    """Return the cast to the type of a column; empty where it would cut a text or is not needed."""
    return "" if kind.startswith(("character", "text")) or given == "bigint" else f"::{kind}"


def _column_type(value: object) -> str:
    """Return the type of a new column for such a value."""
    import datetime as dt  # noqa: PLC0415
    import uuid  # noqa: PLC0415

    kinds: tuple[tuple[type | tuple[type, ...], str], ...] = (
        ((bool, np.bool_), "boolean"),
        ((int, np.integer), "bigint"),
        ((float, np.floating), "double precision"),
        (str, "text"),
        (uuid.UUID, "uuid"),
        (dt.datetime, "timestamptz"),
        (dt.date, "date"),
        (dt.time, "time"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), "jsonb")


def _message_of(error: Exception) -> str:
    return " ".join(str(error).split())
