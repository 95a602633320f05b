"""Sources for tests: with a chunker of few texts a batch, and the pump that a run would start."""

from __future__ import annotations

import asyncio

from anyio.lowlevel import checkpoint

from asyncembed import Limits
from asyncembed._core.source import Source
from asyncembed._decide import Batch, Chunker, CostModel

LONG = 60.0  # longer than any test waits
SHORT = 0.01


def new_source(texts, most: int = 3, max_wait: float = LONG, *, strict: bool = True) -> Source:
    chunker = Chunker(Limits(inputs=most), None, CostModel(), 1 << 60, strict=strict)
    return Source(texts, chunker, max_wait)


class Running:
    """A source whose pump runs, as it does beside the feeder."""

    def __init__(self, source: Source) -> None:
        self.source = source

    async def __aenter__(self) -> Source:
        self.pump = asyncio.create_task(self.source.pump()) if self.source.needs_pump else None
        return self.source

    async def __aexit__(self, *error: object) -> None:
        if self.pump:
            self.pump.cancel()
            await asyncio.wait([self.pump])
        self.source.close()


async def batches(source: Source) -> list[list[str]]:
    got = []
    while (batch := await source.next_batch()) is not None:
        assert list(batch.inputs) == list(range(sum(map(len, got)), source.pulled))
        got.append(texts_of(batch))
    return got


def texts_of(batch: Batch) -> list[str]:
    return [item.text for item in batch.inputs.values()]


async def several(texts):
    for text in texts:
        await checkpoint()
        yield text


class Stepping:
    """An async iterator that is no generator, as those of queues and drivers are."""

    def __init__(self, texts) -> None:
        self.texts = iter(texts)

    def __aiter__(self):
        return self

    async def __anext__(self):
        await checkpoint()
        for text in self.texts:
            return text
        raise StopAsyncIteration
