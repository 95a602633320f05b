"""Vectors in a table of PostgreSQL with the extension pgvector.

A batch goes into a staging table by binary COPY, whose bytes numpy makes for all vectors at once, and from there into
the table by an upsert, all in one transaction.
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Literal, cast, get_args

import numpy as np

from asyncembed._config import check_choice
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
    from collections.abc import AsyncIterator, Sequence

    import psycopg
    from psycopg import sql as psycopg_sql

    from asyncembed._config import Dtype
    from asyncembed._models import Matrix, Metadata, TextId, Vector
    from asyncembed.stores._store import StoreFingerprint

VectorType = Literal["vector", "halfvec", "bit"]

FINGERPRINTS: Final = "asyncembed_fingerprints"
"""The table with the fingerprint of each table of a schema."""

MAX_INDEXED: Final[dict[VectorType, int]] = {"vector": 2_000, "halfvec": 4_000, "bit": 64_000}
"""Maximum number of dimensions of an HNSW index."""

MAX_NAME_BYTES: Final = 63
"""Maximum length of a name; the server cuts longer ones."""

CONNECT_SECONDS: Final = 30

_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_LOCK: Final = 0x6173796E63656D62
"""Key of the advisory lock that a transaction holds while it creates something, as IF NOT EXISTS has races."""

_NUMBERS: Final = frozenset({"bigint", "integer", "smallint"})
_NULL: Final = struct.pack(">i", -1)


class PgVector:
    """A table of PostgreSQL with the columns id, hash, embedding and text, and one for each name in metadata.

    The store creates the extension, the table and a small table `asyncembed_fingerprints` if they do not exist. `id` is
    bigint if the ids of the first batch are integers, else text. PostgreSQL does not keep NUL characters, so they
    become U+FFFD in texts and metadata.

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
        for name, value in (("table", table), ("schema", schema)):
            if not value or "\0" in value or len(value.encode()) > MAX_NAME_BYTES:
                raise ConfigurationError(
                    f"{name}={value!r} cannot be a name in PostgreSQL; use 1 to {MAX_NAME_BYTES} bytes without NUL"
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

    async def prepare(self, fingerprint: StoreFingerprint, dimension: int | None) -> int | None:
        """Create the extension and the table of fingerprints, and compare the fingerprint; see `Store`.

        Raises:
            ConnectionError: if the server cannot be reached or refuses the login.
            ConfigurationError: if the extension does not exist and cannot be created.
        """
        dtype: Dtype = fingerprint["dtype"]  # type: ignore[assignment]
        self._type_of(dtype)  # refuses the wrong one before anything is sent
        async with self._writing(is_first=True) as connection:
            await self._lock(connection)
            await self._make_extension(connection)
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
                        "insert into {fingerprints} values (%s, %s, %s) on conflict (name) do update "
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
        async with self._reading() as connection:
            kind = (await self._own_columns(connection)).get("id")
            if kind is None:
                return [False] * len(ids)
            keys = self._as_kind(ids, kind)
            cursor = await connection.execute(
                self._sql(
                    f"select coalesce(t.hash = q.hash, false) from unnest(%s::{kind}[], %s::bytea[]) "  # noqa: S608
                    "with ordinality as q(id, hash, place) left join {table} t on t.id = q.id order by q.place"
                ),
                (keys, list(hashes)),
            )
            return [row[0] for row in await cursor.fetchall()]

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

        names = names_of(metadata)
        if long := [name for name in names if len(name.encode()) > MAX_NAME_BYTES]:
            raise ConfigurationError(
                f"metadata has the name {long[0]!r}, which is too long for a column of PostgreSQL; choose another one"
            )
        values = first_values(metadata, names)
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
        async with self._reading() as connection:
            found = await self._read_fingerprint(connection)
            return found[0] if found else None

    async def dimension(self) -> int | None:
        """Return the dimension of the vectors, None if it is not known yet."""
        async with self._reading() as connection:
            found = await self._read_fingerprint(connection)
            return found[1] if found else None

    async def search(self, vector: Vector, k: int = 10) -> list[Found]:
        """Return the `k` rows whose vectors are nearest to `vector`. It uses the index if there is one.

        Raises:
            ConfigurationError: if the vector has another length, or the table does not exist.
        """
        async with self._reading() as connection:
            found = await self._read_fingerprint(connection) if await self._exists(connection, self._table) else None
            if found is None:
                raise ConfigurationError(f"{self!r} is not a table of embed_to_store")
            columns = await self._own_columns(connection)
            kind = self._type_of(found[0]["dtype"], columns)  # type: ignore[arg-type]
            length = len(vector) * (8 if kind == "bit" else 1)
            if length != found[1]:
                raise ConfigurationError(
                    f"the query has {length} dimensions, but the vectors of {self!r} have {found[1]}"
                )
            is_bit = kind == "bit"
            literal = "".join(f"{number:08b}" for number in vector.view(np.uint8)) if is_bit else str(vector.tolist())
            order = "embedding <~> q.v" if is_bit else "embedding <=> q.v"
            score = f"1 - 2 * ({order}) / {length}" if is_bit else f"1 - ({order})"
            names = [name for name in columns if name not in {"hash", "embedding"}]
            cursor = await connection.execute(
                self._sql(
                    f"select {score}, {{listed}} from {{table}}, (select %s::{kind}({length}) as v) q "  # noqa: S608
                    f"order by {order} limit %s",
                    listed=self._listed(names),
                ),
                (literal, k),
            )
            rows = [(row[0], dict(zip(names, row[1:], strict=True))) for row in await cursor.fetchall()]
        return [
            Found(row["id"], float(score), row["text"], {name: row[name] for name in row if name not in OWN_COLUMNS})
            for score, row in rows
        ]

    async def count(self) -> int:
        """Return the number of rows."""
        async with self._reading() as connection:
            if not await self._exists(connection, self._table):
                return 0
            cursor = await connection.execute(self._sql("select count(*) from {table}"))
            return sum(row[0] for row in await cursor.fetchall())

    async def columns(self) -> list[str]:
        """Return the names of the columns with metadata."""
        async with self._reading() as connection:
            return [name for name in await self._own_columns(connection) if name not in OWN_COLUMNS]

    async def create_index(self) -> None:
        """Create an HNSW index for cosine distance, or for Hamming distance of bits. Call it after the load.

        Raises:
            ConfigurationError: if the vectors are too long for such an index, or there are none.
        """
        async with self._writing() as connection:
            found = await self._read_fingerprint(connection)
            if found is None or found[1] is None:
                raise ConfigurationError(f"{self!r} has no vectors yet")
            columns, dimension = await self._own_columns(connection), found[1]
            kind = self._type_of(found[0]["dtype"], columns)  # type: ignore[arg-type]
            if dimension > MAX_INDEXED[kind]:
                hint = f"; type='halfvec' holds up to {MAX_INDEXED['halfvec']:,}" if kind == "vector" else ""
                raise ConfigurationError(
                    f"an HNSW index of {kind} holds up to {MAX_INDEXED[kind]:,} dimensions, but these vectors have "
                    f"{dimension:,}{hint}; or embed with a smaller dimensions="
                )
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
                async with self._writer.transaction():
                    yield self._writer
            except BaseException:
                self._staged = None  # the table may belong to this transaction
                raise

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        async with self._read_lock:
            if self._reader is None or self._reader.closed:
                self._reader = await self._connect()
            async with self._reader.transaction():
                yield self._reader

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
            return await psycopg.AsyncConnection.connect(conninfo, autocommit=True)
        except psycopg.Error as error:
            wrong = _message_of(error)
        if secret:
            wrong = wrong.replace(str(secret), "***")
        raise ConnectionError(f"no connection for {self!r}: {wrong}")

    @staticmethod
    async def _lock(connection: psycopg.AsyncConnection[Any]) -> None:
        """Wait for other transactions that create something, and let later ones wait for this one."""
        await connection.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))

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
            sql.SQL("(metadata ->> {})" + _cast("text", columns[name])).format(sql.Literal(name)) for name in names
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
        question = self._sql("select fingerprint, dimension from {fingerprints} where name = %s")
        row = await (await connection.execute(question, (self._table,))).fetchone()
        return (fingerprint_from_json(row[0], repr(self)), row[1]) if row else None

    async def _is_empty(self, connection: psycopg.AsyncConnection[Any]) -> bool:
        if not await self._exists(connection, self._table):
            return True
        return await (await connection.execute(self._sql("select 1 from {table} limit 1"))).fetchone() is None

    async def _exists(self, connection: psycopg.AsyncConnection[Any], table: str) -> bool:
        question = "select 1 from information_schema.tables where table_schema = %s and table_name = %s"
        return await (await connection.execute(question, (self._schema, table))).fetchone() is not None

    async def _own_columns(self, connection: psycopg.AsyncConnection[Any]) -> dict[str, str]:
        """Return the types of the columns by name; empty if the table does not exist."""
        cursor = await connection.execute(
            "select a.attname, format_type(a.atttypid, a.atttypmod) from pg_attribute a join pg_class c on "
            "c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace where n.nspname = %s and c.relname = %s "
            "and a.attnum > 0 and not a.attisdropped order by a.attnum",
            (self._schema, self._table),
        )
        return dict(await cursor.fetchall())

    def _listed(self, names: Sequence[str]) -> psycopg_sql.Composed:
        from psycopg import sql  # noqa: PLC0415

        return sql.SQL(", ").join(map(sql.Identifier, names))

    def _sql(self, text: str, **parts: psycopg_sql.Composable) -> psycopg_sql.Composed:
        from psycopg import sql  # noqa: PLC0415

        return sql.SQL(text).format(
            table=sql.Identifier(self._schema, self._table),
            fingerprints=sql.Identifier(self._schema, FINGERPRINTS),
            index=sql.Identifier(_index_name(self._table)),
            **parts,
        )


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
    return to_json(dict(metadata)).replace("\\u0000", "\\ufffd").encode()


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
