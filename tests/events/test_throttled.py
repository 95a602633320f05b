"""Why nothing happens: waits for a rate limit and for an API that is down are told, once for all that wait."""

from __future__ import annotations

import asyncio
import logging
from logging import DEBUG, INFO

import pytest
from support.results import numbered
from support.watching import count_as_down, until

from asyncembed import RateLimit, RequestsThrottled, RetryPolicy
from asyncembed import _ratelimit as _rate
from asyncembed.testing import faults

TEXTS = numbered(6)
TWO = {"requests_per_minute": 2}


def names(lines):
    return [line.split()[0] for line in lines]


def has_waited(stream, reason):
    return f"{reason}_notice" in vars(stream._run.observer)


async def collect(stream):
    return [result async for result in stream]


async def cancel(task):
    task.cancel()
    await asyncio.wait([task])


async def test_a_rate_limit_that_is_used_up(connect, told, lines):
    client = connect(rate_limit=RateLimit(**TWO))
    async with client.embed_stream(TEXTS, chunk_size=1) as stream:
        await anext(stream)
        await until(lambda: told.of(RequestsThrottled))
    (held,) = told.of(RequestsThrottled)
    assert held.reason == "rate_limit"
    assert 1 < held.seconds <= 61
    assert (held.provider, held.model, held.run) == ("openai", client.model, told[0].run)
    assert (held.error, held.message, held.status) == (None, "", None)
    assert "requests_throttled" in names(lines(DEBUG))
    assert not lines(INFO)


async def test_all_that_wait_for_it_are_told_of_once(server, connect, told):
    """The third batch, and the first two again."""
    server.script += [faults.Refused(503)] * 2
    client = connect(rate_limit=RateLimit(**TWO))
    task = asyncio.create_task(client.embed(TEXTS, chunk_size=2))
    await until(lambda: client._endpoint.limiter.waiting == 3)
    await cancel(task)
    assert len(told.of(RequestsThrottled)) == 1


async def test_each_run_that_waits_for_it_is_told(connect, told):
    client = connect(rate_limit=RateLimit(**TWO))
    tasks = [asyncio.create_task(client.embed(TEXTS, chunk_size=3)) for _ in range(2)]
    await until(lambda: client._endpoint.limiter.waiting == 2)
    await asyncio.gather(*map(cancel, tasks))
    assert len({event.run for event in told.of(RequestsThrottled)}) == len(told.of(RequestsThrottled)) == 2


async def test_waits_that_nobody_notices_are_not_told(connect, told, monkeypatch):
    monkeypatch.setattr(_rate, "PERIOD", 0.4)
    client = connect(rate_limit=RateLimit(**TWO))
    stream = client.embed_stream(TEXTS, chunk_size=2)
    assert len(await collect(stream)) == 6
    assert has_waited(stream, "rate_limit")
    assert not told.of(RequestsThrottled)


async def test_an_api_that_is_down_while_somebody_finds_out(server, connect, told, lines):
    """For how long is not known."""
    released = asyncio.Event()

    async def late(exchange):
        await released.wait()
        await exchange.deliver()

    server.script += [faults.Refused(503)] * 8  # in a row, as many as make it count as down
    server.default = late
    task = asyncio.create_task(connect(retry=RetryPolicy(initial_backoff=0.001)).embed(numbered(12), chunk_size=1))
    await until(lambda: told.of(RequestsThrottled))
    released.set()
    assert len(await task) == 12
    (held,) = told.of(RequestsThrottled)
    assert (held.reason, held.seconds) == ("outage", None)
    assert names(lines(INFO)).count("requests_throttled") == 1


async def test_an_api_that_is_down_until_somebody_may_find_out(connect, told):
    client = connect(retry=RetryPolicy(initial_backoff=30))
    count_as_down(client)
    stream = client.embed_stream(TEXTS, chunk_size=1)
    task = asyncio.create_task(anext(stream))
    await until(lambda: stream.summary.in_flight == len(TEXTS))
    await cancel(task)
    await stream.aclose()
    (held,) = told.of(RequestsThrottled)
    assert held.reason == "outage"
    assert 14 < held.seconds <= 30


@pytest.mark.parametrize("reason", ["rate_limit", "outage"])
async def test_when_nobody_listens_nothing_is_made(connect, monkeypatch, reason):
    monkeypatch.setattr(logging.getLogger("asyncembed"), "disabled", True)
    monkeypatch.setattr(RequestsThrottled, "__init__", lambda *_, **__: pytest.fail("somebody listens"))
    client = connect(on_event=None, rate_limit=RateLimit(**TWO), retry=RetryPolicy(initial_backoff=30))
    if reason == "outage":
        count_as_down(client)
    async with client.embed_stream(TEXTS, chunk_size=1) as stream:
        results = asyncio.create_task(collect(stream))
        await until(lambda: has_waited(stream, reason))
        await cancel(results)
