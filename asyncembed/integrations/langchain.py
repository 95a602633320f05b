"""Embeddings for LangChain: `AsyncEmbedEmbeddings("cohere", api_key_env="CO_API_KEY")`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from asyncembed._missing import missing
from asyncembed.integrations._embedder import Embedder, repr_of, spec_of

try:
    from langchain_core.embeddings import Embeddings
except ImportError:
    raise missing("asyncembed.integrations.langchain", "langchain-core", "langchain") from None

if TYPE_CHECKING:
    from asyncembed._spec import ClientSpec, SpecArguments
    from asyncembed.providers import Provider


class AsyncEmbedEmbeddings(Embeddings):
    """LangChain's `Embeddings`, sync and async, for documents and queries. It can be pickled and holds no key.

    Args:
        provider: A `ClientSpec`, or the provider that one takes.
        spec: A `ClientSpec`, in place of `provider`.
        dimensions: Length of the vectors, if the model can shorten them.
        **settings: Without a spec, the fields of one.

    Raises:
        ConfigurationError: if a setting is wrong.
    """

    def __init__(
        self,
        provider: str | Provider | ClientSpec | None = None,
        *,
        spec: ClientSpec | None = None,
        dimensions: int | None = None,
        **settings: Unpack[SpecArguments],
    ) -> None:
        self._embedder = Embedder(spec_of(provider, spec, settings), dimensions)

    def __repr__(self) -> str:
        return repr_of(self, self.spec, self._embedder.dimensions)

    @property
    def spec(self) -> ClientSpec:
        """The settings of the client."""
        return self._embedder.spec

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed documents."""
        vectors: list[list[float]] = self._embedder.embed(texts, "document").embeddings.tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Embed a query."""
        vector: list[float] = self._embedder.query(text).tolist()
        return vector

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed documents without blocking the event loop."""
        vectors: list[list[float]] = (await self._embedder.aembed(texts, "document")).embeddings.tolist()
        return vectors

    async def aembed_query(self, text: str) -> list[float]:
        """Embed a query without blocking the event loop."""
        vector: list[float] = (await self._embedder.aquery(text)).tolist()
        return vector
