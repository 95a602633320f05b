"""Wrong code of users. Type checkers must refuse exactly the lines that are marked with `# refused`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from asyncembed import EmbedClient, EmbedInput, EmbedOptionsArgs, EmbedResult, SyncEmbedder

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

client = EmbedClient("cohere", api_key="key")
embedder = SyncEmbedder("cohere", api_key="key")


def floats(_: npt.NDArray[np.float32]) -> None:
    """A function of float32 arrays only."""


def on_result(_: EmbedResult) -> None:
    """A callback for float32 results only."""


async def wrong(texts: list[str], **options: Unpack[EmbedOptionsArgs]) -> None:
    """Each mistake stands on a line of its own."""
    floats((await client.embed(texts, dtype="int8")).embeddings)  # refused
    floats((await client.embed(texts, **options)).embeddings)  # refused
    floats(await client.embed_query("a", dtype="ubinary"))  # refused
    await client.embed_with_callback(texts, on_result, dtype="int8")  # refused
    async for item in client.embed_stream(texts, on_error="yield"):
        floats(item.embedding)  # refused
    async for result in client.embed_stream(texts, dtype="uint8"):
        floats(result.embedding)  # refused
    async for _, block in client.embed_binary_stream(texts, dtype="binary"):
        floats(block)  # refused
    client.embed_stream(texts, dtype="float64")  # refused
    client.embed_stream(texts, on_error="ignore")  # refused
    client.embed_stream(texts, chunksize=3)  # refused
    client.embed_stream([b"bytes"])  # refused
    await client.embed(texts, on_error="yield")  # refused
    await client.embed(texts, dimensions="256")  # refused
    for row in embedder.stream(texts, dtype="int8"):
        floats(row.embedding)  # refused
    EmbedInput("a", id=1.5)  # refused
    EmbedClient("cohere", retry="3")  # refused
    with client:  # refused
        pass
