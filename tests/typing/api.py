"""How the public API is used, for type checkers: `mypy --strict tests/typing/api.py` must find nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, assert_type
from uuid import UUID

import numpy as np
import numpy.typing as npt

from asyncembed import (
    PROVIDERS,
    APIStatusError,
    ArrowStreamReader,
    AsyncEmbedError,
    Callback,
    EmbedClient,
    EmbedFailure,
    EmbedInput,
    EmbedOptions,
    EmbedOptionsArgs,
    EmbedResponse,
    EmbedResult,
    EmbedStream,
    Event,
    Layout,
    Limits,
    MemoryMonitor,
    NumpyStreamReader,
    OpenTelemetryEvents,
    Provider,
    RateLimit,
    RequestEnded,
    ResponseError,
    RetryPolicy,
    RunSummary,
    StreamingEmbedResponse,
    Timeouts,
    TransportError,
    Usage,
    __version__,
)
from asyncembed.testing import Chaos, FakeServer, Limit, Reply, faults, right, vector_of

if TYPE_CHECKING:
    import io

Vector = npt.NDArray[np.float32 | np.int8 | np.uint8]
Floats = npt.NDArray[np.float32]


async def stream(client: EmbedClient, texts: Sequence[str]) -> None:
    """Results alone, unless failures are asked for."""
    assert_type(client.embed_stream(texts), EmbedStream[EmbedResult])
    assert_type(client.embed_stream(texts, on_error="raise"), EmbedStream[EmbedResult])
    assert_type(client.embed_stream(texts, on_error="skip", ordered=False), EmbedStream[EmbedResult])
    assert_type(client.embed_stream(texts, on_error="yield"), EmbedStream[EmbedResult | EmbedFailure])
    client.embed_stream(texts, on_error="skip", dead_letter=Path("failed.jsonl"))
    client.embed_stream(texts, on_error="skip", dead_letter=b"failed.jsonl")  # type: ignore[call-overload]
    async with client.embed_stream(texts, chunk_size=10, dtype="int8") as opened:
        assert_type(opened, EmbedStream[EmbedResult[np.int8]])
        async for result in opened:
            assert_type(result, EmbedResult[np.int8])
            assert_type(result.index, int)
            assert_type(result.embedding, npt.NDArray[np.int8])
            assert_type(result.text, str)
            assert_type(result.id, str | int | UUID | None)
        assert_type(opened.summary, RunSummary)
        assert_type(opened.summary.usage, Usage)
        assert_type(opened.summary.dimension, int | None)
    async for item in client.embed_stream(texts, on_error="yield"):
        if isinstance(item, EmbedFailure):
            assert_type(item.error, AsyncEmbedError)
        else:
            assert_type(item, EmbedResult)


async def everything(client: EmbedClient, texts: list[str]) -> None:
    """One matrix, whose rows it iterates over."""
    response = await client.embed(texts, input_type="query", dimensions=256, truncate="END", extra={"user": "u"})
    assert_type(response, EmbedResponse)
    assert_type(response.embeddings, Floats)
    assert_type(response[0], Floats)
    assert_type(len(response), int)
    assert_type([row for row in response], list[Floats])  # noqa: C416
    assert_type(response.usage + Usage(3), Usage)
    assert_type(response.ok, npt.NDArray[np.bool_])
    assert_type(response.failures, Sequence[EmbedFailure])

    async def tell(now: RunSummary) -> None:
        assert_type(now.done, int)

    await client.embed(texts, on_error="skip", on_progress=tell)
    await client.embed(texts, on_progress=lambda now: print(now.done))
    await client.embed(texts, on_error="yield")  # type: ignore[call-overload]


async def for_functions(client: EmbedClient, texts: list[str]) -> None:
    """Plain and async ones, of a vector and its index or of a result."""

    async def later(result: EmbedResult) -> None: ...

    def now(embedding: Vector, index: int) -> None: ...

    assert_type(await client.embed_with_callback(texts, later, callback_concurrency=4), RunSummary)
    assert_type(await client.embed_with_callback(texts, now, on_error="skip", ordered=False), RunSummary)
    callback: Callback = now
    await client.embed_with_callback(texts, callback)
    await client.embed_with_callback(texts, now, dtype="int8")
    await client.embed_with_callback(texts, now, on_error="yield")  # type: ignore[call-overload]
    await client.embed_with_callback(texts, 3)  # type: ignore[call-overload]


async def into_files(client: EmbedClient, texts: list[str]) -> None:
    """Named by text or path."""

    def tell(now: RunSummary) -> None:
        assert_type((now.saved, now.resumed, now.failure), tuple[int, int, AsyncEmbedError | None])

    async def tell_later(now: RunSummary) -> None: ...

    assert_type(await client.embed_to_file(texts, "v.npy", resume=True, on_progress=tell), RunSummary)
    await client.embed_to_file(texts, "v.npy", on_progress=tell_later)
    await client.embed_to_file(texts, Path("v"), format="arrow", overwrite=True, keep_text=False, dimensions=8)
    await client.embed_to_file(texts, "v.npy", format="csv")  # type: ignore[arg-type]


async def in_blocks(client: EmbedClient, texts: list[str]) -> None:
    """A reader for each format."""
    async with client.embed_binary_stream(texts, ordered=True) as reader:
        assert_type(reader, NumpyStreamReader)
        assert_type(reader.summary, RunSummary)
        async for block in reader:
            assert_type(block, tuple[int, Floats])
        async for block in reader.rechunk(10):
            assert_type(block, tuple[int, Floats])
        assert_type(await reader.read_all(), Floats)
    assert_type(client.embed_binary_stream(texts, format="numpy", dtype="int8"), NumpyStreamReader[np.int8])
    assert_type(client.embed_binary_stream(texts, format="arrow"), ArrowStreamReader)
    client.embed_binary_stream(texts, format="polars")  # type: ignore[call-overload]


async def below_a_limit(client: EmbedClient, texts: list[str]) -> None:
    """A stream as any other."""
    assert_type(client.embed_large_dataset(texts, max_memory_mb=500), EmbedStream[EmbedResult])
    assert_type(
        client.embed_large_dataset(texts, ordered=True, on_error="yield"), EmbedStream[EmbedResult | EmbedFailure]
    )
    monitor = MemoryMonitor(500)
    assert_type((monitor.should_wait(), monitor.current_mb, monitor.peak_mb), tuple[bool, float, float])


async def held_already(chunks: AsyncIterator[bytes], file: io.BytesIO) -> None:
    """From another client, or from a file."""
    response = StreamingEmbedResponse(chunks, "cohere", dtype="int8")
    async for position, vector in response:
        assert_type((position, vector), tuple[int, npt.NDArray[np.int8]])
    assert_type((response.count, response.usage, response.message), tuple[int, Usage, str])
    for pair in StreamingEmbedResponse(file, Mine()).iter_embeddings():
        assert_type(pair, tuple[int, Floats])


async def forms(client: EmbedClient) -> None:
    """Whatever texts may be given as."""

    async def produced() -> AsyncIterator[tuple[int, str]]:
        yield 7, "b"

    client.embed_stream(produced())
    client.embed_stream(text for text in ("a", "b"))
    client.embed_stream([("id", "a"), (7, "b")])
    client.embed_stream([EmbedInput("a"), EmbedInput("b", id="x")])
    client.embed_stream(["a", ("id", "b"), EmbedInput("c")])
    with open("texts.txt") as file:  # noqa: PTH123
        client.embed_stream(file)
    client.embed_stream("a text")  # a str is an iterable of str: only the check at run time can tell
    client.embed_stream([b"bytes"])  # type: ignore[list-item]
    client.embed_stream(["a"], on_error="ignore")  # type: ignore[call-overload]
    client.embed_stream(["a"], dtype="float64")  # type: ignore[call-overload]
    client.embed_stream(["a"], chunksize=3)  # type: ignore[call-overload]
    await client.embed(["a"], dimensions="256")  # type: ignore[call-overload]


async def fetch_key() -> str:
    """A key that expires."""
    return "key"


async def lifetime() -> None:
    """As a context manager or by hand."""
    options: EmbedOptionsArgs = {"model": "m", "max_wait": 0.1}
    async with EmbedClient(
        "cohere", api_key="k", retry=RetryPolicy(max_attempts=3), timeouts=Timeouts(read=5)
    ) as client:
        assert_type(client, EmbedClient)
        assert_type(client.model, str)
        assert_type(client.provider, Provider)
        await client.embed(["a"], **options)
    client = EmbedClient("openai", encoding="float", headers={"X-Client-Name": "me"}, max_memory_mb=64)
    EmbedClient("cohere", rate_limit=RateLimit(requests_per_minute=10, inputs_per_minute=500.5))
    await client.aclose()
    EmbedClient("openai", encoding="utf-8")  # type: ignore[arg-type]
    EmbedClient("openai", retry=3, timeouts=30)
    EmbedClient("openai", retry=RetryPolicy(max_attempts=3), timeouts=2.5)
    EmbedClient("openai", retry="3")  # type: ignore[arg-type]
    EmbedClient("openai", api_key=lambda: "key")
    EmbedClient("openai", api_key=fetch_key)
    EmbedClient("openai", api_key=lambda: b"key")  # type: ignore[arg-type,return-value]


def errors(error: AsyncEmbedError) -> None:
    """Their attributes."""
    assert_type(error.indices, tuple[int, ...])
    if isinstance(error, APIStatusError):
        assert_type(error.status, int | None)
        assert_type(error.retry_after, float | None)
        assert_type(error.request_id, str | None)
    if isinstance(error, ResponseError):
        assert_type(error.missing, tuple[int, ...])
    if isinstance(error, ResponseError | TransportError):
        assert_type(error.retryable, bool)


async def own_vectors(client: EmbedClient) -> None:
    """What the client puts before texts, and does to vectors."""
    await client.embed(["a"], prompts="e5", normalize=True)
    await client.embed(["a"], prompts={"query": "q: "}, dimensions=8, shorten="client")
    await client.embed(["a"], shorten="nobody")  # type: ignore[call-overload]
    EmbedClient("vllm", model="m", prompts="e5", catalogue="embed-v4.0")


class Mine(Provider):
    """A provider of one's own."""

    name = "mine"
    base_url = "http://localhost/v1"
    path = "/embed"
    default_model = "m"
    limits = Limits(inputs=8, tokens=None)

    def body(
        self, texts: Sequence[str], options: EmbedOptions, encoding: Literal["base64", "float"]
    ) -> dict[str, object]:
        """Return the request body."""
        return {"texts": texts, "model": options.model, "encoding": encoding}

    def layout(self, options: EmbedOptions, encoding: Literal["base64", "float"]) -> Layout:
        """Say where the vectors lie."""
        return Layout(vectors=frozenset({"item"}))

    async def authorize(self, api_key: str | None, url: str, body: bytes) -> Mapping[str, str]:
        """Sign a request."""
        return {**await super().authorize(api_key, url, body), "X-Length": str(len(body))}


def hear(event: Event) -> None:
    """A hook."""
    assert_type(event.status, int | None)
    if isinstance(event, RequestEnded):
        assert_type(event.seconds_to_headers, float | None)
        assert_type(event.name, str)


EmbedClient(Mine(), on_event=hear)
EmbedClient(Mine(), on_event=OpenTelemetryEvents())
assert_type(__version__, str)
assert_type(PROVIDERS, Mapping[str, type[Provider]])
assert_type(EmbedClient(Mine()).provider.dimension(EmbedOptions(model="m")), int | None)


async def fake_server(own: Reply) -> None:
    """The server for tests."""
    async with FakeServer(limit=Limit(inputs=5), rules=[faults.Poisoned("a")], default=Chaos(1)) as server:
        server.script += [faults.Reset(after=3), right, own]
        server.latency = lambda random: random.expovariate(20)
        assert_type(server.ledger.sent["a"], int)
        assert_type(server.ledger.entries[0].status, int | None)
    with server.run_in_thread() as running:
        assert_type(running, FakeServer)
    assert_type(vector_of("a", 5), Vector)
    FakeServer(framing="morse")  # type: ignore[arg-type]
