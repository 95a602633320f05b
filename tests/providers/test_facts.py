"""Rules that hold for every provider: whose keys go where, what is assumed without evidence, and where facts hold."""

from __future__ import annotations

import ast
import logging
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import asyncembed.providers.presets
from asyncembed import PROVIDERS, ConfigurationError, EmbedClient, EmbedOptions, Limits
from asyncembed._http import Route
from asyncembed.providers import (
    AzureOpenAI,
    BedrockTitan,
    Cohere,
    Compatible,
    Gemini,
    Model,
    OpenAI,
    Provider,
    Setting,
    Vertex,
    find_model,
    share_space,
)
from asyncembed.providers.presets import PRESETS
from asyncembed.providers.prompts import PROMPTS
from asyncembed.testing import FakeServer, vector_of

OF_A_COMPANY = ("key_variables", "header_variables", "base_url_variable", "base_url", "hosts", "rate_limit", "models")
KINDS = list(PROVIDERS.values())


def named(kind: type[Provider]) -> set[str]:
    """The first words of its key variables: whose they are."""
    return {variable.split("_")[0] for variable in kind.key_variables}


@pytest.mark.parametrize("kind", KINDS, ids=list(PROVIDERS))
def test_nothing_of_one_company_reaches_another_by_inheritance(kind):
    """A class that another one builds on says nothing of a company, or is of the same company."""
    for parent in kind.__mro__[1:]:
        own = [fact for fact in OF_A_COMPANY if vars(parent).get(fact)]
        if own and parent is not Provider:
            assert kind.key_variables == parent.key_variables, f"{parent.__name__} says {own} for {kind.__name__}"
            assert named(kind) == named(parent)


def test_no_two_companies_share_a_key_or_a_header():
    """But for one company's own APIs."""
    owners: dict[str, set[str]] = {}
    for kind in KINDS:
        for variable in (*kind.key_variables, *kind.header_variables.values()):
            owners.setdefault(variable, set()).add(kind.name.split("-")[0])
    assert {variable: names for variable, names in owners.items() if len(names) > 1} == {}


@pytest.mark.parametrize("kind", PRESETS, ids=lambda kind: kind.name)
def test_a_preset_is_eight_lines_at_most(kind):
    """Blank lines count, too."""
    sources = [Path(asyncembed.providers.__file__).with_name(f"{name}.py") for name in ("presets", "compatible")]
    nodes = [node for path in sources for node in ast.parse(path.read_text("utf-8")).body]
    (node,) = [node for node in nodes if isinstance(node, ast.ClassDef) and node.name == kind.__name__]
    assert node.end_lineno - node.lineno < 8
    assert issubclass(kind, Compatible)


def test_unconfirmed_limits_are_a_start_and_no_wall():
    """Requests begin with `first` texts and grow from there."""
    for kind in KINDS:
        if kind.limits.first:
            assert kind.limits.first < kind.limits.inputs


@pytest.mark.parametrize(
    ("kind", "settings", "model", "path"),
    [
        (OpenAI, {}, "m", "/embeddings"),
        (AzureOpenAI, {}, "my dep?loy/ment", "/openai/deployments/my%20dep%3Floy%2Fment/embeddings"),
        (BedrockTitan, {}, "amazon.titan-embed-text-v2:0", "/model/amazon.titan-embed-text-v2%3A0/invoke"),
        (BedrockTitan, {}, "arn:aws:a/b", "/model/arn%3Aaws%3Aa%2Fb/invoke"),
        (Gemini, {}, "gemini-embedding-001", "/v1beta/models/gemini-embedding-001:batchEmbedContents"),
        (
            Vertex,
            {"project": "p", "location": "eu"},
            "m",
            "/v1/projects/p/locations/eu/publishers/google/models/m:predict",
        ),
        (PROVIDERS["huggingface"], {}, "org/model", "/org/model/pipeline/feature-extraction"),
    ],
)
def test_the_model_stands_escaped_in_the_path(kind, settings, model, path):
    assert kind(**settings).route(model).path == path


@given(st.text(min_size=1), st.text(min_size=1))
def test_no_model_and_no_setting_leaves_its_place_in_an_address(model, value):
    """Whatever is in it: no slash, no query and no fragment comes of it."""
    route = AzureOpenAI(**{"api-version": value}).route(model)
    url = route.join("https://h/base?own=1")
    before, _, after = url.partition("/openai/deployments/")
    assert before == "https://h/base"
    assert after.count("/") == 1
    assert after.count("?") == 1
    assert "#" not in url


def test_an_address_keeps_its_own_query():
    route = Route("/e", (("api-version", "1"), ("b", "x y")))
    assert route.join("https://h/v1/?api-version=2") == "https://h/v1/e?api-version=2&b=x%20y"
    assert Route().join("https://h/v1?a=%2F") == "https://h/v1?a=%2F"
    assert Route("/e").join("http://127.0.0.1:8") == "http://127.0.0.1:8/e"


def test_settings_come_from_arguments_then_the_environment_then_defaults(monkeypatch):
    monkeypatch.delenv("OPENAI_API_VERSION", raising=False)
    assert AzureOpenAI().route("m").query == (("api-version", "2024-10-21"),)
    monkeypatch.setenv("OPENAI_API_VERSION", "from-environment\n")
    assert AzureOpenAI().route("m").query == (("api-version", "from-environment"),)
    assert AzureOpenAI(api_version="given").route("m").query == (("api-version", "given"),)
    with pytest.raises(ConfigurationError, match="AzureOpenAI has no setting region; it has: api_version"):
        AzureOpenAI(region="x")


def test_a_setting_that_is_missing_is_named_with_its_variables(monkeypatch):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(
        ConfigurationError, match=r"needs the setting region \(variable AWS_REGION or AWS_DEFAULT_REGION\)"
    ):
        EmbedClient(BedrockTitan(), api_key="k")
    assert BedrockTitan(region="eu-west-1").address() == "https://bedrock-runtime.eu-west-1.amazonaws.com"


@pytest.mark.parametrize(
    ("provider", "url", "is_own"),
    [
        (OpenAI(), "https://api.openai.com/v1/", True),
        (OpenAI(), "https://api.openai.com/v2", False),
        (OpenAI(), "http://localhost/v1", False),
        (BedrockTitan(region="us-east-1"), "https://bedrock-runtime.eu-west-3.amazonaws.com", True),
        (BedrockTitan(), "https://bedrock-runtime.eu-west-3.amazonaws.com.evil.example", False),
        (BedrockTitan(), "http://bedrock-runtime.eu-west-3.amazonaws.com", False),
        (PROVIDERS["voyage"](), "https://ai.mongodb.com/v1", True),
        (PROVIDERS["mistral"](), "https://api.eu.mistral.ai/v1", True),
        (Vertex(location="global", project="p"), "https://aiplatform.googleapis.com", True),
    ],
)
def test_what_counts_as_the_providers_own_address(provider, url, is_own):
    assert provider.owns(url) is is_own


def test_the_global_location_of_vertex_has_a_host_of_its_own():
    assert Vertex(location="global", project="p").address() == "https://aiplatform.googleapis.com"
    assert Vertex(location="europe-west4", project="p").address() == "https://europe-west4-aiplatform.googleapis.com"


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("10.0.0.7:11434", "http://10.0.0.7:11434"),
        ("https://h", "https://h"),
        ("HTTPS://h/path", "https://h/path"),
        ("http://gpu-box", "http://gpu-box"),
        ("localhost:1", "http://localhost:1"),
        ("gpu-box", "http://gpu-box:11434"),
        ("gpu-box:", "http://gpu-box:11434"),
        ("gpu-box/path", "http://gpu-box:11434/path"),
        ("me:pw@gpu-box", "http://gpu-box:11434"),
        ("127.0.0.2", "http://127.0.0.2:11434"),
        (":9999", "http://127.0.0.1:9999"),
        ("0.0.0.0:9999", "http://127.0.0.1:9999"),
        ("http://0.0.0.0:9999", "http://127.0.0.1:9999"),
        ("::2", "http://[::2]:11434"),
        ("[::2]:9999", "http://[::2]:9999"),
        ("[::]:9999", "http://[::1]:9999"),
        ("\"'10.0.0.7:9999' \"", "http://10.0.0.7:9999"),
    ],
)
def test_the_host_of_ollama_is_read_as_ollama_reads_it(monkeypatch, host, address):
    """It may lack scheme, host and port, and a server's address for every interface means this machine."""
    monkeypatch.setenv("OLLAMA_HOST", host)
    assert f"'{address}'" in repr(EmbedClient("ollama"))


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "''", " ", "127.0.0.1:11434", ":11434", "0.0.0.0:"])
def test_ollama_of_this_machine_is_the_provider_itself(monkeypatch, host):
    monkeypatch.setenv("OLLAMA_HOST", host)
    assert repr(EmbedClient("ollama")) == "EmbedClient('ollama', model='nomic-embed-text')"


@pytest.mark.parametrize("host", ["ftp://h", "h:port"])
def test_a_host_of_ollama_that_is_no_address_is_refused(monkeypatch, host):
    monkeypatch.setenv("OLLAMA_HOST", host)
    with pytest.raises(ConfigurationError, match=f"^OLLAMA_HOST='{host}' is not an http"):
        EmbedClient("ollama")


@pytest.mark.parametrize("name", ["azure-openai", "custom"])
def test_an_address_that_has_to_be_given_is_asked_for(monkeypatch, name):
    monkeypatch.delenv("AZURE_OPENAI_ENDPOINT", raising=False)
    with pytest.raises(
        ConfigurationError, match=f"provider '{name}' has no address of its own: pass base_url=, or set"
    ):
        EmbedClient(name, model="m", api_key="k")


def test_a_model_that_has_to_be_given_is_asked_for():
    with pytest.raises(ConfigurationError, match="provider 'custom' has no default model; pass model="):
        EmbedClient("custom", base_url="http://localhost:1")


def test_azure_tells_a_key_from_a_token():
    """Each in its own header."""
    token = "eyJhbGciOi.eyJzdWIiOi.c2ln"
    assert AzureOpenAI().headers("0123abc") == {"api-key": "0123abc"}
    assert AzureOpenAI().headers(token) == {"Authorization": f"Bearer {token}"}


# Models


def test_a_length_that_a_model_does_not_have_is_refused_with_a_way_round():
    """At the provider's own address, or where the caller has said which model it is."""
    client = EmbedClient("openai", api_key="k")
    with pytest.raises(ConfigurationError, match=r"to send it anyway, pass extra=\{'dimensions': 5000\}"):
        client.embed_stream(["a"], dimensions=5_000)
    client.embed_stream(["a"], extra={"dimensions": 5_000})
    EmbedClient("openai", base_url="http://localhost:1").embed_stream(["a"], dimensions=5_000)
    told = EmbedClient("openai", base_url="http://localhost:1", catalogue="text-embedding-3-small", model="alias")
    with pytest.raises(ConfigurationError, match="dimensions=5000 is not a known number of dimensions of 'alias'"):
        told.embed_stream(["a"], dimensions=5_000)


async def test_a_catalogue_name_says_what_a_deployment_is():
    azure = EmbedClient("azure-openai", base_url="https://r.example", model="prod", catalogue="text-embedding-3-large")
    assert await azure.dimension() == 3_072
    assert find_model("voyage-4", OpenAI()) is PROVIDERS["voyage"].models["voyage-4"]
    with pytest.raises(
        ConfigurationError, match=r"catalogue='text-embedding-3-smal' is not a known model; similar names are text-"
    ):
        EmbedClient("azure-openai", base_url="https://r.example", model="m", catalogue="text-embedding-3-smal")


def test_limits_depend_on_the_model_at_its_own_address():
    assert PROVIDERS["voyage"]().limits_of("voyage-4-lite") == Limits(inputs=1_000, tokens=1_000_000)
    assert PROVIDERS["voyage"]().limits_of("unknown") == Limits(inputs=1_000, tokens=120_000)
    assert Vertex(project="p").limits_of("gemini-embedding-001").inputs == 1


def test_models_of_one_vector_space():
    """Are one for searching; others are not, and none that is unknown."""
    assert share_space("cohere", "embed-v5.0-pro", "embed-v5.0-fast")
    assert share_space("voyage", "voyage-4", "voyage-4-large")
    assert share_space("openai", "any", "any")
    assert not share_space("cohere", "embed-v4.0", "embed-v5.0-fast")
    assert not share_space("cohere", "embed-v4.0", "embed-english-v3.0")
    assert not share_space("nobody", "a", "b")


def test_every_price_has_its_date():
    prices = [model.price for kind in KINDS for model in kind.models.values() if model.price]
    assert len(prices) > 30
    assert all(0 < price.dollars < 1 and price.date >= "2026-11" for price in prices)


# Input types and prompts


@pytest.mark.parametrize("word", ["document", "query", "none"])
@pytest.mark.parametrize("kind", KINDS, ids=list(PROVIDERS))
def test_every_provider_takes_the_common_input_types(kind, word):
    provider = kind()
    options = EmbedOptions(model=provider.default_model or "m", input_type=word)
    provider.check(options)
    provider.check_model(options)
    if word == "none":
        assert provider.input_type(options) is None
        assert provider.prompt(options) == ""


def test_gemini_2_is_told_by_words_and_not_by_a_field():
    asked = EmbedOptions(model="gemini-embedding-2", input_type="query")
    assert Gemini().input_type(asked) is None
    assert Gemini().prompt(asked) == "task: search result | query: "
    with pytest.raises(ConfigurationError, match="input_type='CLUSTERING' is not an option"):
        Gemini().check(EmbedOptions(model="gemini-embedding-2", input_type="CLUSTERING"))
    Gemini().check(EmbedOptions(model="gemini-embedding-001", input_type="CLUSTERING"))


def sent(server: FakeServer) -> list[str]:
    """The texts of the requests that the server got."""
    return [text for entry in server.ledger.entries for text in entry.texts]


@pytest.mark.parametrize(
    ("client_prompts", "call", "text"),
    [
        ("e5", {}, "passage: a"),
        ("e5", {"input_type": "query"}, "query: a"),
        ("e5", {"input_type": "none"}, "a"),
        ("bge", {}, "a"),
        ("bge", {"input_type": "query"}, PROMPTS["bge"]["query"] + "a"),
        ({"query": "Q "}, {"input_type": "query"}, "Q a"),
        ({"query": "Q "}, {"input_type": "query", "prompts": {"query": "other "}}, "other a"),
        (None, {"input_type": "query"}, "a"),
        (None, {"prompts": "nomic"}, "search_document: a"),
    ],
)
async def test_prompts_are_put_before_texts_on_any_server(client_prompts, call, text):
    """Results keep the caller's text."""
    async with (
        FakeServer() as server,
        EmbedClient("vllm", base_url=f"{server.url}/v1", model="m", prompts=client_prompts) as client,
    ):
        response = await client.embed(["a"], **call)
    assert [*response.texts] == ["a"]
    assert sent(server) == [text]
    assert np.array_equal(response[0], vector_of(text))


@pytest.mark.parametrize("wrong", ["e6", {"query": 1}, {"none": "x"}, 7])
def test_wrong_prompts_are_refused(wrong):
    with pytest.raises(ConfigurationError, match="prompts"):
        EmbedClient("vllm", model="m", prompts=wrong)


def test_an_input_type_that_changes_nothing_is_logged_once(caplog):
    client = EmbedClient("vllm", model="m")
    with caplog.at_level(logging.DEBUG, "asyncembed"):
        for _ in range(2):
            client.embed_stream(["a"], input_type="query")
    assert [record.getMessage() for record in caplog.records] == [
        "input_type='query' changes nothing: provider vllm has no word for it"
    ]


# What the client does to vectors


async def test_vectors_are_cut_and_brought_to_length_1_by_the_client():
    asked = []

    async def note(exchange):
        asked.append(exchange.request.fields)
        await exchange.deliver()

    async with (
        FakeServer(dimension=16, default=note) as server,
        EmbedClient("ollama", base_url=server.url) as client,
    ):
        whole = await client.embed(["a", "b"])
        unit = await client.embed(["a", "b"], normalize=True)
        cut = await client.embed(["a", "b"], dimensions=8, shorten="client")
        results = [result async for result in client.embed_stream(["a"], dimensions=8, shorten="client")]
        assert await client.dimension(dimensions=8, shorten="client") == 8
        assert (await client.check(dimensions=8, shorten="client")).dimension == 8
    for row in range(2):
        vector = whole[row].astype(np.float64)
        assert np.array_equal(unit[row], (vector / np.linalg.norm(vector)).astype(np.float32))
        assert np.array_equal(cut[row], (vector[:8] / np.linalg.norm(vector[:8])).astype(np.float32))
    assert np.array_equal(results[0].embedding, cut[0])
    assert len(asked) >= 5
    assert all("dimensions" not in fields for fields in asked)


async def test_vectors_that_are_known_not_to_be_of_length_1_are_brought_to_it():
    """Gemini's below 3,072, unless the caller says no."""
    async with (
        FakeServer(dimension=256) as server,
        EmbedClient("gemini", base_url=server.url, catalogue="gemini-embedding-001") as client,
    ):
        given = await client.embed(["a"], dimensions=256)
        raw = await client.embed(["a"], dimensions=256, normalize=False)
    assert np.array_equal(raw[0], vector_of("a", 256))
    assert abs(np.linalg.norm(given[0]) - 1) < 1e-6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shorten": "client"}, "shorten='client' needs dimensions="),
        ({"shorten": "somebody", "dimensions": 8}, "shorten='somebody' is not known"),
        ({"normalize": "yes"}, "normalize='yes' must be True or False"),
        ({"normalize": True, "dtype": "int8"}, "the client cannot shorten or normalize vectors of dtype='int8'"),
    ],
)
def test_what_cannot_be_done_to_vectors_is_refused(options, words):
    with pytest.raises(ConfigurationError, match=words):
        EmbedClient(Cohere(), api_key="k").embed_stream(["a"], **options)


def test_the_default_of_every_fact_is_harmless():
    """A provider that says nothing of a fact gets no key, no header and no model of anybody."""
    defaults = [(fact, getattr(Provider, fact)) for fact in OF_A_COMPANY]
    assert all(not value for _, value in defaults)
    assert Model() == Model(dimension=None)
    assert Setting().value is None
    assert all(one is not other for one, other in pairwise(KINDS))
