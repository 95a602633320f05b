"""A client in a process of its own that asks several times, and says what came of it and what memory that took."""

from __future__ import annotations

import asyncio
import json
import sys

from asyncembed import EmbedClient, RetryPolicy, Timeouts
from support.watching import PeakMemory


async def ask(provider: str, url: str, count: int) -> None:
    once = RetryPolicy(max_attempts=1, probe=False)
    async with EmbedClient(
        provider, api_key="any", base_url=url, retry=once, max_memory_mb=16, timeouts=Timeouts(first_byte=2)
    ) as client:
        await client.embed(["a first one, which imports everything"])
        for number in range(count):
            error = None
            with PeakMemory() as peak:
                try:
                    async with asyncio.timeout(60):
                        await client.embed([f"text {number}"])  # one, which cannot be split
                except Exception as caught:  # noqa: BLE001
                    error = caught
            connections = len(client._connection._session.sessions[0].connector._acquired)
            print(json.dumps([type(error).__name__, str(error), peak.grown, connections]), flush=True)


if __name__ == "__main__":
    asyncio.run(ask(sys.argv[1], sys.argv[2], int(sys.argv[3])))
