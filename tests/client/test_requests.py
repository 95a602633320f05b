"""What is sent: address, headers and body of each provider, with aioresponses in the place of the network.

aioresponses 0.7.9 builds responses without the `stream_writer` that aiohttp asks for since 3.14, so it gets a response
class that brings one. It gives a whole body at once; everything about streaming is tested with real servers.
"""

from __future__ import annotations

import functools
import json
from unittest.mock import Mock

import aiohttp
import pytest
import yarl

from asyncembed import EmbedClient, RetryPolicy

aioresponses = pytest.importorskip("aioresponses")
Response = functools.partial(aiohttp.ClientResponse, stream_writer=Mock(output_size=0))

OPENAI = {"data": [{"index": 1, "embedding": [3.0, 4.0]}, {"index": 0, "embedding": [1.0, 2.0]}]}
COHERE = {"embeddings": {"float": [[1.0, 2.0], [3.0, 4.0]]}}
COHERE_V1 = {"embeddings": [[1.0, 2.0], [3.0, 4.0]]}

CALLS = {
    "openai": (
        "https://api.openai.com/v1/embeddings",
        OPENAI,
        {"dimensions": 2},
        {"model": "m", "input": ["a", "b"], "dimensions": 2, "encoding_format": "base64"},
    ),
    "cohere": (
        "https://api.cohere.com/v2/embed",
        COHERE,
        {"dimensions": 2, "input_type": "query", "truncate": "END"},
        {
            "model": "m",
            "texts": ["a", "b"],
            "input_type": "search_query",
            "embedding_types": ["float"],
            "output_dimension": 2,
            "truncate": "END",
        },
    ),
    "cohere-v1": (
        "https://api.cohere.com/v1/embed",
        COHERE_V1,
        {"extra": {"priority": 3}},
        {"model": "m", "texts": ["a", "b"], "input_type": "search_document", "truncate": "NONE", "priority": 3},
    ),
}


@pytest.fixture
def network():
    with aioresponses.aioresponses() as mocked:
        yield mocked


@pytest.mark.parametrize("provider", CALLS)
async def test_a_request(network, provider):
    url, answer, options, body = CALLS[provider]
    network.post(url, payload=answer, response_class=Response)
    async with EmbedClient(provider, model="m", api_key="a-key", headers={"X-Team": "search"}) as client:
        response = await client.embed(["a", "b"], **options)
    assert response.embeddings.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    ((call,),) = network.requests.values()
    assert json.loads(call.kwargs["data"]) == body
    headers = call.kwargs["headers"]
    assert headers["Authorization"] == "Bearer a-key"
    assert headers["X-Team"] == "search"
    assert headers["Content-Type"] == headers["Accept"] == "application/json"
    assert headers["User-Agent"].startswith("asyncembed/")
    assert call.kwargs["allow_redirects"] is False


@pytest.mark.parametrize(
    ("base_url", "encoding", "compressed"),
    [
        ("https://api.example.com/v1", "float", True),
        ("https://api.example.com/v1", "base64", False),
        ("http://10.1.2.3/v1", "float", False),
        ("http://192.168.0.9:8080/v1", "float", False),
        ("http://[fd00::1]/v1", "float", False),
        ("http://8.8.8.8/v1", "float", True),
    ],
)
async def test_compression_is_asked_for_where_it_saves_something(network, base_url, encoding, compressed):
    """Floats over long ways: base64 hardly shrinks, and a local network is faster than unpacking."""
    answer = {"data": [{"index": 0, "embedding": "AACAPwAAAEA=" if encoding == "base64" else [1.0, 2.0]}]}
    network.post(f"{base_url}/embeddings", payload=answer, response_class=Response)
    async with EmbedClient("openai", model="m", api_key="k", base_url=base_url, encoding=encoding) as client:
        await client.embed(["a"], dimensions=2)
    ((call,),) = network.requests.values()
    assert call.kwargs["headers"].get("Accept-Encoding", "any") == ("any" if compressed else "identity")


async def test_a_request_is_repeated(network):
    url = "https://api.openai.com/v1/embeddings"
    network.post(url, status=429, payload={"error": {"message": "slow down"}}, response_class=Response)
    network.post(url, exception=aiohttp.ServerDisconnectedError())
    network.post(url, payload=OPENAI, response_class=Response)
    async with EmbedClient("openai", api_key="a-key", retry=RetryPolicy(initial_backoff=0.001)) as client:
        response = await client.embed(["a", "b"])
    assert response.embeddings.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert len(network.requests[("POST", yarl.URL(url))]) == 3
