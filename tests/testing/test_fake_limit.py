"""The rate limit that a fake server enforces: never more than allowed in any window, never less."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.heard import connect, hear, request_bytes
from support.watching import until

from asyncembed.testing import Limit, faults

STEPS = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 6), st.integers(1, 60)), max_size=60)
"""Tenths of a second since the request before, inputs, tokens; whole numbers, so that no rounding is in the way."""


@given(steps=STEPS, rolling=st.booleans(), caps=st.tuples(st.integers(1, 4), st.integers(6, 12), st.integers(60, 90)))
def test_no_window_holds_more(steps, rolling, caps):
    """And whoever waits as long as he is told gets in."""
    requests, inputs, tokens = caps
    limit = Limit(requests=requests, inputs=inputs, tokens=tokens, window=100, rolling=rolling)
    now, taken = 0, []
    for pause, *cost in steps:
        now += pause
        wait = limit.take(*cost, now)
        inside = [one for when, one in taken if (when > now - 100 if rolling else when // 100 == now // 100)]
        used = map(sum, zip(*[(1, *each) for each in [*inside, cost]], strict=True))
        fits = all(sum_ <= cap for sum_, cap in zip(used, caps, strict=True))
        assert (wait is None) == fits
        if wait is not None:
            assert 0 < wait <= 100
            now += wait
            assert limit.take(*cost, now) is None
        taken.append((now, cost))


def test_what_is_refused_does_not_count():
    limit = Limit(inputs=10)
    assert limit.take(11, 1, 0) == 60
    assert limit.take(10, 1, 0) is None
    assert limit.take(1, 1, 20) == 40
    assert limit.take(1, 1, 60) is None


def test_headers_say_what_is_left():
    limit = Limit(requests=3, tokens=100, window=10)
    assert limit.headers(0)["x-ratelimit-reset-requests"] == "0.000s"
    limit.take(1, 30, 2)
    assert limit.headers(4) == {
        "x-ratelimit-limit-requests": "3",
        "x-ratelimit-remaining-requests": "2",
        "x-ratelimit-reset-requests": "8.000s",
        "x-ratelimit-limit-tokens": "100",
        "x-ratelimit-remaining-tokens": "70",
        "x-ratelimit-reset-tokens": "8.000s",
    }


@pytest.mark.parametrize("cap", [{"requests": 2}, {"inputs": 6}, {"tokens": 6}])
async def test_the_server_enforces_it(server, cap):
    server.limit = Limit(**cap, hint="seconds", announce=True)
    heard = [await hear(server) for _ in range(3)]
    assert [each.status for each in heard] == [200, 200, 429]
    assert 0 < float(heard[2].headers["retry-after"]) <= 60
    (name,) = cap
    assert [int(each.headers[f"x-ratelimit-remaining-{name}"]) for each in heard] == [cap[name] // 2, 0, 0]


async def test_requests_at_once(server):
    server.limit = Limit(at_once=1)
    server.script.append(faults.NoAnswer())
    _, writer = await connect(server)
    writer.write(request_bytes(["a"]))
    await until(lambda: server.active == 1)
    assert (await hear(server)).status == 429
    writer.transport.abort()
    await until(lambda: not server.active)
    assert (await hear(server)).status == 200
    assert server.max_active == 2
