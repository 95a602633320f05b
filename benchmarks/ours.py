"""asyncembed, used as its README shows."""

from __future__ import annotations

import contextlib
import ssl
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import aiohttp
import numpy as np

from asyncembed import EmbedClient, _connection
from benchmarks.job import MODEL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncembed import Dtype
    from benchmarks.job import Check, Job

Provider = Literal["cohere", "cohere-v1", "openai"]
Encoding = Literal["auto", "base64", "float"]


@contextlib.asynccontextmanager
async def client(job: Job, provider: Provider, encoding: Encoding = "auto") -> AsyncIterator[EmbedClient]:
    """Yield a client for the server of the job; for TLS, its session trusts the certificate of the server."""
    if job.read_bufsize:
        _connection.READ_BUFSIZE = job.read_bufsize
    async with contextlib.AsyncExitStack() as stack:
        session = None
        if job.certificate:
            context = ssl.create_default_context(cafile=job.certificate)
            connector = aiohttp.TCPConnector(limit=0, ssl=context)
            session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        address = job.url + ("/v1" if provider == "openai" else "")
        yield await stack.enter_async_context(
            EmbedClient(
                provider,
                base_url=address,
                api_key="k",
                model=MODEL,
                encoding=encoding,
                max_concurrency=job.concurrency,
                session=session,
            )
        )


async def _stream(job: Job, check: Check, provider: Provider, encoding: Encoding = "auto") -> None:
    async with client(job, provider, encoding) as ours, ours.embed_stream(job.texts(), chunk_size=job.batch) as stream:
        async for result in stream:
            check(result.index, result.embedding)


async def stream_floats(job: Job, check: Check) -> None:
    await _stream(job, check, "cohere-v1", "float")


async def stream_cohere_floats(job: Job, check: Check) -> None:
    await _stream(job, check, "cohere", "float")


async def stream_cohere_auto(job: Job, check: Check) -> None:
    """After the proof: two requests, one after the other, find out that the base64 holds the numbers."""
    async with client(job, "cohere") as ours:
        stream = ours.embed_stream(job.texts()[: 2 * job.batch], chunk_size=job.batch, max_concurrency=1)
        async for _ in stream:
            pass
    await _stream(job, check, "cohere")


async def stream_base64(job: Job, check: Check) -> None:
    await _stream(job, check, "openai")


async def _blocks(
    job: Job, check: Check, provider: Provider, dtype: Dtype = "float32", encoding: Encoding = "auto"
) -> None:
    async with (
        client(job, provider, encoding) as ours,
        ours.embed_binary_stream(job.texts(), format="numpy", chunk_size=job.batch, dtype=dtype) as reader,
    ):
        async for first, matrix in reader:
            check.rows(first, matrix)


async def blocks_floats(job: Job, check: Check) -> None:
    await _blocks(job, check, "cohere-v1", encoding="float")


async def blocks_base64(job: Job, check: Check) -> None:
    await _blocks(job, check, "openai")


async def blocks_int8(job: Job, check: Check) -> None:
    await _blocks(job, check, "cohere", "int8")


async def file_base64(job: Job, check: Check) -> None:
    """Write a `.npy` file, read it again and compare its rows."""
    with tempfile.TemporaryDirectory(prefix="asyncembed-file-") as folder:
        path = Path(folder) / "vectors.npy"
        async with client(job, "openai") as ours:
            await ours.embed_to_file(job.texts(), path, chunk_size=job.batch)
        check.rows(0, np.load(path))


async def embed(job: Job, check: Check) -> None:
    async with client(job, "openai") as ours:
        response = await ours.embed(job.texts(), chunk_size=job.batch)
        check.rows(0, response.embeddings)


async def single(job: Job, check: Check) -> None:
    async with client(job, "openai") as ours:
        for index, text in enumerate(job.texts()):
            started = time.perf_counter()
            response = await ours.embed([text])
            check.latencies.append(time.perf_counter() - started)
            check(index, response.embeddings[0])


WAYS = {
    "stream-floats": stream_floats,
    "stream-base64": stream_base64,
    "stream-cohere-floats": stream_cohere_floats,
    "stream-cohere-auto": stream_cohere_auto,
    "blocks-floats": blocks_floats,
    "blocks-base64": blocks_base64,
    "blocks-int8": blocks_int8,
    "file-base64": file_base64,
    "embed-base64": embed,
    "embed-single": single,
}
