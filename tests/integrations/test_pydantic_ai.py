"""pydantic-ai: its embedder over our model."""

from __future__ import annotations

import asyncio
import pickle

import pytest

pytest.importorskip("pydantic_ai.embeddings", reason="pydantic-ai-slim is not installed")

from pydantic_ai.embeddings import Embedder

from asyncembed.integrations.pydantic_ai import AsyncEmbedModel
from asyncembed.testing import vector_of

KEY = "sk-never-shown-2718"


async def test_documents_and_queries_are_right(spec):
    embedder = Embedder(AsyncEmbedModel(spec))
    result = await embedder.embed_documents(["a", "b"])
    assert [list(each) for each in result.embeddings] == [vector_of(text, 8).tolist() for text in "ab"]
    assert result.usage.input_tokens > 0
    assert (result.provider_name, result.model_name) == ("openai", "text-embedding-3-small")
    query = await embedder.embed_query("q", settings={"dimensions": 3})
    assert list(query.embeddings[0]) == vector_of("q", 3).tolist()


@pytest.fixture
def loop():
    """pydantic-ai's plain calls run the current loop, and make one that they leave open if there is none."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


def test_plain_calls_and_pickles(spec, loop):
    model = pickle.loads(pickle.dumps(AsyncEmbedModel(spec)))
    assert KEY.encode() not in pickle.dumps(model)
    assert list(Embedder(model).embed_query_sync("q").embeddings[0]) == vector_of("q", 8).tolist()


def test_a_spec_takes_the_place_of_the_provider(spec):
    assert AsyncEmbedModel(spec=spec).spec == AsyncEmbedModel(spec).spec == spec
    assert repr(AsyncEmbedModel(spec=spec)) == f"AsyncEmbedModel({spec!r})"
