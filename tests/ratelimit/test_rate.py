"""Rate limits against servers that enforce them, on a clock of its own: used up, not exceeded, and fairly shared."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter, deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.limits import (
    INPUTS,
    MINUTE,
    NAMES,
    REQUESTS,
    TOKENS,
    Clock,
    FixedWindow,
    HeldUp,
    LeakyBucket,
    RollingWindow,
    Scene,
)

from asyncembed._ratelimit import Limiter, ScheduledRequest

SERVERS = [FixedWindow, RollingWindow, LeakyBucket]
KINDS = {  # unit, limit, inputs and tokens of a request: from, to
    "three requests": (REQUESTS, 3, (1, 96), (9, 9)),
    "requests": (REQUESTS, 600, (1, 96), (9, 9)),
    "full requests": (INPUTS, 2_000, (95, 95), (9, 9)),
    "mixed requests": (INPUTS, 2_000, (20, 95), (9, 9)),
    "two a minute": (INPUTS, 100, (50, 50), (9, 9)),
    "tokens": (TOKENS, 1_000_000, (50, 50), (20_000, 25_000)),
    "few tokens": (TOKENS, 10_000, (1, 5), (50, 250)),
}


def batches(inputs: tuple[int, int], tokens: tuple[int, int], seed: int = 3):
    draw = random.Random(seed)
    while True:
        yield draw.randint(*inputs), draw.randint(*tokens)


def scene(kind: type, unit: int, limit: float, inputs, tokens, *, limiters: int = 1, **more: object) -> Scene:
    """Streams that share one limiter, which knows the limit of the server."""
    clock = Clock()
    limiter = Limiter(**{NAMES[unit]: limit}, clock=clock)
    return Scene(kind(limit), unit, batches(inputs, tokens), [limiter] * limiters, clock, **more)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("kind", SERVERS)
def test_a_limit_is_used_up_and_not_exceeded(kind, name):
    """From the first minute on, whatever the server counts and however it counts."""
    run = scene(kind, *KINDS[name])
    start = run.clock.now
    run.run(8 * MINUTE)
    assert run.share(start, start + MINUTE) >= 0.95
    assert run.share(start, start + 8 * MINUTE) >= 0.95
    assert run.share(start + 4 * MINUTE, start + 8 * MINUTE) >= 0.95
    assert run.refusals < 0.01


@pytest.mark.parametrize("kind", SERVERS)
def test_those_servers_refuse_who_does_not_keep_to_the_limit(kind):
    """Otherwise the tests here could pass for ever."""
    run = scene(kind, *KINDS["requests"])
    run.limiters[:] = [Limiter(requests=1_200, clock=run.clock)]
    run.run(3 * MINUTE)
    assert run.refusals > 0.05


@pytest.mark.parametrize("kind", SERVERS)
def test_the_time_to_the_server_may_vary(kind):
    """By half a second here, as when connections are opened."""
    run = scene(kind, *KINDS["requests"], latency=(0.0, 0.5), streams=8)
    run.run(5 * MINUTE)
    assert run.refusals < 0.01


@pytest.mark.parametrize("unit", [REQUESTS, TOKENS])
@pytest.mark.parametrize("kind", SERVERS)
def test_a_limit_that_only_headers_tell(kind, unit):
    """Is used up too; what was sent before the first answer counts."""
    run = scene(kind, unit, 600 if unit == REQUESTS else 200_000, (1, 1), (1_000, 5_000), headers=True, slots=8)
    run.limiters[:] = [Limiter(clock=run.clock)]
    start = run.clock.now
    run.run(5 * MINUTE)
    assert run.share(start, start + 5 * MINUTE) >= 0.95
    assert run.refusals < 0.01
    assert run.limiters[0].limits[unit] == run.server.limit


@pytest.mark.parametrize("kind", SERVERS)
def test_headers_of_a_limit_that_is_known_change_nothing(kind):
    """What is left and when it comes back is no news to who has used it up."""
    run = scene(kind, *KINDS["requests"], headers=True)
    start = run.clock.now
    run.run(5 * MINUTE)
    assert run.share(start, start + 5 * MINUTE) >= 0.95
    assert run.refusals < 0.01


@pytest.mark.parametrize("kind", [FixedWindow, RollingWindow])
def test_tokens_are_reckoned_too_high_and_corrected(kind):
    """What was reckoned too much is free again when the answer says so."""
    draw = random.Random(1)
    run = scene(kind, *KINDS["tokens"], ratio=lambda: draw.uniform(1, 1.3))
    start = run.clock.now
    run.run(5 * MINUTE)
    assert run.share(start, start + 5 * MINUTE) >= 0.95
    assert run.refusals < 0.01


def test_streams_take_turns():
    """None gets more than another, also when there are many, and when there is a minute's worth before them."""
    run = scene(RollingWindow, INPUTS, 2_000, (95, 95), (9, 9), streams=50)
    run.run(10 * MINUTE)
    counts = Counter(stream for _, _, stream in run.accepted)
    assert len(counts) == 50
    assert max(counts.values()) - min(counts.values()) <= 2


def test_a_large_request_is_not_passed_by_small_ones():
    """First come, first served."""
    clock = Clock()
    limiter = Limiter(inputs=100, clock=clock)
    costs = [50, 45, 90, 1, 1, 1]
    times = [limiter.schedule(cost, 0).at for cost in costs]
    assert times == sorted(times)
    assert times[2] > times[0] + MINUTE


def test_a_request_larger_than_the_limit_passes_and_is_paid_for():
    """When nothing else counts; the next one waits for as long as it should have taken."""
    clock = Clock()
    limiter = Limiter(inputs=100, clock=clock)
    first, large, after = (limiter.schedule(cost, 0) for cost in (10, 500, 10))
    assert first.at == clock.now
    assert MINUTE <= large.at - first.at < 1.02 * MINUTE
    assert 4 * MINUTE < after.at - large.at < 6 * MINUTE


def test_an_idle_limit_lets_half_a_minute_through_at_once():
    """So a small job does not wait for a limit that it does not touch."""
    clock = Clock()
    limiter = Limiter(requests=100, clock=clock)
    times = [limiter.schedule(1, 0).at for _ in range(100)]
    assert times[49] == clock.now < times[55]
    assert times[-1] < clock.now + MINUTE


def test_a_long_run_is_spread_evenly():
    """There are servers that count by the second."""
    run = scene(RollingWindow, *KINDS["requests"])
    start = run.clock.now
    run.run(10 * MINUTE)
    sent = [at for at, _ in run.sent if at > start + 8 * MINUTE]
    assert max(later - earlier for earlier, later in itertools.pairwise(sent)) < 2
    ten_seconds = Counter(int(at // 10) for at in sent)
    assert max(ten_seconds.values()) < 1.5 * 100


def test_a_request_that_is_not_sent_costs_nothing():
    """Nor do those before it."""
    clock = Clock()
    limiter, other = Limiter(requests=10, clock=clock), Limiter(requests=10, clock=clock)
    for _ in range(3):
        limiter.withdraw(limiter.schedule(1, 1))
    assert [limiter.schedule(1, 1).at for _ in range(20)] == [other.schedule(1, 1).at for _ in range(20)]


def test_what_is_withdrawn_does_not_hold_up_who_comes_later():
    """However far ahead it was planned."""
    clock = Clock()
    limiter = Limiter(inputs=100, requests=100, clock=clock)
    limiter.schedule(1, 1)
    waiting = [limiter.schedule(1_000, 1), limiter.schedule(90, 1), limiter.schedule(90, 1)]
    assert waiting[-1].at > clock.now + 10 * MINUTE
    for ticket in waiting:
        limiter.withdraw(ticket)
    assert limiter.schedule(40, 1).at == clock.now


def test_a_batch_without_texts_takes_nothing_and_waits_for_nobody():
    """All of its texts were refused before they were sent."""
    clock = Clock()
    limiter = Limiter(requests=1, clock=clock)
    tickets = [limiter.schedule(1, 1), limiter.schedule(0, 5), limiter.schedule(1, 1)]
    assert [ticket.at > clock.now for ticket in tickets] == [False, False, True]
    for act in (limiter.begin, limiter.withdraw):
        act(tickets[1])


def test_what_was_held_up_counts_from_when_it_is_sent():
    """Else a slow consumer could send two minutes' worth in one."""
    clock = Clock()
    limiter = Limiter(inputs=100, clock=clock)
    held = limiter.schedule(100, 0)
    clock.now += 0.9 * MINUTE
    assert limiter.begin(held) == 0
    assert limiter.schedule(1, 0).at >= clock.now + MINUTE


def hold(limiter: Limiter, clock: Clock, count: int) -> list[ScheduledRequest]:
    """Let requests wait for their times, and return their tickets without sending them."""
    tickets = [limiter.schedule(1, 1) for _ in range(count)]
    for ticket in tickets:
        clock.now = max(clock.now, ticket.at)
        assert not limiter.seconds_left(ticket)
    return tickets


def send_all(limiter: Limiter, clock: Clock, tickets: list[ScheduledRequest]) -> list[float]:
    """Begin all of these requests as soon as they may, and return when they were sent."""
    sent = []
    while tickets:
        left = [limiter.begin(ticket) for ticket in tickets]
        sent += [clock.now] * left.count(0)
        tickets = [ticket for ticket, seconds in zip(tickets, left, strict=True) if seconds]
        clock.now += min(filter(None, left), default=0)
    return sent


def test_what_was_held_up_is_asked_again_when_it_begins():
    """Permits of three minutes, which an outage has kept from being used, do not all begin when it is over."""
    clock = Clock()
    limiter = Limiter(requests=10, clock=clock)
    start, tickets = clock.now, hold(limiter, clock, 30)
    planned = [ticket.at - start for ticket in tickets]
    clock.now += 5 * MINUTE
    sent = send_all(limiter, clock, tickets)
    check_windows([(at, (1, 1, 1)) for at in sent], (10, math.inf, math.inf))
    assert [at - sent[0] for at in sent] == pytest.approx(planned)  # as if they were asked for now


def test_what_was_held_up_goes_before_who_came_later():
    """It has memory and a slot in its hands, so it waits for the limit alone, and not for those who wait for it."""
    clock = Clock()
    limiter = Limiter(requests=10, clock=clock)
    first, second = hold(limiter, clock, 2)
    clock.now += 2 * MINUTE
    send_all(limiter, clock, hold(limiter, clock, 10))
    waiting = [limiter.schedule(1, 1) for _ in range(50)]
    planned = [ticket.at for ticket in waiting]
    assert limiter.begin(second) <= planned[0] - clock.now
    assert limiter.begin(first) <= planned[0] - clock.now
    assert clock.now < first.at <= second.at <= waiting[0].at
    assert [ticket.at for ticket in waiting] == sorted(ticket.at for ticket in waiting)
    assert planned[-1] < waiting[-1].at < planned[-1] + 0.5 * MINUTE


def test_what_gives_up_at_its_beginning_has_used_nothing():
    """Neither its first time nor its second."""
    clock = Clock()
    limiter = Limiter(requests=10, clock=clock)
    (held,) = hold(limiter, clock, 1)
    clock.now += 2 * MINUTE
    send_all(limiter, clock, hold(limiter, clock, 10))
    assert limiter.begin(held) > 0
    behind = limiter.schedule(1, 1)
    assert behind.at >= held.at > clock.now
    for ticket in (behind, held):
        limiter.withdraw(ticket)
    assert not limiter.waiting
    assert limiter.schedule(1, 1).at == held.at


def test_more_tokens_than_estimated_put_off_what_waits():
    """The limit is in tokens that were billed."""
    clock = Clock()
    limiter = Limiter(tokens=100, clock=clock)
    sent = [limiter.schedule(1, 35) for _ in range(2)]
    waiting = [limiter.schedule(1, 20) for _ in range(3)]
    assert clock.now < waiting[0].at < clock.now + MINUTE
    limiter.settle(sent[0], 55)
    assert waiting[0].at >= clock.now + MINUTE
    check_windows([(each.at, (1, 1, each.costs[1])) for each in [*sent, *waiting]], (math.inf, math.inf, 100))


def test_a_request_that_is_not_held_up_is_not_asked_again():
    """A task that wakes up a little late has not lost its time."""
    clock = Clock()
    limiter = Limiter(requests=600, clock=clock)
    for _ in range(2_000):
        ticket = limiter.schedule(1, 1)
        clock.now = max(clock.now, ticket.at) + 0.05
        assert limiter.begin(ticket) == 0
    assert clock.now - 1_000 < 2_000 / 600 * MINUTE / 0.95


Step = st.tuples(
    st.floats(0, 40),  # seconds until it is asked for
    st.integers(1, 60),  # inputs
    st.integers(1, 700),  # tokens
    st.sampled_from(["send", "send", "send", "withdraw", "late"]),
)


@settings(max_examples=300)
@given(st.lists(Step, max_size=40), st.integers(1, 8), st.integers(5, 90), st.integers(50, 900))
def test_no_window_of_a_minute_holds_more_than_the_limit(steps, requests, inputs, tokens):
    """But a request that is larger than the limit, alone."""
    clock = Clock()
    limiter = Limiter(requests, inputs, tokens, clock=clock)
    starts: list[tuple[float, tuple[int, int, int]]] = []
    for seconds, some, many, act in steps:
        clock.now += seconds
        ticket = limiter.schedule(some, many)
        if act == "withdraw":
            limiter.withdraw(ticket)
            continue
        clock.now = max(clock.now, ticket.at)
        assert not limiter.seconds_left(ticket)
        if act == "late":
            clock.now += 30
        assert not limiter.begin(ticket)
        starts.append((clock.now, (1, some, many)))
        limiter.settle(ticket, many)
    check_windows(starts, (requests, inputs, tokens))
    assert not limiter.waiting


def check_windows(starts, limits) -> None:
    window: deque = deque()
    for at, costs in starts:
        window.append((at, costs))
        while window[0][0] <= at - MINUTE:
            window.popleft()
        for unit, limit in enumerate(limits):
            used = sum(costs[unit] for _, costs in window)
            assert used <= limit or len(window) == 1, (NAMES[unit], used, limit)


HeldRequest = st.tuples(
    st.floats(0, 20),  # seconds until it is asked for
    st.integers(1, 60),  # inputs
    st.integers(1, 700),  # tokens
    st.just(0.0) | st.floats(0, 2) | st.floats(0, 200),  # seconds that it is held up between its time and its beginning
    st.floats(0, 0.3) | st.floats(0, 3),  # seconds by which its task wakes up late each time
    st.sampled_from(["send"] * 4 + ["give up when held", "give up at the beginning"]),
    st.floats(0.5, 1),  # share of the estimated tokens that there were
)


@settings(max_examples=300)
@given(st.lists(HeldRequest, max_size=40), st.integers(1, 8), st.integers(5, 90), st.integers(50, 900))
def test_no_window_holds_more_than_the_limit_whatever_holds_requests_up(requests, most, inputs, tokens):
    """But a request that is larger than the limit, alone; and each is sent in the end, unless it gives up."""
    clock = Clock()
    limiter = Limiter(most, inputs, tokens, clock=clock)
    starts = HeldUp(limiter, clock).run(requests)
    check_windows(starts, (most, inputs, tokens))
    assert not limiter.waiting
    assert len(starts) >= sum(fate == "send" for *_, fate, _ in requests)


def test_requests_that_always_wake_up_late_do_not_overtake_each_other_for_ever():
    """The small one and the large one behind it have nearly the same time, and each begins a second after it."""
    clock = Clock()
    limiter = Limiter(tokens=520, clock=clock)
    requests = [(0.0, 1, tokens, 0.0, late, "send", 1) for tokens, late in ((700, 0.0), (1, 1.0), (450, 1.0))]
    assert len(HeldUp(limiter, clock).run(requests)) == 3


@settings(max_examples=30)
@given(st.integers(20, 3_000), st.integers(1, 200), st.sampled_from([REQUESTS, INPUTS, TOKENS]), st.integers(1, 64))
def test_a_limit_is_used_up_when_nothing_holds_requests_up(limit, large, unit, streams):
    """By requests that fit into it some dozen times or more, from the first minute on."""
    large = min(large, max(1, limit // 40))
    run = scene(RollingWindow, unit, limit, (large, large), (large, large), streams=streams)
    start = run.clock.now
    run.run(4 * MINUTE)
    assert run.share(start, start + 4 * MINUTE) >= 0.95
    assert run.most_in_a_window(MINUTE) <= limit


@settings(max_examples=100)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=200), st.integers(50, 500))
def test_nobody_waits_for_ever(costs, limit):
    """Whatever the order of large and small ones, they take as long as the worst packing of them into minutes."""
    clock = Clock()
    limiter = Limiter(inputs=limit, clock=clock)
    times = [limiter.schedule(cost, 0).at for cost in costs]
    assert times == sorted(times)
    least = max(1, limit - max(costs))  # what gets into a minute at least
    assert times[-1] - clock.now <= 1.02 * MINUTE * math.ceil(sum(costs) / least)


def test_the_log_is_short_however_many_requests_there_are():
    """Otherwise millions of requests would be remembered for a minute."""
    clock = Clock()
    limiter = Limiter(clock=clock)
    for _ in range(50_000):
        limiter.schedule(1, 10)
        clock.now += 0.01
    assert all(len(window._log) <= 700 for window in limiter._windows)
