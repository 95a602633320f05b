"""Cohere: `POST /v2/embed` (by type) and `POST /v1/embed` (plain floats, or by type).

The facts come from Cohere's OpenAPI description, rate limit page and Python SDK 7.3: at most 96 texts per request,
2,000 texts per minute for trial and production keys alike, no empty text, `input_type` required. v1 answers with plain
floats if the request has no `embedding_types`. `meta.billed_units` holds the billed tokens. No recorded response holds
base64, but one response may hold several types, so the client can compare base64 with the numbers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Final

from asyncembed._models import Limits
from asyncembed._parser.layout import Layout
from asyncembed._ratelimit import RateLimit
from asyncembed.providers._base import BothEncodings, Fields, Model, Price, Provider, Words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncembed._config import EmbedOptions
    from asyncembed.providers._base import Encoding, Models

_DATE: Final = "2026-11"
_V3: Final = Model(dimension=1024, dimensions=(), max_tokens=512, price=Price(0.10, _DATE))
_LIGHT: Final = Model(dimension=384, dimensions=(), max_tokens=512, price=Price(0.10, _DATE))
_INTEGERS: Final = ("int8", "uint8", "binary", "ubinary")

BY_TYPE: Final[Mapping[object, object]] = {"float": ["float"], "base64": ["base64"]}
BOTH: Final = BothEncodings(fields={"embedding_types": ["float", "base64"]}, place="embeddings.base64.item")


class CohereFormat(Provider):
    """Cohere's v2 wire format, for its service and other servers; vectors stand below the name of their type."""

    path = "/v2/embed"
    default_model = ""
    limits = Limits(inputs=96)
    fields: ClassVar[Fields] = {
        "model": "model",
        "texts": "texts",
        "input_type": "input_type",
        "dimensions": "output_dimension",
        "truncate": "truncate",
        "encoding": "embedding_types",
        "dtype": "embedding_types",
    }
    words: ClassVar[Words] = {
        "input_type": {"document": "search_document", "query": "search_query"},
        "encoding": BY_TYPE,
        "dtype": {"float32": None} | {dtype: [dtype] for dtype in _INTEGERS},
    }
    dtypes = frozenset({"float32", *_INTEGERS})
    long_text: ClassVar = {"fail": "NONE", "truncate": "END"}
    answer = Layout(vectors=frozenset(), tokens=("meta.billed_units.input_tokens",), messages=("message",))

    def layout(self, options: EmbedOptions, encoding: Encoding) -> Layout:
        """Return the place of the vectors; each type has a list of its own."""
        kind = encoding if options.dtype == "float32" else options.dtype
        return replace(self.answer, vectors=frozenset({f"embeddings.{kind}.item"}))


class Cohere(CohereFormat):
    """Cohere's v2 API."""

    name = "cohere"
    base_url = "https://api.cohere.com"
    base_url_variable = "CO_API_URL"
    key_variables = ("CO_API_KEY", "COHERE_API_KEY")
    default_model = "embed-v4.0"
    models: ClassVar[Models] = {
        # One vector space: queries by one of them can search documents by the other.
        "embed-v5.0-pro": Model(dimension=2048, max_tokens=128_000, price=Price(0.12, _DATE), space="cohere-v5"),
        "embed-v5.0-fast": Model(dimension=2048, max_tokens=128_000, price=Price(0.08, _DATE), space="cohere-v5"),
        "embed-v4.0": Model(
            dimension=1536, dimensions=(256, 512, 1024, 1536), max_tokens=128_000, price=Price(0.12, _DATE)
        ),
        "embed-english-v3.0": _V3,
        "embed-multilingual-v3.0": _V3,
        "embed-english-light-v3.0": _LIGHT,
        "embed-multilingual-light-v3.0": _LIGHT,
    }
    rate_limit = RateLimit(inputs_per_minute=2_000)
    base64 = "offered"
    both_encodings = BOTH


class CohereV1(Cohere):
    """Cohere's v1 API; plain floats need the smaller request, and their place differs from that of typed vectors."""

    name = "cohere-v1"
    path = "/v1/embed"
    default_model = "embed-english-v3.0"
    fields: ClassVar[Fields] = {fact: name for fact, name in CohereFormat.fields.items() if fact != "dimensions"}
    words: ClassVar[Words] = {**CohereFormat.words, "encoding": {**BY_TYPE, "float": None}}

    def layout(self, options: EmbedOptions, encoding: Encoding) -> Layout:
        """Return both places of the vectors: a bare list, and a list for each type."""
        typed = super().layout(options, encoding)
        return replace(typed, vectors=typed.vectors | {"embeddings.item"})
