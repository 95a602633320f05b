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
from support.postgres import postgres

from asyncembed.stores import SqliteVectors
from asyncembed.testing import FakeServer, faults

for package in ("fastapi", "prometheus_client", "uvicorn"):
    pytest.importorskip(package)

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "key-that-nobody-may-see"
MANY = [f"text number {number}" for number in range(3_000)]  # far more requests than may run at once
CAT_AND_BANK = [{"id": "cat", "text": "tabby cat"}, {"id": "bank", "text": "savings bank"}]
IN_BOTH = pytest.mark.parametrize(
    ("method", "path", "body"),
    [("GET", "/search?q=x", None), ("POST", "/embed/stream", {"texts": ["x"]})],
    ids=["search", "stream"],
)


@asynccontextmanager
async def started(
    examples: Path, environment: dict[str, str], folder: Path
) -> AsyncIterator[tuple[aiohttp.ClientSession, Process]]:
    """Run the application in a folder; what it left open, and what it said of its key, comes out at the end."""
    options = ("--app-dir", examples, "--port", "0", "--no-access-log")
    command = (sys.executable, "-m", "uvicorn", *options, "fastapi_app:app")
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, cwd=folder, stderr=asyncio.subprocess.PIPE
    )
    log = ""
    try:
        address = re.search(r"running on (http://\S+)", await said(process, "running on"))
        async with aiohttp.ClientSession(address[1], timeout=aiohttp.ClientTimeout(30)) as session:
            yield session, process
    finally:
        if process.returncode is None:
            process.terminate()
        log += (await process.stderr.read()).decode()
        await process.wait()
    assert "Application shutdown complete" in log
    assert not re.search("Traceback|ResourceWarning|never retrieved|ERROR", log), log
    assert KEY not in log


async def said(process: Process, words: str) -> str:
    """Return the next line of the log that holds these words."""
    log = ""
    while line := (await process.stderr.readline()).decode():
        log += line
        if words in line:
            return line
    raise AssertionError(log)


@asynccontextmanager
async def running(examples: Path, environment: dict[str, str], folder: Path) -> AsyncIterator[aiohttp.ClientSession]:
    async with started(examples, environment, folder) as (http, _):
        yield http


def settings(environment: dict[str, str], url: str, **more: str) -> dict[str, str]:
    return environment | {"EMBED_PROVIDER": "cohere", "EMBED_BASE_URL": url, "CO_API_KEY": KEY} | more


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("service")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(
    examples: Path, environment: dict[str, str], running_upstream, folder: Path
) -> AsyncIterator[aiohttp.ClientSession]:
    async with running(examples, settings(environment, running_upstream.url), folder) as session:
        yield session


async def index(http: aiohttp.ClientSession, documents: list[dict]) -> int:
    """Post documents, and return the number of the job."""
    async with http.post("/documents", json={"documents": documents}) as response:
        assert response.status == 202
        job = await response.json()
    assert job["state"] == "running"
    assert job["documents"] == len(documents)
    return job["number"]


async def job(http: aiohttp.ClientSession, number: int) -> dict:
    async with http.get(f"/jobs/{number}") as response:
        assert response.status == 200
        return await response.json()


async def finished(http: aiohttp.ClientSession, number: int) -> dict:
    """Wait until a job is no longer running."""
    async with asyncio.timeout(60):
        while (now := await job(http, number))["state"] == "running":
            pass
    return now


async def search(http: aiohttp.ClientSession, question: str) -> list[dict]:
    async with http.get("/search", params={"q": question}) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def metrics(http: aiohttp.ClientSession) -> dict[str, dict[str, float]]:
    """Return the values of each metric of the client by their label, "" if it has none."""
    from prometheus_client.parser import text_string_to_metric_families

    async with http.get("/metrics") as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=")
        text = await response.text()
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith("embed_") and not sample.name.endswith("_created"):
                found.setdefault(sample.name, {})[",".join(sample.labels.values())] = sample.value
    return found


async def lines(response: aiohttp.ClientResponse) -> list[dict]:
    return [json.loads(line) async for line in response.content]


async def test_before_anything_is_stored_a_search_finds_nothing(http, upstream) -> None:
    assert await search(http, "anything") == []
    assert upstream.requests == []


async def test_documents_are_accepted_at_once_and_found_later(http, upstream) -> None:
    upstream.hold_after = 0

    number = await index(http, CAT_AND_BANK)
    await upstream.until(lambda: upstream.in_flight == 1)
    assert (await job(http, number))["state"] == "running"
    async with http.get("/health") as response:
        assert (response.status, await response.json()) == (200, {"running_jobs": 1})

    upstream.gate.set()
    done = {"number": number, "documents": 2, "state": "done", "stored": 2, "failed": 0, "error": None}
    assert await finished(http, number) == done
    hits = await search(http, "a cat")
    assert [(hit["id"], hit["text"]) for hit in hits] == [("cat", "tabby cat"), ("bank", "savings bank")]
    assert hits[0]["score"] > hits[1]["score"]


async def test_documents_that_are_stored_cost_nothing(http, upstream) -> None:
    await finished(http, await index(http, CAT_AND_BANK))
    upstream.reset()

    again = await finished(http, await index(http, [*CAT_AND_BANK, {"id": 3, "text": "a third"}]))

    assert (again["state"], again["stored"]) == ("done", 3)
    assert upstream.requests == [["a third"]]


async def test_a_job_says_what_failed(http, upstream) -> None:
    upstream.refusal = (401, KEY, {})

    failed = await finished(http, await index(http, [{"id": "new", "text": "refused"}]))

    assert (failed["state"], failed["stored"], failed["error"]) == ("failed", 0, "the embedding API failed")


async def test_a_job_waits_for_a_busy_api(examples, environment, upstream, tmp_path) -> None:
    upstream.refusal = (429, "slow down", {"Retry-After": "1"})
    async with running(examples, settings(environment, upstream.url), tmp_path) as http:
        number = await index(http, CAT_AND_BANK)
        await upstream.until(lambda: len(upstream.requests) > 0)
        upstream.refusal = None
        done = await finished(http, number)
    assert (done["state"], done["stored"], done["failed"]) == ("done", 2, 0)


@pytest.mark.parametrize("refusal", [None, (429, "slow down", {"Retry-After": "60"})], ids=["silent", "429"])
async def test_a_stream_does_not_wait_long_for_its_first_vector(
    examples, environment, upstream, tmp_path, refusal
) -> None:
    upstream.refusal = refusal
    upstream.hold_after = 0 if refusal is None else None
    async with running(examples, settings(environment, upstream.url, EMBED_MAX_WAIT="0.3"), tmp_path) as http:
        async with http.post("/embed/stream", json={"texts": ["a"]}) as response:
            assert response.status == 504
            assert await response.json() == {"error": "the embedding API does not answer in time", "indices": []}
        await upstream.until(lambda: upstream.in_flight == 0)


async def test_a_job_that_was_never_started_is_not_found(http) -> None:
    async with http.get("/jobs/987654") as response:
        assert response.status == 404


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
    writer.transport.abort()  # as the system does if a browser is closed while data is on its way
    await upstream.until(lambda: upstream.in_flight == 0, seconds=20)

    sent = len(upstream.requests)
    upstream.hold_after = None
    async with http.post("/embed/stream", json={"texts": ["still there?"]}) as response:
        assert response.status == 200
    assert (await metrics(http))["embed_requests_in_flight"] == {"": 0}
    assert upstream.requests[sent:] == [["still there?"]]
    assert sum(map(len, upstream.requests)) < len(MANY)


@IN_BOTH
@pytest.mark.parametrize(
    ("refusal", "status", "retry_after"),
    [
        ((400, "this text is too long", {}), 422, None),
        ((401, f"invalid key {KEY}", {}), 502, None),
    ],
    ids=str,
)
async def test_errors_become_answers_that_keep_the_secrets(
    http, upstream, method, path, body, refusal, status, retry_after
) -> None:
    await finished(http, await index(http, CAT_AND_BANK))
    upstream.refusal = refusal

    async with http.request(method, path, json=body) as response:
        words = await response.text()
        assert response.status == status, words
        assert response.headers.get("Retry-After") == retry_after
    assert set(json.loads(words)) == {"error", "indices"}
    assert not re.search(f"{KEY}|127.0.0.1|{refusal[1]}", words)


async def test_a_question_gives_up_soon_if_the_api_is_busy(http, upstream) -> None:
    await finished(http, await index(http, CAT_AND_BANK))
    upstream.refusal = (429, "slow down", {"Retry-After": "60"})

    async with http.get("/search?q=x") as response:
        assert (response.status, response.headers["Retry-After"]) == (503, "60")


async def test_an_error_after_the_first_vector_is_the_last_line(http, upstream) -> None:
    upstream.hold_after = 1
    async with http.post("/embed/stream", json={"texts": ["a", "b"]}) as response:
        first = json.loads(await response.content.readline())
        upstream.break_after, upstream.refusal = 1, (401, KEY, {})
        upstream.gate.set()
        rest = await lines(response)

    assert first["index"] == 0
    assert rest == [{"error": "the embedding API failed"}]


async def test_what_was_requested_is_stored_when_the_service_stops(examples, environment, upstream, tmp_path) -> None:
    documents = [{"id": number, "text": text} for number, text in enumerate(MANY)]
    upstream.hold_after = 1
    async with started(examples, settings(environment, upstream.url), tmp_path) as (http, process):
        await index(http, documents)
        await upstream.until(lambda: upstream.in_flight > 1)
        process.terminate()
        await said(process, "Waiting for application shutdown")
        upstream.gate.set()
    assert process.returncode in {0, -15}  # uvicorn ends itself by the signal that it has handled

    stored = await count(tmp_path)
    assert 0 < stored == sum(map(len, upstream.requests)) < len(MANY)
    upstream.reset()
    async with running(examples, settings(environment, upstream.url), tmp_path) as http:
        assert (await finished(http, await index(http, documents)))["stored"] == len(MANY)
    assert sum(map(len, upstream.requests)) == len(MANY) - stored


async def test_nothing_waits_for_an_api_that_does_not_answer(examples, environment, upstream, tmp_path) -> None:
    upstream.hold_after = 0
    async with running(examples, settings(environment, upstream.url, EMBED_STOP_WAIT="0.01"), tmp_path) as http:
        await index(http, CAT_AND_BANK)
        await upstream.until(lambda: upstream.in_flight == 1)
    await upstream.until(lambda: upstream.in_flight == 0)
    assert await count(tmp_path) == 0


async def count(folder: Path) -> int:
    store = SqliteVectors(folder / "documents.db")
    try:
        return await store.count()
    finally:
        await store.aclose()


async def test_metrics_count_what_the_server_counts(examples, environment, tmp_path) -> None:
    async with FakeServer(dimension=8) as server:
        server.script += [faults.Refused(503), faults.TooManyRequests("seconds", wait=0.1)]
        documents = [{"id": n, "text": text} for n, text in enumerate(["good", "bad text", "fine"])]
        async with running(examples, settings(environment, server.url, EMBED_PRICE="2.0"), tmp_path) as http:
            await finished(http, await index(http, CAT_AND_BANK))
            server.rules.append(faults.Poisoned("bad text"))
            ended = await finished(http, await index(http, documents))
            tokens_of_bulk = server.ledger.billed_tokens
            await search(http, "a question")
            seen = await metrics(http)

    assert (ended["state"], ended["stored"], ended["failed"]) == ("done", 2, 1)
    assert ended["error"] == "the embedding API refuses these texts"
    letters = [json.loads(line) for line in (tmp_path / "failed.jsonl").read_text().splitlines()]
    assert [(letter["id"], letter["text"]) for letter in letters] == [(1, "bad text")]

    statuses = server.ledger.statuses
    outcomes = seen["embed_requests_total"]
    assert sum(outcomes.values()) == server.ledger.requests == sum(seen["embed_request_seconds_count"].values())
    assert seen["embed_request_seconds_count"]["query"] == 1
    assert outcomes["ok"] == statuses[200]
    assert outcomes["InvalidInputError"] == statuses[400]
    assert (outcomes["ServerError"], outcomes["RateLimitError"]) == (statuses[503], statuses[429])
    assert seen["embed_tokens_total"][""] == server.ledger.billed_tokens
    assert seen["embed_requests_in_flight"] == {"": 0}
    assert seen["embed_retries_total"].keys() >= {"503", "429"}
    assert seen["embed_waits_total"]["pause"] == 1
    assert seen["embed_failed_texts_total"] == {"InvalidInputError": 1}
    assert seen["embed_cost_dollars_total"][""] == pytest.approx(2.0 * tokens_of_bulk / 1e6)
    assert (seen["embed_truncated_texts_total"], seen["embed_equal_texts_total"]) == ({"": 0}, {"": 0})
    assert seen["embed_runs_total"] == {"ok": 2}  # a search has no run of its own


@pytest.mark.parametrize(
    ("store", "words"),
    [
        ("sqlite:missing folder/documents.db", "the service has a wrong setting"),
        ("postgresql://me@127.0.0.1:1/db", "the store failed"),
    ],
)
async def test_a_store_that_cannot_be_opened_fails_the_job_alone(
    examples, environment, upstream, tmp_path, store: str, words: str
) -> None:
    if store.startswith("postgresql"):
        pytest.importorskip("psycopg")
    broken = settings(environment, upstream.url, EMBED_STORE=store)
    async with running(examples, broken, tmp_path) as http:
        failed = await finished(http, await index(http, CAT_AND_BANK))
        assert (failed["state"], failed["error"]) == ("failed", words)
        async with http.post("/embed/stream", json={"texts": ["a"]}) as response:
            assert response.status == 200
    assert upstream.requests == [["a"]]


async def test_vectors_of_two_models_do_not_mix(examples, environment, tmp_path) -> None:
    async with FakeServer(dimension=8) as server:
        async with running(examples, settings(environment, server.url), tmp_path) as http:
            await finished(http, await index(http, CAT_AND_BANK))
        other = settings(environment, server.url, EMBED_MODEL="embed-english-v3.0")
        async with running(examples, other, tmp_path) as http:
            assert len(await search(http, "a cat")) == 2  # a question is embedded by the model of the documents
            failed = await finished(http, await index(http, CAT_AND_BANK))
    assert (failed["state"], failed["error"]) == ("failed", "the store holds vectors of other settings")


async def test_a_setting_chooses_pgvector(examples, environment, upstream, tmp_path) -> None:
    there = settings(environment, upstream.url, EMBED_STORE=f"{postgres()}#documents of a service")
    async with running(examples, there, tmp_path) as http:
        assert await search(http, "a cat") == []
        assert (await finished(http, await index(http, CAT_AND_BANK)))["stored"] == 2
        assert [hit["id"] for hit in await search(http, "a cat")] == ["cat", "bank"]
    assert not (tmp_path / "documents.db").exists()


@pytest.mark.usefixtures("local_model")
async def test_it_needs_no_key(examples, environment, tmp_path) -> None:
    documents = [{"id": 1, "text": "a savings bank"}, {"id": 2, "text": "a tabby cat"}]
    async with running(examples, environment, tmp_path) as http:
        await finished(http, await index(http, documents))
        assert [hit["text"] for hit in await search(http, "kitten")] == ["a tabby cat", "a savings bank"]
