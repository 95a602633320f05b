"""The recipes for frameworks: what they index is found again, also after they were opened anew, and no key is kept."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from support.fixtures import clean_environment
from support.threaded_clients import KEY, key_variable, server

from asyncembed.testing import vector_of

__all__ = ["clean_environment", "key_variable", "server"]

FOLDER = Path(__file__).parents[2] / "examples" / "frameworks"
TEXTS = [f"text {number}" for number in range(50)]
pytestmark = pytest.mark.filterwarnings("default")  # those of the frameworks are their own


def recipe(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def fields(server):
    return {"provider": "openai", "model": "m", "base_url": f"{server.url}/v1", "api_key_env": "EMBEDDINGS_KEY"}


def holds_key(folder):
    return [path for path in folder.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


@pytest.fixture(autouse=True)
def no_telemetry(monkeypatch):
    monkeypatch.setenv("HAYSTACK_TELEMETRY_ENABLED", "False")
    monkeypatch.setenv("ANONYMIZED_TELEMETRY", "False")


async def test_haystack(fields):
    haystack = pytest.importorskip("haystack", reason="haystack-ai is not installed")
    from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
    from haystack.components.writers import DocumentWriter
    from haystack.document_stores.in_memory import InMemoryDocumentStore

    embedders, store = recipe("haystack_embedders"), InMemoryDocumentStore()
    indexing = haystack.Pipeline()
    indexing.add_component("embed", embedders.DocumentEmbedder(**fields))
    indexing.add_component("write", DocumentWriter(store))
    indexing.connect("embed", "write")
    assert KEY not in indexing.dumps()
    indexing.run({"embed": {"documents": [haystack.Document(content=text) for text in TEXTS]}})
    found = {document.content: document.embedding for document in store.filter_documents()}
    assert found == {text: vector_of(text, 8).tolist() for text in TEXTS}

    query = haystack.Pipeline()
    query.add_component("embed", embedders.TextEmbedder.from_dict(embedders.TextEmbedder(**fields).to_dict()))
    query.add_component("find", InMemoryEmbeddingRetriever(store, top_k=1))
    query.connect("embed.embedding", "find.query_embedding")
    assert query.run({"embed": {"text": "text 7"}})["find"]["documents"][0].content == "text 7"
    assert (await embedders.TextEmbedder(**fields).run_async("text 8"))["embedding"] == vector_of("text 8", 8).tolist()


def test_chroma(fields, tmp_path):
    chroma = pytest.importorskip("chromadb", reason="chromadb is not installed")
    settings = chroma.Settings(anonymized_telemetry=False)
    client = chroma.PersistentClient(str(tmp_path), settings)
    function = recipe("chroma_function").ChromaFunction(**fields)
    collection = client.create_collection("docs", embedding_function=function)
    collection.add(ids=TEXTS, documents=TEXTS)
    found = collection.get(include=["embeddings"])
    assert sorted(found["ids"]) == sorted(TEXTS)
    for text, vector in zip(found["ids"], found["embeddings"], strict=True):
        assert vector == pytest.approx(vector_of(text, 8), abs=1e-5)  # Chroma keeps them normalized
    again = chroma.PersistentClient(str(tmp_path), settings).get_collection("docs")
    assert again.query(query_texts=["text 7"], n_results=1)["ids"] == [["text 7"]]
    assert not holds_key(tmp_path)


def test_lancedb(fields, tmp_path):
    lancedb = pytest.importorskip("lancedb", reason="lancedb is not installed")
    from lancedb.embeddings import get_registry
    from lancedb.pydantic import LanceModel, Vector

    recipe("lancedb_function")
    function = get_registry().get("asyncembed").create(**fields)

    class Doc(LanceModel):
        text: str = function.SourceField()
        vector: Vector(function.ndims()) = function.VectorField()

    table = lancedb.connect(tmp_path).create_table("docs", schema=Doc)
    table.add([{"text": text} for text in TEXTS])
    found = {row["text"]: row["vector"] for row in table.to_arrow().to_pylist()}
    assert found == {text: vector_of(text, 8).tolist() for text in TEXTS}
    assert function.generate_embeddings(["a", None, ""])[1:] == [None, None]
    again = lancedb.connect(tmp_path).open_table("docs")
    assert again.search("text 7").limit(1).to_list()[0]["text"] == "text 7"
    assert not holds_key(tmp_path)
