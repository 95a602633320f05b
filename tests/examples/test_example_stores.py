"""The recipes for stores: each is filled, asked again, and refuses another model."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from support.scripted import KEY, ScriptedServer

from asyncembed import EmbedClient, ResumeError

if TYPE_CHECKING:
    from asyncembed.stores import Store

FOLDER = Path(__file__).parents[2] / "examples" / "stores"
ROWS = [(f"row {number}", f"text {number}") for number in range(1_200)]


def recipe(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def check(store: Store, count) -> None:
    """Fill a store, change some texts, and try another model."""
    async with ScriptedServer() as server:

        async def run(rows, model="one"):
            server.requests.clear()
            async with EmbedClient("openai", model=model, api_key=KEY, base_url=f"{server.url}/v1") as client:
                await client.embed_to_store(rows, store)
            return Counter(text for request in server.requests for text in request.texts)

        assert await run(ROWS) == Counter(text for _, text in ROWS)
        assert await count() == len(ROWS)
        assert not await run(ROWS)
        changed = [(id_, f"{text} new") if number < 100 else (id_, text) for number, (id_, text) in enumerate(ROWS)]
        assert len(await run(changed)) == 100
        assert await count() == len(ROWS)
        with pytest.raises(ResumeError, match="model was 'one' and is 'two' now"):
            await run(ROWS, "two")
        assert not server.requests
    await store.aclose()


@pytest.mark.filterwarnings("default")
async def test_qdrant(tmp_path):
    qdrant = pytest.importorskip("qdrant_client", reason="qdrant-client is not installed")
    client = qdrant.AsyncQdrantClient(path=str(tmp_path))

    async def count():
        return (await client.count("docs")).count

    await check(recipe("qdrant_store").QdrantStore(client, "docs"), count)


@pytest.mark.filterwarnings("default")
async def test_chroma(tmp_path):
    chroma = pytest.importorskip("chromadb", reason="chromadb is not installed")
    client = chroma.PersistentClient(str(tmp_path), chroma.Settings(anonymized_telemetry=False))
    store = recipe("chroma_store").ChromaStore(client, "docs")

    async def count():
        return store.collection.count()

    await check(store, count)


async def test_duckdb(tmp_path):
    pytest.importorskip("duckdb", reason="duckdb is not installed")
    store = recipe("duckdb_store").DuckStore(str(tmp_path / "v.duckdb"), "docs")

    async def count():
        return store.database.cursor().execute("select count(*) from docs").fetchone()[0]

    await check(store, count)


class FakeElastic:
    """The routes of Elasticsearch that the recipe asks for, with the documents in memory."""

    def __init__(self):
        self.mapping, self.documents, self.refuse = None, {}, iter([429])

    def app(self):
        app = web.Application(client_max_size=2**28)
        app.router.add_route("*", "/docs", self.index)
        app.router.add_get("/docs/_mapping", self.get_mapping)
        app.router.add_post("/docs/_mget", self.mget)
        app.router.add_put("/_bulk", self.bulk)
        app.on_response_prepare.append(self.mark)
        return app

    async def mark(self, request, response):
        response.headers["X-Elastic-Product"] = "Elasticsearch"

    async def index(self, request):
        if request.method == "HEAD":
            return web.Response(status=200 if self.mapping else 404)
        self.mapping = (await request.json())["mappings"]
        return web.json_response({"acknowledged": True, "index": "docs", "shards_acknowledged": True})

    async def get_mapping(self, request):
        return web.json_response({"docs": {"mappings": self.mapping}})

    async def mget(self, request):
        ids = (await request.json())["ids"]
        found = [{"_id": id_, "found": id_ in self.documents, "_source": self.documents.get(id_, {})} for id_ in ids]
        return web.json_response({"docs": found})

    async def bulk(self, request):
        lines = [orjson.loads(line) for line in (await request.read()).splitlines()]
        items = []
        for action, source in zip(lines[::2], lines[1::2], strict=True):
            id_ = action["index"]["_id"]
            status = next(self.refuse, 200)  # the first row is refused once
            if status == 200:
                self.documents[id_] = source
            items.append({"index": {"_id": id_, "status": status}})
        return web.json_response({"errors": any(item["index"]["status"] != 200 for item in items), "items": items})


@pytest.mark.filterwarnings("default")
async def test_elasticsearch():
    elastic = pytest.importorskip("elasticsearch", reason="elasticsearch is not installed")
    fake = FakeElastic()
    async with TestServer(fake.app()) as running:
        client = elastic.AsyncElasticsearch(str(running.make_url("/")))

        async def count():
            return len(fake.documents)

        await check(recipe("elasticsearch_store").ElasticStore(client, "docs"), count)
    assert len(fake.documents["row 0"]["embedding"]) == 8
