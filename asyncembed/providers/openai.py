"""OpenAI's `POST /embeddings`, and every server that speaks it (vLLM, TEI, Ollama, LM Studio, llama.cpp, ...).

Facts from OpenAI's API description: at most 2,048 texts and 300,000 tokens a request, no empty text, no unknown
fields. Key order inside an item differs between servers, so the index may come after the vector. base64 is asked
first and taken value by value: many servers answer with lists all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from asyncembed.providers._base import Limits, Provider
from asyncembed.wire._layout import Layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncembed._settings import EmbedOptions


class OpenAI(Provider):
    """OpenAI and compatible servers; `base_url` includes the version, as in the SDK."""

    name = "openai"
    base_url = "https://api.openai.com/v1"
    base_url_variable = "OPENAI_BASE_URL"
    path = "/embeddings"
    key_variables = ("OPENAI_API_KEY",)
    header_variables = {"OpenAI-Organization": "OPENAI_ORG_ID", "OpenAI-Project": "OPENAI_PROJECT_ID"}  # noqa: RUF012
    default_model = "text-embedding-3-small"
    dimensions = {  # noqa: RUF012  # declared ClassVar in the base
        "text-embedding-3-small": 1536,
        "text-embedding-3-large": 3072,
        "text-embedding-ada-002": 1536,
    }
    limits = Limits(inputs=2_048, tokens=300_000)
    options = frozenset({"dimensions"})
    base64_by_default = True

    def body(
        self, texts: Sequence[str], options: EmbedOptions, encoding: Literal["base64", "float"]
    ) -> dict[str, object]:
        """Return the body of a request; floats are the API's default, so that word is never sent."""
        return {
            "model": options.model,
            "input": texts,
            "dimensions": options.dimensions,
            "encoding_format": "base64" if encoding == "base64" else None,
        }

    def layout(self, options: EmbedOptions, encoding: Literal["base64", "float"]) -> Layout:  # noqa: ARG002
        """One item a vector; `usage` may come before or after them."""
        return Layout(
            vectors=frozenset({"data.item.embedding"}),
            item="data.item",
            index="data.item.index",
            tokens=("usage.total_tokens", "usage.prompt_tokens"),
        )
