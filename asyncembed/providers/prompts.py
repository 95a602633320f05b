"""Prompts that a model expects before a text, for servers that do not add them themselves.

The families and their prompts are those of `mteb`, which runs the models with them. The client never guesses a family
from the name of a model: the server may add its own prompt, and two prompts are as bad as none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from asyncembed._config import check
from asyncembed._repr import shown
from asyncembed.providers._base import INPUT_TYPES

_RETRIEVAL: Final = "Represent this sentence for searching relevant passages: "
_TASK: Final = "Given a web search query, retrieve relevant passages that answer the query"

PROMPTS: Final[Mapping[str, Mapping[str, str]]] = {
    "e5": {"query": "query: ", "document": "passage: "},
    "bge": {"query": _RETRIEVAL},
    "nomic": {
        "query": "search_query: ",
        "document": "search_document: ",
        "classification": "classification: ",
        "clustering": "clustering: ",
    },
    "qwen3": {"query": f"Instruct: {_TASK}\nQuery:"},
    "arctic": {"query": _RETRIEVAL},
}
"""Prompts by family of models and by input type."""


def find_prompts(given: Mapping[str, str] | str | None) -> Mapping[str, str]:
    """Return the caller's prompts by input type.

    Raises:
        ConfigurationError: the value is neither a mapping of texts nor the name of a family.
    """
    if given is None:
        return {}
    if isinstance(given, str):
        check(given in PROMPTS, f"prompts={shown(given)} is not a known family; use one of {', '.join(PROMPTS)}")
        return PROMPTS[given]
    is_mapping = isinstance(given, Mapping) and all(isinstance(part, str) for pair in given.items() for part in pair)
    check(is_mapping, "prompts= must be the name of a family, or a mapping of input types to texts")
    check("none" not in given, f"prompts= must not hold {INPUT_TYPES[-1]!r}, which stands for texts without a prompt")
    return dict(given)
