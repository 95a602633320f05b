"""Cohere: `POST /v2/embed` (by type) and `POST /v1/embed` (plain floats, or by type).

Facts from Cohere's OpenAPI description, rate limit page and Python SDK 7.3: at most 96 texts a request, 2,000 texts a
minute for trial and production keys alike, no empty text, `input_type` required. v1 answers with plain floats when
`embedding_types` is absent. Tokens billed are in `meta.billed_units`. Its base64 was never seen recorded, so it is used
only where the dimension is known to check it by.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, Literal

from asyncembed.flow._rate import RateLimit
from asyncembed.providers._base import Limits, Provider
from asyncembed.wire._layout import Layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncembed._settings import EmbedOptions

_TYPE_NAMES: Final = {"float32": "float", "int8": "int8", "uint8": "uint8", "binary": "binary", "ubinary": "ubinary"}


class Cohere(Provider):
    """Cohere's v2 API; vectors lie below the name of their type."""

    name = "cohere"
    base_url: ClassVar[str | None] = "https://api.cohere.com"
    base_url_variable: ClassVar[str | None] = "CO_API_URL"
    path = "/v2/embed"
    key_variables: ClassVar[tuple[str, ...]] = ("CO_API_KEY", "COHERE_API_KEY")
    default_model = "embed-v4.0"
    dimensions = {  # noqa: RUF012  # declared ClassVar in the base
        "embed-v4.0": 1536,
        "embed-english-v3.0": 1024,
        "embed-multilingual-v3.0": 1024,
        "embed-english-light-v3.0": 384,
        "embed-multilingual-light-v3.0": 384,
    }
    limits = Limits(inputs=96)
    rate_limit: ClassVar[RateLimit | None] = RateLimit(inputs_per_minute=2_000)
    options = frozenset({"input_type", "dimensions", "truncate"})
    input_types = {"document": "search_document", "query": "search_query"}  # noqa: RUF012
    dtypes = frozenset({"float32", "int8", "uint8", "binary", "ubinary"})
    base64_offered = True

    def body(
        self, texts: Sequence[str], options: EmbedOptions, encoding: Literal["base64", "float"]
    ) -> dict[str, object]:
        """Return the body of a v2 request."""
        return {
            "model": options.model,
            "texts": texts,
            "input_type": self.input_type(options),
            "embedding_types": [_type_name(options, encoding)],
            "output_dimension": options.dimensions,
            "truncate": options.truncate,
        }

    def layout(self, options: EmbedOptions, encoding: Literal["base64", "float"]) -> Layout:
        """Vectors lie in one list for each type."""
        return Layout(
            vectors=frozenset({f"embeddings.{_type_name(options, encoding)}.item"}),
            tokens=("meta.billed_units.input_tokens",),
            messages=("message",),
        )


class CohereV1(Cohere):
    """Cohere's v1 API; plain floats have the smaller request and are told apart from typed ones by their place."""

    name = "cohere-v1"
    path = "/v1/embed"
    default_model = "embed-english-v3.0"
    options = frozenset({"input_type", "truncate"})

    def body(
        self, texts: Sequence[str], options: EmbedOptions, encoding: Literal["base64", "float"]
    ) -> dict[str, object]:
        """Return the body of a v1 request, without types where plain floats are wanted."""
        body = super().body(texts, options, encoding)
        if _type_name(options, encoding) == "float":
            del body["embedding_types"]
        return body

    def layout(self, options: EmbedOptions, encoding: Literal["base64", "float"]) -> Layout:
        """Vectors lie in a bare list, or by type: the first event below `embeddings` decides."""
        typed = super().layout(options, encoding)
        return Layout(vectors=typed.vectors | {"embeddings.item"}, tokens=typed.tokens, messages=typed.messages)


def _type_name(options: EmbedOptions, encoding: Literal["base64", "float"]) -> str:
    wants_base64 = options.dtype == "float32" and encoding == "base64"
    return "base64" if wants_base64 else _TYPE_NAMES[options.dtype]
