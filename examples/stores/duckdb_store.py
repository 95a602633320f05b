"""A store in a DuckDB table: `client.embed_to_store(rows, DuckStore("vectors.duckdb", "docs"))`.

DuckDB blocks, so its calls run in threads, each with its own cursor. The comment on the table holds the fingerprint.
"""

import asyncio
from collections.abc import Sequence

import duckdb
import numpy as np
import pyarrow as pa

from asyncembed import Matrix
from asyncembed.stores import (
    Metadata,
    StoreFingerprint,
    TextId,
    check_fingerprint,
    fingerprint_from_json,
    fingerprint_to_json,
)


class DuckStore:
    def __init__(self, path: str, table: str) -> None:
        self.database, self.table = duckdb.connect(path), table

    async def prepare(self, fingerprint: StoreFingerprint, dimension: int | None) -> int | None:
        return await asyncio.to_thread(self._prepare, fingerprint, dimension)

    def _prepare(self, fingerprint: StoreFingerprint, dimension: int | None) -> int | None:
        query = "select comment from duckdb_tables() where table_name = ?"
        if row := self.database.cursor().execute(query, [self.table]).fetchone():
            kind, length = row[0].split("\n")
            check_fingerprint(self.table, fingerprint_from_json(kind, self.table), fingerprint, int(length), dimension)
            return int(length)
        if dimension:
            kind = fingerprint_to_json(fingerprint).replace("'", "''")
            columns = f"id varchar primary key, hash blob, embedding float[{dimension}], text varchar"
            self.database.cursor().execute(
                f'begin; create table "{self.table}" ({columns}); '
                f"comment on table \"{self.table}\" is '{kind}\n{dimension}'; commit"
            )
        return dimension

    async def present(self, ids: Sequence[TextId], hashes: Sequence[bytes]) -> Sequence[bool]:
        known = await asyncio.to_thread(self._hashes, list(map(str, ids)))
        return [known.get(str(id_)) == hash_ for id_, hash_ in zip(ids, hashes, strict=True)]

    def _hashes(self, ids: list[str]) -> dict[str, bytes]:
        cursor = self.database.cursor()
        if not cursor.execute("select 1 from duckdb_tables() where table_name = ?", [self.table]).fetchone():
            return {}
        query = f'select id, hash from "{self.table}" where list_contains(?, id)'  # noqa: S608
        return dict(cursor.execute(query, [ids]).fetchall())

    async def put(
        self,
        ids: Sequence[TextId],
        hashes: Sequence[bytes],
        vectors: Matrix,
        texts: Sequence[str] | None,
        metadata: Sequence[Metadata | None],  # noqa: ARG002  # the table has no metadata columns
    ) -> None:
        numbers = pa.array(vectors.astype(np.float32).reshape(-1))
        rows = pa.table({
            "id": pa.array(list(map(str, ids))),
            "hash": pa.array(list(hashes), pa.binary()),
            "embedding": pa.FixedSizeListArray.from_arrays(numbers, vectors.shape[1]),
            "text": pa.array([None] * len(ids) if texts is None else texts, pa.string()),
        })
        await asyncio.to_thread(self._upsert, rows)

    def _upsert(self, rows: pa.Table) -> None:
        cursor = self.database.cursor()
        cursor.register("rows", rows)
        cursor.execute(f'insert or replace into "{self.table}" select * from rows')  # noqa: S608

    async def aclose(self) -> None:
        await asyncio.to_thread(self.database.close)
