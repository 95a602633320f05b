"""A store in a Qdrant collection: `client.embed_to_store(rows, QdrantStore(AsyncQdrantClient(...), "docs"))`.

Qdrant's ids are whole numbers or UUIDs, so each id becomes a UUID, and the payload holds the original id. Every point
holds the fingerprint in its payload; `prepare` reads it from one of them.
"""

from collections.abc import Sequence
from uuid import NAMESPACE_OID, uuid5

from qdrant_client import AsyncQdrantClient
from qdrant_client.models import Distance, PointStruct, VectorParams

from asyncembed import Matrix
from asyncembed.stores import (
    Metadata,
    StoreFingerprint,
    TextId,
    check_fingerprint,
    fingerprint_from_json,
    fingerprint_to_json,
)


class QdrantStore:
    def __init__(self, client: AsyncQdrantClient, collection: str) -> None:
        self.client, self.collection, self.kind = client, collection, ""

    async def prepare(self, fingerprint: StoreFingerprint, dimension: int | None) -> int | None:
        self.kind = fingerprint_to_json(fingerprint)
        if await self.client.collection_exists(self.collection):
            points, _ = await self.client.scroll(self.collection, limit=1, with_vectors=True)
            if points:
                found = fingerprint_from_json(points[0].payload["kind"], self.collection)
                length = len(points[0].vector)
                check_fingerprint(self.collection, found, fingerprint, length, dimension)
                return length
        elif dimension:
            size = VectorParams(size=dimension, distance=Distance.COSINE)
            await self.client.create_collection(self.collection, vectors_config=size)
        return dimension

    async def present(self, ids: Sequence[TextId], hashes: Sequence[bytes]) -> Sequence[bool]:
        if not await self.client.collection_exists(self.collection):
            return [False] * len(ids)
        found = await self.client.retrieve(self.collection, [_point(id_) for id_ in ids], with_payload=["hash"])
        known = {str(point.id): point.payload["hash"] for point in found}
        return [known.get(_point(id_)) == hash_.hex() for id_, hash_ in zip(ids, hashes, strict=True)]

    async def put(
        self,
        ids: Sequence[TextId],
        hashes: Sequence[bytes],
        vectors: Matrix,
        texts: Sequence[str] | None,
        metadata: Sequence[Metadata | None],
    ) -> None:
        rows = zip(ids, hashes, vectors, [None] * len(ids) if texts is None else texts, metadata, strict=True)
        points = [
            PointStruct(
                id=_point(id_),
                vector=vector.tolist(),
                payload={**(more or {}), "id": str(id_), "text": text, "hash": hash_.hex(), "kind": self.kind},
            )
            for id_, hash_, vector, text, more in rows
        ]
        await self.client.upsert(self.collection, points, wait=True)

    async def aclose(self) -> None:
        await self.client.close()


def _point(id_: TextId) -> str:
    return str(uuid5(NAMESPACE_OID, f"{type(id_).__name__} {id_}"))
