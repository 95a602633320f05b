"""Providers: the exact requests they make, the options they know, and where their keys and addresses come from."""

from __future__ import annotations

import json
from typing import ClassVar

import pytest

from asyncembed import (
    PROVIDERS,
    ConfigurationError,
    EmbedClient,
    EmbedOptions,
    Layout,
    Limits,
    Provider,
    RetryPolicy,
    Sign,
)
from asyncembed._core import CircuitBreaker, Endpoint, EndpointState, MemoryBudget, SlotsByModel
from asyncembed._ratelimit import Limiter
from asyncembed.providers import Cohere, CohereV1, Local, OpenAI, get_provider

TEXTS = ["one", 'två \U0001f600 "\\']


def body(provider: Provider, encoding: str = "auto", **options: object) -> dict:
    """The request body, through the same door as in a run."""
    endpoint = Endpoint(
        provider=provider,
        encoding=encoding,
        retry=RetryPolicy(),
        slots=SlotsByModel(1),
        budget=MemoryBudget(1),
        limiter=Limiter(),
        connect=None,
        learned=EndpointState(CircuitBreaker(RetryPolicy())),
    )
    checked = EmbedOptions(**{"model": provider.default_model} | options)
    provider.check(checked)
    return json.loads(endpoint.body(TEXTS, checked, endpoint.wire_encoding()))


COHERE = {"model": "embed-v4.0", "texts": TEXTS, "input_type": "search_document", "embedding_types": ["float"]}
COHERE_V1 = {"model": "embed-english-v3.0", "texts": TEXTS, "input_type": "search_document"}
OPENAI = {"model": "text-embedding-3-small", "input": TEXTS}
IN_BASE64 = {"encoding_format": "base64"}


@pytest.mark.parametrize(
    ("provider", "given", "expected"),
    [
        (Cohere, {}, COHERE),
        (Cohere, {"model": "m"}, COHERE | {"model": "m"}),
        (Cohere, {"input_type": "document"}, COHERE),
        (Cohere, {"input_type": "query"}, COHERE | {"input_type": "search_query"}),
        (Cohere, {"input_type": "clustering"}, COHERE | {"input_type": "clustering"}),
        (Cohere, {"dimensions": 256}, COHERE | {"output_dimension": 256}),
        (Cohere, {"truncate": "NONE"}, COHERE | {"truncate": "NONE"}),
        (Cohere, {"encoding": "float"}, COHERE),
        (Cohere, {"encoding": "base64"}, COHERE | {"embedding_types": ["base64"]}),
        (Cohere, {"encoding": "base64", "dtype": "int8"}, COHERE | {"embedding_types": ["int8"]}),
        *((Cohere, {"dtype": t}, COHERE | {"embedding_types": [t]}) for t in ("int8", "uint8", "binary", "ubinary")),
        (Cohere, {"extra": {"max_tokens": 9, "priority": 0}}, COHERE | {"max_tokens": 9, "priority": 0}),
        (Cohere, {"extra": {"truncate": "START"}, "truncate": "END"}, COHERE | {"truncate": "START"}),
        (Cohere, {"extra": {"images": None}}, COHERE | {"images": None}),
        (CohereV1, {}, COHERE_V1),
        (CohereV1, {"input_type": "query"}, COHERE_V1 | {"input_type": "search_query"}),
        (CohereV1, {"truncate": "END"}, COHERE_V1 | {"truncate": "END"}),
        (CohereV1, {"dtype": "ubinary"}, COHERE_V1 | {"embedding_types": ["ubinary"]}),
        (CohereV1, {"encoding": "base64"}, COHERE_V1 | {"embedding_types": ["base64"]}),
        (OpenAI, {}, OPENAI | IN_BASE64),
        (OpenAI, {"encoding": "base64"}, OPENAI | IN_BASE64),
        (OpenAI, {"encoding": "float"}, OPENAI),
        (OpenAI, {"dimensions": 512}, OPENAI | IN_BASE64 | {"dimensions": 512}),
        (OpenAI, {"model": "m", "extra": {"user": "u"}}, OPENAI | IN_BASE64 | {"model": "m", "user": "u"}),
        (Local, {}, COHERE | {"model": "local", "embedding_types": ["base64"]}),
        (Local, {"encoding": "float", "dimensions": 64}, COHERE | {"model": "local", "output_dimension": 64}),
    ],
)
def test_request_bodies(provider, given, expected):
    """Every option, and no field that was not asked for: some services refuse what they do not know."""
    assert body(provider(), **given) == expected


@pytest.mark.parametrize("value", [{1, 2}, object(), {"nested": b"bytes"}, 2**70, "\ud800"])
def test_extra_fields_that_json_does_not_have_are_refused(value):
    """Naming where they came from."""
    with pytest.raises(ConfigurationError, match=r"^extra= cannot be sent as JSON: "):
        EmbedClient("openai", api_key="k").embed_stream(["a"], extra={"field": value})


@pytest.mark.parametrize("provider", ["openai", "cohere", "cohere-v1", "local"])
def test_extra_fields_do_not_replace_what_the_client_sends(provider):
    """Or other texts would be embedded than were given."""
    field = "input" if provider == "openai" else "texts"
    with pytest.raises(ConfigurationError, match=f"extra= must not contain {field}"):
        EmbedClient(provider, api_key="k").embed_stream(["a"], extra={field: ["b"], "user": "u"})


@pytest.mark.parametrize(
    ("name", "option", "value", "known"),
    [
        ("openai", "truncate", "END", "dimensions"),
        ("cohere-v1", "dimensions", 256, "input_type, truncate"),
    ],
)
def test_an_option_that_an_api_lacks_is_refused(name, option, value, known):
    """By name, with the provider's, before anything is sent; `extra` is the way around."""
    with pytest.raises(ConfigurationError) as caught:
        body(get_provider(name), **{option: value})
    assert str(caught.value) == (
        f"{option}={value!r} is not an option of provider {name!r} (it has: {known}); "
        "fields that only this server knows can be passed with extra={...}"
    )


@pytest.mark.parametrize("dtype", ["int8", "uint8", "binary", "ubinary"])
def test_a_dtype_that_an_api_lacks_is_refused(dtype):
    """Naming those it has."""
    with pytest.raises(ConfigurationError) as caught:
        body(OpenAI(), dtype=dtype)
    assert str(caught.value) == f"dtype={dtype!r} is not offered by provider 'openai'; it has: float32"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("jina", {"dimensions": 100}),
        ("mistral", {"model": "codestral-embed", "dimensions": 100}),
        ("cohere", {"extra": {"output_dimension": 100}}),
    ],
)
@pytest.mark.parametrize("dtype", ["binary", "ubinary"])
def test_bits_that_fill_no_whole_bytes_are_refused_before_they_are_paid_for(name, options, dtype):
    """A response to them could not be read."""
    with pytest.raises(ConfigurationError, match=rf"^dimensions=100 must be a multiple of 8 for dtype='{dtype}'"):
        EmbedClient(name, api_key="k").embed_stream(["a"], dtype=dtype, **options)


def test_a_class_is_no_provider_yet():
    """But nearly; the message says what is missing."""
    with pytest.raises(ConfigurationError, match=r"pass an object of it: OpenAI\(\)"):
        EmbedClient(OpenAI)

    hollow = type("Hollow", (Provider,), {"body": None, "layout": None, "path": "/x", "base_url": "http://a"})
    with pytest.raises(ConfigurationError, match="Hollow must declare its name, default_model, limits"):
        EmbedClient(hollow())


def test_the_registry():
    """Every provider under its own name; each is told by it, by class it is not."""
    assert {name: kind.name for name, kind in PROVIDERS.items()} == {name: name for name in PROVIDERS}
    assert {"cohere", "cohere-v1", "openai", "local"} <= set(PROVIDERS)
    for name, kind in PROVIDERS.items():
        assert type(get_provider(name)) is kind
    with pytest.raises(ConfigurationError, match="provider='coher' is not known; use one of cohere, cohere-v1, openai"):
        get_provider("coher")
    own = Cohere()
    assert get_provider(own) is own


@pytest.mark.parametrize("provider", [None, 7, ["openai"], {}])
def test_what_is_no_provider_is_refused(provider):
    """Also where it cannot be looked up."""
    with pytest.raises(ConfigurationError, match=r"provider=.* is not known; use one of"):
        get_provider(provider)


@pytest.mark.parametrize("kind", PROVIDERS.values(), ids=list(PROVIDERS))
def test_facts_of_every_provider(kind):
    """What a run relies on."""
    provider = kind()
    assert provider.path.startswith("/")
    assert provider.base_url is None or provider.base_url.startswith(("https://", "http://127.0.0.1"))
    assert provider.limits.inputs >= (provider.limits.first or 1) >= 1
    assert "float32" in provider.dtypes
    assert provider.options <= {"input_type", "dimensions", "truncate"}
    assert provider.dimension(EmbedOptions(model="unknown")) is None
    assert provider.dimension(EmbedOptions(model="unknown", dimensions=64)) == 64
    for name, model in provider.models.items():
        assert provider.dimension(EmbedOptions(model=name)) == model.dimension > 0
    assert set(provider.words) <= set(provider.fields) | {"encoding", "dtype"}
    assert provider.closed <= set(provider.words)
    assert provider.base64 == "no" or "encoding" in provider.fields
    assert provider.headers(None) == provider.headers("") == {}
    assert list(provider.headers("k").values()) in (["k"], ["Bearer k"])
    assert all(isinstance(sign, Sign) for sign in provider.signs)


@pytest.mark.parametrize("kind", PROVIDERS.values())
async def test_the_key_alone_says_who_asks(kind):
    """Whatever the address and the body."""
    assert await kind().authorize("k", "http://localhost/", b"{}") == kind().headers("k")
    assert await kind().authorize(None, "http://localhost/", b"{}") == {}


def test_limits_and_dimensions():
    """From the services' own descriptions."""
    assert Cohere.limits == CohereV1.limits == Limits(inputs=96)
    assert OpenAI.limits == Limits(inputs=2_048, tokens=300_000)
    assert (Cohere.models["embed-v4.0"].dimension, CohereV1.models["embed-english-light-v3.0"].dimension) == (
        1_536,
        384,
    )
    assert {name: model.dimension for name, model in OpenAI.models.items()} == {
        "text-embedding-3-small": 1_536,
        "text-embedding-3-large": 3_072,
        "text-embedding-ada-002": 1_536,
    }


def test_a_provider_of_ones_own():
    """A few facts and two functions; it knows no option until it says so."""

    class Mine(Provider):
        name, base_url, path, default_model = "mine", "http://localhost:1", "/embed", "m"
        limits = Limits(inputs=8)

        def body(self, texts, options, encoding):
            return {"inputs": texts, "encoding": encoding, "unset": None}

        def layout(self, options, encoding):
            return Layout(vectors=frozenset({"item"}))

    assert body(Mine()) == {"inputs": TEXTS, "encoding": "float"}
    assert EmbedClient(Mine()).model == "m"
    with pytest.raises(ConfigurationError, match=r"dimensions=8 .* \(it has: none of its kind\)"):
        body(Mine(), dimensions=8)


def test_a_provider_of_facts_alone():
    """No function is needed where an API has an answer of a known form."""

    class Facts(Provider):
        name, base_url, path, default_model = "facts", "http://localhost:1", "/embed", "m"
        limits = Limits(inputs=8)
        fields: ClassVar = {"model": "m", "texts": "t", "dtype": "kind", "encoding": "kind", "truncate": "cut"}
        words: ClassVar = {
            "truncate": {"END": {"cut": True, "side": "right"}, "NONE": False},
            "dtype": {"float32": None},
            "encoding": {"float": None},
        }
        closed = frozenset({"truncate"})
        dtypes = frozenset({"float32", "int8"})
        answer = Layout(vectors=frozenset({"item"}))

    assert body(Facts()) == {"m": "m", "t": TEXTS}
    assert body(Facts(), dtype="int8", truncate="END") == {
        "m": "m", "t": TEXTS, "kind": "int8", "cut": True, "side": "right",
    }  # fmt: skip
    assert body(Facts(), encoding="base64", truncate="NONE") == {"m": "m", "t": TEXTS, "kind": "base64", "cut": False}
    with pytest.raises(
        ConfigurationError, match=r"truncate='MIDDLE' is not known to provider 'facts'; use one of 'END', "
    ):
        body(Facts(), truncate="MIDDLE")
