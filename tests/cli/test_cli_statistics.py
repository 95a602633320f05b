"""Latencies, waits and errors of a run, from its events."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncembed import EndpointPaused, InputsFailed, RequestEnded, RequestsThrottled, RetryScheduled
from asyncembed.cli._progress import EventTracker

NAMES = {"provider": "openai", "model": "m", "run": "r"}
SLOW_DOWN = {**NAMES, "error": "RateLimitError", "message": "slow down", "status": 429}


def ended(seconds: float = 1.0, **error) -> RequestEnded:
    sizes = {"inputs": 1, "vectors": 1, "tokens": 1, "bytes_received": 1}
    times = {"seconds": seconds, "seconds_to_headers": None, "seconds_to_first_vector": None}
    return RequestEnded(request=1, attempt=1, **sizes, **times, **(NAMES | error))


@given(st.lists(st.floats(1e-4, 1e5), min_size=1), st.floats(0, 1))
def test_percentiles_are_one_percent_off_at_most(seconds, share):
    latencies = EventTracker().statistics.latencies
    for each in seconds:
        latencies.add(each)
    right = sorted(seconds)[max(1, math.ceil(share * len(seconds))) - 1]
    assert latencies.percentile(share) == pytest.approx(right, rel=0.0101)


def test_memory_does_not_grow_with_the_run():
    latencies = EventTracker().statistics.latencies
    for number in range(100_000):
        latencies.add(10 ** (number % 997 / 997 * 12 - 6))  # from a microsecond to eleven days
    assert latencies.count == 100_000
    assert len(latencies._buckets) < 1_500


def test_without_requests_there_are_no_percentiles():
    statistics = EventTracker().statistics
    assert statistics.latencies.percentile(0.5) is None
    assert statistics.percentiles() == {}


def test_only_requests_that_succeed_have_a_latency():
    """A time-out says nothing of the API's usual speed, and is counted by its error."""
    news = EventTracker()
    statistics = news.statistics
    for event in (ended(0.5), ended(120.0, error="EmbedTimeoutError"), ended(9.0, error="CancelledError")):
        news(event)
    assert statistics.latencies.count == 1
    assert statistics.percentiles() == pytest.approx({"p50": 0.5, "p90": 0.5, "p99": 0.5}, rel=0.01)
    assert dict(statistics.errors) == {"EmbedTimeoutError": 1}


def test_waits_are_counted_by_their_reason_and_those_that_overlap_once():
    now = 100.0
    statistics = EventTracker(lambda: now).statistics
    statistics(RequestsThrottled(reason="rate_limit", seconds=10.0, **NAMES))
    statistics(EndpointPaused(seconds=30.0, again=False, **SLOW_DOWN))
    now += 20
    statistics(EndpointPaused(seconds=30.0, again=True, **SLOW_DOWN))  # until 50 seconds after the first
    now += 100
    statistics(RequestsThrottled(reason="rate_limit", seconds=2.0, **NAMES))
    statistics(RequestsThrottled(reason="outage", seconds=None, **SLOW_DOWN))
    statistics(RetryScheduled(attempt=1, indices=(0,), seconds=0.5, **SLOW_DOWN))
    found = {reason: (wait.count, wait.seconds) for reason, wait in statistics.waits.items()}
    assert found == {
        "the rate limit": (2, 12.0),
        "a pause that the API asked for": (1, 50.0),
        "the API to be back": (1, 0.0),
        "retries": (1, 0.5),
    }


def test_errors_are_counted_by_their_kind():
    statistics = EventTracker().statistics
    for _ in range(3):
        statistics(ended(**SLOW_DOWN))
    statistics(InputsFailed(indices=(1, 2), skipped=True, **NAMES, error="InvalidInputError", status=400))
    assert dict(statistics.errors) == {"RateLimitError (429)": 3}
    assert dict(statistics.failures) == {"InvalidInputError (400)": 2}
