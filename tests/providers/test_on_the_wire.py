"""Every provider against the fake server: each type and form of its answers, broken off and refused."""

from __future__ import annotations

import json
import re
from itertools import product

import numpy as np
import pytest

from asyncembed import (
    PROVIDERS,
    APIStatusError,
    AsyncEmbedError,
    AuthenticationError,
    ConfigurationError,
    EmbedClient,
    InvalidInputError,
    ModelNotFoundError,
    Provider,
    QuotaExceededError,
    RateLimitError,
    RetryPolicy,
)
from asyncembed.testing import FakeServer, faults, vector_of

NAMES = [name for name in PROVIDERS if name != "local"]
TEXTS = [f"text {number} \u00e9\u2603" for number in range(7)]
SETTINGS = {"project": "p", "location": "l", "region": "eu-west-1"}
MODELS = {"azure-openai": "my-deployment", "custom": "m", "vllm": "m", "infinity": "m", "lmstudio": "m"}
QUICK = RetryPolicy(max_attempts=3, initial_backoff=0.001, max_backoff=0.002)
EVERY = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    """Whatever the machine of the developer has set."""
    for kind in PROVIDERS.values():
        for variable in (*kind.key_variables, *kind.header_variables.values(), kind.base_url_variable):
            monkeypatch.delenv(variable or "ASYNCEMBED_NONE", raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def made(name: str) -> Provider:
    """A provider with the settings it needs."""
    kind = PROVIDERS[name]
    return kind(**{setting: SETTINGS[setting] for setting in kind.settings})


def client(server: FakeServer, name: str, **options: object) -> EmbedClient:
    provider = made(name)
    model = options.pop("model", None) or provider.default_model or MODELS[name]
    base_url = server.url + ("/v1" if provider.path == "/embeddings" else "")
    return EmbedClient(provider, model=model, base_url=base_url, retry=QUICK, **options)


def forms() -> list[tuple[str, str, str, str]]:
    """Provider, type, encoding and order of keys, as far as each provider has them."""
    found = []
    for name in NAMES:
        kind = PROVIDERS[name]
        encodings = ["float"] + ["base64"] * ("encoding" in kind.fields)
        for dtype, encoding, order in product(sorted(kind.dtypes), encodings, ("usual", "reversed", "shuffled")):
            found.append((name, dtype, encoding, order))
    return found


@pytest.mark.parametrize(("name", "dtype", "encoding", "order"), forms())
@pytest.mark.parametrize("pretty", [False, True], ids=["compact", "pretty"])
async def test_every_form_of_an_answer(name, dtype, encoding, order, pretty):
    """Every vector belongs to its text, bit by bit, and the tokens are those that were billed."""
    async with (
        FakeServer(dimension=24, pretty=pretty, key_order=order, item_order=order, chunk_bytes=53) as server,
        client(server, name, encoding=encoding) as embedder,
    ):
        # A dimension that is asked for is what base64 without any other evidence can be held to.
        has_sizes = "dimensions" in made(name).options
        response = await embedder.embed(TEXTS, dtype=dtype, **({"dimensions": 24} if has_sizes else {}))
        for text, vector in zip(TEXTS, response.embeddings, strict=True):
            assert np.array_equal(vector, vector_of(text, 24, dtype))
        billed = server.ledger.billed_tokens
        assert response.usage.tokens == (0 if name == "gemini" else billed)
        assert all(entry.kinds in {(dtype,), (encoding,), ("float",)} for entry in server.ledger.entries)


@EVERY
async def test_what_arrived_before_a_break_is_kept(name):
    """A response that breaks off in the middle costs the vectors that were missing, and no others."""
    broken = faults.CutOff(after=3)
    async with FakeServer(dimension=24, script=[broken]) as server, client(server, name) as embedder:
        response = await embedder.embed(TEXTS)
        for text, vector in zip(TEXTS, response.embeddings, strict=True):
            assert np.array_equal(vector, vector_of(text, 24))
        assert server.ledger.statuses[200] == len(server.ledger.entries)
        if made(name).limits.inputs > 1 and name != "vertex":
            assert [len(entry.texts) for entry in server.ledger.entries] == [7, 4]


@EVERY
async def test_a_request_holds_no_more_than_the_limit(name):
    provider = made(name)
    model = provider.default_model or MODELS[name]
    most = provider.limits.first or provider.limits.inputs
    async with FakeServer() as server, client(server, name, model=model) as embedder:
        await embedder.embed([str(number) for number in range(min(300, 2 * most + 1))])
        assert max(len(entry.texts) for entry in server.ledger.entries[:2]) <= most


@EVERY
@pytest.mark.parametrize(
    ("status", "error"), [(401, AuthenticationError), (404, ModelNotFoundError), (429, RateLimitError)]
)
async def test_a_refusal_is_what_it_is(name, status, error):
    """In the form of each API; one request for what another one would not mend."""
    words = {401: "the API key is wrong", 404: "the model m does not exist", 429: "too many requests"}

    async def refuse(exchange):
        await exchange.refuse(status, words[status])

    async with FakeServer(default=refuse) as server, client(server, name) as embedder:
        with pytest.raises(error) as caught:
            await embedder.embed(["a"])
    assert words[status] in str(caught.value)
    assert server.ledger.requests == (QUICK.max_attempts if status == 429 else 1)


@EVERY
async def test_the_key_is_where_the_api_looks_for_it(name):
    async with FakeServer(key="k-123") as server, client(server, name, api_key="k-123") as embedder:
        assert len(await embedder.embed(["a"])) == 1


@EVERY
@pytest.mark.parametrize("input_type", ["document", "query", "none"])
async def test_every_input_type_is_taken(name, input_type):
    async with FakeServer() as server, client(server, name) as embedder:
        response = await embedder.embed(["a"], input_type=input_type)
    assert np.array_equal(response[0], vector_of("a"))


@EVERY
async def test_extra_fields_reach_the_server(name):
    """Where each API looks for its fields, and the texts stay."""
    bodies = []

    async def note(exchange):
        bodies.append(exchange.request.body)
        await exchange.deliver()

    async with FakeServer(default=note) as server, client(server, name) as embedder:
        response = await embedder.embed(["a"], extra={"field_of_ones_own": 17})
    assert np.array_equal(response[0], vector_of("a"))
    assert re.search(rb'"field_of_ones_own":17', bodies[0])


@pytest.mark.parametrize("name", ["bedrock-titan", "bedrock-nova", "bedrock-cohere", "tei"])
async def test_tokens_are_told_by_a_header_or_the_body(name):
    async with FakeServer() as server, client(server, name) as embedder:
        response = await embedder.embed(TEXTS)
    assert response.usage.tokens == server.ledger.billed_tokens > 0


async def test_a_model_of_gemini_that_takes_words_gets_them():
    async with FakeServer() as server, client(server, "gemini", model="gemini-embedding-2") as embedder:
        response = await embedder.embed(["a"], input_type="query")
    assert np.array_equal(response[0], vector_of("task: search result | query: a"))
    assert server.ledger.entries[0].path == "/v1beta/models/gemini-embedding-2:batchEmbedContents"


async def test_a_model_of_gemini_may_be_named_as_googles_sdk_names_it():
    async with FakeServer() as server, client(server, "gemini", model="models/gemini-embedding-001") as embedder:
        await embedder.embed(["a"], input_type="query")
        assert embedder.provider.model(embedder.model).dimension == 3_072
    assert server.ledger.entries[0].path == "/v1beta/models/gemini-embedding-001:batchEmbedContents"


async def test_a_model_with_colons_and_slashes_is_asked_for_in_the_path():
    arn = "arn:aws:bedrock:eu:1:inference-profile/eu.amazon.titan-embed-text-v2:0"
    async with FakeServer() as server, client(server, "bedrock-titan", model=arn) as embedder:
        await embedder.embed(["a"])
    assert server.ledger.entries[0].path == f"/model/{arn.replace(':', '%3A').replace('/', '%2F')}/invoke"


async def test_azure_says_the_version_of_its_api():
    async with FakeServer() as server, client(server, "azure-openai", model="a b") as embedder:
        await embedder.embed(["a"])
    path = "/openai/deployments/a%20b/embeddings?api-version=2024-10-21"
    assert server.ledger.entries[0].path == path


@pytest.mark.parametrize(("told", "most"), [({"max_client_batch_size": 8, "max_batch_tokens": 16_384}, 8), ({}, 32)])
async def test_a_server_of_text_embeddings_inference_tells_its_limits(told, most):
    """Before the first request, and once."""
    async with FakeServer(info=told) as server, client(server, "tei") as embedder:
        for _ in range(2):
            await embedder.embed([str(number) for number in range(64)], max_concurrency=1)
    assert max(len(entry.texts) for entry in server.ledger.entries) == most
    assert {entry.path for entry in server.ledger.entries} == {"/embed"}


async def test_limits_that_are_not_told_are_found_out():
    """Where `/info` is not served, or is refused: its answer is no failure of the run."""
    too_large = faults.TooLarge(items=10)
    async with FakeServer(rules=[too_large], info=None) as server, client(server, "tei") as embedder:
        response = await embedder.embed([str(number) for number in range(64)])
    assert len(response) == 64


GOOGLE_KEY = {"reason": "API_KEY_INVALID", "@type": "type.googleapis.com/google.rpc.ErrorInfo"}
GOOGLE_DAY = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [{"quotaId": "EmbedContentRequestsPerDayPerProjectPerModel-FreeTier"}],
}


def google(status: int, word: str, detail: object) -> dict[str, object]:
    return {"error": {"code": status, "message": "refused", "status": word, "details": [detail]}}


@pytest.mark.parametrize(
    ("name", "status", "body", "headers", "error"),
    [
        ("ollama", 500, {"error": "json: unsupported value: NaN"}, {}, InvalidInputError),
        ("ollama", 400, {"error": "the input length exceeds the context length"}, {}, InvalidInputError),
        ("ollama", 404, {"error": 'model "m" not found, try pulling it first'}, {}, ModelNotFoundError),
        ("azure-openai", 404, {"error": {"code": "DeploymentNotFound", "message": "no"}}, {}, ModelNotFoundError),
        ("azure-openai", 401, {"error": {"code": "401", "message": "Access denied"}}, {}, AuthenticationError),
        ("gemini", 400, google(400, "INVALID_ARGUMENT", GOOGLE_KEY), {}, AuthenticationError),
        ("gemini", 429, google(429, "RESOURCE_EXHAUSTED", GOOGLE_DAY), {}, QuotaExceededError),
        ("vertex", 429, google(429, "RESOURCE_EXHAUSTED", GOOGLE_DAY), {}, QuotaExceededError),
        (
            "bedrock-titan",
            400,
            {"message": "no more"},
            {"x-amzn-errortype": "ServiceQuotaExceededException:http://internal.amazon.com/"},
            QuotaExceededError,
        ),
        ("bedrock-nova", 403, {"message": "no"}, {"x-amzn-errortype": "AccessDeniedException"}, AuthenticationError),
        (
            "bedrock-cohere",
            400,
            {"message": "The provided model identifier is invalid."},
            {"x-amzn-errortype": "ValidationException"},
            ModelNotFoundError,
        ),
        ("jina", 403, {"detail": "x", "code": "AUTHZ_INSUFFICIENT_BALANCE"}, {}, QuotaExceededError),
        ("nvidia", 402, {"detail": "credits"}, {}, QuotaExceededError),
        ("huggingface", 402, {"error": "monthly credits"}, {}, QuotaExceededError),
        ("lmstudio", 400, {"error": "No models loaded. Please load a model"}, {}, ModelNotFoundError),
        ("lmstudio", 200, {"error": "Unexpected endpoint or method. (POST /embeddings)"}, {}, AsyncEmbedError),
        ("cohere", 498, {"message": "invalid token"}, {}, AuthenticationError),
        (
            "tei",
            422,
            {"error": "default-prompt-name or prompt name q not found", "error_type": "Validation"},
            {},
            APIStatusError,
        ),
    ],
)
async def test_signs_of_each_service(name, status, body, headers, error):
    """One request says it: another one would not mend it."""

    async def refuse(exchange):
        await exchange.say(json.dumps(body).encode(), status, headers)

    async with FakeServer(default=refuse) as server, client(server, name) as embedder:
        with pytest.raises(error):
            await embedder.embed(["a"])
    assert server.ledger.requests == 1


async def test_a_failing_backend_of_text_embeddings_inference_is_tried_again():
    async def fail(exchange):
        await exchange.say(b'{"error":"inference failed","error_type":"Backend"}', 424)

    async with FakeServer(script=[fail]) as server, client(server, "tei") as embedder:
        assert len(await embedder.embed(["a"])) == 1
    assert server.ledger.requests == 2


async def fields_sent(name: str, **options: object) -> dict[str, object]:
    """The fields of the one request that a call with these options makes."""
    bodies = []

    async def note(exchange):
        bodies.append(exchange.request.fields)
        await exchange.deliver()

    async with FakeServer(default=note, dimension=384) as server, client(server, name) as embedder:
        await embedder.embed(["a"], **options)
    return bodies[0]


async def test_extra_fields_of_nova_stand_where_it_looks_for_them():
    """As a dimension that the client sends only in `extra`, and what happens to a text that is too long."""
    extra = {"embeddingDimension": 384, "truncationMode": "START", "schemaVersion": "v1"}
    assert await fields_sent("bedrock-nova", extra=extra) == {
        "taskType": "SINGLE_EMBEDDING",
        "schemaVersion": "v1",
        "singleEmbeddingParams": {
            "embeddingPurpose": "GENERIC_INDEX",
            "embeddingDimension": 384,
            "text": {"truncationMode": "START", "value": "a"},
        },
    }


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("jina-embeddings-v3", ("retrieval.passage", "retrieval.query")),
        ("jina-embeddings-v4", ("retrieval.passage", "retrieval.query")),
        ("jina-embeddings-v5-text-small", ("retrieval.passage", "retrieval.query")),
        ("jina-embeddings-v2-base-en", (None, None)),
        ("jina-embeddings-v2-base-de", (None, None)),
        ("jina-embeddings-v2-small-en", (None, None)),
        ("jina-clip-v1", (None, None)),
        ("jina-clip-v2", (None, "retrieval.query")),
        ("jina-code-embeddings-1.5b", ("nl2code.passage", "nl2code.query")),
        ("jina-colbert-v2", (None, None)),
        ("of-next-year", (None, "retrieval.query")),
    ],
)
async def test_a_model_of_jina_gets_only_tasks_that_it_has(model, words):
    """By default that of a document; an unknown model gets one only if the caller asks for it."""
    given = [await fields_sent("jina", model=model, **kind) for kind in ({}, {"input_type": "query"})]
    assert tuple(fields.get("task") for fields in given) == words


@pytest.mark.parametrize(
    ("extra", "each", "parameters"),
    [
        ({"title": "T"}, {"title": "T"}, {"autoTruncate": False}),
        ({"task_type": "X"}, {"task_type": "X"}, {"autoTruncate": False}),
        ({"autoTruncate": True, "outputDimensionality": 384}, {}, {"autoTruncate": True, "outputDimensionality": 384}),
    ],
)
async def test_extra_fields_of_vertex_stand_in_each_instance_or_among_the_parameters(extra, each, parameters):
    fields = await fields_sent("vertex", extra=extra, input_type="none")
    assert fields == {"instances": [{"content": "a", **each}], "parameters": parameters}


@pytest.mark.parametrize(
    ("name", "options", "extra"),
    [
        ("gemini", {}, {"content": {"parts": [{"text": "b"}]}}),
        ("gemini", {}, {"model": "models/other"}),
        ("gemini", {"dimensions": 768}, {"outputDimensionality": 512}),
        ("gemini", {"input_type": "query"}, {"taskType": "CLUSTERING"}),
        ("vertex", {}, {"content": "b"}),
        ("vertex", {"dimensions": 768}, {"outputDimensionality": 512}),
        ("vertex", {}, {"task_type": "CLUSTERING"}),
        ("vertex", {"truncate": "END"}, {"autoTruncate": False}),
        ("bedrock-nova", {"dimensions": 1024}, {"embeddingDimension": 384}),
        ("bedrock-nova", {}, {"embeddingPurpose": "CLUSTERING"}),
        ("bedrock-nova", {"truncate": "END"}, {"truncationMode": "NONE"}),
        ("bedrock-nova", {}, {"text": {"value": "b"}}),
    ],
)
def test_extra_fields_do_not_replace_options_where_an_api_nests_them(name, options, extra):
    """They are refused by name, as where a body is flat."""
    with pytest.raises(ConfigurationError, match=f"extra= must not contain {next(iter(extra))}, which"):
        EmbedClient(made(name), api_key="k").embed_stream(["a"], extra=extra, **options)
