"""What `on_event` is told is what the server has seen: each request, how it ended, and what became of the rest."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import itertools
import logging
import pickle
from collections import Counter

import pytest
from support.results import numbered

from asyncembed import (
    BatchSplit,
    ConfigurationError,
    EmbedClient,
    EmbedFailure,
    EndpointPaused,
    Event,
    InputsFailed,
    RequestEnded,
    RequestProbed,
    RequestStarted,
    RequestsThrottled,
    RetryPolicy,
    RetryScheduled,
    RunEnded,
    StreamClosedError,
)
from asyncembed.testing import Chaos, faults, vector_of

TEXTS = numbered(6)

PROBE = "hello"
"""What is asked for to learn whether the server refuses everything."""
KINDS = [
    RequestStarted, RequestEnded, RetryScheduled, EndpointPaused, RequestsThrottled, BatchSplit, InputsFailed, RunEnded,
]  # fmt: skip


async def take(stream):
    return [item async for item in stream]


def check(results, texts):
    """Fail unless each text has its own vector, in order."""
    assert [result.index for result in results] == list(range(len(texts)))
    for result in results:
        assert (result.embedding == vector_of(texts[result.index])).all()


def check_against(ledger, told, texts, summary):
    """Fail unless the events tell of the requests in the ledger, of no other, and add up to the summary."""
    started, ended, (run,) = told.of(RequestStarted), told.of(RequestEnded), told.of(RunEnded)
    asked = Counter(tuple(texts[index] for index in event.indices) for event in started)
    probes = asked.pop((), 0)
    assert asked + Counter({(PROBE,): probes}) == Counter(entry.texts for entry in ledger.entries)
    assert probes == len(told.of(RequestProbed))
    assert [event.request for event in started] == list(range(1, summary.requests + 1))
    assert sorted(event.request for event in ended) == [event.request for event in started]
    assert {event.request: (event.attempt, event.inputs) for event in ended} == {
        event.request: (event.attempt, len(event.indices or (PROBE,))) for event in started
    }
    of_texts = {event.request for event in started if event.indices}
    assert sum(event.vectors for event in ended if event.request in of_texts) == summary.done == run.done
    assert sum(event.vectors for event in ended if event.error) == summary.salvaged == run.salvaged
    assert sum(event.tokens or 0 for event in ended) == summary.usage.tokens == run.tokens
    assert run.tokens >= ledger.told_tokens  # the ledger counts them only when all of the usage was sent
    assert sum(event.bytes_received for event in ended) == summary.bytes_received == run.bytes_received
    assert sum(len(event.indices) for event in told.of(InputsFailed)) == summary.failed == run.failed
    assert summary.retries == run.retries
    assert len(told.of(RetryScheduled)) == summary.retries or told.of(BatchSplit)
    assert {(event.provider, event.model, event.run) for event in told} == {(run.provider, run.model, run.run)}
    assert told[-1] is run


@pytest.mark.parametrize("provider", ["openai", "cohere", "cohere-v1"])
async def test_a_healthy_run(server, connect, told, provider):
    client = connect(provider)
    stream = client.embed_stream(TEXTS, chunk_size=3)
    await take(stream)
    check_against(server.ledger, told, TEXTS, stream.summary)
    assert told[-1].tokens == server.ledger.told_tokens == server.ledger.billed_tokens
    settled = {"encoding_settled": 1} if client.provider.both_encodings else {}
    assert Counter(told.names) == {"request_started": 2, "request_ended": 2, "run_ended": 1, **settled}
    for event in told:
        assert (event.provider, event.model) == (provider, client.model)
        assert (event.error, event.message, event.status) == (None, "", None)
    for event in told.of(RequestStarted):
        assert (event.host, event.port) == ("127.0.0.1", server.port)
        assert event.encoding == ("base64" if provider == "openai" else "float")
        assert event.dimensions is None
    for event in told.of(RequestEnded):
        assert (event.vectors, event.attempt) == (3, 1)
        assert 0 < event.seconds_to_headers <= event.seconds_to_first_vector <= event.seconds


async def test_times_are_those_of_the_server(server, connect, told):
    server.latency = 0.05
    await connect().embed(TEXTS)
    (ended,), (run,) = told.of(RequestEnded), told.of(RunEnded)
    assert 0.05 <= ended.seconds_to_headers <= ended.seconds <= run.seconds


async def test_a_broken_answer(server, connect, told):
    server.script += [faults.CutOff(after=2)]
    stream = connect().embed_stream(TEXTS)
    check(await take(stream), TEXTS)
    check_against(server.ledger, told, TEXTS, stream.summary)
    assert told.names == [
        "request_started", "request_ended", "retry_scheduled", "request_started", "request_ended", "run_ended",
    ]  # fmt: skip
    _, broken, retry, again, rest, _ = told
    assert (broken.error, broken.vectors, broken.inputs, broken.status) == ("TransportError", 2, 6, None)
    assert broken.message.startswith("the response broke off (POST ")
    assert broken.message == retry.message
    assert (retry.attempt, retry.indices) == (1, (2, 3, 4, 5))
    assert (again.attempt, again.indices) == (2, (2, 3, 4, 5))
    assert (rest.error, rest.vectors, rest.attempt) == (None, 4, 2)


async def test_a_vector_that_is_no_good_is_not_counted(server, connect, told):
    server.script += [faults.WrongVector("null", at=1)]
    stream = connect(encoding="float").embed_stream(TEXTS)
    check(await take(stream), TEXTS)
    check_against(server.ledger, told, TEXTS, stream.summary)
    assert [event.vectors for event in told.of(RequestEnded)] == [5, 1]


async def test_the_first_vector_comes_before_the_last(server, connect, told):
    server.script += [faults.Drip(seconds=0.01, size=64)]
    await connect().embed(TEXTS)
    (ended,) = told.of(RequestEnded)
    assert 0 < ended.seconds_to_headers < ended.seconds_to_first_vector < ended.seconds / 2


async def test_a_pause(server, connect, told):
    server.script += [faults.TooManyRequests("seconds", wait=0.05)]
    await connect(retry=RetryPolicy(initial_backoff=0.001)).embed(TEXTS)
    _, ended, retry, pause, again, _, run = told
    assert [ended.error, retry.error, pause.error, run.error] == ["RateLimitError"] * 3 + [None]
    assert ended.status == retry.status == pause.status == 429
    assert "slow down" in pause.message
    assert 0.05 <= pause.seconds == retry.seconds
    assert not pause.again
    assert isinstance(again, RequestStarted)


async def test_a_pause_that_is_on_already(server, connect, told):
    server.script += [faults.TooManyRequests("seconds", wait=0.05)] * 3
    server.latency = 0.02
    await connect(retry=RetryPolicy(initial_backoff=0.001)).embed(TEXTS, chunk_size=2)
    assert [event.again for event in told.of(EndpointPaused)] == [False, True, True]


async def test_base64_that_is_refused(server, connect, told):
    async def refuse(exchange):
        await exchange.refuse(400, "encoding_format base64 is not supported")

    server.script += [refuse]
    stream = connect().embed_stream(TEXTS)
    await take(stream)
    check_against(server.ledger, told, TEXTS, stream.summary)
    assert [event.encoding for event in told.of(RequestStarted)] == ["base64", "float"]
    (retry,) = told.of(RetryScheduled)
    assert (retry.seconds, retry.status) == (0, 400)


@pytest.mark.parametrize("on_error", ["skip", "yield"])
async def test_texts_that_are_given_up(server, connect, told, on_error):
    server.rules.append(faults.Poisoned("text 4"))
    texts = [*TEXTS, ""]
    stream = connect(retry=RetryPolicy(max_attempts=1)).embed_stream(texts, chunk_size=3, on_error=on_error)
    items = await take(stream)
    check_against(server.ledger, told, texts, stream.summary)
    failed = told.of(InputsFailed)
    arrived = {item.index for item in items if not isinstance(item, EmbedFailure)}
    assert {index for event in failed for index in event.indices} == set(range(7)) - arrived
    assert {event.skipped for event in failed} == {on_error == "skip"}
    assert {event.error for event in failed} == {"InvalidInputError"}
    assert {event.status for event in failed} == {400, None}


async def test_a_bad_text_is_looked_for(server, connect, told):
    """The parts of each split are asked for, or known to hold the bad text and split again, for the same reason."""
    server.rules.append(faults.Poisoned("text 4"))
    stream = connect().embed_stream(TEXTS, on_error="skip")
    assert [result.index for result in await take(stream)] == [0, 1, 2, 3, 5]
    check_against(server.ledger, told, TEXTS, stream.summary)
    splits, (failed,) = told.of(BatchSplit), told.of(InputsFailed)
    assert [(event.indices, event.parts) for event in splits] == [
        ((0, 1, 2, 3, 4, 5), (3, 3)), ((3, 4, 5), (1, 2)), ((4, 5), (1, 1)),
    ]  # fmt: skip
    assert {event.error for event in [*splits, failed]} == {"InvalidInputError"}
    assert {event.status for event in [*splits, failed]} == {400}
    assert len({event.message for event in splits}) == 1
    assert failed.indices == (4,)
    started = told.of(RequestStarted)
    assert [event.indices for event in started] == [(0, 1, 2, 3, 4, 5), (), (0, 1, 2), (3,), (4,), (5,)]


@pytest.mark.parametrize("bad", [{0}, {20}, {5, 6}, {1, 11, 20}, set(range(21))])
async def test_the_events_of_a_bisection_add_up(server, connect, told, bad):
    """What is asked for, or split unasked, is the whole batch or one part of a split; each part is one of the two."""
    texts = numbered(21)
    server.rules.extend(faults.Poisoned(texts[index]) for index in bad)
    stream = connect(retry=RetryPolicy(max_attempts=3)).embed_stream(texts, on_error="skip")
    await take(stream)
    check_against(server.ledger, told, texts, stream.summary)
    expected, seen = Counter([tuple(range(21))]), set()
    for split in told.of(BatchSplit):
        assert sum(split.parts) == len(split.indices)
        ends = list(itertools.accumulate(split.parts))
        expected.update(split.indices[end - size : end] for end, size in zip(ends, split.parts, strict=True))
        seen.add(split.indices)
    seen.update(event.indices for event in told.of(RequestStarted) if event.indices)
    assert expected == Counter(seen)


async def test_a_request_that_is_too_large(server, connect, told):
    server.rules.append(faults.TooLarge(items=2))
    stream = connect().embed_stream(TEXTS)
    check(await take(stream), TEXTS)
    check_against(server.ledger, told, TEXTS, stream.summary)
    (split,) = told.of(BatchSplit)
    assert (split.indices, split.parts) == ((0, 1, 2, 3, 4, 5), (2, 2, 2))
    assert [event.indices for event in told.of(RequestStarted)[1:]] == [(0, 1), (2, 3), (4, 5)]


async def test_a_file_skips_too(server, connect, told, tmp_path):
    """Though its stream yields failures, nobody is given them."""
    await connect().embed_to_file(["a", "", "b"], tmp_path / "x.npy", on_error="skip")
    (failed,) = told.of(InputsFailed)
    assert (failed.indices, failed.skipped) == ((1,), True)


async def test_a_run_that_ends_with_an_error(server, connect, told):
    server.default = faults.Refused(401, "no such key")
    with pytest.raises(Exception, match="no such key"):
        await connect().embed(TEXTS)
    assert told.names == ["request_started", "request_ended", "run_ended"]
    assert told[1].error == told[2].error == "AuthenticationError"
    assert "no such key" in told[2].message
    assert (told[2].status, told[2].done, told[2].requests) == (401, 0, 1)


async def test_a_run_whose_texts_raise(connect, told):
    """Their words may be anything, and are not told."""

    def texts():
        yield "a"
        raise LookupError("a row of private data")

    with pytest.raises(LookupError):
        await take(connect().embed_stream(texts()))
    assert (told[-1].error, told[-1].message) == ("LookupError", "")


async def test_leaving_early(server, connect, told):
    server.script += [faults.Stall(after=2)]
    async with connect().embed_stream(TEXTS) as stream:
        await anext(stream)
    assert told.names == ["request_started", "request_ended", "run_ended"]
    assert (told[1].error, told[1].vectors) == ("CancelledError", 2)
    assert (told[2].error, told[2].done) == (StreamClosedError.__name__, 2)


@pytest.mark.parametrize("seed", range(6))
async def test_random_faults(server, connect, told, seed):
    """Whatever happens, the events are what the ledger says."""
    server.default = Chaos(seed, share=0.4, faults=[faults.CutOff(), faults.Refused(503), faults.Garbage()])
    texts = numbered(200)
    stream = connect(["openai", "cohere"][seed % 2], encoding="float").embed_stream(texts, chunk_size=7)
    check(await take(stream), texts)
    check_against(server.ledger, told, texts, stream.summary)
    assert stream.summary.retries > 0


async def test_runs_have_ids_of_their_own(connect, told):
    client = connect()
    await asyncio.gather(*(client.embed(TEXTS) for _ in range(3)))
    assert len({event.run for event in told}) == 3
    assert Counter(event.run for event in told) == dict.fromkeys({event.run for event in told}, 3)


async def test_the_dimension_that_was_asked_for(connect, told):
    await connect().embed(TEXTS, dimensions=5)
    assert told[0].dimensions == 5


async def test_a_hook_that_raises_breaks_nothing(server, connect, caplog):
    server.script += [faults.CutOff(after=2)]
    calls = []

    def hook(event):
        calls.append(event.name)
        raise ZeroDivisionError(event.name)

    client = connect(on_event=hook)
    check(await take(client.embed_stream(TEXTS)), TEXTS)
    await client.embed(TEXTS)
    assert len(calls) == 9
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("on_event_failed")
    assert record.exc_info[0] is ZeroDivisionError


async def forgotten(event):
    """An async function, which nobody would await."""


class Async:
    async def __call__(self, event):
        """The same."""


@pytest.mark.parametrize("hook", [forgotten, Async(), "print", 3])
def test_a_hook_that_cannot_be_one(hook):
    with pytest.raises(ConfigurationError, match="on_event="):
        EmbedClient("openai", api_key="k", on_event=hook)


async def test_when_nobody_listens_nothing_is_made(server, connect, monkeypatch):
    """In a run with every kind of trouble."""
    monkeypatch.setattr(logging.getLogger("asyncembed"), "disabled", True)
    for kind in KINDS:
        monkeypatch.setattr(kind, "__init__", lambda *_, **__: pytest.fail("somebody listens"))
    server.script += [faults.CutOff(after=1), faults.TooManyRequests("seconds", wait=0.01), faults.Refused(400)]
    stream = connect(on_event=None, max_concurrency=1).embed_stream([*TEXTS, ""], chunk_size=3, on_error="skip")
    await take(stream)
    assert (stream.summary.retries, stream.summary.failed) == (4, 1)


async def test_what_was_asked_for_is_forgotten_with_its_error(server, connect):
    """Texts that errors may repeat are kept only as long as the errors are."""
    server.script += [faults.Refused(503)] * 3
    server.rules.append(faults.Poisoned("text 4"))
    stream = connect(on_event=None).embed_stream(TEXTS, on_error="skip")
    await take(stream)
    gc.collect()
    assert set(stream._run.observer._texts_of) == {stream.summary.failure}


@pytest.mark.parametrize("kind", KINDS)
def test_events_are_plain_values(kind):
    """Small, frozen, slotted, with names of their own, and fit for other processes."""
    fields = {field.name: 1 for field in dataclasses.fields(kind)}
    event = kind(**fields)
    assert isinstance(event, Event)
    assert pickle.loads(pickle.dumps(event)) == event
    assert not hasattr(event, "__dict__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.run = "other"
    assert f"    {event.name}" in f"    {kind.name}"
    for name in fields:
        documented = kind.__doc__ if name in vars(kind).get("__annotations__", {}) else Event.__doc__
        assert f"{name}: " in documented
    assert len({other.name for other in KINDS}) == len(KINDS)
