"""An embedding function for LanceDB's registry: `get_registry().get("asyncembed").create(provider="cohere")`.

Import this module before you open the table again: LanceDB finds the function by its name. The table keeps its fields,
among them the name of the variable with the key, and never the key. Null and empty texts give null, unpaid.
"""

from typing import Any

import numpy as np
from lancedb.embeddings import TextEmbeddingFunction, register

from asyncembed import ClientSpec, EmbedOptionsArgs, SyncEmbedder


@register("asyncembed")
class LanceFunction(TextEmbeddingFunction):
    provider: str
    model: str | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    dimensions: int | None = None
    max_retries: int = 0  # the client repeats requests itself

    @property
    def spec(self) -> ClientSpec:
        return ClientSpec(self.provider, model=self.model, base_url=self.base_url, api_key_env=self.api_key_env)

    def ndims(self) -> int:
        return self.dimensions or self.spec.dimension()

    def options(self, input_type: str) -> EmbedOptionsArgs:
        length: EmbedOptionsArgs = {"dimensions": self.dimensions} if self.dimensions else {}
        return {"input_type": input_type, **length}

    def generate_embeddings(self, texts: list[str] | np.ndarray, *_: Any, **__: Any) -> list[np.ndarray | None]:
        there = [text for text in texts if text]
        found = SyncEmbedder(self.spec).embed(there, **self.options("document"))
        vectors = iter(found.embeddings)
        return [next(vectors) if text else None for text in texts]

    def compute_query_embeddings(self, query: str, *_: Any, **__: Any) -> list[np.ndarray | None]:
        return [SyncEmbedder(self.spec).embed_query(query, **self.options("query"))]
