"""One memory run in its own process: `python -m benchmarks.memory_run WAY COUNT URL FILE` prints its figures as JSON.

The operating system reports the peak: `VmHWM` if there is a /proc, else `ru_maxrss`. Each way imports only what it
needs.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

MODEL = "bench"


def peak_mb() -> float:
    """Return the peak resident memory of this process, in millions of bytes."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1_024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    return next(int(line.split()[1]) * 1_024 / 1e6 for line in lines if line.startswith("VmHWM"))


def texts(count: int) -> Iterator[str]:
    """Yield the texts one by one."""
    return (f"text number {number}" for number in range(count))


async def imports(count: int, url: str, file: str) -> int:
    import asyncembed  # noqa: F401

    return count


async def imports_pyarrow(count: int, url: str, file: str) -> int:
    import pyarrow.parquet  # noqa: F401

    import asyncembed  # noqa: F401

    return count


async def to_file(count: int, url: str, file: str) -> int:
    from asyncembed import EmbedClient

    async with EmbedClient("cohere", base_url=url, api_key="k", model=MODEL, encoding="float") as client:
        return (await client.embed_to_file(texts(count), file)).saved


async def callback(count: int, url: str, file: str) -> int:
    from asyncembed import EmbedClient

    seen = 0

    def take(embedding: object, index: int) -> None:
        nonlocal seen
        assert index == seen
        seen += 1

    async with EmbedClient("cohere", base_url=url, api_key="k", model=MODEL, encoding="float") as client:
        await client.embed_with_callback(texts(count), take)
    return seen


async def embed(count: int, url: str, file: str) -> int:
    from asyncembed import EmbedClient

    async with EmbedClient("cohere", base_url=url, api_key="k", model=MODEL, encoding="float") as client:
        return len(await client.embed(list(texts(count))))


async def cohere_imports(count: int, url: str, file: str) -> int:
    import cohere

    cohere.ClientV2(api_key="k", base_url=url)
    return count


async def cohere_sdk(count: int, url: str, file: str) -> int:
    """Use `embed` as cohere's documentation shows; it sends batches of 96 from a thread pool."""
    import cohere

    client = cohere.ClientV2(api_key="k", base_url=url)
    response = client.embed(
        texts=list(texts(count)), model=MODEL, input_type="search_document", embedding_types=["float"]
    )
    return len(response.embeddings.float_ or [])


WAYS: dict[str, Callable[[int, str, str], Awaitable[int]]] = {
    "imports": imports,
    "imports-pyarrow": imports_pyarrow,
    "npy": to_file,
    "parquet": to_file,
    "callback": callback,
    "embed": embed,
    "cohere-imports": cohere_imports,
    "cohere": cohere_sdk,
}


def main(way: str, count: int, url: str, file: str) -> None:
    started = time.monotonic()
    done = asyncio.run(WAYS[way](count, url, file))
    assert done == count, f"{done} vectors instead of {count}"
    print(json.dumps({"peak_mb": round(peak_mb(), 1), "seconds": round(time.monotonic() - started, 2)}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4])
