"""The web service under a real uvicorn in a process of its own, with an embedding API that the tests can hold up."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest
import pytest_asyncio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "key-that-nobody-may-see"
MANY = [f"text number {number}" for number in range(3_000)]  # far more requests than may run at once
IN_BOTH = pytest.mark.parametrize(
    ("method", "path", "body"),
    [("GET", "/search?q=x", None), ("POST", "/embed/stream", {"texts": ["x"]})],
    ids=["search", "stream"],
)


@asynccontextmanager
async def running(examples: Path, environment: dict[str, str]) -> AsyncIterator[aiohttp.ClientSession]:
    """Run the application and give a browser; what it left open, and what it said of its key, comes out at the end."""
    options = ("--app-dir", examples, "--port", "0", "--no-access-log")
    command = (sys.executable, "-m", "uvicorn", *options, "fastapi_app:app")
    process = await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.PIPE)
    log = ""
    try:
        while not (address := re.search(r"running on (http://\S+)", log)):
            log += (line := await process.stderr.readline()).decode()
            assert line, log
        async with aiohttp.ClientSession(address[1], timeout=aiohttp.ClientTimeout(30)) as session:
            yield session
    finally:
        process.terminate()
        log += (await process.stderr.read()).decode()
        await process.wait()
    assert "Application shutdown complete" in log
    assert not re.search("Traceback|ResourceWarning|never retrieved|Error", log), log
    assert KEY not in log


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(examples: Path, environment: dict[str, str], running_upstream) -> AsyncIterator[aiohttp.ClientSession]:
    settings = {"EMBED_PROVIDER": "cohere", "EMBED_BASE_URL": running_upstream.url, "CO_API_KEY": KEY}
    async with running(examples, environment | settings) as session:
        yield session


async def stored(http: aiohttp.ClientSession, documents: int) -> None:
    """Wait until so many documents are there."""
    async with asyncio.timeout(30):
        while (await health(http))["documents"] < documents:
            pass


async def health(http: aiohttp.ClientSession) -> dict[str, int]:
    async with http.get("/health") as response:
        return await response.json()


async def lines(response: aiohttp.ClientResponse) -> list[dict]:
    return [json.loads(line) async for line in response.content]


async def test_documents_are_accepted_at_once_and_found_later(http, upstream) -> None:
    upstream.hold_after = 0
    before = (await health(http))["documents"]

    async with http.post("/documents", json={"texts": ["tabby cat", "savings bank"]}) as response:
        assert response.status == 202
        assert await response.json() == {"accepted": 2}
    await upstream.until(lambda: upstream.in_flight == 1)
    assert await health(http) == {"documents": before, "in_flight": 1}

    upstream.gate.set()
    await stored(http, before + 2)
    async with http.get("/search", params={"q": "a cat"}) as response:
        hits = await response.json()
    assert hits[0]["text"] == "tabby cat"
    assert hits[0]["score"] > hits[1]["score"]


async def test_vectors_are_sent_while_the_next_are_still_to_come(http, upstream) -> None:
    upstream.hold_after = 1
    texts = ["a", "bb", "ccc"]

    async with http.post("/embed/stream", json={"texts": texts}) as response:
        first = json.loads(await response.content.readline())
        assert first == {"index": 0, "embedding": upstream.vector_of("a")}
        assert upstream.in_flight == 1

        upstream.gate.set()
        rest = await lines(response)
    assert [line["index"] for line in rest] == [1, 2]
    assert [line["embedding"] for line in rest] == [upstream.vector_of("bb"), upstream.vector_of("ccc")]


@pytest.mark.parametrize("received", [0, 1, 50])
async def test_work_stops_when_the_browser_leaves(http, upstream, received: int) -> None:
    upstream.hold_after = received
    body = json.dumps({"texts": MANY}).encode()
    head = b"POST /embed/stream HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"

    reader, writer = await asyncio.open_connection(http._base_url.host, http._base_url.port)
    writer.write(head % len(body) + body)
    await upstream.until(lambda: upstream.in_flight > 0)
    for _ in range(received):
        await reader.readuntil(b'"embedding"')
    writer.close()
    await upstream.until(lambda: upstream.in_flight == 0, seconds=20)

    sent = len(upstream.requests)
    upstream.hold_after = None
    async with http.get("/search", params={"q": "still there?"}) as response:
        assert response.status == 200
    assert (await health(http))["in_flight"] == 0
    assert upstream.requests[sent:] == [["still there?"]]
    assert sum(map(len, upstream.requests)) < len(MANY)


@IN_BOTH
@pytest.mark.parametrize(
    ("refusal", "status", "retry_after"),
    [
        ((400, "this text is too long", {}), 422, None),
        ((401, f"invalid key {KEY}", {}), 502, None),
        ((429, "slow down", {"Retry-After": "60"}), 503, "60"),
    ],
    ids=str,
)
async def test_errors_become_answers_that_keep_the_secrets(
    http, upstream, method, path, body, refusal, status, retry_after
) -> None:
    upstream.refusal = refusal

    async with http.request(method, path, json=body) as response:
        words = await response.text()
        assert response.status == status, words
        assert response.headers.get("Retry-After") == retry_after
    assert set(json.loads(words)) == {"error", "indices"}
    assert not re.search(f"{KEY}|127.0.0.1|{refusal[1]}", words)


async def test_an_error_after_the_first_vector_is_the_last_line(http, upstream) -> None:
    upstream.hold_after = 1
    async with http.post("/embed/stream", json={"texts": ["a", "b"]}) as response:
        first = json.loads(await response.content.readline())
        upstream.break_after, upstream.refusal = 1, (401, KEY, {})
        upstream.gate.set()
        rest = await lines(response)

    assert first["index"] == 0
    assert rest == [{"error": "the embedding API failed"}]


@pytest.mark.usefixtures("local_model")
async def test_it_needs_no_key(examples, environment) -> None:
    async with running(examples, environment) as http:
        async with http.post("/documents", json={"texts": ["a savings bank", "a tabby cat"]}) as response:
            assert response.status == 202
        await stored(http, 2)
        async with http.get("/search", params={"q": "kitten"}) as response:
            hits = await response.json()
    assert [hit["text"] for hit in hits] == ["a tabby cat", "a savings bank"]
