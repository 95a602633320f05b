"""The wire format of a request, found by its path, and the places in its body that hold texts and dimension."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Mapping

LayoutName: TypeAlias = Literal[
    "cohere", "cohere-v1", "openai", "gemini", "vertex", "titan", "nova", "ollama", "tei"
]  # fmt: skip

TEXTS, DIMENSION = 0, 1
PATHS: Final[Mapping[str, LayoutName]] = {
    r"/v2/embed": "cohere",
    r"/v1/embed": "cohere-v1",
    r"/embeddings": "openai",
    r"/models/(?P<model>[^/]+):batchEmbedContents": "gemini",
    r"/models/(?P<model>[^/]+):predict": "vertex",
    r"/model/(?P<model>[^/]*titan[^/]*)/invoke": "titan",
    r"/model/(?P<model>[^/]*nova[^/]*)/invoke": "nova",
    r"/model/(?P<model>[^/]+)/invoke": "cohere-v1",
    r"/api/embed": "ollama",
    r"(?:/(?P<model>[^/]+/[^/]+)/pipeline/feature-extraction|/embed)": "tei",
}
SERVED: Final = (
    "/v2/embed, /v1/embed, /embeddings, /models/MODEL:batchEmbedContents, /models/MODEL:predict, /model/MODEL/invoke, "
    "/api/embed, /embed"
)

_PLACES: Final[Mapping[LayoutName, tuple[str, str]]] = {
    "cohere": ("texts", "output_dimension"),
    "cohere-v1": ("texts", "output_dimension"),
    "openai": ("input", "dimensions|output_dimension"),
    "gemini": ("requests.*.content.parts.0.text", "requests.0.outputDimensionality"),
    "vertex": ("instances.*.content", "parameters.outputDimensionality"),
    "titan": ("inputText", "dimensions"),
    "nova": ("singleEmbeddingParams.text.value", "singleEmbeddingParams.embeddingDimension"),
    "ollama": ("input", "dimensions"),
    "tei": ("inputs", "dimensions"),
}
TOKEN_HEADERS: Final[Mapping[LayoutName, str]] = {
    "tei": "x-compute-tokens",
    "titan": "X-Amzn-Bedrock-Input-Token-Count",
    "nova": "X-Amzn-Bedrock-Input-Token-Count",
}
"""Response headers that report the number of tokens used."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """The wire format of one request.

    Attributes:
        layout: Its name.
        model: The model in the path; empty if the path has none.
        is_bedrock: Whether it is a format of Amazon Bedrock.
    """

    layout: LayoutName
    model: str = ""
    is_bedrock: bool = False

    @classmethod
    def of(cls, path: str) -> Dialect | None:
        """Return the dialect of a path, or None if the server does not serve the path."""
        for pattern, layout in PATHS.items():
            if match := re.search(rf"{pattern}$", path.partition("?")[0]):
                return cls(layout, unquote(match.groupdict().get("model") or ""), "/invoke" in path)
        return None

    def texts(self, fields: Mapping[str, object]) -> object:
        """Return the value at the place of the texts."""
        return _at(fields, _PLACES[self.layout][TEXTS])

    def dimension(self, fields: Mapping[str, object]) -> object:
        """Return the value at the place of the dimension."""
        places = _PLACES[self.layout][DIMENSION].split("|")
        return next((found for place in places if (found := _at(fields, place)) is not None), None)


def _at(value: object, place: str) -> object:
    """Return the value at a place: names and numbers separated by dots; `*` means each item of a list."""
    if not place:
        return value
    name, _, rest = place.partition(".")
    if isinstance(value, list):
        if name == "*":
            return [_at(item, rest) for item in value]
        return _at(value[int(name)], rest) if name.isdigit() and int(name) < len(value) else None
    return _at(value.get(name), rest) if isinstance(value, dict) else None
