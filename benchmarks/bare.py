"""Loops written by hand with the same libraries: the lower bound of the cost of a client, without its guarantees.

They have no retries, no checks, no order and no memory budget. Eight loops each take a batch, post it and decode the
response. A "slice" loop cuts vectors out of the response while it arrives, by searching for brackets or quotes, and
keeps one vector in memory. A "whole body" loop reads the whole response first.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import numpy as np
import orjson

from benchmarks.job import MODEL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks.job import Check, Job

READ = 65_536
HEADERS = {"Content-Type": "application/json", "Accept-Encoding": "identity", "Authorization": "Bearer k"}


async def run(
    job: Job,
    path: str,
    fields: dict[str, object],
    field: str,
    take: Callable[[aiohttp.ClientResponse, int], Awaitable[None]],
) -> None:
    """Send all batches, and decode each response with `take(response, first)`."""
    context = ssl.create_default_context(cafile=job.certificate) if job.certificate else True
    batches = job.batches()

    async def work(session: aiohttp.ClientSession) -> None:
        for first, texts in batches:
            body = orjson.dumps({"model": MODEL, field: texts, **fields})
            async with session.post(job.url + path, data=body, headers=HEADERS, read_bufsize=READ) as response:
                await take(response, first)

    connector = aiohttp.TCPConnector(limit=0, ssl=context)
    async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as group:
        for _ in range(job.concurrency):
            group.create_task(work(session))


COHERE: tuple[str, dict[str, object], str] = ("/v1/embed", {"input_type": "search_document"}, "texts")
COHERE_INT8 = ("/v2/embed", {"input_type": "search_document", "embedding_types": ["int8"]}, "texts")
OPENAI_BASE64 = ("/v1/embeddings", {"encoding_format": "base64"}, "input")


async def slice_simdjson(job: Job, check: Check) -> None:
    import simdjson

    parser = simdjson.Parser()

    async def take(response: aiohttp.ClientResponse, first: int) -> None:
        index = first
        rest, begun = b"", False
        async for chunk in response.content.iter_chunked(READ):
            data, pos = rest + chunk, 0
            if not begun:
                pos = data.find(b'"embeddings":[') + len(b'"embeddings":[')
                begun = True
            while True:
                opened = data.find(b"[", pos)
                closed = data.find(b"]", pos)
                if opened < 0 or closed < opened:
                    break
                numbers = parser.parse(data[opened : closed + 1]).as_buffer(of_type="d")
                check(index, np.frombuffer(numbers, np.float64).astype(np.float32))
                index += 1
                pos = closed + 1
            rest = data[pos:]

    await run(job, *COHERE, take)


async def slice_base64(job: Job, check: Check) -> None:
    import pybase64

    name = b'"embedding":"'

    async def take(response: aiohttp.ClientResponse, first: int) -> None:
        index = first
        rest = b""
        async for chunk in response.content.iter_chunked(READ):
            data, pos = rest + chunk, 0
            while True:
                opened = data.find(name, pos)
                closed = data.find(b'"', opened + len(name))
                if opened < 0 or closed < 0:
                    break
                check(index, np.frombuffer(pybase64.b64decode(data[opened + len(name) : closed]), np.float32))
                index += 1
                pos = closed + 1
            rest = data[pos:]

    await run(job, *OPENAI_BASE64, take)


async def whole_orjson(job: Job, check: Check) -> None:
    async def take(response: aiohttp.ClientResponse, first: int) -> None:
        rows = orjson.loads(await response.read())["embeddings"]
        check.rows(first, np.array(rows, np.float32))

    await run(job, *COHERE, take)


async def whole_orjson_int8(job: Job, check: Check) -> None:
    async def take(response: aiohttp.ClientResponse, first: int) -> None:
        rows = orjson.loads(await response.read())["embeddings"]["int8"]
        check.rows(first, np.array(rows, np.int8))

    await run(job, *COHERE_INT8, take)


async def whole_simdjson(job: Job, check: Check) -> None:
    import simdjson

    async def take(response: aiohttp.ClientResponse, first: int) -> None:
        # One parser per response: a parser cannot parse again while arrays of the last document exist.
        numbers = _flat(simdjson.Parser(), await response.read())
        check.rows(first, numbers.reshape(-1, job.dimension).astype(np.float32))

    await run(job, *COHERE, take)


def _flat(parser: Any, body: bytes) -> np.ndarray:
    return np.frombuffer(parser.parse(body)["embeddings"].as_buffer(of_type="d"), np.float64)


async def whole_base64(job: Job, check: Check) -> None:
    import pybase64

    async def take(response: aiohttp.ClientResponse, first: int) -> None:
        items = orjson.loads(await response.read())["data"]
        for index, item in enumerate(items, first):
            check(index, np.frombuffer(pybase64.b64decode(item["embedding"]), np.float32))

    await run(job, *OPENAI_BASE64, take)


async def single(job: Job, check: Check) -> None:
    """Send one text at a time, like repeated `await client.embed([text])`."""
    import pybase64

    path, fields, field = OPENAI_BASE64
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        for index, text in enumerate(job.texts()):
            started = time.perf_counter()
            body = orjson.dumps({"model": MODEL, field: [text], **fields})
            async with session.post(job.url + path, data=body, headers=HEADERS) as response:
                item = orjson.loads(await response.read())["data"][0]
            vector = np.frombuffer(pybase64.b64decode(item["embedding"], validate=True), np.float32)
            check.latencies.append(time.perf_counter() - started)
            check(index, vector)


async def ijson_numbers(job: Job, check: Check) -> None:
    import ijson

    async def take(response: aiohttp.ClientResponse, first: int) -> None:
        index = first
        async for numbers in ijson.items_async(response.content, "embeddings.item", use_float=True):
            check(index, np.array(numbers, np.float32))
            index += 1

    await run(job, *COHERE, take)


async def httpx_json(job: Job, check: Check) -> None:
    import httpx

    path, fields, field = COHERE
    batches = job.batches()

    async def work(client: httpx.AsyncClient) -> None:
        for first, texts in batches:
            response = await client.post(job.url + path, json={"model": MODEL, field: texts, **fields}, headers=HEADERS)
            check.rows(first, np.array(response.json()["embeddings"], np.float32))

    async with httpx.AsyncClient(timeout=300) as client, asyncio.TaskGroup() as group:
        for _ in range(job.concurrency):
            group.create_task(work(client))


WAYS = {
    "bare-slice-simdjson": slice_simdjson,
    "bare-slice-base64": slice_base64,
    "bare-orjson": whole_orjson,
    "bare-orjson-int8": whole_orjson_int8,
    "bare-simdjson": whole_simdjson,
    "bare-orjson-base64": whole_base64,
    "bare-ijson": ijson_numbers,
    "httpx-json": httpx_json,
    "bare-single": single,
}
