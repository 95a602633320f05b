"""OpenAI's wire format, `POST /embeddings`, as many services and servers speak it; nothing of OpenAI's own is here.

Key order inside an item differs between servers, so the index may come after the vector. Where base64 is asked for,
each value is taken for what it is: many servers answer with lists all the same. Floats are the format's default, so
that word is never sent.
"""

from __future__ import annotations

from typing import ClassVar

from asyncembed._models import Limits
from asyncembed._parser.layout import Layout
from asyncembed.providers._base import Fields, Provider, Words


class Compatible(Provider):
    """What all servers that speak OpenAI's format have in common; `base_url` includes the version."""

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
    """Any server that speaks OpenAI's format: say `base_url` and `model`."""

    name = "custom"
    key_variables = ("EMBED_API_KEY",)
    base_url_variable = "EMBED_BASE_URL"
