"""Puts rows into a store, in a process that a test kills: `python crash_run.py STORE URL COUNT`."""

from __future__ import annotations

import asyncio
import sys

from asyncembed import EmbedClient
from asyncembed.stores import open_store


async def main(address: str, url: str, count: str) -> None:
    store = open_store(address)
    rows = [(number, f"text {number}") for number in range(int(count))]
    async with EmbedClient("openai", api_key="k", base_url=url) as client:
        await client.embed_to_store(rows, store, chunk_size=100, max_concurrency=4)
    await store.aclose()


asyncio.run(main(*sys.argv[1:]))
