"""Usual code of users, which `mypy --strict` and strict pyright take without a cast or an ignore."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator  # noqa: TC003  # FastAPI looks at annotations
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypedDict, Unpack, assert_type
from uuid import UUID

import numpy as np
import numpy.typing as npt
from fastapi import FastAPI, HTTPException

from asyncembed import (
    AsyncEmbedError,
    Callback,
    ClientSpec,
    Dtype,
    EmbedClient,
    EmbedFailure,
    EmbedInput,
    EmbedOptionsArgs,
    EmbedResponse,
    EmbedResult,
    EmbedStream,
    InvalidInputError,
    Matrix,
    NumpyStreamReader,
    OnError,
    RateLimit,
    RateLimitError,
    RunSummary,
    Scalar,
    StreamingEmbedResponse,
    SyncEmbedder,
    SyncStream,
    Vector,
)
from asyncembed.stores import SqliteVectors

Floats = npt.NDArray[np.float32]
client = EmbedClient("openai", api_key="key", rate_limit=RateLimit(requests_per_minute=600), retry=3, timeouts=30)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None, None]:
    """Close the client with the application."""
    async with client:
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/embed")
async def embed(texts: list[str]) -> list[list[float]]:
    """An endpoint of FastAPI, which tells errors apart."""
    try:
        response = await client.embed(texts, dimensions=256)
    except InvalidInputError as error:
        assert_type(error.indices, tuple[int, ...])
        raise HTTPException(422, str(error)) from error
    except RateLimitError as error:
        assert_type(error.retry_after, float | None)
        raise HTTPException(503, headers={"Retry-After": str(error.retry_after)}) from error
    assert_type(response, EmbedResponse)
    assert_type(response.embeddings, Floats)
    assert_type([row for row in response], list[Floats])  # noqa: C416
    return [[float(number) for number in row] for row in response.embeddings]


def normalized(matrix: Floats) -> Floats:
    """A function of float32 arrays only."""
    lengths: Floats = np.sqrt((matrix * matrix).sum(axis=1, keepdims=True))
    return matrix / lengths


def saved(_: Matrix | Vector) -> None:
    """A function of all arrays."""


async def types_of_vectors(texts: list[str]) -> None:
    """A literal `dtype` chooses them."""
    normalized((await client.embed(texts)).embeddings)
    saved((await client.embed(texts, dtype="ubinary")).embeddings)
    assert_type((await client.embed(texts, dtype="float32")).embeddings, Floats)
    assert_type((await client.embed(texts, dtype="int8"))[0], npt.NDArray[np.int8])
    assert_type(await client.embed(texts, dtype="binary", on_error="skip"), EmbedResponse[np.int8])
    assert_type(await client.embed(texts, dtype="uint8"), EmbedResponse[np.uint8])
    assert_type(await client.embed_query("a question"), Floats)
    assert_type(await client.embed_query(texts, dtype="ubinary"), npt.NDArray[np.uint8])


async def results(texts: list[tuple[UUID, str]]) -> None:
    """Streams give results, and failures where they are asked for."""
    async with client.embed_stream(texts, ordered=False) as stream:
        assert_type(stream, EmbedStream)
        async for result in stream:
            assert_type(result, EmbedResult)
            assert_type(result.embedding, Floats)
            assert_type(result.id, str | int | UUID | None)
    assert_type(stream.summary, RunSummary)
    async for item in client.embed_stream(texts, dtype="int8", on_error="yield"):
        if isinstance(item, EmbedFailure):
            assert_type(item.error, AsyncEmbedError)
        else:
            assert_type(item, EmbedResult[np.int8])
    large = client.embed_large_dataset(texts, max_memory_mb=8_000, dtype="uint8")
    assert_type(large, EmbedStream[EmbedResult[np.uint8]])


async def blocks(texts: AsyncIterator[EmbedInput]) -> Floats:
    """Readers of matrices."""
    async with client.embed_binary_stream(texts) as reader:
        assert_type(reader, NumpyStreamReader)
        async for first, matrix in reader.rechunk(1_000):
            assert_type((first, matrix), tuple[int, Floats])
    async with client.embed_binary_stream(texts, dtype="ubinary") as packed:
        assert_type(await anext(packed), tuple[int, npt.NDArray[np.uint8]])
    return await client.embed_binary_stream(texts).read_all()


class Arguments(TypedDict, total=False):
    """Options without `dtype` keep the type of the vectors."""

    dimensions: int
    max_concurrency: int


async def keep_floats(texts: list[str], **options: Unpack[Arguments]) -> Floats:
    """Pass on some options."""
    return (await client.embed(texts, **options)).embeddings


async def pass_on(texts: list[str], on_error: OnError, **options: Unpack[EmbedOptionsArgs]) -> Matrix:
    """Pass on all options: the type of the vectors is known only at run time."""
    assert_type(client.embed_stream(texts, **options), EmbedStream[EmbedResult[Scalar]])
    dtype: Dtype = options.get("dtype", "float32")
    assert_type(await client.embed(texts, dtype=dtype), EmbedResponse[Scalar])
    async for item in client.embed_stream(texts, on_error=on_error, **options):
        assert_type(item, EmbedResult[Scalar] | EmbedFailure)
    return (await client.embed(texts, **options)).embeddings


async def callbacks(texts: list[str]) -> None:
    """Functions of a vector and its index, or of a result; plain or async."""

    async def store(embedding: Floats, index: int) -> None: ...

    def any_type(embedding: Vector, index: int) -> None: ...

    def result_of_bits(result: EmbedResult[np.uint8]) -> None: ...

    assert_type(await client.embed_with_callback(texts, store, callback_concurrency=4), RunSummary)
    await client.embed_with_callback(texts, any_type, dtype="int8", ordered=False)
    await client.embed_with_callback(texts, result_of_bits, dtype="ubinary")
    await client.embed_with_callback(texts, lambda result: print(result.text))
    kept: Callback = store
    await client.embed_with_callback(texts, kept, on_error="skip")


async def files_and_stores(rows: list[tuple[int, str]]) -> None:
    """Ids are strings, whole numbers or UUIDs."""
    summary = await client.embed_to_file(rows, Path("v.npy"), resume=True, on_progress=lambda now: print(now.done))
    assert_type((summary.done, summary.saved, summary.usage.tokens), tuple[int, int, int])
    await client.embed_to_store([EmbedInput("a", id=1, metadata={"lang": "en"})], SqliteVectors("v.db", "documents"))


def without_a_loop(texts: list[str]) -> None:
    """The same for plain code."""
    with SyncEmbedder(ClientSpec("cohere", max_concurrency=4)) as embedder:
        assert_type(embedder.embed(texts).embeddings, Floats)
        assert_type(embedder.embed_query("a question", dtype="int8"), npt.NDArray[np.int8])
        assert_type(embedder.stream(texts), SyncStream)
        for item in embedder.stream(texts, dtype="uint8", on_error="yield"):
            assert_type(item, EmbedResult[np.uint8] | EmbedFailure)


async def parse(chunks: AsyncIterator[bytes], dtype: Dtype) -> None:
    """Responses of other clients."""
    async for position, vector in StreamingEmbedResponse(chunks, "cohere"):
        assert_type((position, vector), tuple[int, Floats])
    assert_type(StreamingEmbedResponse(chunks, "cohere", dtype="int8"), StreamingEmbedResponse[np.int8])
    assert_type(StreamingEmbedResponse(chunks, "cohere", dtype=dtype), StreamingEmbedResponse[Scalar])
