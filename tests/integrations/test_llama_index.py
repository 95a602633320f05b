"""LlamaIndex: texts, queries, nodes, and what is persisted."""

from __future__ import annotations

import asyncio
import pickle

import pytest

pytest.importorskip("llama_index.core", reason="llama-index-core is not installed")

from llama_index.core.schema import TextNode

from asyncembed import ClientSpec, ConfigurationError, RetryPolicy
from asyncembed.integrations.llama_index import AsyncEmbedEmbedding
from asyncembed.testing import vector_of

KEY = "sk-never-shown-2718"


@pytest.fixture
def embedding(spec):
    return AsyncEmbedEmbedding(spec)


def test_texts_queries_and_nodes_are_right(embedding, server):
    texts = [str(number) for number in range(300)]
    expected = [vector_of(text, 8).tolist() for text in texts]
    assert embedding.get_text_embedding_batch(texts) == expected
    assert server.ledger.requests <= 8
    assert asyncio.run(embedding.aget_text_embedding_batch(texts)) == expected
    assert embedding.get_query_embedding("q") == vector_of("q", 8).tolist()
    assert asyncio.run(embedding.aget_query_embedding("q")) == vector_of("q", 8).tolist()
    assert asyncio.run(embedding.aget_text_embedding("q")) == vector_of("q", 8).tolist()
    assert [node.embedding for node in embedding([TextNode(text=text) for text in texts[:5]])] == expected[:5]


def test_what_is_persisted_holds_no_key_and_can_be_read_back(server):
    embedding = AsyncEmbedEmbedding(
        "openai",
        model="m",
        base_url=f"{server.url}/v1",
        api_key_env="EMBEDDINGS_KEY",
        retry=RetryPolicy(max_attempts=2),
        dimensions=4,
    )
    stored = embedding.to_json()
    assert KEY not in stored
    again = AsyncEmbedEmbedding.from_json(stored)
    assert again.spec == embedding.spec
    assert again.get_text_embedding("a") == embedding.get_text_embedding("a") == vector_of("a", 4).tolist()
    pickled = pickle.dumps(embedding)
    assert KEY.encode() not in pickled
    assert pickle.loads(pickled).get_text_embedding("a") == vector_of("a", 4).tolist()
    assert embedding.model_copy().get_text_embedding("a") == vector_of("a", 4).tolist()


def test_the_model_has_the_providers_default():
    assert AsyncEmbedEmbedding("openai").model_name == "text-embedding-3-small"
    assert AsyncEmbedEmbedding("openai", model="m").spec == ClientSpec("openai", model="m")


def test_a_spec_takes_the_place_of_the_provider_and_all_fields(spec):
    for embedding in (AsyncEmbedEmbedding(spec), AsyncEmbedEmbedding(spec=spec, embed_batch_size=10)):
        assert embedding.spec == spec
        assert repr(embedding) == str(embedding) == f"AsyncEmbedEmbedding({spec!r})"
    with pytest.raises(ConfigurationError, match="not both"):
        AsyncEmbedEmbedding(spec=spec, model="m")
    with pytest.raises(ConfigurationError, match="api_key_env"):
        AsyncEmbedEmbedding("openai", api_key=KEY)
