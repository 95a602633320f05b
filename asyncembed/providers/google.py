"""Google: the Gemini API's `:batchEmbedContents`, and Vertex AI's `:predict`; floats only.

The Gemini API takes 100 texts per request and counts each of them as one request of its rate limit. It reports no
usage. Vertex AI takes 250 texts and 20,000 tokens per request, but only one text for gemini-embedding-001. Vectors of
gemini-embedding-001 have length 1 only at 3,072 dimensions. gemini-embedding-2 ignores `taskType`; words before a text
say what it is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Final

from asyncembed._decide.signs import Sign
from asyncembed._models import Limits
from asyncembed._parser.layout import Layout
from asyncembed.providers._base import Fields, Model, Price, Provider, Setting, Words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asyncembed._config import EmbedOptions
    from asyncembed._http.route import Route
    from asyncembed.providers._base import Encoding, Models

_PROMPTS: Final = {"query": "task: search result | query: ", "document": "title: none | text: "}
_MODELS: Final[Mapping[str, Model]] = {
    "gemini-embedding-001": Model(
        dimension=3072, dimensions=range(128, 3073), unit=(3072,), max_tokens=2048, price=Price(0.15, "2026-11")
    ),
    "gemini-embedding-2": Model(
        dimension=3072,
        dimensions=range(128, 3073),
        max_tokens=8192,
        input_types={},
        prompts=_PROMPTS,
        price=Price(0.20, "2026-11"),
    ),
}
_VERTEX_MODEL: Final = Model(dimension=768, dimensions=range(1, 769), max_tokens=2048, price=Price(0.10, "2026-11"))
_WORDS: Final[Mapping[object, object]] = {"document": "RETRIEVAL_DOCUMENT", "query": "RETRIEVAL_QUERY"}
_OF_EACH_INSTANCE: Final = frozenset({"title", "task_type"})
_SIGNS: Final = (Sign("key", code="API_KEY_INVALID"), Sign("quota", status=429, words="PerDay"))


class Gemini(Provider):
    """The Gemini API."""

    name = "gemini"
    base_url = "https://generativelanguage.googleapis.com"
    base_url_variable = "GOOGLE_GEMINI_BASE_URL"
    path = "/v1beta/models/{model}:batchEmbedContents"
    key_variables = ("GOOGLE_API_KEY", "GEMINI_API_KEY")
    key_header = ("x-goog-api-key", "{}")
    default_model = "gemini-embedding-001"
    models = _MODELS
    limits = Limits(inputs=100, tokens=20_000)
    fields: ClassVar[Fields] = {"texts": "requests", "input_type": "taskType", "dimensions": "outputDimensionality"}
    words: ClassVar[Words] = {"input_type": _WORDS}
    answer = Layout(
        vectors=frozenset({"embeddings.item.values"}),
        item="embeddings.item",
        tokens=("usageMetadata.promptTokenCount",),
        messages=("error.message",),
    )
    signs = _SIGNS

    def model(self, name: str) -> Model:
        """Return the facts about a model; Google's SDK also takes names such as "models/gemini-embedding-001"."""
        return super().model(_bare(name))

    def route(self, model: str) -> Route:
        """Return path and query of the endpoint for a model."""
        return super().route(_bare(model))

    def body(self, texts: Sequence[str], options: EmbedOptions, encoding: Encoding) -> dict[str, object]:
        """Return a body with one request per text; several parts of one content would share a single vector."""
        fields = super().body((), options, encoding)
        del fields["requests"]
        each = {"model": f"models/{_bare(options.model)}", **{name: value for name, value in fields.items() if value}}
        return {"requests": [{**each, "content": {"parts": [{"text": text}]}} for text in texts]}

    def add(self, body: dict[str, object], extra: Mapping[str, object]) -> dict[str, object]:
        """Return the body with the extra fields in the request of each text."""
        requests: list[dict[str, object]] = body["requests"]  # type: ignore[assignment]
        return {"requests": [{**request, **extra} for request in requests]}

    def own_fields(self, options: EmbedOptions) -> set[str]:
        """Return also the names of the other fields in the request of each text."""
        return super().own_fields(options) | {"model", "content"}


class Vertex(Provider):
    """Vertex AI.

    The key is an OAuth2 access token, which expires within the hour. For application default credentials pass a
    function as `api_key`, plain or async, that returns a fresh token, for example with the package google-auth.
    """

    name = "vertex"
    base_url = "https://{location}-aiplatform.googleapis.com"
    hosts = ("aiplatform.googleapis.com", "*-aiplatform.googleapis.com")
    path = "/v1/projects/{project}/locations/{location}/publishers/google/models/{model}:predict"
    settings: ClassVar = {
        "location": Setting(("GOOGLE_CLOUD_LOCATION", "GOOGLE_CLOUD_REGION"), "us-central1"),
        "project": Setting(("GOOGLE_CLOUD_PROJECT",)),
    }
    key_variables = ("GOOGLE_CLOUD_ACCESS_TOKEN", "CLOUDSDK_AUTH_ACCESS_TOKEN")
    default_model = "gemini-embedding-001"
    models: ClassVar[Models] = {
        "gemini-embedding-001": replace(_MODELS["gemini-embedding-001"], limits=Limits(inputs=1)),
        "text-embedding-005": _VERTEX_MODEL,
        "text-multilingual-embedding-002": _VERTEX_MODEL,
    }
    limits = Limits(inputs=250, tokens=20_000)
    fields: ClassVar[Fields] = {
        "texts": "instances",
        "input_type": "task_type",
        "dimensions": "outputDimensionality",
        "truncate": "autoTruncate",
    }
    words: ClassVar[Words] = {"input_type": _WORDS, "truncate": {"END": True, "NONE": False}}
    closed = frozenset({"truncate"})
    long_text: ClassVar = {"fail": "NONE", "truncate": "END"}
    answer = Layout(
        vectors=frozenset({"predictions.item.embeddings.values"}),
        item="predictions.item",
        added="predictions.item.embeddings.statistics.token_count",
        messages=("error.message",),
    )
    signs = _SIGNS

    def address(self) -> str | None:
        """Return the address of the location; the global location has a host of its own."""
        url = super().address()
        return url and url.replace("//global-", "//")

    def body(self, texts: Sequence[str], options: EmbedOptions, encoding: Encoding) -> dict[str, object]:
        """Return a body with one instance per text, and the parameters of all of them."""
        fields = {name: value for name, value in super().body((), options, encoding).items() if value is not None}
        del fields["instances"]
        task = fields.pop("task_type", None)
        each = {"task_type": task} if task else {}
        return {"instances": [{"content": text, **each} for text in texts], "parameters": fields or None}

    def add(self, body: dict[str, object], extra: Mapping[str, object]) -> dict[str, object]:
        """Return the body with the extra fields in each instance, or else among the parameters."""
        of_each = {name: value for name, value in extra.items() if name in _OF_EACH_INSTANCE}
        of_all = {name: value for name, value in extra.items() if name not in of_each}
        instances: list[dict[str, object]] = body["instances"]  # type: ignore[assignment]
        body = {**body, "instances": [{**instance, **of_each} for instance in instances]}
        if not of_all:
            return body
        parameters: dict[str, object] = body.get("parameters") or {}  # type: ignore[assignment]
        return {**body, "parameters": {**parameters, **of_all}}

    def own_fields(self, options: EmbedOptions) -> set[str]:
        """Return also the name of the field that holds a text."""
        return super().own_fields(options) | {"content"}


def _bare(model: str) -> str:
    return model.removeprefix("models/")
