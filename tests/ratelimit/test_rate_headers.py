"""What an API says about its limits, and what is made of it: when others use them, too, and when it is nonsense."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.limits import MINUTE, Clock

from asyncembed._models import LimitHeader, RateLimitHeaders
from asyncembed._ratelimit import Limiter


def answered(limiter: Limiter, requests: LimitHeader | None = None, tokens: LimitHeader | None = None) -> None:
    """Send a request and get this answer."""
    ticket = limiter.schedule(1, 10)
    limiter.begin(ticket)
    limiter.observe(ticket, RateLimitHeaders(requests, tokens))


def wait_of(limiter: Limiter, clock: Clock, tokens: int = 10) -> float:
    ticket = limiter.schedule(1, tokens)
    limiter.withdraw(ticket)
    return ticket.at - clock.now


@pytest.mark.parametrize(
    ("allowance", "wait"),
    [
        (LimitHeader(100, 0, 20), 20),
        (LimitHeader(100, 0, 86_400), MINUTE),
        (LimitHeader(None, 0, 20), 20),
        (LimitHeader(None, 0, 86_400), MINUTE),
        (LimitHeader(None, 0, None), 1),
        (LimitHeader(100, 0, None), 1),
        (LimitHeader(None, 5, 20), 0),
        (LimitHeader(100, 50, 20), 0),
        (LimitHeader(100, None, 20), 0),
        (LimitHeader(100, 0, 0), 0),
        (LimitHeader(100, 0, 60, refills=True), 0.6),  # one of them is there much sooner than all
    ],
)
def test_nothing_left_holds_everybody_up(allowance, wait):
    """Until the reset, if that makes sense."""
    clock = Clock()
    limiter = Limiter(clock=clock)
    answered(limiter, requests=allowance)
    assert wait_of(limiter, clock) == pytest.approx(wait, abs=1e-6)


def test_who_waits_already_is_put_off():
    """In the same order, and as far apart as before."""
    clock = Clock()
    limiter = Limiter(requests=6, clock=clock)
    sent = [limiter.schedule(1, 1) for _ in range(4)]
    waiting = [limiter.schedule(1, 1) for _ in range(4)]
    planned = [ticket.at for ticket in waiting]
    assert planned[0] > clock.now
    limiter.observe(sent[0], RateLimitHeaders(LimitHeader(3, 0, 59)))  # of which we have not used 6 yet
    assert [ticket.at for ticket in waiting] == pytest.approx([at + clock.now + 59 - planned[0] for at in planned])
    assert limiter.seconds_left(waiting[0]) == pytest.approx(59)
    assert limiter.schedule(1, 1).at >= waiting[-1].at


def test_what_others_use_is_left_to_them():
    """Of 100, 5 are left: 5 more go at once, and then nothing until the reset."""
    clock = Clock()
    limiter = Limiter(clock=clock)
    answered(limiter, requests=LimitHeader(100, 5, 30))
    waits = [limiter.schedule(1, 1).at - clock.now for _ in range(8)]
    assert waits[5:] == pytest.approx([30] * 3, abs=2)
    assert max(waits[:5]) < 30


def test_what_others_use_counts_when_we_use_nothing():
    """A request that does not fit into what is left waits for the reset, also if it is our first."""
    clock = Clock()
    limiter = Limiter(tokens=100, clock=clock)
    ticket = limiter.schedule(1, 10)
    limiter.withdraw(ticket)
    limiter.observe(ticket, RateLimitHeaders(None, LimitHeader(100, 20, 30)))
    assert [wait_of(limiter, clock, tokens) for tokens in (20, 21, 500)] == [0, 30, 30]


def test_what_we_have_used_ourselves_is_no_news():
    """A limit that is used up by us is planned already, and no reset changes that."""
    clock = Clock()
    told, silent = Limiter(requests=10, clock=clock), Limiter(requests=10, clock=clock)
    for _ in range(10):
        tickets = told.schedule(1, 1), silent.schedule(1, 1)
        clock.now = tickets[0].at
        assert not any([told.seconds_left(tickets[0]), silent.seconds_left(tickets[1])])
    told.observe(tickets[0], RateLimitHeaders(LimitHeader(10, 0, 60)))
    assert wait_of(told, clock) == wait_of(silent, clock) > 0


def test_a_declared_limit_stays():
    """Whoever declares less than there is has a reason."""
    clock = Clock()
    limiter = Limiter(requests=10, clock=clock)
    answered(limiter, requests=LimitHeader(3_000, 2_999, 1), tokens=LimitHeader(5_000, 4_990, 1))
    assert limiter.limits == (10, None, 5_000)


def test_the_latest_answer_counts():
    """A limit grows with what was paid; what others used comes back."""
    clock = Clock()
    limiter = Limiter(clock=clock)
    answered(limiter, requests=LimitHeader(10, 0, 50))
    ticket = limiter.schedule(1, 1)
    limiter.withdraw(ticket)
    limiter.observe(ticket, RateLimitHeaders(LimitHeader(1_000, 900, 50)))
    assert limiter.limits[0] == 1_000
    assert wait_of(limiter, clock) == 0


def test_a_limit_that_is_nonsense_costs_a_minute_at_most():
    """A token a minute, of a server that does not limit anything."""
    clock = Clock()
    limiter = Limiter(clock=clock)
    answered(limiter, tokens=LimitHeader(1, 1, 0))
    for _ in range(3):
        ticket = limiter.schedule(1, 100_000)
        assert ticket.at - clock.now <= 1.02 * MINUTE
        clock.now = max(clock.now, ticket.at)


Number = st.none() | st.floats(0, 1e12) | st.sampled_from([0.0, 1.0, 86_400.0])
Said = st.builds(
    LimitHeader, limit=st.none() | st.floats(1, 1e12), remaining=Number, reset=Number, refills=st.booleans()
)


@settings(max_examples=300)
@given(st.lists(st.tuples(Said, Said, st.floats(0, 30)), max_size=12))
def test_nothing_that_an_api_says_blocks_for_longer_than_a_minute(answers):
    """Whatever it says, one answer after the other, each to a request that waited for its time."""
    clock = Clock()
    limiter = Limiter(clock=clock)
    for requests, tokens, seconds in answers:
        ticket = limiter.schedule(3, 1_000)
        assert 0 <= ticket.at - clock.now <= 1.02 * MINUTE
        clock.now = ticket.at
        limiter.begin(ticket)
        limiter.observe(ticket, RateLimitHeaders(requests, tokens))
        clock.now += seconds
    assert math.isfinite(limiter.schedule(3, 1_000).at)
