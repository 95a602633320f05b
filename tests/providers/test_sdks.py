"""Requests of the services' own SDKs beside ours, on loopback: the same paths, keys, and fields.

What differs on purpose is listed with each of them. A SDK that is not installed is skipped by its name.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from inspect import signature
from typing import TYPE_CHECKING
from urllib.parse import unquote

import anyio.to_thread
import pytest

from asyncembed import EmbedClient
from asyncembed.providers import BedrockTitan, Vertex, get_provider
from asyncembed.testing import FakeServer

if TYPE_CHECKING:
    from collections.abc import Callable

TEXTS = ["one", "two \u2603"]
KEY = "k-123"
KEY_HEADERS = ("authorization", "api-key", "x-goog-api-key")


@dataclass
class Sent:
    """What a server was sent by one client."""

    path: str = ""
    keys: dict[str, str] = field(default_factory=dict)
    fields: dict[str, object] = field(default_factory=dict)


def taken(sent: Sent):
    """A reply that notes the request."""

    async def note(exchange):
        request = exchange.request
        sent.path = unquote(request.path)
        sent.keys = {name: request.headers[name] for name in KEY_HEADERS if name in request.headers}
        sent.fields = request.fields
        await exchange.deliver()

    return note


async def both(
    ask: Callable[[str], object], ours: Callable[[str], EmbedClient], **options: object
) -> tuple[Sent, Sent]:
    """What the SDK sends, and what we send for the same."""
    theirs, own = Sent(), Sent()
    async with FakeServer(dimension=8, default=taken(theirs)) as server:
        await anyio.to_thread.run_sync(ask, server.url)
        server.default = taken(own)
        async with ours(server.url) as client:
            texts = options.pop("texts", TEXTS)
            await client.embed(texts, **options)
    return theirs, own


COHERE_TYPES = pytest.mark.parametrize(
    ("kind", "encoding", "dtype"),
    [("float", "float", "float32"), ("base64", "base64", "float32"), ("int8", "auto", "int8")],
)


@COHERE_TYPES
async def test_cohere(kind, encoding, dtype):
    cohere = pytest.importorskip("cohere")

    def ask(url: str) -> None:
        with cohere.ClientV2(api_key=KEY, base_url=url) as client:
            client.embed(
                model="m",
                texts=TEXTS,
                input_type="search_query",
                embedding_types=[kind],
                output_dimension=8,
                truncate="END",
            )

    theirs, own = await both(
        ask,
        lambda url: EmbedClient("cohere", base_url=url, api_key=KEY, model="m", encoding=encoding),
        input_type="query", dimensions=8, truncate="END", dtype=dtype,
    )  # fmt: skip
    assert own == theirs


@COHERE_TYPES
async def test_cohere_v1(kind, encoding, dtype):
    """We do not name the type where it is the default."""
    cohere = pytest.importorskip("cohere")

    def ask(url: str) -> None:
        with cohere.Client(api_key=KEY, base_url=url) as client:
            kinds = {} if kind == "float" else {"embedding_types": [kind]}
            client.embed(model="m", texts=TEXTS, input_type="classification", truncate="START", batching=False, **kinds)

    theirs, own = await both(
        ask,
        lambda url: EmbedClient("cohere-v1", base_url=url, api_key=KEY, model="m", encoding=encoding),
        input_type="classification", truncate="START", dtype=dtype,
    )  # fmt: skip
    assert own == theirs


async def test_openai():
    openai = pytest.importorskip("openai")

    def ask(url: str) -> None:
        with openai.OpenAI(api_key=KEY, base_url=f"{url}/v1", max_retries=0) as client:
            client.embeddings.create(model="m", input=TEXTS, dimensions=8)

    theirs, own = await both(
        ask, lambda url: EmbedClient("openai", base_url=f"{url}/v1", api_key=KEY, model="m"), dimensions=8
    )
    assert own == theirs


async def test_azure():
    openai = pytest.importorskip("openai")

    def ask(url: str) -> None:
        with openai.AzureOpenAI(api_key=KEY, azure_endpoint=url, api_version="2024-10-21", max_retries=0) as client:
            client.embeddings.create(model="my-deployment", input=TEXTS)

    theirs, own = await both(
        ask, lambda url: EmbedClient("azure-openai", base_url=url, api_key=KEY, model="my-deployment")
    )
    assert own == theirs


async def test_voyage():
    """It says that nothing is cut where we leave that to the API, and asks for base64 of everything."""
    voyageai = pytest.importorskip("voyageai")

    def ask(url: str) -> None:
        client = voyageai.Client(api_key=KEY, base_url=f"{url}/v1")
        client.embed(TEXTS, model="m", input_type="query", output_dimension=8, output_dtype="int8", truncation=False)

    theirs, own = await both(
        ask,
        lambda url: EmbedClient("voyage", base_url=f"{url}/v1", api_key=KEY, model="m"),
        input_type="query", dimensions=8, dtype="int8", truncate="NONE",
    )  # fmt: skip
    assert own == theirs


async def test_mistral():
    """It names the default type and encoding."""
    pytest.importorskip("mistralai")
    from mistralai.client import Mistral
    from mistralai.client.errors import ResponseValidationError

    def ask(url: str) -> None:
        # The answer that it gets has no id, which the SDK asks for; the request is what counts here.
        with suppress(ResponseValidationError), Mistral(api_key=KEY, server_url=url) as client:
            client.embeddings.create(model="m", inputs=TEXTS, output_dimension=8, output_dtype="int8")

    theirs, own = await both(
        ask,
        lambda url: EmbedClient("mistral", base_url=f"{url}/v1", api_key=KEY, model="m"),
        dimensions=8, dtype="int8",
    )  # fmt: skip
    theirs.fields.pop("encoding_format", None)
    assert own == theirs


async def test_gemini():
    genai = pytest.importorskip("google.genai")

    def ask(url: str) -> None:
        client = genai.Client(api_key=KEY, http_options={"base_url": url})
        config = {"task_type": "RETRIEVAL_QUERY", "output_dimensionality": 8}
        client.models.embed_content(model="gemini-embedding-001", contents=TEXTS, config=config)

    theirs, own = await both(
        ask, lambda url: EmbedClient("gemini", base_url=url, api_key=KEY), input_type="query", dimensions=8
    )
    for request in theirs.fields["requests"]:  # the role of who speaks, which has no effect
        request["content"].pop("role", None)
    theirs.path = theirs.path.replace("/v1/", "/v1beta/")  # newer SDKs name another version of the same route
    assert own == theirs


async def test_vertex():
    genai = pytest.importorskip("google.genai")
    from google.oauth2.credentials import Credentials

    model = "text-embedding-005"

    def ask(url: str) -> None:
        client = genai.Client(
            vertexai=True, project="p", location="l", credentials=Credentials(KEY), http_options={"base_url": url}
        )
        config = {"task_type": "RETRIEVAL_QUERY", "output_dimensionality": 8, "auto_truncate": True}
        client.models.embed_content(model=model, contents=TEXTS, config=config)

    theirs, own = await both(
        ask,
        lambda url: EmbedClient(Vertex(project="p", location="l"), base_url=url, api_key=KEY, model=model),
        input_type="query", dimensions=8, truncate="END",
    )  # fmt: skip
    theirs.path = theirs.path.replace("/v1beta1/", "/v1/")  # the SDK uses the preview of the same route
    assert own == theirs


async def test_ollama():
    ollama = pytest.importorskip("ollama")

    def ask(url: str) -> None:
        client = ollama.Client(host=url)
        try:
            client.embed(model="m", input=TEXTS, dimensions=8, truncate=False)
        finally:
            client._client.close()

    theirs, own = await both(
        ask, lambda url: EmbedClient("ollama", base_url=url, model="m"), dimensions=8, truncate="NONE"
    )
    assert own == theirs


async def test_huggingface():
    """Older SDKs take one text at a time, and send it without a list; newer ones write "left", which is the same."""
    hub = pytest.importorskip("huggingface_hub")
    takes_dimensions = "dimensions" in signature(hub.InferenceClient.feature_extraction).parameters
    sizes = {"dimensions": 8} if takes_dimensions else {}

    def ask(url: str) -> None:
        client = hub.InferenceClient(model=f"{url}/org/model/pipeline/feature-extraction", token=KEY)
        client.feature_extraction(TEXTS[0], truncate=True, truncation_direction="left", prompt_name="p", **sizes)

    theirs, own = await both(
        ask,
        lambda url: EmbedClient("huggingface", base_url=url, api_key=KEY, model="org/model"),
        texts=TEXTS[:1], truncate="START", input_type="p", **sizes,
    )  # fmt: skip
    theirs.fields["inputs"] = [theirs.fields["inputs"]]
    theirs.fields["truncation_direction"] = theirs.fields["truncation_direction"].capitalize()
    assert {name: value for name, value in own.fields.items() if value != theirs.fields.get(name)} == {}
    assert theirs.fields.keys() - own.fields.keys() <= {"normalize"}
    assert (own.path, own.keys) == (theirs.path, theirs.keys)


async def test_bedrock():
    """The model is escaped in the same way; the body is the caller's own."""
    session = pytest.importorskip("botocore.session")

    def ask(url: str) -> None:
        client = session.get_session().create_client(
            "bedrock-runtime",
            region_name="eu-west-1",
            endpoint_url=url,
            aws_access_key_id="AKID",
            aws_secret_access_key="secret",
        )
        client.invoke_model(modelId="amazon.titan-embed-text-v2:0", body=b'{"inputText": "one"}')

    theirs, own = await both(
        ask,
        lambda url: EmbedClient(BedrockTitan(region="eu-west-1"), base_url=url, api_key=KEY),
        texts=["one"],
    )
    assert (own.path, own.fields) == (theirs.path, theirs.fields)


def test_header_names_are_those_of_the_sdks():
    """Looked up without regard to case; these are what the services document."""
    assert get_provider("gemini").headers("k") == {"x-goog-api-key": "k"}
    assert get_provider("azure-openai").headers("k") == {"api-key": "k"}
