"""Vectors in a table of LanceDB. Each batch is written as Arrow data and makes one version of the table."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from asyncembed._config import check_count, check_path, check_text
from asyncembed._exceptions import ConfigurationError, ResumeError
from asyncembed._missing import missing
from asyncembed._redaction import Address
from asyncembed.sinks._provenance import NUMPY_TYPES, PACKED
from asyncembed.stores._fingerprint import (
    HASH_BYTES,
    check_fingerprint,
    check_unmarked,
    fingerprint_from_json,
    fingerprint_to_json,
)
from asyncembed.stores._nearest import similarities
from asyncembed.stores._store import Found
from asyncembed.stores._values import OWN_COLUMNS, names_of, plain_id, scalar
from asyncembed.stores._write_lock import write_lock

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Mapping, Sequence
    from types import ModuleType

    import lancedb
    import pyarrow as pa

    from asyncembed._config import Dtype
    from asyncembed._models import Matrix, Metadata, TextId, Vector
    from asyncembed.stores._store import StoreFingerprint

KEY: Final = b"asyncembed"
"""The key of the fingerprint in the metadata of the schema."""

PUTS_BETWEEN: Final = 100
"""Number of batches after which the fragments of the table are compacted."""

KEPT: Final = timedelta(hours=1)
"""How long old versions of the table are kept for their readers."""


LANCE_NAMES: Final = frozenset({
    "_distance",
    "_row_created_at_version",
    "_row_last_updated_at_version",
    "_rowaddr",
    "_rowid",
    "_rowoffset",
})
"""Columns of LanceDB itself, whose names metadata must not have."""


class LanceTable:
    """A table of LanceDB with the columns id, hash, embedding and text, and one for each name in metadata.

    The first batch creates the table. Its `id` is int64 if the ids of that batch are integers, else a string. Lists,
    mappings, dates and UUIDs in metadata are stored as strings. A name in metadata must have no dot and no backtick.

    Writers of one folder wait for each other, by a lock file in it. At another address, let only one run write at a
    time: LanceDB does not notice that two writers insert the same id, and keeps the row of each.

    Args:
        uri: A folder, or another address that LanceDB takes.
        table: The name of the table.
    """

    def __init__(self, uri: str | os.PathLike[str], table: str = "embeddings") -> None:
        check_path("uri", uri)
        check_text("table", table)
        self._uri = Address(uri) if "://" in str(uri) else str(uri)
        self._name = table
        self._database: lancedb.AsyncConnection | None = None
        self._table: lancedb.AsyncTable | None = None
        self._fingerprint: StoreFingerprint = {}
        self._puts = 0

    def __repr__(self) -> str:
        return f"LanceTable({self._uri!r}, {self._name!r})"

    def check_name(self, name: str) -> None:
        """Raise `ConfigurationError` if metadata must not have this name; see `Store`."""
        if name in LANCE_NAMES or "." in name or "`" in name:
            raise ConfigurationError(
                f"metadata has the name {name!r}, which LanceDB cannot give a column; choose another one"
            )

    async def prepare(self, fingerprint: StoreFingerprint, dimension: int | None) -> int | None:
        """Compare the fingerprint of the table if it exists; see `Store`."""
        self._fingerprint = fingerprint
        table = await self._open()
        if table is None:
            return dimension
        schema = await table.schema()
        found = self._kind(schema)
        if found is None:
            check_unmarked(repr(self), is_empty=False)
            raise AssertionError
        there = _dimension_of(schema, found)
        check_fingerprint(repr(self), found, fingerprint, there, dimension)
        if missing := OWN_COLUMNS - set(schema.names):
            raise ResumeError(f"{self!r} has no column {', '.join(sorted(missing))}; choose another table")
        return there

    async def present(self, ids: Sequence[TextId], hashes: Sequence[bytes]) -> Sequence[bool]:
        """Return for each id whether the table has it with this hash; see `Store`."""
        table = self._table
        if table is None or not ids:
            return [False] * len(ids)
        keys = self._as_column(ids, await table.schema())
        condition = f"id in ({', '.join(map(_literal, keys))})"
        rows = await table.query().where(condition).select(["id", "hash"]).to_arrow()
        known = dict(zip(rows["id"].to_pylist(), rows["hash"].to_pylist(), strict=True))
        return [known.get(key) == hash_ for key, hash_ in zip(keys, hashes, strict=True)]

    async def put(
        self,
        ids: Sequence[TextId],
        hashes: Sequence[bytes],
        vectors: Matrix,
        texts: Sequence[str] | None,
        metadata: Sequence[Metadata | None],
    ) -> None:
        """Store rows as one version of the table; see `Store`.

        Raises:
            ConfigurationError: if LanceDB cannot have a column with the name of metadata, or an id or a value does not
                fit into its column.
        """
        async with self._alone():
            await self._put(ids, hashes, vectors, texts, metadata)

    async def fingerprint(self) -> StoreFingerprint | None:
        """Return the fingerprint of the table, None if it has none."""
        table = await self._open()
        return self._kind(await table.schema()) if table else None

    async def dimension(self) -> int | None:
        """Return the dimension of the vectors, None if the table has no fingerprint."""
        table = await self._open()
        schema = await table.schema() if table else None
        found = self._kind(schema) if schema else None
        return _dimension_of(schema, found) if schema and found else None

    async def search(self, vector: Vector, k: int = 10) -> list[Found]:
        """Return the `k` rows whose vectors are nearest to `vector`. It uses the index of the table if there is one.

        Raises:
            ConfigurationError: if the vector has another length, `k` is below 1, or the table does not exist.
        """
        check_count("k", k)
        table = await self._open()
        found = self._kind(schema := await table.schema()) if table else None
        if table is None or found is None:
            raise ConfigurationError(f"{self!r} is not a table of embed_to_store")
        width = schema.field("embedding").type.list_size
        if len(vector) != width:
            raise ConfigurationError(f"the query has {len(vector)} numbers, but the vectors of {self!r} have {width}")
        packed = found["dtype"] in PACKED
        if found["dtype"] != "float32":
            return await self._search_all(table, vector, k, packed=packed)
        rows = await table.query().nearest_to(vector).distance_type("cosine").limit(k).to_arrow()
        return [_found(row, 1 - row.pop("_distance")) for row in rows.drop_columns(["hash", "embedding"]).to_pylist()]

    async def count(self) -> int:
        """Return the number of rows."""
        table = await self._open()
        return int(await table.count_rows()) if table else 0

    async def columns(self) -> list[str]:
        """Return the names of the columns with metadata."""
        table = await self._open()
        return [name for name in (await table.schema()).names if name not in OWN_COLUMNS] if table else []

    async def aclose(self) -> None:
        """Close the database. The next call opens it again."""
        table, database = self._table, self._database
        self._table = self._database = None
        if table:
            table.close()
        if database:
            database.close()

    async def _put(
        self,
        ids: Sequence[TextId],
        hashes: Sequence[bytes],
        vectors: Matrix,
        texts: Sequence[str] | None,
        metadata: Sequence[Metadata | None],
    ) -> None:
        table = self._table
        rows = self._arrow(ids, hashes, vectors, texts, metadata, await table.schema() if table else None)
        if table is None:
            database = await self._connect()
            marked = rows.replace_schema_metadata({KEY: fingerprint_to_json(self._fingerprint).encode()})
            # Another process may have created it meanwhile, perhaps for vectors of another kind.
            self._table = await database.create_table(self._name, schema=marked.schema, exist_ok=True)
            await self.prepare(self._fingerprint, _dimension_of(marked.schema, self._fingerprint))
            return await self._put(ids, hashes, vectors, texts, metadata)
        await self._add_columns(table, rows.schema)
        await table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(rows)
        self._puts += 1
        if self._puts % PUTS_BETWEEN == 0:
            await table.optimize(cleanup_older_than=KEPT)
        return None

    async def _search_all(self, table: lancedb.AsyncTable, vector: Vector, k: int, *, packed: bool) -> list[Found]:
        """Compare all rows, for types of numbers that LanceDB has no distance for."""
        best: list[tuple[float, dict[str, object]]] = []
        async for batch in await table.query().to_batches():
            matrix = batch["embedding"].flatten().to_numpy(zero_copy_only=False).reshape(batch.num_rows, -1)
            scores = similarities(matrix, vector, packed=packed)
            nearest = np.argsort(-scores, kind="stable")[:k]
            rows = batch.drop_columns(["hash", "embedding"]).take(nearest).to_pylist()
            best += zip(map(float, scores[nearest]), rows, strict=True)
            best = sorted(best, key=lambda hit: -hit[0])[:k]
        return [_found(row, score) for score, row in best]

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Keep other writers out of the folder."""
        await self._connect()  # creates the folder
        if lock := self._lock():
            async with write_lock(lock):
                yield
        else:
            yield

    def _lock(self) -> Path | None:
        """Return the path of the lock file, None if the database is in no folder."""
        return None if isinstance(self._uri, Address) else Path(self._uri).resolve() / ".asyncembed.lock"

    def _is_missing(self) -> bool:
        return not isinstance(self._uri, Address) and not Path(self._uri).exists()

    async def _connect(self) -> lancedb.AsyncConnection:
        if self._database is None:
            # The interval makes each call see what others have written.
            self._database = await _package().connect_async(str(self._uri), read_consistency_interval=timedelta(0))
        return self._database

    async def _open(self) -> lancedb.AsyncTable | None:
        if self._table is None:
            _package()
            if self._is_missing():  # to connect would create the folder
                return None
            database = await self._connect()
            try:
                self._table = await database.open_table(self._name)
            except ValueError as error:  # its message says "not found"
                if "not found" not in str(error):
                    raise
        return self._table

    async def _add_columns(self, table: lancedb.AsyncTable, schema: pa.Schema) -> None:
        import pyarrow as pa  # noqa: PLC0415

        there = set((await table.schema()).names)
        if missing := [field for field in schema if field.name not in there]:
            await table.add_columns(pa.schema(missing))

    def _arrow(  # noqa: PLR0917  # called by `put` alone
        self,
        ids: Sequence[TextId],
        hashes: Sequence[bytes],
        vectors: Matrix,
        texts: Sequence[str] | None,
        metadata: Sequence[Metadata | None],
        schema: pa.Schema | None,
    ) -> pa.Table:
        """Return rows as a table with the columns of `schema` and those that are new."""
        import pyarrow as pa  # noqa: PLC0415

        dtype: Dtype = self._fingerprint["dtype"]  # type: ignore[assignment]
        numbers = np.ascontiguousarray(vectors, NUMPY_TYPES[dtype]).reshape(-1)
        count = len(ids)
        columns: dict[str, pa.Array[Any]] = {
            "id": pa.array(self._as_column(ids, schema)),
            "hash": pa.array(list(hashes), pa.binary(HASH_BYTES)),
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(numbers), vectors.shape[1]),
            "text": pa.array(list(texts) if texts else [None] * count, pa.string()),
        }
        for name in [*(schema.names if schema else ()), *names_of(metadata, self.check_name)]:
            if name not in columns:
                values = [_value(row, name) for row in metadata]
                columns[name] = self._column(name, values, schema)
        return pa.table({name: column for name, column in columns.items() if column.type != pa.null()})

    def _column(self, name: str, values: list[object], schema: pa.Schema | None) -> pa.Array[Any]:
        """Return one column of metadata.

        Raises:
            ConfigurationError: if the values do not fit into the existing column, or have several types.
        """
        import pyarrow as pa  # noqa: PLC0415

        kind = schema.field(name).type if schema is not None and name in schema.names else None
        try:
            if (
                kind is not None
                and pa.types.is_integer(kind)
                and pa.types.is_floating((found := pa.array(values)).type)
            ):
                return found.cast(kind)  # raises if it would cut off a fraction, which `pa.array` does silently
            return pa.array(values, kind)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise ConfigurationError(
                f"the values of {name!r} do not fit into one column of {self!r}: {error}"
            ) from None

    def _as_column(self, ids: Sequence[TextId], schema: pa.Schema | None) -> list[str | int]:
        """Return ids in the type of the column.

        Raises:
            ConfigurationError: if one of them has another type.
        """
        import pyarrow as pa  # noqa: PLC0415

        keys = list(map(plain_id, ids))
        if schema is None:
            return keys if len(set(map(type, keys))) == 1 else list(map(str, keys))
        is_number = pa.types.is_integer(schema.field("id").type)
        for key in keys:
            if isinstance(key, int) != is_number:
                kind = "integers" if is_number else "strings"
                raise ConfigurationError(
                    f"the id {key!r} does not fit into the column id of {self!r}, which holds {kind}"
                )
        return keys

    def _kind(self, schema: pa.Schema) -> StoreFingerprint | None:
        text = (schema.metadata or {}).get(KEY)
        return fingerprint_from_json(text, repr(self)) if text else None


def _package() -> ModuleType:
    try:
        import lancedb  # noqa: PLC0415
    except ImportError as error:
        raise missing("LanceTable", "lancedb", "lancedb") from error
    return lancedb


def _found(row: dict[str, Any], score: float) -> Found:
    metadata = {name: value for name, value in row.items() if name not in OWN_COLUMNS}
    return Found(row["id"], score, row["text"], metadata)


def _value(row: Metadata | None, name: str) -> object:
    value = row.get(name) if row else None
    return bool(value) if isinstance(value, bool | np.bool_) else scalar(value)


def _dimension_of(schema: pa.Schema, fingerprint: Mapping[str, object]) -> int:
    width: int = schema.field("embedding").type.list_size
    return 8 * width if fingerprint["dtype"] in PACKED else width


def _literal(key: str | int) -> str:
    return str(key) if isinstance(key, int) else "'" + key.replace("'", "''") + "'"
