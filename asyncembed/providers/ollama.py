"""Ollama: `POST /api/embed`, its native API; floats only, counters after the vectors, no key and no index.

It has no limit for the size of a request. It truncates long texts silently, unless you pass `truncate="NONE"`.
"""

from __future__ import annotations

from typing import ClassVar

from asyncembed._decide.signs import Sign
from asyncembed._models import Limits
from asyncembed._parser.layout import Layout
from asyncembed.providers._base import Fields, Model, Models, Provider, Words


class Ollama(Provider):
    """Ollama on this machine, or on another machine with `base_url`."""

    name = "ollama"
    base_url = "http://127.0.0.1:11434"
    base_url_variable = "OLLAMA_HOST"
    adds_scheme = True
    default_port = 11434
    path = "/api/embed"
    default_model = "nomic-embed-text"
    models: ClassVar[Models] = {
        "nomic-embed-text": Model(dimension=768),
        "all-minilm": Model(dimension=384),
    }
    limits = Limits(inputs=2_048, first=64)
    fields: ClassVar[Fields] = {"model": "model", "texts": "input", "dimensions": "dimensions", "truncate": "truncate"}
    words: ClassVar[Words] = {"truncate": {"END": True, "NONE": False}}
    closed = frozenset({"truncate"})
    long_text: ClassVar = {"fail": "NONE", "truncate": "END"}
    answer = Layout(vectors=frozenset({"embeddings.item"}), tokens=("prompt_eval_count",), messages=("error",))
    signs = (Sign("text", words=r"unsupported value: \W?nan"),)
