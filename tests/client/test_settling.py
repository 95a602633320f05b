"""What takes a stream and has its results settled in batches, as a file does and a store can."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.blocks import numbered_block
from support.results import numbered
from support.scripted import refusing, vector_of
from support.watching import turns, until

from asyncembed import EmbedFailure, EmbedStream, InvalidInputError
from asyncembed._core import Run
from asyncembed._core.settling import MAX_READY, SettlingRun, batches_of
from asyncembed._models import EmbedBlock

TEXTS = numbered(100)
HARMLESS = "hello"


class Memory:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.batches = []
        self.ends = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def settle(self, batch, *, is_end):
        self.batches.append(batch)
        self.ends.append(is_end)
        await self.gate.wait()

    @property
    def items(self):
        return [item for batch in self.batches for item in batch]

    @property
    def rows(self):
        blocks = [item for item in self.items if isinstance(item, EmbedBlock)]
        return dict(sorted((index, row) for block in blocks for index, row in enumerate(block.embeddings, block.index)))


def settling(client, texts=TEXTS, *, on_error="raise", max_concurrency=None, **options):
    call = client._call({"chunk_size": 4, "max_concurrency": max_concurrency}, on_error)
    run = Run(call, texts, ordered=False, as_blocks=True, max_ready=MAX_READY, settling=True)
    settler = Memory()
    return settler, SettlingRun(EmbedStream(run, client._adopt), settler, **options)


async def test_everything_is_settled_once_and_the_last_batch_is_the_end(server, client):
    settler, run = settling(client)
    await run.run()
    assert list(settler.rows) == list(range(100))
    np.testing.assert_array_equal(list(settler.rows.values()), [vector_of(text) for text in TEXTS])
    assert settler.ends[-1]
    assert not any(settler.ends[:-1])


async def test_failures_come_out_where_they_are_skipped(server, client):
    server.default = refusing(TEXTS[7:8], "bad")
    settler, run = settling(client, on_error="skip")
    await run.run()
    (failure,) = [item for item in settler.items if isinstance(item, EmbedFailure)]
    assert (failure.index, failure.text) == (7, TEXTS[7])
    assert sorted(settler.rows) == [index for index in range(100) if index != 7]


async def test_an_error_comes_after_everything_was_settled(server, client):
    server.default = refusing(TEXTS[50:51], "bad")
    settler, run = settling(client)
    with pytest.raises(InvalidInputError, match="bad"):
        await run.run()
    asked = {text for request in server.requests for text in request.texts} - {HARMLESS}
    assert set(map(TEXTS.index, asked)) - set(settler.rows) <= {*range(48, 52)}
    assert not any(settler.ends)


async def test_while_a_batch_is_settled_little_more_is_asked_for(server, client):
    texts = numbered(4_000)
    settler, run = settling(client, texts, max_concurrency=2)
    settler.gate.clear()
    task = asyncio.create_task(run.run())
    await until(lambda: settler.batches and not server.active)
    await turns()
    waiting = len(server.requests) - len(settler.batches[0])
    assert len(settler.batches) == 1
    assert waiting <= MAX_READY + 2 * 2
    settler.gate.set()
    await task
    assert len(settler.rows) == 4_000


async def test_what_the_settler_raises_ends_the_run(server, client):
    settler, run = settling(client)

    async def fail(batch, *, is_end):
        raise ZeroDivisionError

    settler.settle = fail
    with pytest.raises(ZeroDivisionError):
        await run.run()


async def test_how_it_stands_is_told(server, client):
    told = []
    _, run = settling(client, report=told.append)
    await run.run()
    assert told
    assert replace(told[-1], failure=None).done <= 100


async def test_batches_have_as_many_rows_as_they_may(server, client):
    settler, run = settling(client, batch_rows=7)
    await run.run()
    sizes = [sum(item.span for item in batch) for batch in settler.batches]
    assert max(sizes) <= 7
    assert list(settler.rows) == list(range(100))


@given(st.lists(st.integers(0, 9), max_size=8), st.integers(1, 7))
@settings(deadline=None)
def test_results_are_cut_into_batches_and_none_is_lost(sizes, most):
    """A 0 is a failure, which is no row."""
    items, first = [], 0
    for size in sizes:
        items.append(numbered_block(first, size) if size else EmbedFailure(first, "x", None, InvalidInputError("no")))
        first += size or 1
    batches = list(batches_of(items, most))
    rows = [sum(item.span for item in batch if isinstance(item, EmbedBlock)) for batch in batches]
    assert all(count == most for count in rows[:-1])
    assert rows[-1] < most
    found = [item for batch in batches for item in batch]
    indices = [index for item in found for index in range(item.index, item.index + item.span)]
    assert indices == list(range(first))
    for block in (item for item in found if isinstance(item, EmbedBlock)):
        assert block.embeddings[:, 0].tolist() == list(range(block.index, block.index + block.span))
        assert [given.text for given in block.inputs] == [
            f"text {index}" for index in range(block.index, block.index + block.span)
        ]
