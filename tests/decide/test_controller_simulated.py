"""The controller against simulated servers: near the best fixed choice, answers in time, and no swinging.

Every server is tried with service times that are always the same and with ones that vary by ±30 %.
"""

from __future__ import annotations

import random
from functools import cache, partial
from itertools import pairwise
from statistics import median

import pytest
from support.simulated_api import Down, Latency, Simulation, Until, Workers, best_rate, rate

from asyncembed._decide import Controller

MAX_SIZE = 2048
MAX_CONCURRENCY = 64

serial = partial(Workers, 1, 0.0, 1 / 500)
eight_workers = partial(Workers, 8, 0.02, 0.002)

SERVERS = {
    "serial": serial,
    "eight workers": eight_workers,
    "latency": partial(Latency, 0.3),
    "gateway that gives up after 5 s": partial(serial, gives_up=5.0),
    "gateway that gives up, server that works on": partial(serial, gives_up=5.0, works_on=True),
    "time limit of 1 s": partial(serial, gives_up=1.0),
    "serial with a wall at 64": partial(serial, wall=64),
    "workers with a wall at 64": partial(eight_workers, wall=64),
    "workers with a wall at 50": partial(eight_workers, wall=50),
}
OTHERS = {  # where more is unknown: per-request costs on one worker, slow workers, odd numbers of them
    "serial with 0.2 s a request": partial(Workers, 1, 0.2, 0.002),
    "serial with 0.1 s a request, far away": partial(Workers, 1, 0.1, 0.002, network=0.05),
    "sixteen slow workers": partial(Workers, 16, 0.1, 0.045),
    "twenty-four workers, far away": partial(Workers, 24, 0.05, 0.003, network=0.1),
    "ten workers": partial(Workers, 10, 0.02, 0.002),
    "local and fast": partial(Workers, 2, 0.001, 0.00005),
}
NOISES = [(0.0, 0), (0.3, 1), (0.3, 2)]


@cache
def best(name, noise):
    return best_rate(partial({**SERVERS, **OTHERS}[name], noise=noise))


def new_controls(**options):
    options = {"max_size": MAX_SIZE, "max_concurrency": MAX_CONCURRENCY, **options}
    return lambda clock: Controller(clock=clock, **options)


def share(requests, wanted):
    found = [wanted(request) for request in requests]
    return sum(found) / len(found)


def timed_out(request):
    return request.outcome == "timed_out"


def slow(request):
    return request.seconds > 3


@pytest.mark.parametrize(("noise", "seed"), NOISES)
@pytest.mark.parametrize("name", SERVERS)
def test_it_comes_near_the_best_fixed_choice_and_answers_come_in_time(name, noise, seed):
    """Counted from the twentieth request on."""
    server = SERVERS[name](noise=noise, seed=seed)
    requests = Simulation(server, new_controls()).run(seconds=240, requests=20_000)
    assert rate(requests) >= 0.9 * best(name, noise)
    assert share(requests[20:], slow) == 0
    assert share(requests, timed_out) < 0.01
    assert share(requests, lambda request: request.outcome == "refused") < 0.01


@pytest.mark.parametrize(("noise", "seed"), NOISES)
@pytest.mark.parametrize("name", SERVERS)
def test_texts_in_flight_do_not_swing(name, noise, seed):
    """Once it has settled, nine of ten requests run at the usual number of texts in flight, or half or twice it."""
    server = SERVERS[name](noise=noise, seed=seed)
    requests = Simulation(server, new_controls()).run(seconds=240, requests=20_000)
    later = [request.size * request.concurrency for request in requests[len(requests) // 2 :]]
    usual = median(later)
    assert share(later, lambda texts: usual / 2 <= texts <= usual * 2) >= 0.9


@pytest.mark.parametrize(("noise", "seed"), NOISES)
@pytest.mark.parametrize("name", ["serial", "eight workers", "latency"])
def test_a_confirmed_limit_that_is_too_much_for_the_server(name, noise, seed):
    """16,384 texts are in flight at first; what was sent then may be slow, what is sent later is not."""
    server = SERVERS[name](noise=noise, seed=seed)
    requests = Simulation(server, new_controls(is_own_address=True)).run(seconds=240, requests=20_000)
    assert requests[0].size == MAX_SIZE
    assert rate(requests) >= 0.9 * best(name, noise)
    later = [request for request in requests if request.begun > 60]
    assert share(later, slow) < 0.02
    assert share(later, lambda request: request.seconds > 4) == 0


@pytest.mark.parametrize("works_on", [False, True])
@pytest.mark.parametrize("gives_up", [5.0, 1.0])
@pytest.mark.parametrize(("noise", "seed"), NOISES)
def test_a_confirmed_limit_that_does_not_fit_the_time_limit(gives_up, works_on, noise, seed):
    """The first requests time out; hardly any does later, even if the server still works on those."""
    server = serial(gives_up=gives_up, works_on=works_on, noise=noise, seed=seed)
    requests = Simulation(server, new_controls(is_own_address=True)).run(seconds=1200)
    assert timed_out(requests[1])
    assert share(requests, timed_out) < 0.01
    assert share([request for request in requests if request.begun > 60], timed_out) < 0.001
    assert rate(requests) >= 0.9 * 500


@pytest.mark.parametrize(("noise", "seed"), NOISES)
@pytest.mark.parametrize("name", OTHERS)
def test_other_servers(name, noise, seed):
    """Each of these hides something that only trying finds out, which takes longer."""
    server = OTHERS[name](noise=noise, seed=seed)
    requests = Simulation(server, new_controls()).run(seconds=600, requests=20_000)
    later = requests[len(requests) // 2 :]
    assert rate(later) >= 0.85 * best(name, noise)
    assert share(later, slow) < 0.01


@pytest.mark.parametrize("at_once", [5, 24])
@pytest.mark.parametrize(("noise", "seed"), NOISES)
def test_a_limit_on_requests_at_once(at_once, noise, seed):
    """The number stays just below it, and few requests are refused to find that out."""
    server = Workers(64, 0.1, 0.002, at_once=at_once, noise=noise, seed=seed)
    requests = Simulation(server, new_controls()).run(seconds=240)
    later = requests[len(requests) // 2 :]
    assert share(later, lambda request: 0.7 * at_once <= request.concurrency <= at_once + 1) >= 0.95
    assert share(later, lambda request: request.outcome == "overloaded") < 0.02


@pytest.mark.parametrize(
    ("initial", "noise", "most"),
    [(None, 0.0, 2.0), (None, 0.3, 2.5), (16, 0.0, 1.5), (100, 0.0, 0.5), (100, 0.3, 0.65)],
)
def test_a_hundred_queries_are_not_held_back(initial, noise, most):
    """8, 16, 32 and 44 of them, each half a second away; one at a time they would take 50 s."""
    controls = new_controls(max_concurrency=128, initial_concurrency=initial)
    simulation = Simulation(Latency(0.5, noise), controls, texts=100, cut=lambda size: 1)
    requests = simulation.run()
    assert len(requests) == 100
    assert simulation.now <= most
    assert simulation.controls.in_flight == 0


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_a_far_server_is_no_slow_one(noise):
    """A time that no step shortens is not for the size to cure: requests get larger and more all the same."""
    requests = Simulation(Latency(5.0, noise), new_controls()).run(seconds=600)
    assert (requests[-1].size, requests[-1].concurrency) == (MAX_SIZE, MAX_CONCURRENCY)


@pytest.mark.parametrize("server", [partial(Latency, 0.3), eight_workers])
@pytest.mark.parametrize("pause", [0.001, 0.01])
def test_a_consumer_that_blocks_the_event_loop_is_no_slow_server(server, pause):
    """The rate is the consumer's; it stays so, without ever more requests that wait for it."""
    requests = Simulation(server(noise=0.3), new_controls(), pause=pause).run(seconds=600)
    assert rate(requests) >= 0.9 / pause
    assert max(request.concurrency for request in requests) <= 32
    assert median(request.size * request.concurrency for request in requests) <= 2048


@pytest.mark.parametrize("server", [partial(Latency, 0.3), eight_workers, serial])
@pytest.mark.parametrize("most", [1, 3, 40])
def test_requests_that_are_not_full_leave_the_size_alone(server, most):
    """A slow source, single calls: they teach the number, and nothing about the size."""
    dice = random.Random(7)
    cut = lambda size: min(size, dice.randint(1, most))  # noqa: E731
    requests = Simulation(server(noise=0.3), new_controls(), cut=cut).run(seconds=60)
    assert {request.size for request in requests} == {64}


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_it_follows_a_server_that_gets_slower_and_faster(noise):
    """500 texts a second, then 50, then 5,000."""
    fast = Workers(1, 0.0, 1 / 5000, noise)
    server = Until(serial(noise=noise), 100, Until(Workers(1, 0.0, 1 / 50, noise), 300, fast))
    requests = Simulation(server, new_controls()).run(seconds=400)
    for since, until, expected in [(20, 100, 500), (150, 300, 50), (340, 400, 5000)]:
        then = [request for request in requests if since < request.begun and request.ended < until]
        assert rate(then, after=1) >= 0.9 * expected
        assert share(then, slow) < 0.02


def test_it_comes_back_after_ten_seconds_of_refusals():
    """Nothing is answered meanwhile; a minute later it runs as many requests as before, grown one by one."""
    server = Until(Latency(0.3), 20, Until(Down("overloaded"), 30, Latency(0.3)))
    requests = Simulation(server, new_controls()).run(seconds=90)
    least = min(request.concurrency for request in requests if 20 < request.begun < 32)
    assert least <= MAX_CONCURRENCY * 0.8**8
    assert requests[-1].concurrency >= 0.9 * MAX_CONCURRENCY


def test_a_gateway_without_a_server_has_no_short_time_limit():
    """It says 504 at once, for a second; later answers that take longer show that this was no time limit."""
    server = Until(Down("timed_out"), 1, eight_workers())
    requests = Simulation(server, new_controls()).run(seconds=240)
    assert timed_out(requests[0])
    assert rate(requests[len(requests) // 2 :]) >= 0.9 * best("eight workers", 0.0)


@pytest.mark.parametrize("options", [{"max_concurrency": 1}, {"max_size": 64, "max_concurrency": 8}])
@pytest.mark.parametrize("texts_a_second", [500, 20])
def test_a_far_server_that_comes_near_is_measured_anew(options, texts_a_second):
    """Five seconds were not this client's doing, until the server changed; then they are."""
    server = Until(Latency(5.0), 200, Workers(1, 0.0, 1 / texts_a_second))
    requests = Simulation(server, new_controls(**options)).run(seconds=900)
    assert share([request for request in requests if request.begun > 800], slow) == 0


@pytest.mark.parametrize("change", [20, 40, 50])
def test_a_server_that_was_far_only_for_a_while(change):
    """What five seconds a request would bear is forgotten as soon as answers take less."""
    requests = Simulation(Until(Latency(5.0), change, serial()), new_controls()).run(seconds=300)
    assert share([request for request in requests if request.begun > change + 60], slow) == 0


@pytest.mark.parametrize("name", SERVERS)
def test_the_longer_it_knows_a_server_the_less_it_tries(name):
    """Of a hundred requests, less than one begins under another setting than the one before."""
    requests = Simulation(SERVERS[name](), new_controls(max_size=256)).run(seconds=600)
    later = [(request.size, request.concurrency) for request in requests if request.begun > 300]
    assert share(pairwise(later), lambda pair: pair[0] != pair[1]) < 0.01


@pytest.mark.parametrize("seed", range(8))
def test_a_number_that_is_too_high_is_not_cured_by_smaller_requests(seed):
    """500 texts a second, one request at a time: fewer requests bring answers sooner, so the size stays."""
    requests = Simulation(serial(noise=0.3, seed=seed), new_controls()).run(seconds=240)
    assert min(request.size for request in requests) == 64
