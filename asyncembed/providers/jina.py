"""Jina: `POST /v1/embeddings`, with `embedding_type` for dtype and encoding, and `task` for the input type.

The facts come from Jina's OpenAPI description. Jina publishes no maximum number of texts per request. No recorded
response holds base64, so requests do not ask for it. The values of `task` depend on the model; some models have none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from asyncembed._models import Limits
from asyncembed.providers._base import UNKNOWN, Fields, Model, Models, Words
from asyncembed.providers.compatible import Compatible

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncembed._config import EmbedOptions

_V2: Final = Model(dimension=768, dimensions=(), max_tokens=8192, input_types={})
_OF_CODE: Final = {"document": "nl2code.passage", "query": "nl2code.query"}
_FAMILIES: Final[Mapping[str, Model]] = {
    "jina-embeddings-v5": UNKNOWN,
    "jina-embeddings-v2-base-": _V2,
    "jina-embeddings-v2-small-": Model(dimension=512, dimensions=(), max_tokens=8192, input_types={}),
    "jina-code-embeddings-": Model(input_types=_OF_CODE),
    "jina-clip-v1": Model(input_types={}),
    "jina-clip-v2": Model(input_types={"query": "retrieval.query"}),
    "jina-colbert-": Model(input_types={}),
}
"""Facts about models without an entry of their own, by the start of their names."""


class Jina(Compatible):
    """Jina AI; a free key allows 5 concurrent requests."""

    name = "jina"
    base_url = "https://api.jina.ai/v1"
    key_variables = ("JINA_API_KEY", "JINAAI_API_KEY", "JINA_AI_API_KEY")
    default_model = "jina-embeddings-v3"
    models: ClassVar[Models] = {
        "jina-embeddings-v4": Model(dimension=2048, dimensions=range(1, 2049), max_tokens=32_768),
        "jina-embeddings-v3": Model(dimension=1024, dimensions=range(1, 1025), max_tokens=8192),
        "jina-embeddings-v2-base-en": _V2,
        "jina-embeddings-v2-base-code": _V2,
    }
    limits = Limits(inputs=2_048, first=64)
    max_concurrency = 5
    fields: ClassVar[Fields] = {
        "model": "model",
        "texts": "input",
        "input_type": "task",
        "dimensions": "dimensions",
        "truncate": "truncate",
        "encoding": "embedding_type",
        "dtype": "embedding_type",
    }
    words: ClassVar[Words] = {
        **Compatible.words,
        "input_type": {"document": "retrieval.passage", "query": "retrieval.query"},
        "truncate": {"END": True, "NONE": False},
    }
    closed = frozenset({"truncate"})
    long_text: ClassVar = {"fail": "NONE", "truncate": "END"}
    dtypes = frozenset({"float32", "binary", "ubinary"})

    def model(self, name: str) -> Model:
        """Return the facts about a model, or else about its family."""
        return self._known or self.models.get(name) or _family(name) or UNKNOWN

    def input_type(self, options: EmbedOptions) -> str | None:
        """Return the value of `task`; for an unknown model only if the caller has given an input type."""
        is_known = self.has_given_model or options.model in self.models or _family(options.model) is not None
        return super().input_type(options) if is_known or options.input_type is not None else None


def _family(name: str) -> Model | None:
    return next((model for start, model in _FAMILIES.items() if name.startswith(start)), None)
