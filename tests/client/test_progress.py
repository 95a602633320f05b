"""`on_progress`: plain or async, told of how the run stands, and no fault in it ends the run."""

from __future__ import annotations

import asyncio
import gc
import logging
import warnings

import numpy as np
import pytest
from support.results import numbered
from support.scripted import Gate, refused, refusing, stalled, vector_of
from support.watching import until

from asyncembed import AuthenticationError, EmbedClient, RunSummary
from asyncembed.testing import FakeServer, faults

TEXTS = numbered(40)


@pytest.fixture(params=["embed", "embed_to_file"])
def run(request, client, tmp_path):
    """Embeds texts with a verb that takes `on_progress`."""

    def start(on_progress, texts=TEXTS):
        where = {"output_file": tmp_path / "v.npy"} if request.param == "embed_to_file" else {}
        return getattr(client, request.param)(texts, on_progress=on_progress, chunk_size=4, max_concurrency=1, **where)

    return start


async def test_a_plain_function_is_told_until_the_end(server, run):
    """While nothing comes, and when all is done."""
    gate, told = Gate(), []
    server.script = type(server.script)([server.default, stalled(gate)])
    task = asyncio.create_task(run(told.append))
    await until(lambda: [now.done for now in told[-3:]] == [4, 4, 4])
    gate.opened.set()
    await task
    assert all(isinstance(now, RunSummary) for now in told)
    assert told[-1].done == 40


async def test_an_async_function_is_told_until_the_end(server, run):
    """It is awaited."""
    told = []

    async def tell(now):
        await asyncio.sleep(0)
        told.append(now.done)

    await run(tell)
    assert told == sorted(told)
    assert told[-1] == 40


async def test_a_slow_async_function_holds_up_nothing(server, run):
    """It is told of the latest state when it is ready for it, and the run ends after it has been told of the last."""
    gate, told = asyncio.Event(), []

    async def tell(now):
        told.append(now.done)
        await gate.wait()

    task = asyncio.create_task(run(tell))
    await until(lambda: len(server.requests) == 10)
    assert len(told) == 1
    gate.set()
    await task
    assert told[-1] == 40
    assert len(told) <= 4  # of what came meanwhile, the latest


class Both:
    """Callable objects, plain and async ones."""

    def __init__(self) -> None:
        self.told = []

    async def __call__(self, now: RunSummary) -> None:
        self.told.append(now)


async def test_an_object_with_an_async_call_is_awaited(server, run):
    """What counts is what comes back."""
    told = Both()
    await run(told)
    assert told.told[-1].done == 40


def fail(_):
    raise ZeroDivisionError


async def fail_later(_):
    await asyncio.sleep(0)
    raise ZeroDivisionError


@pytest.mark.parametrize("function", [fail, fail_later])
async def test_what_it_raises_is_logged_once(server, run, caplog, function):
    """And the run goes on, as with `on_event`."""
    caplog.set_level(logging.WARNING, "asyncembed")
    await run(function)
    assert len(server.requests) == 10
    (record,) = caplog.records
    assert record.getMessage().startswith("on_progress_failed")
    assert record.exc_info[0] is ZeroDivisionError


async def test_it_is_told_of_the_end_of_a_run_that_fails(server, run):
    """And the error comes after that."""
    told = []
    server.script = type(server.script)([server.default])
    server.default = refused(401, "no such key")

    async def tell(now):
        await asyncio.sleep(0)
        told.append(now.done)

    with pytest.raises(AuthenticationError):
        await run(tell)
    assert told[-1] == 4


async def test_a_cancelled_run_does_not_wait_for_it(server, run):
    """What it does is cancelled, too."""
    ended = []

    async def tell(_):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    task = asyncio.create_task(run(tell))
    await until(lambda: len(server.requests) == 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]


BAD = {TEXTS[0], TEXTS[17], TEXTS[39]}


async def test_a_cancelled_run_leaves_no_coroutine_of_it_that_was_never_awaited(server, run):
    """The last report comes while the run is cancelled."""
    gate = Gate()
    server.script.append(stalled(gate))

    async def told(_):
        pass

    task = asyncio.create_task(run(told))
    await gate.reached.wait()
    task.cancel()
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        await asyncio.wait([task])
        gc.collect()
    assert [str(each.message) for each in found if each.category is RuntimeWarning] == []


async def test_texts_that_fail_leave_rows_of_nan(server, client):
    """With a mask that says which, and the reasons."""
    server.default = refusing(BAD)
    pairs = [(f"id {n}", text) for n, text in enumerate(TEXTS)]
    response = await client.embed(pairs, on_error="skip", chunk_size=8)
    assert response.embeddings.shape == (40, 8)
    assert response.ok.dtype == np.bool_
    assert np.flatnonzero(~response.ok).tolist() == [0, 17, 39]
    assert np.isnan(response.embeddings[~response.ok]).all()
    for index in np.flatnonzero(response.ok):
        np.testing.assert_array_equal(response[index], vector_of(TEXTS[index]))
    assert [(failure.index, failure.text, failure.id) for failure in response.failures] == [
        (n, TEXTS[n], f"id {n}") for n in (0, 17, 39)
    ]
    assert all(failure.error.indices == (failure.index,) for failure in response.failures)
    assert list(response.texts) == TEXTS
    assert list(response.ids) == [identity for identity, _ in pairs]


async def test_a_generator_of_texts_that_fail_at_its_end(server, client):
    """Nothing says ahead how many rows there will be."""
    server.default = refusing({TEXTS[-1]})
    response = await client.embed(iter(TEXTS), on_error="skip", chunk_size=1)
    assert response.embeddings.shape == (40, 8)
    assert response.ok.tolist() == [True] * 39 + [False]


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
async def test_other_types_have_zeros(dtype):
    """There is no NaN among them."""
    async with FakeServer(dimension=8) as server, EmbedClient("cohere", base_url=server.url, api_key="k") as client:
        server.rules.append(faults.Poisoned("b"))
        response = await client.embed(["a", "b", "c"], on_error="skip", dtype=dtype)
    assert response.embeddings.dtype == np.dtype(dtype)
    assert response.ok.tolist() == [True, False, True]
    assert not response.embeddings[1].any()
    assert response.embeddings[0].any()


async def test_a_response_without_a_vector(server, client):
    """Each text has a row, as wide as is known."""
    server.default = refusing({"a", "b"})
    response = await client.embed(["a", "b"], on_error="skip", dimensions=8)
    assert response.embeddings.shape == (2, 8)
    assert np.isnan(response.embeddings).all()
    assert response.ok.tolist() == [False, False]


async def test_a_response_without_a_failure(server, client):
    """All rows are good, and so it is without `skip`."""
    for options in ({}, {"on_error": "skip"}):
        response = await client.embed(TEXTS, **options)
        assert response.ok.all()
        assert response.ok.shape == (40,)
        assert list(response.failures) == []
    assert (await client.embed([], on_error="skip")).ok.shape == (0,)


async def test_a_wrong_key_ends_it_all_the_same(server, client):
    """No text is to blame."""
    server.default = refused(401, "no such key")
    with pytest.raises(AuthenticationError):
        await client.embed(TEXTS, on_error="skip")


async def test_texts_that_fail_go_to_the_dead_letters(server, client, tmp_path):
    """As with the other verbs."""
    server.default = refusing(BAD)
    await client.embed(TEXTS, on_error="skip", dead_letter=tmp_path / "dead.jsonl")
    assert len((tmp_path / "dead.jsonl").read_text().splitlines()) == 3
