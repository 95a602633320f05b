"""OpenAI's `POST /embeddings`, also for compatible servers with `base_url`.

The facts come from OpenAI's API description: at most 2,048 texts and 300,000 tokens per request, 8,192 tokens per text,
no empty text, no unknown fields. Recorded responses hold its base64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from asyncembed._models import Limits
from asyncembed.providers._base import Model, Price
from asyncembed.providers.compatible import Compatible

if TYPE_CHECKING:
    from collections.abc import Mapping

OPENAI_MODELS: Final[Mapping[str, Model]] = {
    "text-embedding-3-small": Model(
        dimension=1536, dimensions=range(1, 1537), unit=range(1, 1537), max_tokens=8192, price=Price(0.02, "2026-11")
    ),
    "text-embedding-3-large": Model(
        dimension=3072, dimensions=range(1, 3073), unit=range(1, 3073), max_tokens=8192, price=Price(0.13, "2026-11")
    ),
    "text-embedding-ada-002": Model(
        dimension=1536, dimensions=(), unit=(1536,), max_tokens=8192, price=Price(0.10, "2026-11")
    ),
}


class OpenAI(Compatible):
    """OpenAI; `base_url` includes the version, as in the SDK."""

    name = "openai"
    base_url = "https://api.openai.com/v1"
    base_url_variable = "OPENAI_BASE_URL"
    key_variables = ("OPENAI_API_KEY",)
    header_variables: ClassVar = {"OpenAI-Organization": "OPENAI_ORG_ID", "OpenAI-Project": "OPENAI_PROJECT_ID"}
    default_model = "text-embedding-3-small"
    models = OPENAI_MODELS
    limits = Limits(inputs=2_048, tokens=300_000)
    refuses_long_texts = True
    base64 = "seen"
