"""A run into a file that is stopped: what has arrived is kept, byte by byte, and the rest is asked for."""

from __future__ import annotations

import asyncio
import os
import random

import anyio
import numpy as np
import pytest
from support.arrivals import Arrivals, Vectors
from support.results import numbered
from support.scripted import Gate, broken_after, refused, refusing, stalled, vector_of
from support.watching import turns, until

from asyncembed import (
    EmbedClient,
    InvalidInputError,
    RateLimit,
    RequestsThrottled,
    RetryPolicy,
    StreamClosedError,
)
from asyncembed.providers import OpenAI
from asyncembed.sinks import KnownTexts, Output, read_partial
from asyncembed.testing import FakeServer, faults
from asyncembed.testing import vector_of as fake_vector_of

STOPS = int(os.environ.get("ASYNCEMBED_STOPS", "1"))
SEED = int(os.environ.get("ASYNCEMBED_SEED", "7"))
MANY = numbered(30_000)
TEXTS = numbered(40)
HARMLESS = "hello"
SMALL = {"chunk_size": 4, "max_concurrency": 1}


def texts_of(server):
    return [text for request in server.requests for text in request.texts]


@pytest.fixture
async def own():
    """A server as a provider's own address: 2,048 texts a request, which take 0.2 to 1.5 seconds."""
    async with FakeServer(latency=lambda draw: draw.uniform(0.2, 1.5)) as server:
        address = f"{server.url}/v1"

        class Own(OpenAI):
            name, base_url, dimensions, default_model = "own", address, {}, "fake"

        async with EmbedClient(Own(), api_key="k") as client:
            yield server, client


@pytest.mark.parametrize("way", ["cancel", "scope", "stop", "a text fails"])
@pytest.mark.timeout(120 + 20 * STOPS)
async def test_stopped_at_any_moment_it_asks_for_nothing_again_that_arrived(own, tmp_path, way):
    server, client = own
    draw, vectors = random.Random(f"{SEED} {way}"), Vectors([*MANY, HARMLESS], server.dimension)
    for attempt in range(STOPS):
        path = tmp_path / f"{attempt}.npy"
        type(server.ledger).__init__(server.ledger)
        stop, scope = asyncio.Event(), anyio.CancelScope()
        server.rules = [faults.Poisoned(draw.choice(MANY), 400)] if way == "a text fails" else []

        async def embed(path=path, stop=stop, scope=scope):
            with scope:
                await client.embed_to_file(MANY, path, stop=stop)

        with Arrivals(vectors) as arrivals:
            task = asyncio.create_task(embed())
            if way != "a text fails":
                await asyncio.wait([task], timeout=draw.uniform(0, 2.5))
                before, begun = arrivals.texts, arrivals.responses
                {"cancel": task.cancel, "scope": scope.cancel, "stop": stop.set}[way]()
            await asyncio.wait([task])
        assert task.cancelled() or isinstance(task.exception(), StreamClosedError | InvalidInputError | None)
        # A cancelled run does not wait, so a response that begins only then may come too late.
        arrived = arrivals.texts_of(begun) if way in {"cancel", "scope"} else arrivals.texts - {HARMLESS}
        asked = set(server.ledger.asked) - {HARMLESS}
        assert way != "stop" or arrived == asked  # all that was in flight
        assert way == "a text fails" or before <= arrived
        server.rules.clear()
        type(server.ledger).__init__(server.ledger)
        await client.embed_to_file(MANY, path, resume=True)
        assert not arrived.intersection(server.ledger.asked), f"seed {SEED}, attempt {attempt}"
        np.testing.assert_array_equal(np.load(path), [fake_vector_of(text) for text in MANY])


@pytest.mark.parametrize("way", ["cancel", "error"])
async def test_what_has_arrived_of_an_answer_is_kept(server, client, tmp_path, way):
    """It is safe while the answer goes on, too."""
    path, gate = tmp_path / "v.npy", Gate()
    server.script.extend([stalled(gate, count=3, part=0.9)])
    server.default = refused(401, "no more") if way == "error" else stalled(Gate())
    task = asyncio.create_task(client.embed_to_file(TEXTS, path, chunk_size=20, max_concurrency=2))
    await until(lambda: (found := read_partial(path)) and found.commit.settled == 3)
    if way == "cancel":
        task.cancel()
    await asyncio.wait([task])
    assert task.cancelled() if way == "cancel" else "401" in str(task.exception())
    server.script.clear()
    server.default = type(server).default
    server.requests.clear()
    summary = await client.embed_to_file(TEXTS, path, resume=True)
    assert texts_of(server) == TEXTS[3:]
    assert (summary.resumed, summary.done, summary.saved) == (3, 37, 40)
    np.testing.assert_array_equal(np.load(path), [vector_of(text) for text in TEXTS])


@pytest.mark.parametrize("part", [0.5, 1])
async def test_a_response_that_nobody_has_read_yet_is_kept(server, client, tmp_path, part):
    """It lies in a buffer of the system when the run is cancelled; not even its headers were read."""
    path = tmp_path / "v.npy"

    async def cancel(exchange):
        body = b"".join(exchange.request.pieces)
        send = await exchange.start()
        await send(body[: int(len(body) * part)])
        task.cancel()

    server.script.append(cancel)
    task = asyncio.create_task(client.embed_to_file(TEXTS, path, **SMALL | {"chunk_size": len(TEXTS)}))
    await asyncio.wait([task])
    kept = read_partial(path).commit.settled
    assert kept >= len(TEXTS) * part - 2  # its pieces are not all of one size
    server.requests.clear()
    await client.embed_to_file(TEXTS, path, resume=True)
    assert texts_of(server) == TEXTS[kept:]


async def test_a_batch_that_is_tried_again_does_not_hold_back_others(server, connect, tmp_path):
    """What had arrived of it is safe, too, while it waits to be asked for again."""
    path = tmp_path / "v.npy"
    client = connect(retry=RetryPolicy(max_attempts=3, initial_backoff=60, max_backoff=60))
    server.script.append(broken_after(2))
    task = asyncio.create_task(client.embed_to_file(TEXTS, path, chunk_size=4))
    await until(lambda: (found := read_partial(path)) and found.commit.settled == 38)
    task.cancel()
    await asyncio.wait([task])
    server.requests.clear()
    await client.embed_to_file(TEXTS, path, resume=True)
    assert texts_of(server) == TEXTS[2:4]


async def test_a_batch_that_is_halved_does_not_hold_back_others(server, client, tmp_path):
    path, gate = tmp_path / "v.npy", Gate()
    server.script.extend([refusing(TEXTS[:1], "bad"), stalled(gate)])
    server.default = refusing(TEXTS[:1], "bad")
    task = asyncio.create_task(client.embed_to_file(TEXTS, path, chunk_size=4, max_concurrency=2, on_error="skip"))
    await until(lambda: (found := read_partial(path)) and found.commit.settled == 36)
    gate.opened.set()
    assert (await task).saved == 39


async def test_a_stop_waits_for_what_is_in_flight_and_sends_nothing_more(server, client, tmp_path):
    path, gate, stop = tmp_path / "v.npy", Gate(), asyncio.Event()
    server.script.extend([server.default, stalled(gate)])
    task = asyncio.create_task(client.embed_to_file(TEXTS, path, stop=stop, stop_wait=60, **SMALL))
    await gate.reached.wait()
    stop.set()
    await turns()
    assert not task.done()
    gate.opened.set()
    with pytest.raises(StreamClosedError, match="the run was stopped before its end") as caught:
        await task
    assert caught.value.__notes__ == [f"8 rows are kept in {path}.partial; continue with --resume (resume=True)"]
    assert texts_of(server) == TEXTS[:8]


async def test_a_stop_waits_no_longer_than_it_may(server, client, tmp_path):
    path, gate, stop = tmp_path / "v.npy", Gate(), asyncio.Event()
    server.script.extend([server.default, stalled(gate, count=2)])
    task = asyncio.create_task(client.embed_to_file(TEXTS, path, stop=stop, stop_wait=0.05, **SMALL))
    await until(gate.reached.is_set)
    stop.set()
    with pytest.raises(StreamClosedError) as caught:
        await asyncio.wait_for(task, 30)
    assert "6 rows are kept" in caught.value.__notes__[0]


async def test_a_stop_ends_the_wait_for_the_next_attempt(server, connect, tmp_path):
    client, stop = connect(retry=RetryPolicy(initial_backoff=60, max_backoff=60)), asyncio.Event()
    server.script.extend([server.default, refused(500)])
    task = asyncio.create_task(client.embed_to_file(TEXTS, tmp_path / "v.npy", stop=stop, stop_wait=60, **SMALL))
    await until(lambda: len(server.requests) == 2 and not server.active)
    stop.set()
    with pytest.raises(StreamClosedError):
        await asyncio.wait_for(task, 30)
    assert len(server.requests) == 2


@pytest.mark.parametrize("moment", ["before the refusal", "while the probe waits for the rate limit"])
async def test_a_stopped_run_sends_no_probe(server, connect, tmp_path, moment):
    path, gate, stop, throttled = tmp_path / "v.npy", Gate(), asyncio.Event(), asyncio.Event()
    limits = {"requests_per_minute": 2} if moment.startswith("while") else {}

    def hear(event):
        if isinstance(event, RequestsThrottled):
            throttled.set()

    client = connect(rate_limit=RateLimit(**limits) if limits else None, on_event=hear)

    async def refuse(exchange):
        await gate.wait()
        await refused(400, "who knows?")(exchange)

    server.script.extend([server.default, refuse])
    task = asyncio.create_task(client.embed_to_file(TEXTS[:8], path, stop=stop, stop_wait=60, **SMALL))
    await gate.reached.wait()
    if limits:
        gate.opened.set()
        await throttled.wait()
    stop.set()
    await turns()
    gate.opened.set()
    with pytest.raises(StreamClosedError):
        await asyncio.wait_for(task, 30)
    assert texts_of(server) == TEXTS[:8]
    assert read_partial(path).commit.settled == 4


async def test_a_stop_before_anything_was_sent(server, client, tmp_path):
    stop = asyncio.Event()
    stop.set()
    with pytest.raises(StreamClosedError) as caught:
        await client.embed_to_file(TEXTS, tmp_path / "v.npy", stop=stop)
    assert caught.value.__notes__ == ["nothing is kept"]
    assert (server.requests, list(tmp_path.iterdir())) == ([], [])


async def test_a_stop_while_texts_are_waited_for(server, client, tmp_path):
    stop, waiting = asyncio.Event(), asyncio.Event()

    async def texts():
        for text in TEXTS[:10]:
            yield text
        waiting.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(client.embed_to_file(texts(), tmp_path / "v.npy", stop=stop, stop_wait=60, **SMALL))
    await waiting.wait()
    await until(lambda: len(server.requests) == 3)
    stop.set()
    with pytest.raises(StreamClosedError) as caught:
        await asyncio.wait_for(task, 30)
    assert "10 rows are kept" in caught.value.__notes__[0]


@pytest.mark.parametrize("stage", ["read", "finish"])
async def test_a_stop_while_nothing_is_in_flight(server, client, tmp_path, stage, monkeypatch):
    """As texts are read again, and as the file is made."""
    path, stop = tmp_path / "v.parquet", asyncio.Event()
    await client.embed_to_file(TEXTS, tmp_path / "whole.parquet")
    server.script.extend([server.default] * 3 + [refused(401)] * 2)
    with pytest.raises(Exception, match="401"):
        await client.embed_to_file(TEXTS, path, **SMALL)
    server.script.clear()
    kind, name = {"read": (KnownTexts, "recognise"), "finish": (Output, "finish")}[stage]
    method = getattr(kind, name)
    loop = asyncio.get_running_loop()

    def stopping(self, *arguments):
        loop.call_soon_threadsafe(stop.set)
        return method(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(kind, name, stopping)
        with pytest.raises(StreamClosedError, match="stopped before its end"):
            await client.embed_to_file(TEXTS, path, resume=True, stop=stop)
    assert not path.exists()
    await client.embed_to_file(TEXTS, path, resume=True)
    assert path.read_bytes() == (tmp_path / "whole.parquet").read_bytes()


async def test_what_failed_only_because_the_api_did_is_held_within_bounds(server, once, tmp_path, monkeypatch):
    """The oldest of too many are given up for good; the others are asked for again by the next run."""
    monkeypatch.setattr("asyncembed._to_file.MAX_UNSETTLED_BYTES", 3_000)  # of 5 short texts
    path = tmp_path / "v.npy"
    down = [refused(503, "down")] * 2
    server.script.extend([*down, server.default, *down, server.default, *[refused(401, "no more")] * 2])
    with pytest.raises(Exception, match="401"):
        await once.embed_to_file(TEXTS, path, on_error="skip", **SMALL)
    found = read_partial(path).commit
    assert (found.settled, found.failed) == (8 + 11, 11)
    server.requests.clear()
    summary = await once.embed_to_file(TEXTS, path, on_error="skip", resume=True, **SMALL)
    assert texts_of(server) == [TEXTS[15], *TEXTS[16:20], *TEXTS[24:]]
    assert (summary.saved, summary.failed) == (29, 11)
