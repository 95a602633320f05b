"""LangChain's own standard tests, and what they do not ask."""

from __future__ import annotations

import asyncio
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("langchain_core", reason="langchain-core is not installed")
standard = pytest.importorskip("langchain_tests.unit_tests", reason="langchain-tests is not installed")
integration = pytest.importorskip("langchain_tests.integration_tests", reason="langchain-tests is not installed")

from asyncembed import ClientSpec, ConfigurationError  # noqa: E402
from asyncembed.integrations.langchain import AsyncEmbedEmbeddings  # noqa: E402
from asyncembed.testing import vector_of  # noqa: E402

KEY = "sk-never-shown-2718"


class Standard:
    """What both suites ask of the class."""

    @pytest.fixture(autouse=True)
    def _server(self, server):
        self._url = f"{server.url}/v1"

    @property
    def embeddings_class(self):
        return AsyncEmbedEmbeddings

    @property
    def embedding_model_params(self):
        return {"provider": "openai", "base_url": self._url, "api_key_env": "EMBEDDINGS_KEY"}


class TestStandardUnit(Standard, standard.EmbeddingsUnitTests):
    """LangChain's unit tests."""

    @property
    def init_from_env_params(self):
        return {"EMBEDDINGS_KEY": KEY}, self.embedding_model_params, {}


class TestStandardIntegration(Standard, integration.EmbeddingsIntegrationTests):
    """LangChain's integration tests."""


@pytest.fixture
def embeddings(spec):
    return AsyncEmbedEmbeddings(spec)


def test_documents_and_queries_are_right(embeddings):
    assert embeddings.embed_documents(["a", "b"]) == [vector_of(text, 8).tolist() for text in "ab"]
    assert embeddings.embed_query("q") == vector_of("q", 8).tolist()
    assert embeddings.embed_documents([]) == []


async def test_roles_are_told_where_the_provider_knows_them(server):
    embeddings = AsyncEmbedEmbeddings("cohere", base_url=server.url, api_key_env="EMBEDDINGS_KEY")
    seen = []

    class Watching:
        def applies(self, exchange):
            seen.append(exchange.request.fields["input_type"])
            return False

    server.rules.append(Watching())
    await embeddings.aembed_documents(["a"])
    await embeddings.aembed_query("a")
    embeddings.embed_documents(["a"])
    embeddings.embed_query("a")
    assert seen == ["search_document", "search_query", "search_document"]  # the second query is remembered


async def test_it_works_inside_a_running_loop_and_in_many(embeddings):
    assert embeddings.embed_query("q") == vector_of("q", 8).tolist()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda text: asyncio.run(embeddings.aembed_query(text)), "abcdefgh"))
    assert found == [vector_of(text, 8).tolist() for text in "abcdefgh"]


async def test_a_cancelled_call_is_cancelled_at_the_server_too(embeddings, server):
    server.latency = 30.0
    task = asyncio.create_task(embeddings.aembed_query("q"))
    while not server.active:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    server.latency = 0.0
    assert await embeddings.aembed_query("r") == vector_of("r", 8).tolist()


def test_it_pickles_without_a_key(embeddings):
    stored = pickle.dumps(embeddings)
    assert KEY.encode() not in stored
    assert pickle.loads(stored).embed_query("q") == embeddings.embed_query("q")


def test_dimensions_and_settings_are_passed_on(spec):
    assert len(AsyncEmbedEmbeddings(spec, dimensions=3).embed_query("q")) == 3
    assert AsyncEmbedEmbeddings("openai", model="m").spec == ClientSpec("openai", model="m")
    assert AsyncEmbedEmbeddings(spec=spec).spec == AsyncEmbedEmbeddings(spec).spec == spec
    assert repr(AsyncEmbedEmbeddings(spec=spec, dimensions=3)) == f"AsyncEmbedEmbeddings({spec!r}, dimensions=3)"
    for wrong in ({}, {"provider": "openai", "spec": spec}):
        with pytest.raises(ConfigurationError, match="either a provider or a ClientSpec"):
            AsyncEmbedEmbeddings(**wrong)
    with pytest.raises(ConfigurationError, match="not both"):
        AsyncEmbedEmbeddings(spec=spec, model="m")
    with pytest.raises(ConfigurationError, match="not both"):
        AsyncEmbedEmbeddings(spec, model="m")
    with pytest.raises(ConfigurationError, match="api_key_env"):
        AsyncEmbedEmbeddings("openai", api_key=KEY)
