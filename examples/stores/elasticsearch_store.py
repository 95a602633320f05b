"""A store in an Elasticsearch index.

    await client.embed_to_store(rows, ElasticStore(AsyncElasticsearch(...), "docs"))

The mapping of the index holds the fingerprint. A bulk request is not a transaction, but repeating it changes nothing:
if one row fails, all rows of the request are sent again.
"""

from collections.abc import Sequence

from elasticsearch import AsyncElasticsearch
from elasticsearch.helpers import async_streaming_bulk

from asyncembed import Matrix
from asyncembed.stores import (
    Metadata,
    StoreFingerprint,
    TextId,
    check_fingerprint,
    fingerprint_from_json,
    fingerprint_to_json,
)


class ElasticStore:
    def __init__(self, client: AsyncElasticsearch, index: str) -> None:
        self.client, self.index = client, index

    async def prepare(self, fingerprint: StoreFingerprint, dimension: int | None) -> int | None:
        if await self.client.indices.exists(index=self.index):
            mapping = (await self.client.indices.get_mapping(index=self.index))[self.index]["mappings"]
            found = fingerprint_from_json(mapping["_meta"]["kind"], self.index)
            length = mapping["properties"]["embedding"]["dims"]
            check_fingerprint(self.index, found, fingerprint, length, dimension)
            return int(length)
        if dimension:
            vector = {"type": "dense_vector", "dims": dimension, "similarity": "cosine"}
            mapping = {"_meta": {"kind": fingerprint_to_json(fingerprint)}, "properties": {"embedding": vector}}
            await self.client.indices.create(index=self.index, mappings=mapping)
        return dimension

    async def present(self, ids: Sequence[TextId], hashes: Sequence[bytes]) -> Sequence[bool]:
        if not await self.client.indices.exists(index=self.index):
            return [False] * len(ids)
        found = await self.client.mget(index=self.index, ids=list(map(str, ids)), source_includes=["hash"])
        known = {row["_id"]: row["_source"]["hash"] for row in found["docs"] if row["found"]}
        return [known.get(str(id_)) == hash_.hex() for id_, hash_ in zip(ids, hashes, strict=True)]

    async def put(
        self,
        ids: Sequence[TextId],
        hashes: Sequence[bytes],
        vectors: Matrix,
        texts: Sequence[str] | None,
        metadata: Sequence[Metadata | None],
    ) -> None:
        rows = zip(ids, hashes, vectors, [None] * len(ids) if texts is None else texts, metadata, strict=True)
        actions = (
            {
                "_index": self.index,
                "_id": str(id_),
                "_source": {**(more or {}), "hash": hash_.hex(), "embedding": vector.tolist(), "text": text},
            }
            for id_, hash_, vector, text, more in rows
        )
        async for _ in async_streaming_bulk(self.client, actions, max_retries=3):
            pass  # raises an exception if a row fails

    async def aclose(self) -> None:
        await self.client.close()
