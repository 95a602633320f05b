"""Mistral: `POST /v1/embeddings`; at most 512 texts and 16,384 tokens per request.

It accepts "base64" but answers with numbers for mistral-embed. Its rate limit counts minutes of the clock; headers of
2025 also counted requests in 10 seconds. It sends no Retry-After.
"""

from __future__ import annotations

from typing import ClassVar, Final

from asyncembed._models import Limits
from asyncembed.providers._base import Fields, Model, Models, Price
from asyncembed.providers.compatible import Compatible

_TEXT: Final = Model(
    dimension=1024, dimensions=(), max_tokens=8192, dtypes=frozenset({"float32"}), price=Price(0.10, "2026-11")
)
_CODE: Final = Model(dimension=1536, dimensions=range(1, 3073), max_tokens=8192, price=Price(0.15, "2026-11"))


class Mistral(Compatible):
    """Mistral."""

    name = "mistral"
    base_url = "https://api.mistral.ai/v1"
    hosts = ("api.eu.mistral.ai", "api.us.mistral.ai")
    key_variables = ("MISTRAL_API_KEY",)
    default_model = "mistral-embed"
    models: ClassVar[Models] = {
        "mistral-embed": _TEXT,
        "mistral-embed-2312": _TEXT,
        "codestral-embed": _CODE,
        "codestral-embed-2505": _CODE,
    }
    limits = Limits(inputs=512, tokens=16_384)
    refuses_long_texts = True
    fields: ClassVar[Fields] = {
        "model": "model",
        "texts": "input",
        "dimensions": "output_dimension",
        "dtype": "output_dtype",
        "encoding": "encoding_format",
    }
    dtypes = frozenset({"float32", "int8", "uint8", "binary", "ubinary"})
