"""A store in a Chroma collection: `client.embed_to_store(rows, ChromaStore(PersistentClient(...), "docs"))`.

Chroma's client blocks, so its calls run in threads. Ids become strings. The metadata of the collection holds the
fingerprint.
"""

import asyncio
from collections.abc import Sequence

from chromadb.api import ClientAPI

from asyncembed import Matrix
from asyncembed.stores import (
    Metadata,
    StoreFingerprint,
    TextId,
    check_fingerprint,
    fingerprint_from_json,
    fingerprint_to_json,
)


class ChromaStore:
    def __init__(self, client: ClientAPI, collection: str) -> None:
        self.client, self.name = client, collection

    async def prepare(self, fingerprint: StoreFingerprint, dimension: int | None) -> int | None:
        return await asyncio.to_thread(self._prepare, fingerprint, dimension)

    def _prepare(self, fingerprint: StoreFingerprint, dimension: int | None) -> int | None:
        self.collection = self.client.get_or_create_collection(
            self.name,
            metadata={"kind": fingerprint_to_json(fingerprint), "hnsw:space": "cosine"},
            embedding_function=None,
        )
        first = self.collection.get(limit=1, include=["embeddings"])["embeddings"]
        length = len(first[0]) if first is not None and len(first) else dimension
        found = fingerprint_from_json(self.collection.metadata["kind"], self.name)
        check_fingerprint(self.name, found, fingerprint, length, dimension)
        return length

    async def present(self, ids: Sequence[TextId], hashes: Sequence[bytes]) -> Sequence[bool]:
        found = await asyncio.to_thread(self.collection.get, ids=list(map(str, ids)), include=["metadatas"])
        known = dict(zip(found["ids"], (row["hash"] for row in found["metadatas"] or ()), strict=True))
        return [known.get(str(id_)) == hash_.hex() for id_, hash_ in zip(ids, hashes, strict=True)]

    async def put(
        self,
        ids: Sequence[TextId],
        hashes: Sequence[bytes],
        vectors: Matrix,
        texts: Sequence[str] | None,
        metadata: Sequence[Metadata | None],
    ) -> None:
        rows = [{**(more or {}), "hash": hash_.hex()} for more, hash_ in zip(metadata, hashes, strict=True)]
        await asyncio.to_thread(
            self.collection.upsert,
            ids=list(map(str, ids)),
            embeddings=vectors,
            metadatas=rows,
            documents=list(texts) if texts else None,
        )

    async def aclose(self) -> None:
        """Do nothing: Chroma closes its own connections."""
