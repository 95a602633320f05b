"""Random mixtures of the options that take texts out of their order or out of requests, with little memory and faults.

Equal texts, a cache, long texts that are cut or fail, caps, chunks and sources of every kind: each text gets its own
vector or an error, nothing hangs, and no memory stays reserved. `ASYNCEMBED_STORMS=500` runs 500 mixtures;
`ASYNCEMBED_STORM=7` repeats the one with seed 7.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import pytest

from asyncembed import AsyncEmbedError, BudgetExceededError, EmbedClient, EmbedFailure, RetryPolicy
from asyncembed.sinks import open_vectors
from asyncembed.testing import Chaos, FakeServer, faults, tokens_of, vector_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "and",
    "looked",
    "at",
    "some",
    "other",
    "animals",
    "漢字",
    "Überraschung",
]
FAST = RetryPolicy(max_attempts=6, initial_backoff=0.001, max_backoff=0.01, max_elapsed=20)
LIMIT = 40
HOPELESS = ("", "\ud800x", "POISON")
HANGS_AFTER = 60.0


@dataclass
class Mixture:
    """What one run is to meet, drawn from a seed."""

    seed: int
    draw: Random = field(init=False, repr=False)
    options: dict[str, object] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        draw = self.draw = Random(self.seed)
        self.has_limit, self.is_stormy, self.has_cache = draw.random() < 0.6, draw.random() < 0.4, draw.random() < 0.4
        self.is_async, self.ordered, self.memory = draw.random() < 0.4, draw.random() < 0.7, draw.choice([256, 1, 0.3])
        self.verb = draw.choice(["stream", "stream", "embed", "file", "blocks"])
        base = [" ".join(draw.choices(WORDS, k=draw.choice([1, 3, 8]))) for _ in range(draw.choice([3, 30, 200]))]
        if self.has_limit:
            base += [" ".join(draw.choices(WORDS, k=200)) + f" {number}" for number in range(draw.choice([1, 5, 40]))]
        if draw.random() < 0.4:
            base += HOPELESS
        self.texts = [draw.choice(base) for _ in range(draw.choice([5, 100, 600]))]
        options = self.options
        options["dedupe"], options["dedupe_mb"] = draw.random() < 0.8, draw.choice([64, 0.001, 0.02])
        options["long_text"] = draw.choice(["truncate", "fail"])
        if draw.random() < 0.5:
            options["chunk_size"] = draw.choice([1, 2, 7, 50])
        if self.has_limit and draw.random() < 0.6:
            options["max_text_tokens"] = draw.choice([LIMIT, LIMIT // 2])
        if draw.random() < 0.3:
            options["max_concurrency"] = draw.choice([1, 2])
        if draw.random() < 0.15:
            options["max_tokens"] = draw.choice([50, 500, 5_000])

    def server(self) -> FakeServer:
        rules = [faults.ServiceError(service="openai", meaning="long text", most=LIMIT)] if self.has_limit else []
        made = FakeServer(dimension=8, rules=[*rules, faults.Poisoned("POISON")])
        if self.is_stormy:
            made.default = Chaos(seed=self.seed, share=0.2)
        return made

    def source(self) -> list[str] | AsyncIterator[str]:
        async def one_by_one() -> AsyncIterator[str]:
            for text in self.texts:
                if self.draw.random() < 0.02:
                    await asyncio.sleep(0)
                yield text

        return one_by_one() if self.is_async else list(self.texts)

    def may_fail(self, text: str) -> bool:
        is_refused = self.has_limit and self.options["long_text"] == "fail"
        return text in HOPELESS or is_refused or self.is_stormy or "max_tokens" in self.options

    def may_differ(self, text: str) -> bool:
        """Whether only the start of the text may have been embedded."""
        is_cut = self.options["long_text"] == "truncate" and self.has_limit
        return is_cut and 2 * tokens_of(text) + len(text) // 2 > LIMIT // 2


Vectors = dict[int, np.ndarray | None]


async def run(client: EmbedClient, mixture: Mixture, path: Path) -> Vectors:
    """Return the vector of each text, None if it failed."""
    source, options, found = mixture.source(), mixture.options, {}
    if mixture.verb == "stream":
        async with client.embed_stream(source, ordered=mixture.ordered, on_error="yield", **options) as stream:
            async for result in stream:
                assert result.index not in found
                found[result.index] = None if isinstance(result, EmbedFailure) else result.embedding
        assert not mixture.ordered or list(found) == sorted(found)
        assert stream.summary.done + stream.summary.failed == len(mixture.texts)
    elif mixture.verb == "embed":
        response = await client.embed(source, on_error="skip", **options)
        found = {index: row if response.ok[index] else None for index, row in enumerate(response.embeddings)}
    elif mixture.verb == "blocks":
        options = {**options, "on_error": "skip"}
        async with client.embed_binary_stream(source, ordered=mixture.ordered, **options) as blocks:
            async for first, matrix in blocks:
                found |= dict(enumerate(matrix, first))
        assert blocks.summary.done + blocks.summary.failed == len(mixture.texts)
        found |= dict.fromkeys(range(len(mixture.texts)), None) | found
    else:
        summary = await client.embed_to_file(source, path, on_error="skip", **options)
        found = dict.fromkeys(range(len(mixture.texts)), None)
        if summary.saved:
            for block in open_vectors(path).blocks():
                found |= {label.index: row for label, row in zip(block.labels, block.vectors, strict=True)}
    return found


def check(mixture: Mixture, found: Vectors) -> None:
    assert set(found) == set(range(len(mixture.texts)))
    for index, vector in found.items():
        text = mixture.texts[index]
        if vector is None:
            assert mixture.may_fail(text), index
        elif not mixture.may_differ(text):
            np.testing.assert_allclose(vector, vector_of(text, 8), atol=1e-6)


def seeds() -> list[int]:
    if seed := os.environ.get("ASYNCEMBED_STORM"):
        return [int(seed)]
    return list(range(max(25, int(os.environ.get("ASYNCEMBED_STORMS", "25")))))


@pytest.mark.parametrize("seed", seeds())
async def test_each_text_has_its_vector_or_an_error(seed, tmp_path):
    mixture = Mixture(seed)
    settings = {"cache": tmp_path / "cache.db"} if mixture.has_cache else {}
    async with (
        asyncio.timeout(HANGS_AFTER),
        mixture.server() as server,
        EmbedClient(
            "openai",
            base_url=f"{server.url}/v1",
            model="m",
            api_key="any",
            max_memory_mb=mixture.memory,
            retry=FAST,
            timeouts=5,
            **settings,
        ) as client,
    ):
        for time in range(1 + mixture.has_cache):
            try:
                check(mixture, await run(client, mixture, tmp_path / f"{time}.npy"))
            except BudgetExceededError:
                assert "max_tokens" in mixture.options
            except AsyncEmbedError:
                assert mixture.is_stormy
