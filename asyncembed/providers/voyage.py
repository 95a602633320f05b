"""Voyage AI: `POST /v1/embeddings`; `encoding_format` is "base64" or absent, and base64 holds numbers of the dtype.

The facts come from Voyage's documents and Python SDK 0.5: at most 1,000 texts per request, and a number of tokens that
depends on the model. Voyage bills tokens after truncation. Recorded responses hold its base64.
"""

from __future__ import annotations

from typing import ClassVar, Final

from asyncembed._models import Limits
from asyncembed.providers._base import Fields, Model, Models, Price, Words
from asyncembed.providers.compatible import Compatible

_DATE: Final = "2026-11"
_SIZES: Final = (256, 512, 1024, 2048)
_SMALL: Final = Limits(inputs=1_000, tokens=120_000)
_MIDDLE: Final = Limits(inputs=1_000, tokens=320_000)
_LARGE: Final = Limits(inputs=1_000, tokens=1_000_000)


def _model(dollars: float, limits: Limits, space: str | None = None) -> Model:
    """Return a model with the common facts of the newer models."""
    price = Price(dollars, _DATE)
    return Model(dimension=1024, dimensions=_SIZES, max_tokens=32_000, limits=limits, price=price, space=space)


def _fixed(dimension: int, max_tokens: int) -> Model:
    """Return a model with the common facts of the older models."""
    return Model(dimension=dimension, dimensions=(), max_tokens=max_tokens, price=Price(0.12, _DATE))


class Voyage(Compatible):
    """Voyage AI; for a key that starts with "al-", pass `base_url="https://ai.mongodb.com/v1"`."""

    name = "voyage"
    base_url = "https://api.voyageai.com/v1"
    hosts = ("ai.mongodb.com", "*.ai.mongodb.com")
    key_variables = ("VOYAGE_API_KEY",)
    default_model = "voyage-3.5"
    models: ClassVar[Models] = {
        "voyage-4-large": _model(0.12, _SMALL, "voyage-4"),
        "voyage-4": _model(0.06, _MIDDLE, "voyage-4"),
        "voyage-4-lite": _model(0.02, _LARGE, "voyage-4"),
        "voyage-code-4": Model(dimension=1024, max_tokens=32_000, price=Price(0.12, _DATE)),
        "voyage-3-large": _model(0.18, _SMALL),
        "voyage-3.5": _model(0.06, _MIDDLE),
        "voyage-3.5-lite": _model(0.02, _LARGE),
        "voyage-code-3": _model(0.18, _SMALL),
        "voyage-finance-2": _fixed(1024, 32_000),
        "voyage-law-2": _fixed(1024, 16_000),
        "voyage-code-2": _fixed(1536, 16_000),
        "voyage-large-2": _fixed(1536, 16_000),
    }
    limits = _SMALL
    fields: ClassVar[Fields] = {
        "model": "model",
        "texts": "input",
        "input_type": "input_type",
        "truncate": "truncation",
        "dimensions": "output_dimension",
        "dtype": "output_dtype",
        "encoding": "encoding_format",
    }
    words: ClassVar[Words] = {
        **Compatible.words,
        "input_type": {"document": "document", "query": "query"},
        "truncate": {"END": True, "NONE": False},
    }
    closed = frozenset({"input_type", "truncate"})
    long_text: ClassVar = {"fail": "NONE", "truncate": "END"}
    dtypes = frozenset({"float32", "int8", "uint8", "binary", "ubinary"})
    base64 = "seen"
