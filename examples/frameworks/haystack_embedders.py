"""Components for Haystack: `TextEmbedder("cohere")` for queries and `DocumentEmbedder("cohere")` for documents.

A saved pipeline holds the name of the variable with the key, and never the key.
"""

import asyncio
from dataclasses import replace
from typing import Any

from haystack import Document, component, default_from_dict, default_to_dict

from asyncembed import ClientSpec, SyncEmbedder


class _Base:
    def __init__(
        self,
        provider: str,
        model: str | None = None,
        base_url: str | None = None,
        api_key_env: str | None = None,
    ) -> None:
        self.fields = {"provider": provider, "model": model, "base_url": base_url, "api_key_env": api_key_env}
        spec = ClientSpec(provider, model=model, base_url=base_url, api_key_env=api_key_env)
        self.embedder = SyncEmbedder(spec)

    def to_dict(self) -> dict[str, Any]:
        fields: dict[str, Any] = default_to_dict(self, **self.fields)
        return fields

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Any:
        return default_from_dict(cls, data)


@component
class TextEmbedder(_Base):
    @component.output_types(embedding=list[float])
    def run(self, text: str) -> dict[str, Any]:
        return {"embedding": self.embedder.embed_query(text).tolist()}

    @component.output_types(embedding=list[float])
    async def run_async(self, text: str) -> dict[str, Any]:
        return await asyncio.to_thread(self.run, text)


@component
class DocumentEmbedder(_Base):
    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        texts = [document.content or "" for document in documents]
        found = self.embedder.embed(texts, input_type="document")
        pairs = zip(documents, found.embeddings.tolist(), strict=True)
        return {"documents": [replace(document, embedding=vector) for document, vector in pairs]}

    @component.output_types(documents=list[Document])
    async def run_async(self, documents: list[Document]) -> dict[str, Any]:
        return await asyncio.to_thread(self.run, documents)
