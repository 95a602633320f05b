"""An embedding function of Chroma: `client.create_collection("docs", embedding_function=ChromaFunction("cohere"))`.

Import this module before you open the collection again: Chroma finds the function by its name. The collection keeps its
fields, among them the name of the variable with the key, and never the key.
"""

from typing import Any

from chromadb import Documents, EmbeddingFunction, Embeddings
from chromadb.utils.embedding_functions import register_embedding_function

from asyncembed import ClientSpec, SyncEmbedder


@register_embedding_function
class ChromaFunction(EmbeddingFunction[Documents]):
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

    def __call__(self, input: Documents) -> Embeddings:  # noqa: A002  # as Chroma calls it
        return list(self.embedder.embed(input, input_type="document").embeddings)

    def embed_query(self, input: Documents) -> Embeddings:  # noqa: A002
        return list(self.embedder.embed_query(input))

    @staticmethod
    def name() -> str:
        return "asyncembed"

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> "ChromaFunction":
        return ChromaFunction(**config)

    def get_config(self) -> dict[str, Any]:
        return self.fields

    def default_space(self) -> str:
        return "cosine"
