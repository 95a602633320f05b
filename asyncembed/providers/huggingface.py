"""Hugging Face: text-embeddings-inference's `POST /embed`, and the Inference Providers' feature extraction.

Both answer with a bare list of vectors. A server of text-embeddings-inference has one model, publishes its limits at
`GET /info`, and reports tokens in a header. `input_type` may be the name of one of the model's own prompts. The client
cannot know which prompts a model has, so "document" and "query" send none.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Final

from asyncembed._decide.signs import Sign
from asyncembed._models import Limits
from asyncembed._parser.layout import Layout
from asyncembed.providers._base import Fields, Provider, Words

if TYPE_CHECKING:
    from collections.abc import Mapping

_FIELDS: Final[Fields] = {
    "texts": "inputs",
    "input_type": "prompt_name",
    "dimensions": "dimensions",
    "truncate": "truncate",
}
_TRUNCATE: Final[Mapping[object, object]] = {
    "END": {"truncate": True, "truncation_direction": "Right"},
    "START": {"truncate": True, "truncation_direction": "Left"},
    "NONE": False,
}
_ANSWER: Final = Layout(vectors=frozenset({"item"}), messages=("error", "message"))
_TOKENS: Final = "x-compute-tokens"
_MOST_BYTES: Final = 1_900_000
"""Size of the largest request: a server refuses a body of more than 2,000,000 bytes."""


class TEI(Provider):
    """A server of text-embeddings-inference."""

    name = "tei"
    base_url = "http://127.0.0.1:3000"
    base_url_variable = "TEI_BASE_URL"
    path = "/embed"
    limits_path = "/info"
    default_model = "default"
    limits = Limits(inputs=2_048, first=32, request_bytes=_MOST_BYTES)
    fields: ClassVar[Fields] = _FIELDS
    words: ClassVar[Words] = {"truncate": _TRUNCATE}
    closed = frozenset({"truncate"})
    long_text: ClassVar = {"fail": "NONE", "truncate": "END"}
    answer = _ANSWER
    token_header = _TOKENS
    signs = (Sign("option", words=r"\bprompt (?:name|dictionary)\b|\bdefault prompt\b"), Sign("transient", status=424))

    def read_limits(self, info: Mapping[str, object]) -> Limits:
        """Return the limits of one request, from the server's answer to `GET /info`."""
        inputs, tokens = (info.get(name) for name in ("max_client_batch_size", "max_batch_tokens"))
        return Limits(
            inputs=inputs if isinstance(inputs, int) and inputs > 0 else self.limits.inputs,
            tokens=tokens if isinstance(tokens, int) and tokens > 0 else None,
            request_bytes=_MOST_BYTES,
        )


class HuggingFace(Provider):
    """Hugging Face's Inference Providers; the service publishes no maximum number of texts per request."""

    name = "huggingface"
    base_url = "https://router.huggingface.co/hf-inference/models"
    path = "/{model/}/pipeline/feature-extraction"
    key_variables = ("HF_TOKEN",)
    default_model = "intfloat/multilingual-e5-large"
    limits = Limits(inputs=512, first=32, request_bytes=_MOST_BYTES)
    fields: ClassVar[Fields] = _FIELDS
    words: ClassVar[Words] = {"truncate": _TRUNCATE}
    closed = frozenset({"truncate"})
    long_text: ClassVar = {"fail": "NONE", "truncate": "END"}
    answer = replace(_ANSWER, alone=True)  # some models answer a list of one text with its vector
    token_header = _TOKENS
