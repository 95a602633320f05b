"""Other clients, each used as its documentation shows, all with the same batches and the same concurrency.

A way raises `ModuleNotFoundError` if its package is not installed; the benchmark then leaves it out and names it.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.job import MODEL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks.job import Check, Job


async def _run_batches(job: Job, ask: Callable[[int, list[str]], Awaitable[None]]) -> None:
    """Call `ask(first, texts)` for every batch, with the concurrency of the job."""
    batches = job.batches()

    async def work() -> None:
        for first, texts in batches:
            await ask(first, texts)

    async with asyncio.TaskGroup() as group:
        for _ in range(job.concurrency):
            group.create_task(work())


async def cohere_embed(job: Job, check: Check) -> None:
    import cohere

    async with cohere.AsyncClientV2(api_key="k", base_url=job.url) as client:

        async def ask(first: int, texts: list[str]) -> None:
            response = await client.embed(
                texts=texts, model=MODEL, input_type="search_document", embedding_types=["float"]
            )
            check.lists(first, response.embeddings.float_ or [])

        await _run_batches(job, ask)


async def cohere_stream(job: Job, check: Check) -> None:
    """Use the synchronous `embed_stream`, which sends one request after the other."""
    import cohere

    client = cohere.Client(api_key="k", base_url=job.url)
    stream = client.embed_stream(texts=job.texts(), model=MODEL, input_type="search_document", batch_size=job.batch)
    for result in stream:
        check.lists(result.index, [result.embedding])


async def openai_sdk(job: Job, check: Check) -> None:
    import openai

    async with openai.AsyncOpenAI(api_key="k", base_url=f"{job.url}/v1") as client:

        async def ask(first: int, texts: list[str]) -> None:
            response = await client.embeddings.create(input=texts, model=MODEL)
            check.lists(first, [item.embedding for item in response.data])

        await _run_batches(job, ask)


async def baseten(job: Job, check: Check) -> None:
    check.rows(0, (await _baseten(job, "float")).numpy())


async def baseten_base64(job: Job, check: Check) -> None:
    """Decode base64 by hand, because this client leaves that to the caller."""
    import pybase64

    for index, item in enumerate((await _baseten(job, "base64")).data):
        check(index, np.frombuffer(pybase64.b64decode(item.embedding), np.float32))


async def _baseten(job: Job, encoding: str) -> Any:
    from baseten_performance_client import PerformanceClient, RequestProcessingPreference

    client = PerformanceClient(base_url=job.url, api_key="k")
    preference = RequestProcessingPreference(batch_size=job.batch, max_concurrent_requests=job.concurrency)
    return await client.async_embed(job.texts(), MODEL, encoding_format=encoding, preference=preference)


async def voyage(job: Job, check: Check) -> None:
    import voyageai

    client = voyageai.AsyncClient(api_key="k", base_url=f"{job.url}/v1")

    async def ask(first: int, texts: list[str]) -> None:
        response = await client.embed(texts, model=MODEL)
        check.lists(first, response.embeddings)

    await _run_batches(job, ask)


async def litellm_sdk(job: Job, check: Check) -> None:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else the import fetches a file from the internet
    import litellm

    async def ask(first: int, texts: list[str]) -> None:
        response: Any = await litellm.aembedding(
            model=f"openai/{MODEL}", input=texts, api_base=f"{job.url}/v1", api_key="k"
        )
        check.lists(first, [item["embedding"] for item in response.data])

    await _run_batches(job, ask)


async def langchain(job: Job, check: Check) -> None:
    from langchain_openai import OpenAIEmbeddings

    client = OpenAIEmbeddings(
        model=MODEL, api_key="k", base_url=f"{job.url}/v1", check_embedding_ctx_length=False, chunk_size=job.batch
    )

    async def ask(first: int, texts: list[str]) -> None:
        check.lists(first, await client.aembed_documents(texts))

    await _run_batches(job, ask)


WAYS = {
    "cohere-embed": cohere_embed,
    "cohere-stream": cohere_stream,
    "openai": openai_sdk,
    "baseten": baseten,
    "baseten-base64": baseten_base64,
    "voyageai": voyage,
    "litellm": litellm_sdk,
    "langchain-openai": langchain,
}
