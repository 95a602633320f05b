"""Queries and bulk at the same limits: a query goes first, and room is kept for the next one, for a minute."""

from __future__ import annotations

import asyncio

import pytest

from asyncembed import RetryPolicy
from asyncembed._core import CircuitBreaker
from asyncembed._ratelimit import Limiter


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Bulk:
    """Sends requests as soon as the limit allows it, and so uses all of it."""

    def __init__(self, limiter, clock, tokens=0):
        self._limiter, self._clock, self._tokens = limiter, clock, tokens
        self._request = limiter.schedule(1, tokens)
        self.sent = []

    def run(self, until):
        while True:
            at = max(self._request.at, self._clock.now)
            if at > until:
                self._clock.now = until
                return
            self._clock.now = at
            if self._limiter.begin(self._request) == 0:
                self.sent.append(at)
                self._request = self._limiter.schedule(1, self._tokens)


@pytest.fixture
def clock():
    return Clock()


def ask(limiter, clock, tokens=0):
    """Send a query, and return how long it had to wait."""
    request = limiter.schedule(1, tokens, is_query=True)
    wait = request.at - clock.now
    clock.now = request.at
    assert limiter.begin(request) == 0
    return wait


def test_a_query_is_planned_before_bulk_that_waits(clock):
    limiter = Limiter(60, clock=clock)
    bulk = [limiter.schedule(1, 0) for _ in range(100)]
    before = [request.at for request in bulk]
    query = limiter.schedule(1, 0, is_query=True)
    later = [request.at for request in bulk]
    assert query.at <= before[60]
    assert query.at < later[-1]
    assert sorted(later) == later
    assert sum(request.at < query.at for request in bulk) < 60
    second = limiter.schedule(1, 0, is_query=True)
    assert query.at <= second.at


def test_a_query_that_was_held_up_keeps_its_place(clock):
    limiter = Limiter(60, clock=clock)
    for _ in range(60):
        limiter.begin(limiter.schedule(1, 0))
        clock.now += 0.5
    bulk, query = limiter.schedule(1, 0), limiter.schedule(1, 0, is_query=True)
    clock.now = max(bulk.at, query.at) + 5
    assert limiter.begin(bulk) == 0
    assert limiter.begin(query) == 0


@pytest.mark.parametrize("every", [0.5, 2.0, 20.0])
def test_from_the_second_query_on_none_waits(clock, every):
    limiter = Limiter(600, clock=clock)
    bulk = Bulk(limiter, clock)
    bulk.run(200)
    waits = []
    for _ in range(int(180 / every)):
        waits.append(ask(limiter, clock))
        bulk.run(clock.now + every)
    # The first one waits for what bulk used a minute ago, and those that follow at once find room that is being made.
    assert sorted(waits)[len(waits) * 9 // 10 - 1] == 0
    assert all(wait <= 0.2 for wait in waits[1:])


def test_tokens_are_kept_too(clock):
    limiter = Limiter(tokens=60_000, clock=clock)
    bulk = Bulk(limiter, clock, tokens=1_000)
    bulk.run(200)
    waits = []
    for _ in range(100):
        waits.append(ask(limiter, clock, tokens=20))
        bulk.run(clock.now + 1.0)
    assert all(wait == 0 for wait in waits[2:])


def test_without_a_query_for_a_minute_bulk_has_all_of_the_limit(clock):
    limiter = Limiter(600, clock=clock)
    bulk = Bulk(limiter, clock)
    bulk.run(100)
    for _ in range(60):
        ask(limiter, clock)
        bulk.run(clock.now + 1)
    assert limiter.has_queries
    bulk.run(clock.now + 122)
    assert not limiter.has_queries
    start = clock.now
    bulk.run(start + 120)
    assert sum(at > start for at in bulk.sent) >= 0.95 * 2 * 600


def test_the_limit_holds_for_both_together(clock):
    limiter = Limiter(600, clock=clock)
    bulk = Bulk(limiter, clock)
    queries = []
    for _ in range(600):
        ask(limiter, clock)
        queries.append(clock.now)
        bulk.run(clock.now + 0.25)
    sent = sorted([*bulk.sent, *queries])
    assert all(later - earlier >= 60 for earlier, later in zip(sent, sent[600:], strict=False))


async def test_while_a_query_waits_it_finds_out_whether_an_api_is_back():
    """Bulk that has waited for longer leaves that to it."""
    breaker = CircuitBreaker(RetryPolicy(initial_backoff=0.02, max_backoff=0.02))
    while not breaker.is_open:
        breaker.end_attempt(failed=True)
    bulk = asyncio.create_task(breaker.wait())
    await asyncio.sleep(0)
    probe = await breaker.wait(is_query=True)
    assert probe is not None
    assert not bulk.done()
    breaker.end_attempt(probe, failed=False)
    assert await bulk is None


async def test_a_query_that_is_cancelled_leaves_that_to_bulk():
    breaker = CircuitBreaker(RetryPolicy(initial_backoff=0.02, max_backoff=0.02))
    while not breaker.is_open:
        breaker.end_attempt(failed=True)
    query = asyncio.create_task(breaker.wait(is_query=True))
    await asyncio.sleep(0)
    bulk = asyncio.create_task(breaker.wait())
    await asyncio.sleep(0)
    query.cancel()
    await asyncio.gather(query, return_exceptions=True)
    assert await bulk is not None
