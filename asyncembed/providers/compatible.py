"""OpenAI's wire format, `POST /embeddings`, as many services and servers speak it, without any fact about OpenAI.

The key order inside an item differs between servers, so the index may come after the vector. Many servers ignore a
request for base64 and answer with lists, so the parser looks at each value. Floats are the format's default, so
requests never name them.
"""

from __future__ import annotations

from typing import ClassVar

from asyncembed._models import Limits
from asyncembed._parser.layout import Layout
from asyncembed.providers._base import Fields, Provider, Words


class Compatible(Provider):
    """Common facts of all servers that speak OpenAI's format; `base_url` includes the version."""

    path = "/embeddings"
    default_model = ""
    limits = Limits(inputs=2_048, first=64)
    fields: ClassVar[Fields] = {
        "model": "model",
        "texts": "input",
        "dimensions": "dimensions",
        "encoding": "encoding_format",
    }
    words: ClassVar[Words] = {"encoding": {"float": None}, "dtype": {"float32": None}}
    answer = Layout(
        vectors=frozenset({"data.item.embedding"}),
        item="data.item",
        index="data.item.index",
        tokens=("usage.total_tokens", "usage.prompt_tokens"),
    )


class Custom(Compatible):
    """Any server that speaks OpenAI's format: pass `base_url` and `model`."""

    name = "custom"
    key_variables = ("EMBED_API_KEY",)
    base_url_variable = "EMBED_BASE_URL"
