"""Amazon Bedrock: `POST /model/MODEL/invoke`; each family of models has its own wire format.

A request carries a Bedrock API key, or a signature made with the keys of an AWS account. A header of the response holds
the number of tokens. Titan and Nova take one text per request; Cohere's models take 96. Amazon's documents limit a text
of Titan to 8,192 tokens and 50,000 characters, and a text of Cohere's v3 models to 2,048 characters.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar, Final, TypeAlias
from urllib.parse import urlsplit

from asyncembed._credentials import call_key_function
from asyncembed._exceptions import ConfigurationError
from asyncembed._models import Limits
from asyncembed._parser.layout import Layout
from asyncembed._redaction import hide, is_sendable
from asyncembed.providers._base import Fields, Model, Price, Provider, Setting, Words
from asyncembed.providers._sigv4 import Credentials, signature_headers
from asyncembed.providers.cohere import BY_TYPE

if TYPE_CHECKING:
    from asyncembed._config import EmbedOptions
    from asyncembed.providers._base import Encoding, Models

CredentialsFunction: TypeAlias = Callable[[], Credentials | Awaitable[Credentials]]
_DATE: Final = "2026-11"
_TITAN_CHARACTERS: Final = 50_000
_HOST: Final = r"(?:.+\.)?bedrock-runtime(?:-fips)?\.(?P<region>[^.]+)\.(?:vpce\.)?amazonaws\.com(?:\.cn)?"
_NOVA_TOP: Final = frozenset({"schemaVersion", "taskType"})
_COHERE_V3: Final = Model(dimension=1024, dimensions=(), max_tokens=512, max_characters=2_048, price=Price(0.10, _DATE))


class Bedrock(Provider):
    """Common facts of all models on Bedrock.

    Args:
        credentials: A function, plain or async, that returns the keys of an AWS account. The client calls it before
            each attempt, so it can renew keys of a role that expire within the hour. By default, and if it returns
            None, the keys come from the environment variables of AWS.
        settings: `region`.
    """

    base_url = "https://bedrock-runtime.{region}.amazonaws.com"
    base_url_variable = "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"
    hosts = ("bedrock-runtime.*.amazonaws.com", "bedrock-runtime-fips.*.amazonaws.com")
    settings: ClassVar = {"region": Setting(("AWS_REGION", "AWS_DEFAULT_REGION"))}
    path = "/model/{model}/invoke"
    key_variables = ("AWS_BEARER_TOKEN_BEDROCK",)
    token_header = "X-Amzn-Bedrock-Input-Token-Count"  # noqa: S105  # a number of tokens

    def __init__(self, *, credentials: CredentialsFunction | None = None, **settings: str) -> None:
        super().__init__(**settings)
        self._credentials = credentials

    @property
    def needs_key(self) -> bool:
        """Whether the client needs a Bedrock API key, because it has no account keys for a signature."""
        return self._credentials is None and _account() is None

    async def authorize(self, api_key: str | None, url: str, body: bytes) -> Mapping[str, str]:
        """Return the header of a Bedrock API key, or else a signature made with account keys.

        The signature is for the region in the address, where it is one of Amazon's, or else for the setting.

        Raises:
            ConfigurationError: if the function of `credentials` fails, or returns something else than keys.
        """
        if api_key:
            return self.headers(api_key)
        account = _account()
        if self._credentials:
            given, fault = await call_key_function(self._credentials, _check_credentials)
            account = given or (None if fault else account)
            if account is None:
                fault = fault or "returned None, and the environment has no keys"
                raise ConfigurationError(f"credentials= is a function that {fault}")
        if account is None:
            return {}
        named = re.fullmatch(_HOST, urlsplit(url).hostname or "")
        region = named["region"] if named else self.setting_values(self.settings)["region"]
        return signature_headers(account, url, body, region=region, service="bedrock", now=datetime.now(UTC))


class BedrockTitan(Bedrock):
    """Amazon's Titan models on Bedrock; they take one text per request."""

    name = "bedrock-titan"
    default_model = "amazon.titan-embed-text-v2:0"
    models: ClassVar[Models] = {
        "amazon.titan-embed-text-v2:0": Model(
            dimension=1024,
            dimensions=(256, 512, 1024),
            max_tokens=8192,
            max_characters=_TITAN_CHARACTERS,
            price=Price(0.02, _DATE),
        ),
        "amazon.titan-embed-text-v1": Model(
            dimension=1536,
            dimensions=(),
            max_tokens=8192,
            max_characters=_TITAN_CHARACTERS,
            price=Price(0.10, _DATE),
        ),
    }
    limits = Limits(inputs=1)
    refuses_long_texts = True
    fields: ClassVar[Fields] = {"texts": "inputText", "dimensions": "dimensions"}
    answer = Layout(vectors=frozenset({"embedding"}), tokens=("inputTextTokenCount",), messages=("message",))

    def body(self, texts: Sequence[str], options: EmbedOptions, encoding: Encoding) -> dict[str, object]:
        """Return the body of a request for one text."""
        return {**super().body((), options, encoding), "inputText": next(iter(texts), "")}


class BedrockNova(Bedrock):
    """Amazon's Nova embedding models on Bedrock; they take one text per request."""

    name = "bedrock-nova"
    default_model = "amazon.nova-2-multimodal-embeddings-v1:0"
    models: ClassVar[Models] = {
        "amazon.nova-2-multimodal-embeddings-v1:0": Model(
            dimension=3072, dimensions=(256, 384, 1024, 3072), max_tokens=8172, price=Price(0.135, _DATE)
        ),
    }
    limits = Limits(inputs=1)
    fields: ClassVar[Fields] = {
        "texts": "text",
        "input_type": "embeddingPurpose",
        "dimensions": "embeddingDimension",
        "truncate": "truncationMode",
    }
    words: ClassVar[Words] = {"input_type": {"document": "GENERIC_INDEX", "query": "TEXT_RETRIEVAL"}}
    long_text: ClassVar = {"fail": "NONE", "truncate": "END"}
    answer = Layout(vectors=frozenset({"embeddings.item.embedding"}), item="embeddings.item", messages=("message",))

    def body(self, texts: Sequence[str], options: EmbedOptions, encoding: Encoding) -> dict[str, object]:
        """Return the body of a request for one text; the API requires a truncation mode."""
        fields = {name: value for name, value in super().body((), options, encoding).items() if value is not None}
        mode = fields.pop("truncationMode", None if "truncationMode" in options.extra else "END")
        text = {"truncationMode": mode, "value": next(iter(texts), "")}
        fields["text"] = {name: value for name, value in text.items() if value is not None}
        return {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": fields}

    def add(self, body: dict[str, object], extra: Mapping[str, object]) -> dict[str, object]:
        """Return the body with each extra field where the API looks for it: most are parameters of the embedding."""
        parameters: dict[str, object] = {**body["singleEmbeddingParams"]}  # type: ignore[dict-item]
        text: dict[str, object] = {**parameters["text"]}  # type: ignore[dict-item]
        top: dict[str, object] = {}
        for name, value in extra.items():
            place = text if name == "truncationMode" else top if name in _NOVA_TOP else parameters
            place[name] = value
        return {**body, **top, "singleEmbeddingParams": {**parameters, "text": text}}


class BedrockCohere(Bedrock):
    """Cohere's models on Bedrock; the model is part of the path, and requests ask for plain floats."""

    name = "bedrock-cohere"
    default_model = "cohere.embed-english-v3"
    models: ClassVar[Models] = {
        "cohere.embed-english-v3": _COHERE_V3,
        "cohere.embed-multilingual-v3": _COHERE_V3,
        "cohere.embed-v4:0": Model(
            dimension=1536, dimensions=(256, 512, 1024, 1536), max_tokens=128_000, price=Price(0.12, _DATE)
        ),
    }
    limits = Limits(inputs=96)
    fields: ClassVar[Fields] = {
        "texts": "texts",
        "input_type": "input_type",
        "dimensions": "output_dimension",
        "truncate": "truncate",
        "encoding": "embedding_types",
    }
    words: ClassVar[Words] = {
        "input_type": {"document": "search_document", "query": "search_query"},
        "encoding": {**BY_TYPE, "float": None},
    }
    long_text: ClassVar = {"fail": "NONE", "truncate": "END"}
    # If the request names no type, v3 answers with a bare list and v4 by type.
    answer = Layout(
        vectors=frozenset({"embeddings.item", "embeddings.float.item", "embeddings.base64.item"}),
        tokens=("meta.billed_units.input_tokens",),
        messages=("message",),
    )


def _account() -> Credentials | None:
    key, secret, token = (
        os.environ.get(f"AWS_{name}", "").strip() for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN")
    )
    return Credentials(key, hide(secret), hide(token) or None) if key and secret else None


def _check_credentials(value: object) -> tuple[Credentials | None, str]:
    """Return the keys, or what is wrong with them; never raise, as a traceback would show the value."""
    if value is None:
        return None, ""
    if not isinstance(value, Credentials):
        return None, f"returned {type(value).__name__} and not Credentials"
    for name in ("key", "secret", "token"):
        part: object = getattr(value, name)
        if name == "token" and part is None:
            continue
        if not isinstance(part, str):
            return None, f"returned Credentials whose {name} is {type(part).__name__} and not str"
        if not part or not is_sendable(part):
            return None, f"returned Credentials whose {name} is empty or holds characters that a header cannot carry"
    return value, ""
