"""How the public API is used, for type checkers: `mypy --strict tests/typing/api.py` must find nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Literal, assert_type

import numpy as np
import numpy.typing as npt

from asyncembed import (
    PROVIDERS,
    APIStatusError,
    AsyncEmbedError,
    EmbedClient,
    EmbedFailure,
    EmbedInput,
    EmbedOptions,
    EmbedOptionsArgs,
    EmbedResponse,
    EmbedResult,
    EmbedStream,
    Layout,
    Limits,
    Provider,
    ResponseError,
    RetryPolicy,
    RunSummary,
    Timeouts,
    TransportError,
    Usage,
    __version__,
)

Vector = npt.NDArray[np.float32 | np.int8 | np.uint8]


async def stream(client: EmbedClient, texts: Sequence[str]) -> None:
    """Results alone, unless failures are asked for."""
    assert_type(client.embed_stream(texts), EmbedStream[EmbedResult])
    assert_type(client.embed_stream(texts, on_error="raise"), EmbedStream[EmbedResult])
    assert_type(client.embed_stream(texts, on_error="skip", ordered=False), EmbedStream[EmbedResult])
    assert_type(client.embed_stream(texts, on_error="yield"), EmbedStream[EmbedResult | EmbedFailure])
    async with client.embed_stream(texts, chunk_size=10, dtype="int8") as opened:
        assert_type(opened, EmbedStream[EmbedResult])
        async for result in opened:
            assert_type(result, EmbedResult)
            assert_type(result.index, int)
            assert_type(result.embedding, Vector)
            assert_type(result.text, str)
            assert_type(result.id, str | int | None)
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
    assert_type(response.embeddings, Vector)
    assert_type(response[0], Vector)
    assert_type(len(response), int)
    assert_type([row for row in response], list[Vector])  # noqa: C416
    assert_type(response.usage + Usage(3), Usage)


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
    await client.embed(["a"], dimensions="256")  # type: ignore[arg-type]


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
    await client.aclose()
    EmbedClient("openai", encoding="utf-8")  # type: ignore[arg-type]


def errors(error: AsyncEmbedError) -> None:
    """Their attributes."""
    assert_type(error.indices, tuple[int, ...])
    if isinstance(error, APIStatusError):
        assert_type(error.status, int)
        assert_type(error.retry_after, float | None)
        assert_type(error.request_id, str | None)
    if isinstance(error, ResponseError):
        assert_type(error.missing, tuple[int, ...])
    if isinstance(error, ResponseError | TransportError):
        assert_type(error.retryable, bool)


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


assert_type(__version__, str)
assert_type(PROVIDERS, Mapping[str, type[Provider]])
assert_type(EmbedClient(Mine()).provider.dimension(EmbedOptions(model="m")), int | None)
