"""Queries beside bulk, simulated: queries stay quick, and bulk keeps a good part of what it has alone."""

from __future__ import annotations

import heapq
import itertools
import random
from functools import partial
from statistics import median, quantiles

import pytest
from support.simulated_api import Latency, Workers

from asyncembed._decide import Controller, GivingWay

SIZE = 96
ONE_WORKER = partial(Workers, 1, 0.02, 0.001, network=0.004)
TWO_WORKERS = partial(Workers, 2, 0.02, 0.001, network=0.004)
IDLE = partial(Latency, 0.1)


def setting_of(giving_way, size, concurrency):
    return giving_way.size(size), giving_way.concurrency(concurrency, 32)


class Mixed:
    """Searchers, each of whom thinks for a second between two queries, beside a bulk run without an end."""

    def __init__(self, server, *, searchers=10, think=1.0, seed=1, until=240.0, quiet_after=float("inf"), bulk=True):
        self._server, self._dice = server, random.Random(seed)
        self._think, self._until, self._quiet_after = think, until, quiet_after
        self.now = 0.0
        self._controller = Controller(max_size=SIZE, max_concurrency=32, clock=lambda: self.now)
        self._giving_way = GivingWay(lambda: self.now)
        self._events, self._order = [], itertools.count()
        self._bulk_running = 0
        self._has_bulk = bulk
        self._waiting, self._queries_running = [], 0
        self.queries, self.bulk = [], []
        for _ in range(searchers):
            self._push(self._dice.expovariate(1 / think), self._ask)
        self._fill()
        while self._events and self._events[0][0] <= until:
            self.now, _, event = heapq.heappop(self._events)
            event()
            self._fill()

    def _push(self, at, event):
        heapq.heappush(self._events, (at, next(self._order), event))

    def _fill(self):
        setting = setting_of(self._giving_way, self._controller.size, self._controller.concurrency)
        while self._has_bulk and self._bulk_running < setting[1]:
            self._bulk_running += 1
            flight = self._controller.begin(setting[0])
            at = self._server.submit(setting[0], self.now).at
            self._push(at, partial(self._bulk_ended, flight, self.now, setting))

    def _bulk_ended(self, flight, begun, setting):
        self._bulk_running -= 1
        flight.answered(self.now - begun)
        self.bulk.append((self.now, *setting))

    def _ask(self):
        if self.now < self._quiet_after:
            self._waiting.append(self.now)
            self._start()

    def _start(self):
        if self._waiting and self._queries_running < 4:
            asked, self._waiting = self._waiting, []
            self._queries_running += 1
            self._giving_way.came()
            self._push(self._server.submit(len(asked), self.now).at, partial(self._answered, asked, self.now))

    def _answered(self, asked, begun):
        self._queries_running -= 1
        self._giving_way.answered(self.now - begun, self._controller.concurrency)
        for came in asked:
            self.queries.append((came, self.now - came))
            self._push(self.now + self._dice.expovariate(1 / self._think), self._ask)
        self._start()

    def seconds(self, since=20.0):
        return [seconds for came, seconds in self.queries if came > since]

    def rate(self, since=20.0, until=float("inf")):
        texts = sum(size for at, size, _ in self.bulk if since < at <= until)
        return texts / (min(self._until, until) - since)


def own_rate(server):
    """What bulk has alone, with 96 texts a request."""
    return Mixed(server(), searchers=0).rate()


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize(("server", "most", "least"), [(ONE_WORKER, 3.5, 0.4), (TWO_WORKERS, 3.0, 0.55)])
def test_a_server_that_bulk_could_keep_busy(server, most, least, noise):
    alone = median(Mixed(server(noise=noise), bulk=False).seconds())
    both = Mixed(server(noise=noise))
    assert median(both.seconds()) <= most * alone
    assert both.rate() >= least * own_rate(partial(server, noise=noise))


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_a_server_that_is_idle(noise):
    """Queries are as quick as alone, and bulk has its own but for the slots that are kept."""
    alone = Mixed(IDLE(noise=noise), bulk=False)
    both = Mixed(IDLE(noise=noise))
    assert median(both.seconds()) <= 1.1 * median(alone.seconds())
    assert quantiles(both.seconds(), n=100)[98] <= 1.5 * quantiles(alone.seconds(), n=100)[98]
    assert both.rate(since=60) >= 0.8 * own_rate(partial(IDLE, noise=noise))


@pytest.mark.parametrize("server", [ONE_WORKER, TWO_WORKERS, IDLE])
def test_without_a_query_for_a_minute_bulk_has_everything_again(server):
    both = Mixed(server(), until=400, quiet_after=100)
    assert both.rate(since=200) >= 0.95 * own_rate(server)


def test_a_latency_that_is_nobodys_doing_does_not_stop_bulk():
    """Answers take between 0.02 and 2 s, whatever bulk does."""

    class Erratic:
        def __init__(self):
            self._dice = random.Random(3)

        def submit(self, texts, now):
            return Latency(0.02 + self._dice.expovariate(2)).submit(texts, now)

    both = Mixed(Erratic(), until=600)
    assert both.rate(since=200) >= 0.25 * Mixed(Erratic(), searchers=0, until=600).rate(since=200)


def test_rare_queries_leave_bulk_alone_after_a_minute():
    now = 0.0
    giving_way = GivingWay(lambda: now)
    assert setting_of(giving_way, 96, 8) == (96, 8)
    giving_way.came()
    assert setting_of(giving_way, 96, 8) == (6, 1)
    sizes = []
    while now < 59:
        now += 1.0
        sizes.append(giving_way.size(96))
    assert 6 == sizes[0] < sizes[-1] < 96
    now = 61.0
    assert setting_of(giving_way, 96, 8) == (96, 8)


def test_it_goes_down_to_one_small_request_and_grows_again():
    now = 0.0
    giving_way = GivingWay(lambda: now)

    def ask(seconds):
        nonlocal now
        giving_way.came()
        now += seconds
        giving_way.answered(seconds, 32)

    for _ in range(200):
        ask(0.02)
    assert setting_of(giving_way, 96, 32) == (96, 28)
    seen = [(ask(1.0), setting_of(giving_way, 96, 32))[1] for _ in range(30)]
    lowest = seen.index((6, 1))
    assert seen[: lowest + 1] == sorted(seen[: lowest + 1], key=lambda setting: setting[0] * setting[1], reverse=True)
    for _ in range(200):
        ask(0.02)
    assert setting_of(giving_way, 96, 32) == (96, 28)
