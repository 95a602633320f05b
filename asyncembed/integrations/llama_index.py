"""An embedding for LlamaIndex: `AsyncEmbedEmbedding("cohere", api_key_env="CO_API_KEY")`."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, cast

from asyncembed._config import Encoding, RetryPolicy, Timeouts
from asyncembed._missing import missing
from asyncembed._ratelimit import RateLimitOff  # noqa: TC001  # pydantic reads it
from asyncembed._spec import ClientSpec
from asyncembed.integrations._embedder import Embedder, repr_of, spec_of

try:
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.bridge.pydantic import PrivateAttr
except ImportError:
    raise missing("asyncembed.integrations.llama_index", "llama-index-core", "llama-index") from None

if TYPE_CHECKING:
    from asyncembed._spec import SpecArguments
    from asyncembed.providers import Provider

_MAX_TEXTS = 2_048
_FIELDS = tuple(field.name for field in fields(ClientSpec) if field.name not in {"provider", "model"})


class AsyncEmbedEmbedding(BaseEmbedding):
    """LlamaIndex's `BaseEmbedding`, sync and async, for texts and queries. It never persists a key.

    It has the fields of `ClientSpec`, with the model in `model_name`, and `dimensions`. With a provider of your own,
    `from_dict` cannot restore it.

    Args:
        provider: A `ClientSpec`, or the provider that one takes.
        spec: A `ClientSpec`, in place of `provider`.
        model: The provider's name of the model.
        **data: The other fields, and those of LlamaIndex.

    Raises:
        ConfigurationError: if a setting is wrong.
    """

    provider: str
    base_url: str | None = None
    api_key_env: str | None = None
    requests_per_minute: float | None = None
    inputs_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_memory_mb: float = 256
    max_concurrency: int = 32
    initial_concurrency: int | None = None
    cache: str | None = None
    cache_mb: float = 1_000
    retry: RetryPolicy | None = None
    timeouts: Timeouts | None = None
    encoding: Encoding = "auto"
    headers: tuple[tuple[str, str], ...] = ()
    rate_limit: RateLimitOff | None = None
    dimensions: int | None = None
    _embedder: Embedder = PrivateAttr()

    def __init__(
        self,
        provider: str | Provider | ClientSpec | None = None,
        *,
        spec: ClientSpec | None = None,
        model: str | None = None,
        **data: Any,
    ) -> None:
        given = {name: _read(name, data[name]) for name in (*_FIELDS, "api_key") if name in data}
        if model := model or data.pop("model_name", None):
            given["model"] = model
        spec = spec_of(provider, spec, cast("SpecArguments", given))
        data = {**data, **{name: getattr(spec, name) for name in _FIELDS}}
        data["model_name"] = spec.model or spec.make_provider().default_model
        super().__init__(**{"provider": spec.make_provider().name, "embed_batch_size": _MAX_TEXTS, **data})
        self._embedder = Embedder(spec, self.dimensions)

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which it is persisted."""
        return "AsyncEmbedEmbedding"

    def __repr__(self) -> str:
        return repr_of(self, self.spec, self.dimensions)

    __str__ = __repr__

    @property
    def spec(self) -> ClientSpec:
        """The settings of the client."""
        return self._embedder.spec

    def _get_query_embedding(self, query: str) -> list[float]:
        vector: list[float] = self._embedder.query(query).tolist()
        return vector

    async def _aget_query_embedding(self, query: str) -> list[float]:
        vector: list[float] = (await self._embedder.aquery(query)).tolist()
        return vector

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return (await self._aget_text_embeddings([text]))[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = self._embedder.embed(texts, "document").embeddings.tolist()
        return vectors

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = (await self._embedder.aembed(texts, "document")).embeddings.tolist()
        return vectors


def _read(name: str, value: Any) -> Any:
    """Return the value of a field as the spec has it, even if it was read from JSON."""
    kinds = {"retry": RetryPolicy, "timeouts": Timeouts}
    return kinds[name](**value) if name in kinds and isinstance(value, dict) else value
