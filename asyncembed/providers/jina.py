"""Jina: `POST /v1/embeddings`, with `embedding_type` for dtype and encoding, and `task` for the input type.

The facts come from Jina's OpenAPI description. Jina publishes no maximum number of texts per request. No recorded
response holds base64, so requests do not ask for it.
"""

from __future__ import annotations

from typing import ClassVar, Final

from asyncembed._models import Limits
from asyncembed.providers._base import Fields, Model, Models, Words
from asyncembed.providers.compatible import Compatible

_V2: Final = Model(dimension=768, dimensions=(), max_tokens=8192, input_types={})


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
