"""What each outcome of a request does to the size and the number of requests, and that none is lost count of."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncembed._decide import Controller

FIRST_SIZE, FIRST_CONCURRENCY = 64, 8
COOLDOWN = 1.0  # seconds between two decreases
OUTCOMES = {
    "answered": lambda flight: flight.answered(0.1),
    "overloaded": lambda flight: flight.overloaded(),
    "timed out": lambda flight: flight.timed_out(),
    "refused": lambda flight: flight.refused(),
    "ended": lambda flight: flight.ended(),
}


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


class Caller:
    """Sends requests, and gives them their outcomes when it is told to."""

    def __init__(self, **options):
        self.clock = Clock()
        self.controller = Controller(**{"max_size": 2048, "max_concurrency": 64, "clock": self.clock, **options})

    @property
    def setting(self):
        return self.controller.size, self.controller.concurrency

    def send(self, count=None, texts=None):
        count = self.controller.concurrency if count is None else count
        return [self.controller.begin(texts or self.controller.size) for _ in range(count)]

    def round(self, seconds, texts=None, count=None):
        """As many requests as there may be, all answered at once after so long."""
        flights = self.send(count, texts)
        self.clock.now += seconds
        for flight in flights:
            flight.answered(seconds)


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"is_own_address": True}, 2048),
        ({"is_own_address": True, "max_size": 96}, 96),
        ({"max_size": 2048}, FIRST_SIZE),
        ({"max_size": 10}, 10),
    ],
)
def test_the_first_size(options, size):
    """The confirmed limit at the provider's own address; elsewhere it begins small, and never above the limit."""
    assert Caller(**options).controller.size == size


@pytest.mark.parametrize(
    ("options", "number"),
    [
        ({}, FIRST_CONCURRENCY),
        ({"max_concurrency": 3}, 3),
        ({"initial_concurrency": 40}, 40),
        ({"initial_concurrency": 1}, 1),
        ({"initial_concurrency": 100}, 64),
    ],
)
def test_the_first_number(options, number):
    assert Caller(**options).controller.concurrency == number


@pytest.mark.parametrize("outcome", OUTCOMES.values(), ids=OUTCOMES)
@pytest.mark.parametrize("second", OUTCOMES.values(), ids=OUTCOMES)
def test_the_first_outcome_counts(outcome, second):
    """And a second one changes nothing, not even the count of requests in flight."""
    caller = Caller()
    first, other = caller.send(2)
    outcome(first)
    assert caller.controller.in_flight == 1
    before = caller.setting
    caller.clock.now += 10
    second(first)
    assert (caller.controller.in_flight, caller.setting) == (1, before)
    other.ended()
    assert caller.controller.in_flight == 0


@pytest.mark.parametrize("outcome", OUTCOMES.values(), ids=OUTCOMES)
def test_a_block_ends_its_flight(outcome):
    """Whether an outcome was told in it, or an exception left it."""
    caller = Caller()
    with caller.controller.begin(64) as flight:
        outcome(flight)
    with pytest.raises(KeyError), caller.controller.begin(64):
        raise KeyError
    assert caller.controller.in_flight == 0


def test_an_end_that_says_nothing_about_load_teaches_nothing():
    """Broken, cancelled, another error: however many there are."""
    caller = Caller()
    before = caller.setting
    for _ in range(500):
        caller.clock.now += 5
        for flight in caller.send():
            flight.ended()
    assert caller.setting == before


def test_a_burst_of_overloads_counts_once():
    """They were all sent under the old number; the next counts after the cool-down."""
    caller = Caller(initial_concurrency=40)
    flights = caller.send()
    for flight in flights[:20]:
        flight.overloaded()
    assert caller.setting == (FIRST_SIZE, 32)
    (late,) = caller.send(1)
    late.overloaded()
    assert caller.setting == (FIRST_SIZE, 32)
    caller.clock.now += COOLDOWN
    for flight in flights[20:]:  # sent before the decrease, however late their answers come
        flight.overloaded()
    assert caller.setting == (FIRST_SIZE, 32)
    (new,) = caller.send(1)
    new.overloaded()
    assert caller.setting == (FIRST_SIZE, 25)


def test_overloads_leave_one_request():
    caller = Caller()
    for _ in range(50):
        caller.send(1)[0].overloaded()
        caller.clock.now += COOLDOWN
    assert caller.setting == (FIRST_SIZE, 1)


def test_while_all_goes_well_the_number_doubles_each_round_trip():
    caller = Caller()
    numbers = []
    for _ in range(5):
        numbers.append(caller.controller.concurrency)
        caller.round(0.5, texts=1)
    assert numbers == [8, 16, 32, 64, 64]


def test_after_an_overload_the_number_grows_by_one_a_round():
    """And stays for a while below the number that met it."""
    caller = Caller(max_size=FIRST_SIZE, initial_concurrency=40)
    caller.send(1)[0].overloaded()
    numbers = [caller.controller.concurrency]
    for _ in range(40):
        caller.round(0.3)
        numbers.append(caller.controller.concurrency)
    assert numbers[0] == 32
    assert {after - before for before, after in pairwise(numbers)} == {0, 1}
    assert numbers.count(39) >= 6


def test_pauses_between_bursts_do_not_count():
    """A web service gets its queries so: the rate is that of the bursts."""
    caller = Caller()
    numbers = []
    for _ in range(4):
        numbers.append(caller.controller.concurrency)
        caller.round(0.5, texts=1)
        caller.clock.now += 10
    assert numbers == [8, 16, 32, 64]


def test_requests_one_after_the_other_are_measured_in_spite_of_the_time_between_them():
    """It is shorter than an answer takes, so the caller does have texts to send."""
    caller = Caller(max_concurrency=1)
    for _ in range(60):
        caller.round(0.3)
        caller.clock.now += 0.2
    assert caller.controller.size == 2048


def test_an_overload_takes_back_a_number_that_is_on_trial():
    caller = Caller()
    caller.round(0.5, texts=1)
    assert caller.controller.concurrency == 16
    caller.send(1)[0].overloaded()
    assert caller.controller.concurrency == 8


def test_an_overload_takes_back_a_size_that_is_on_trial():
    """Some servers count texts, not requests."""
    caller = Caller()
    caller.round(0.5)
    assert caller.controller.size == 128
    caller.send(1)[0].overloaded()
    assert caller.setting == (FIRST_SIZE, 6)


def test_a_larger_size_that_makes_answers_slow_is_taken_back_at_once():
    """However many texts come at the same instant."""
    caller = Caller()
    caller.round(0.5)
    assert caller.controller.size == 128
    caller.round(4)
    assert caller.controller.size == FIRST_SIZE


def test_a_first_round_that_is_quick_by_chance_does_not_hold_growth_back():
    """A larger size brings 7 % here, which is no gain compared with the first round."""
    caller = Caller(max_concurrency=8)
    rounds = 0
    while caller.controller.size < 128 or rounds < 3:
        caller.round(0.1 if rounds == 0 else 0.02 + 0.002 * caller.controller.size)
        rounds += 1
    for _ in range(8):
        caller.round(0.02 + 0.002 * caller.controller.size)
    assert caller.controller.size >= 128


def test_a_number_that_is_not_used_does_not_grow():
    """Answers say nothing about a limit that held nothing back."""
    caller = Caller()
    for _ in range(100):
        caller.round(0.01, count=FIRST_CONCURRENCY - 1)
    assert caller.setting == (FIRST_SIZE, FIRST_CONCURRENCY)


def test_a_time_out_halves_both_once_for_all_that_were_sent_before():
    caller = Caller(is_own_address=True)
    flights = caller.send()
    caller.clock.now += 120
    for flight in flights:
        flight.timed_out()
    assert caller.setting == (1024, 4)


def test_time_outs_find_a_size_and_a_number_that_a_server_bears():
    """One that answers at most 100 texts at a time within its limit."""
    caller = Caller(is_own_address=True)
    for _ in range(20):
        flights = caller.send()
        caller.clock.now += 5
        in_time = caller.controller.size * len(flights) <= 100
        for flight in flights:
            flight.answered(1.5) if in_time else flight.timed_out()
    assert caller.controller.size * caller.controller.concurrency <= 100
    assert caller.controller.size >= 32


def test_a_time_out_of_a_single_text_lowers_the_number_alone():
    caller = Caller()
    for expected in [4, 2, 1, 1]:
        (flight,) = caller.send(1, texts=1)
        caller.clock.now += 5
        flight.timed_out()
        assert caller.setting == (FIRST_SIZE, expected)


def test_a_short_time_limit_is_remembered():
    """Requests to a server of 500 texts a second stay far below a limit of half a second that was met once."""
    longest = {}
    for limit in [5.0, 0.5]:
        caller = Caller(max_concurrency=1)
        (flight,) = caller.send(1, texts=1)
        caller.clock.now += limit
        flight.timed_out()
        for _ in range(200):
            caller.round(caller.controller.size / 500)
        longest[limit] = caller.controller.size / 500
    assert longest[0.5] <= 0.1 < 0.2 <= longest[5.0]


def test_a_time_out_halves_the_size_that_is_in_use():
    """Which is the caller's, if that is below the controller's."""
    caller = Caller(is_own_address=True)
    (flight,) = caller.send(1, texts=100)
    caller.clock.now += 120
    flight.timed_out()
    assert caller.controller.size == 50


@pytest.mark.parametrize(
    ("texts", "allowed", "size"),
    [
        (128, 100, 100),  # named
        (128, None, 64),  # not named
        (101, None, 51),
        (128, 128, 64),  # no less than what was refused: the number means something else
        (128, 8192, 64),
        (1000, 3, 500),  # so much less that it means something else
        (1, None, 2048),  # one text cannot be split
    ],
)
def test_a_refusal_for_size(texts, allowed, size):
    caller = Caller(is_own_address=True)
    caller.send(1, texts=texts)[0].refused(allowed)
    assert caller.setting == (size, FIRST_CONCURRENCY)


def test_a_wall_is_never_exceeded_again():
    """However well all goes; the number grows instead."""
    caller = Caller()
    largest = 0
    for _ in range(300):
        flights = caller.send()
        caller.clock.now += 0.1
        for flight in flights:
            flight.answered(0.1) if flight.texts <= 150 else flight.refused()
        largest = max(largest, flights[0].texts)
    assert largest == 256
    assert caller.setting == (128, 64)


def test_a_refusal_of_a_larger_size_than_is_used_now_is_remembered():
    caller = Caller()
    caller.send(1, texts=300)[0].refused(100)
    assert caller.controller.size == FIRST_SIZE
    for _ in range(50):
        caller.round(0.1)
    assert caller.controller.size == 100


def test_a_wall_stays_where_a_larger_request_is_refused_after_a_smaller_one():
    """Both were sent before either was refused."""
    caller = Caller(is_own_address=True)
    first, second = caller.send(1, texts=300) + caller.send(1, texts=1000)
    first.refused(100)
    second.refused()
    assert caller.controller.size == 100
    for _ in range(50):
        caller.round(0.1)
    assert caller.controller.size == 100


def test_a_step_that_is_taken_back_does_not_exceed_a_wall():
    """The size shrinks as answers are slow, one of the older requests is refused, and smaller ones are no quicker."""
    caller = Caller(is_own_address=True)
    flights = caller.send()
    caller.clock.now += 8
    for flight in flights[:-1]:
        flight.answered(8)
    assert caller.controller.size < 1000
    flights[-1].refused(1000)
    for _ in range(6):
        caller.round(8)
        assert caller.controller.size <= 1000


def test_sizes_grow_to_the_limit_and_not_beyond():
    caller = Caller(max_size=300, max_concurrency=4)
    sizes = []
    for _ in range(60):
        sizes.append(caller.controller.size)
        caller.round(0.2)
    assert sorted(set(sizes)) == [64, 128, 256, 300]


def test_slow_answers_shrink_the_size_at_once():
    """The second slow answer of the first eight, and by what it takes: not one half after the other."""
    caller = Caller(is_own_address=True)
    flights = caller.send()
    for flight in flights[:2]:
        caller.clock.now += 8
        flight.answered(caller.clock.now - 100)
    assert caller.controller.size < 512


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("concurrency", [1, 16])
def test_one_slow_answer_of_sixteen_shrinks_nothing(concurrency, first):
    """Stragglers are everywhere, also as the first answer after a round."""
    caller = Caller(max_size=FIRST_SIZE, max_concurrency=concurrency, initial_concurrency=concurrency)
    straggler = 0 if first else 15
    for _ in range(100):
        for begun in range(0, 16, concurrency):
            flights = caller.send()
            caller.clock.now += 0.5
            for index, flight in enumerate(flights, begun):
                flight.answered(10 if index == straggler else 0.5)
                assert caller.controller.size == FIRST_SIZE


def test_two_slow_answers_among_many_requests_shrink_nothing():
    """Even if they come one after the other."""
    caller = Caller(max_size=FIRST_SIZE, max_concurrency=16, initial_concurrency=16)
    for _ in range(5):
        caller.round(0.5)
    flights = caller.send()
    caller.clock.now += 0.5
    for index, flight in enumerate(flights):
        flight.answered(10 if index in {7, 8} else 0.5)
        assert caller.setting == (FIRST_SIZE, 16)


@pytest.mark.parametrize("seconds", [0.05, 2.9])
def test_small_requests_leave_the_size_alone(seconds):
    caller = Caller()
    for _ in range(200):
        caller.round(seconds, texts=3)
        assert caller.controller.size == FIRST_SIZE


def test_a_small_tail_after_full_requests_leaves_the_size_alone():
    caller = Caller(max_concurrency=8)
    while caller.controller.size < 256:
        caller.round(0.5)
    for _ in range(100):
        caller.round(0.3, texts=3)
        assert caller.controller.size == 256


@pytest.mark.parametrize("texts", [1, 3])
def test_slow_answers_to_small_requests_lower_the_number(texts):
    """A server that takes half a second for each, one after the other: no other size would help there."""
    caller = Caller()
    for _ in range(50):
        caller.round(0.5 * caller.controller.concurrency, texts=texts)
        assert caller.controller.size == FIRST_SIZE
    assert caller.controller.concurrency <= 4


def test_a_far_server_that_becomes_slow_as_well_is_not_taken_for_farther():
    """After 400 rounds of 5 s: 20 texts a second, one request at a time."""
    caller = Caller(max_size=FIRST_SIZE, max_concurrency=8)
    for _ in range(400):
        caller.round(5)
    assert caller.setting == (FIRST_SIZE, 8)
    for _ in range(20):
        caller.round(5 + caller.controller.size * caller.controller.concurrency / 20)
    assert caller.controller.size * caller.controller.concurrency <= 100  # five seconds of its work


OUTCOME = st.one_of(
    st.tuples(st.just("answered"), st.floats(0, 200)),
    st.tuples(st.just("refused"), st.none() | st.integers(-5, 5_000)),
    st.tuples(st.sampled_from(["overloaded", "timed_out", "ended"])),
)
EVENT = st.one_of(
    st.tuples(st.just("begin"), st.none() | st.integers(1, 3_000)),
    st.tuples(st.just("land_one"), st.integers(0, 100), OUTCOME),
    st.tuples(st.just("land_a_round"), OUTCOME),
    st.tuples(st.just("wait"), st.floats(0, 100)),
)


class Books(Caller):
    """What must be true of a controller, and of how many requests it knows."""

    def __init__(self, **options):
        super().__init__(**options)
        self.max_size, self.max_concurrency = options["max_size"], options["max_concurrency"]
        self.flights = []
        self.refused = self.max_size + 1  # fewest texts that were refused

    def begin(self, texts):
        self.flights += self.send(1, texts)

    def land_one(self, which, outcome):
        if self.flights:
            self.land(self.flights.pop(which % len(self.flights)), *outcome)

    def land_a_round(self, outcome):
        for flight in self.send():
            self.clock.now += 0.01
            self.land(flight, *outcome)

    def land(self, flight, outcome, *args):
        getattr(flight, outcome)(*args)
        if outcome == "refused" and flight.texts > 1:
            self.refused = min(self.refused, flight.texts)

    def wait(self, seconds):
        self.clock.now += seconds

    def check(self):
        assert 1 <= self.controller.size < self.refused
        assert 1 <= self.controller.concurrency <= self.max_concurrency
        assert self.controller.in_flight == len(self.flights)


@settings(deadline=None)
@given(
    options=st.fixed_dictionaries({
        "max_size": st.integers(1, 2_048),
        "max_concurrency": st.integers(1, 64),
        "initial_concurrency": st.none() | st.integers(1, 100),
        "is_own_address": st.booleans(),
    }),
    events=st.lists(EVENT, max_size=80),
)
def test_whatever_happens_bounds_are_kept_and_no_flight_is_lost(options, events):
    """Size and number from one to their limits, below what was refused; as many in flight as have not ended."""
    books = Books(**options)
    for name, *args in events:
        getattr(books, name)(*args)
        books.check()
    while books.flights:
        books.land_one(0, ["ended"])
        books.check()
