"""An embedding model for pydantic-ai: `Embedder(AsyncEmbedModel("cohere", api_key_env="CO_API_KEY"))`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from asyncembed._missing import missing
from asyncembed.integrations._embedder import Embedder, repr_of, spec_of

try:
    from pydantic_ai.embeddings import EmbeddingModel, EmbeddingResult
    from pydantic_ai.usage import RequestUsage
except ImportError:
    raise missing("asyncembed.integrations.pydantic_ai", "pydantic-ai-slim", "pydantic-ai") from None

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic_ai.embeddings import EmbeddingSettings
    from pydantic_ai.embeddings.result import EmbedInputType

    from asyncembed._spec import ClientSpec, SpecArguments
    from asyncembed.providers import Provider


class AsyncEmbedModel(EmbeddingModel):
    """pydantic-ai's `EmbeddingModel`. It uses the setting `dimensions`, can be pickled and holds no key.

    Args:
        provider: A `ClientSpec`, or the provider that one takes.
        spec: A `ClientSpec`, in place of `provider`.
        settings: Default settings, as pydantic-ai has them.
        **fields: Without a spec, the fields of one.

    Raises:
        ConfigurationError: if a setting is wrong.
    """

    def __init__(
        self,
        provider: str | Provider | ClientSpec | None = None,
        *,
        spec: ClientSpec | None = None,
        settings: EmbeddingSettings | None = None,
        **fields: Unpack[SpecArguments],
    ) -> None:
        super().__init__(settings=settings)
        self._spec = spec_of(provider, spec, fields)

    def __repr__(self) -> str:
        return repr_of(self, self.spec)

    @property
    def spec(self) -> ClientSpec:
        """The settings of the client."""
        return self._spec

    @property
    def model_name(self) -> str:
        """The provider's name of the model."""
        return self._spec.model or self._spec.make_provider().default_model

    @property
    def system(self) -> str:
        """Name of the provider."""
        return self._spec.make_provider().name

    @property
    def base_url(self) -> str | None:
        """The `base_url` of the spec."""
        return self._spec.base_url

    async def embed(
        self, inputs: str | Sequence[str], *, input_type: EmbedInputType, settings: EmbeddingSettings | None = None
    ) -> EmbeddingResult:
        """Embed texts as queries or documents."""
        texts, merged = self.prepare_embed(inputs, settings)
        response = await Embedder(self._spec, merged.get("dimensions")).aembed(texts, input_type)
        return EmbeddingResult(
            embeddings=response.embeddings.tolist(),
            inputs=texts,
            input_type=input_type,
            model_name=response.model,
            provider_name=self.system,
            usage=RequestUsage(input_tokens=response.usage.tokens),
        )
