"""A store in memory that fails and waits as a test says."""

from __future__ import annotations

import asyncio

from asyncembed.stores import check_fingerprint


def asked_for(server):
    """The texts that a server was asked for."""
    return [text for request in server.requests for text in request.texts]


class MemoryStore:
    def __init__(self):
        self.kind = None
        self.dimension = None
        self.rows = {}
        self.hashes = {}
        self.puts = 0
        self.before_put = lambda: None
        self.gate = asyncio.Event()
        self.gate.set()

    async def prepare(self, fingerprint, dimension):
        if self.kind is not None:
            check_fingerprint("the store", self.kind, fingerprint, self.dimension, dimension)
        self.kind, self.dimension = fingerprint, self.dimension or dimension
        return self.dimension

    async def present(self, ids, hashes):
        return [self.hashes.get(id_) == hash_ for id_, hash_ in zip(ids, hashes, strict=True)]

    async def put(self, ids, hashes, vectors, texts, metadata):
        await self.gate.wait()
        await asyncio.sleep(0)
        if error := self.before_put():
            raise error
        assert len(set(ids)) == len(ids) <= 1_000
        self.puts += 1
        self.hashes.update(zip(ids, hashes, strict=True))
        self.rows.update((id_, (text, vector)) for id_, text, vector in zip(ids, texts, vectors, strict=True))

    async def aclose(self):
        pass
