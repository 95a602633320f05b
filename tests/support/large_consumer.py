"""A process that takes a large data set, and sleeps: `python -m support.large_consumer URL LIMIT COUNT KEEP`.

It keeps results until they have `KEEP` megabytes, checks every vector, and prints as JSON what it saw: `peak_mb` is the
operating system's.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import numpy as np

from asyncembed import EmbedClient
from support.bulk_server import CANNED, vectors

DIMENSION = 1_536


def peak_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1_024 / 1e6 for line in lines if line.startswith("VmHWM"))


async def main(url: str, limit: float, count: int, keep_mb: float) -> None:
    expected = vectors(DIMENSION)
    seen = np.zeros(count, bool)
    kept = []
    most = 0
    texts = (f"text {number}" for number in range(count))
    async with (
        EmbedClient("openai", base_url=url, model="m") as client,
        client.embed_large_dataset(texts, max_memory_mb=limit) as stream,
    ):
        async for result in stream:
            assert not seen[result.index]
            seen[result.index] = True
            assert np.array_equal(result.embedding, expected[result.index % CANNED])
            if len(kept) * 4 * DIMENSION < keep_mb * 1e6:
                kept.append(result)
            if result.index % 1_000 == 0:
                most = max(most, stream.summary.reserved_bytes)
                await asyncio.sleep(0.1)
        summary = stream.summary
    assert seen.all()
    print(
        json.dumps({
            "peak_mb": peak_mb(),
            "done": summary.done,
            "kept": len(kept),
            "requests": summary.requests,
            "reserved_mb": most / 1e6,
            "seconds": summary.elapsed,
        })
    )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
