"""Rate limits from end to end: declared, published, shared, corrected by usage, and left when the run ends."""

from __future__ import annotations

import asyncio
import copy
import math
import pickle
import threading
import time

import pytest
from support.limits import FixedWindow, RollingWindow
from support.results import check_results, numbered
from support.scripted import Gate, ScriptedServer, refused, right
from support.watching import count_as_down, until

from asyncembed import ConfigurationError, EmbedClient, QuotaExceededError, RateLimit, RequestsThrottled, RetryPolicy
from asyncembed import _ratelimit as _rate
from asyncembed._ratelimit import limiter_of

TEXTS = numbered(6)
SHORT = 2.0
NAMES = ["requests_per_minute", "inputs_per_minute", "tokens_per_minute"]
ONE = {"requests_per_minute": 1}


@pytest.fixture
def short_minutes(monkeypatch):
    """Two seconds long."""
    monkeypatch.setattr(_rate, "PERIOD", SHORT)


def enforce(server: ScriptedServer, window: FixedWindow | RollingWindow, cost) -> list[int]:
    """Refuse what exceeds the limit; return the statuses as they come."""
    statuses = []

    async def reply(exchange):
        is_let = window.take(cost(exchange.request), time.monotonic())
        statuses.append(200 if is_let else 429)
        await (right if is_let else refused(429))(exchange)

    server.default = reply
    return statuses


COSTS = {
    "requests_per_minute": lambda request: 1,
    "inputs_per_minute": lambda request: len(request.texts),
    "tokens_per_minute": lambda request: len(request.texts),  # as the answers of this server say
}


@pytest.mark.parametrize(
    ("kind", "name"), [*zip([FixedWindow, RollingWindow, RollingWindow], NAMES, strict=True)], ids=NAMES
)
async def test_a_server_that_enforces_a_limit_refuses_next_to_nothing(server, connect, short_minutes, kind, name):
    """A minute and a half's worth of texts, by two clients that share the limit.

    The server's minute is shorter, by as much as a busy machine may hold up a request: the client allows for a
    hundredth of a minute, which is little of a short one.
    """
    statuses = enforce(server, kind(40, 0.75 * SHORT), COSTS[name])
    rate_limit = RateLimit(**{name: 40})
    clients = [connect(rate_limit=rate_limit) for _ in range(2)]
    texts = numbered(30)
    start = time.monotonic()
    answers = await asyncio.gather(*(client.embed(texts, chunk_size=1) for client in clients))
    assert [len(answer) for answer in answers] == [30, 30]
    assert statuses.count(429) <= 2
    assert time.monotonic() - start >= 0.9 * SHORT


async def test_retries_count(server, connect, short_minutes):
    """The third request of a limit of two waits for the next minute, whatever it is for."""
    client = connect(rate_limit=RateLimit(requests_per_minute=2))
    server.script.extend([refused(503), refused(503)])
    start = time.monotonic()
    await client.embed(["a"])
    assert len(server.requests) == 3
    assert time.monotonic() - start >= SHORT


async def held_by_an_outage(server, connect, rate_limit):
    """Three clients whose requests have leave, and wait until the API is back."""
    clients = [connect(rate_limit=rate_limit, retry=RetryPolicy(initial_backoff=60, max_backoff=60)) for _ in range(3)]
    outages = [client._endpoint.learned.breaker for client in clients]
    for client in clients:
        count_as_down(client)
    calls = [asyncio.ensure_future(client.embed(numbered(8), chunk_size=1)) for client in clients]
    await until(lambda: sum(client._endpoint.slots.in_use for client in clients) == 24)

    def go_on():
        for outage in outages:
            outage.end_attempt(failed=False)

    return calls, go_on


async def held_by_memory(server, connect, rate_limit):
    """Streams of one client whose second request has leave, and waits for memory."""
    client = connect(rate_limit=rate_limit)
    budget, taken = client._endpoint.budget, set()
    await budget.reserve(budget.total, taken)

    async def consume(stream) -> list:
        return [each async for each in stream]

    streams = [client.embed_stream(numbered(2), chunk_size=1) for _ in range(24)]
    calls = [asyncio.ensure_future(stream._refill()) for stream in streams]
    await asyncio.gather(*calls)  # the first result of each is there, and not taken
    await until(lambda: budget.waiting == 24)
    calls = [asyncio.ensure_future(consume(stream)) for stream in streams]
    return calls, lambda: budget.release(budget.total, taken)


@pytest.mark.parametrize("held", [held_by_an_outage, held_by_memory])
async def test_what_is_held_up_after_it_got_leave_does_not_exceed_the_limit(server, connect, short_minutes, held):
    """All 24 would begin at once, and 20 are allowed."""
    came = []

    async def reply(exchange):
        came.append(time.monotonic())
        await right(exchange)

    server.default = reply
    rate_limit = RateLimit(requests_per_minute=20)
    calls, go_on = await held(server, connect, rate_limit)
    before = len(came)
    go_on()
    await asyncio.gather(*calls)
    assert len(came) - before == 24
    assert all(later - earlier >= 0.75 * SHORT for earlier, later in zip(came, came[20:], strict=False))


async def test_a_stream_that_is_closed_while_it_is_held_up_has_used_nothing(server, connect):
    """Leave that was given to requests which are not sent any more is given back."""
    rate_limit = RateLimit(requests_per_minute=4)
    client = connect(rate_limit=rate_limit, retry=RetryPolicy(initial_backoff=60, max_backoff=60))
    count_as_down(client)
    stream = client.embed_stream(numbered(2), chunk_size=1)
    first = asyncio.ensure_future(anext(stream))
    await until(lambda: client._endpoint.slots.in_use == 2)
    first.cancel()
    await asyncio.wait([first])
    await stream.aclose()
    assert not server.requests
    assert limiter_of(rate_limit)._windows[0]._used == 0


async def test_a_run_that_fails_does_not_wait_at_the_beginning_of_a_request(server, connect, short_minutes):
    """What was held up, and has to ask again, is not sent, and uses nothing of the limit."""
    rate_limit = RateLimit(inputs_per_minute=3)
    limiter, gate, more = limiter_of(rate_limit), Gate(), asyncio.Event()
    client = connect(rate_limit=rate_limit, retry=RetryPolicy(initial_backoff=60, max_backoff=60))
    outage = client._endpoint.learned.breaker

    async def late_refusal(exchange):
        await gate.wait()
        await refused(402, "bad key")(exchange)

    async def texts():
        yield "a"
        await more.wait()
        yield "b"
        yield "c"

    async def consume():
        return [each async for each in client.embed_stream(texts(), chunk_size=1)]

    server.script.append(late_refusal)
    task = asyncio.create_task(consume())
    await gate.reached.wait()
    count_as_down(client)
    more.set()
    await until(lambda: client._endpoint.slots.in_use == 3)
    await connect(rate_limit=rate_limit).embed(TEXTS[:3], chunk_size=3)  # which waits until nothing else counts
    outage.end_attempt(failed=False)
    await until(lambda: limiter.waiting == 2)
    gate.opened.set()
    with pytest.raises(QuotaExceededError, match="bad key"):
        await task
    assert not limiter.waiting
    assert server.asked == [["a"], TEXTS[:3]]
    assert limiter._windows[2]._used == 3


@pytest.mark.parametrize("max_concurrency", [1, 3])
async def test_the_gates_never_wait_for_one_another(server, connect, short_minutes, max_concurrency):
    """Memory for one batch, few slots, a limit, an API that is down at times, and consumers that take their time."""
    retry = RetryPolicy(max_attempts=100, initial_backoff=0.001, max_backoff=0.05)
    few = {"max_memory_mb": 0.6, "max_concurrency": max_concurrency}
    client = connect(rate_limit=RateLimit(requests_per_minute=30), retry=retry, **few)
    server.script.extend([*[right] * 5, *[refused(503)] * 20, *[right] * 5, *[refused(503)] * 3])

    async def consume(number: int) -> list:
        taken = []
        async with client.embed_stream(numbered(6), chunk_size=2) as stream:
            async for result in stream:
                taken.append(result)
                await asyncio.sleep(0.05 * number)
        return taken

    async with asyncio.timeout(120):
        for taken in await asyncio.gather(*map(consume, range(6))):
            check_results(taken, numbered(6))


async def test_the_published_limit_holds_at_the_official_address_only(server, connect):
    """And where none is given."""
    assert limits_of(EmbedClient("cohere", api_key="k")) == (None, 2_000, None)
    assert limits_of(EmbedClient("cohere-v1", api_key="k")) == (None, 2_000, None)
    assert limits_of(EmbedClient("cohere", api_key="k", rate_limit=RateLimit())) == (None, None, None)
    assert limits_of(EmbedClient("openai", api_key="k")) == (None, None, None)
    assert limits_of(EmbedClient("local")) == (None, None, None)
    assert limits_of(connect("cohere")) == (None, None, None)
    one, other = (EmbedClient("cohere", api_key="k") for _ in range(2))
    assert one._endpoint.limiter is not other._endpoint.limiter


def limits_of(client: EmbedClient) -> tuple[float | None, ...]:
    return client._endpoint.limiter.limits


async def test_batches_are_cut_so_that_they_use_up_the_limit(server, connect):
    """Of 10 a minute, 5 and 5; 6 and 6 would leave 4 unused."""
    client = connect(rate_limit=RateLimit(inputs_per_minute=10))
    await client.embed(numbered(10), chunk_size=6)
    assert [len(texts) for texts in server.asked] == [5, 5]
    client = connect(rate_limit=RateLimit(tokens_per_minute=4_000))
    await client.embed(["x" * 100] * 4)
    assert [len(texts) for texts in server.asked[2:]] == [1] * 4


async def test_tokens_are_learned_from_usage(server, connect):
    """A token a text, says this server; a token a byte, was reckoned."""
    client = connect(rate_limit=RateLimit(tokens_per_minute=10_000))
    await client.embed(["x" * 100] * 20)
    assert client._endpoint.learned.tokens[client.model].of(1_000) < 30
    assert client._endpoint.limiter._windows[1]._used == 20


async def test_headers_are_heard_on_every_answer(server, connect):
    """On a refusal as well as on vectors."""
    said = {"x-ratelimit-limit-requests": "77", "x-ratelimit-remaining-requests": "70"}
    server.script.append(refused(429, headers=said))
    client = connect()
    await client.embed(TEXTS)
    assert limits_of(client) == (77, None, None)

    async def reply(exchange):
        await exchange.answer(b"".join(exchange.request.pieces), headers={"x-ratelimit-limit-tokens": "5000"})

    server.default = reply
    await client.embed(TEXTS)
    assert limits_of(client) == (77, None, 5_000)


async def test_a_stream_that_waits_for_its_time_is_closed_at_once(server, connect):
    """And has used nothing, so that the next one waits no longer than it had to anyway."""
    rate_limit = RateLimit(**ONE)
    client = connect(rate_limit=rate_limit)
    limiter = client._endpoint.limiter
    async with client.embed_stream(TEXTS, chunk_size=3) as stream:
        assert (await anext(stream)).index == 0
        await until(lambda: limiter.waiting)
    assert not limiter.waiting
    assert len(server.requests) == 1
    after = limiter.schedule(1, 1)
    limiter.withdraw(after)
    assert after.at - time.monotonic() < 61


async def test_a_run_that_fails_does_not_wait_for_its_time(server, connect):
    """Neither with texts that were not asked for yet, nor to ask again."""
    client = connect(rate_limit=RateLimit(requests_per_minute=2))
    released = asyncio.Event()

    async def late_refusal(exchange):
        await released.wait()
        await refused(402, "bad key")(exchange)

    server.script.extend([refused(503), late_refusal])
    task = asyncio.create_task(client.embed(numbered(9), chunk_size=3))
    await until(lambda: client._endpoint.limiter.waiting == 2)  # the third batch, and the first one again
    released.set()
    with pytest.raises(QuotaExceededError, match="bad key"):
        await asyncio.wait_for(task, 60)
    assert len(server.requests) == 2


@pytest.mark.parametrize("on_error", ["skip", "yield"])
async def test_a_batch_that_is_lost_has_had_its_time(server, connect, short_minutes, on_error):
    """The others come when they would have come."""
    client = connect(rate_limit=RateLimit(requests_per_minute=2), retry=RetryPolicy(max_attempts=1))
    server.script.append(refused(503))
    start = time.monotonic()
    stream = client.embed_stream(TEXTS, chunk_size=2, on_error=on_error)
    items = [item async for item in stream]
    assert [item.index for item in items] == list(range(0 if on_error == "yield" else 2, 6))
    assert stream.summary.failed == 2
    assert time.monotonic() - start >= SHORT


def test_clients_in_two_threads_share_a_limit(short_minutes):
    """Each with its own event loop; nothing but the object connects them."""
    rate_limit = RateLimit(requests_per_minute=20)
    sent: list[float] = []

    async def embed() -> None:
        async with (
            ScriptedServer() as server,
            EmbedClient("openai", base_url=f"{server.url}/v1", rate_limit=rate_limit) as client,
        ):

            async def reply(exchange):
                sent.append(time.monotonic())
                await right(exchange)

            server.default = reply
            check_results([each async for each in client.embed_stream(numbered(15), chunk_size=1)], numbered(15))

    threads = [threading.Thread(target=asyncio.run, args=(embed(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sent.sort()
    assert len(sent) == 30
    assert all(later - earlier >= 0.97 * SHORT for earlier, later in zip(sent, sent[20:], strict=False))


def test_the_object_is_what_is_shared():
    """Its values are not; a copy has used nothing yet."""
    one = RateLimit(inputs_per_minute=5)
    same = RateLimit(inputs_per_minute=5)
    assert one == same
    assert hash(one) == hash(same)
    assert repr(one) == "RateLimit(requests_per_minute=None, inputs_per_minute=5, tokens_per_minute=None)"
    clients = [EmbedClient("openai", api_key="k", rate_limit=each) for each in (one, one, same)]
    first, second, third = (client._endpoint.limiter for client in clients)
    assert first is second is not third
    for other in (copy.copy(one), copy.deepcopy(one)):
        assert other == one
        assert _rate.limiter_of(other) is not first
        assert _rate.limiter_of(other).limits == (None, 5, None)


def test_a_limit_is_not_pickled():
    """In another process it would share nothing, and both would use it up."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match=r"cannot be pickled; give other processes numbers.*share\(workers\)"):
            pickle.dumps([RateLimit(inputs_per_minute=5)], protocol)


async def test_off_means_no_limit_whatever_is_published_or_stated(server, connect):
    """The server states that one request a minute is left, which it does not mean."""
    assert limits_of(EmbedClient("cohere", api_key="k", rate_limit="off")) == (None, None, None)
    named = {"limit": "1", "remaining": "0", "reset": "60s"}
    stated = {f"x-ratelimit-{name}-requests": value for name, value in named.items()}

    async def reply(exchange):
        await exchange.answer(b"".join(exchange.request.pieces), headers=stated)

    server.default = reply
    events = []
    client = connect("openai", rate_limit="off", on_event=events.append)
    async with asyncio.timeout(30):
        for number in range(10):
            await client.embed([f"text {number}"])
    assert len(server.requests) == 10
    assert not [event for event in events if isinstance(event, RequestsThrottled)]


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "5", [5]])
@pytest.mark.parametrize("name", NAMES)
def test_limits_are_numbers_above_zero(name, value):
    """Named in the message."""
    with pytest.raises(ConfigurationError) as caught:
        RateLimit(**{name: value})
    assert str(caught.value) == f"{name}={value!r} must be a number above 0"


def test_a_client_takes_nothing_else_for_a_limit():
    """Such as a number."""
    with pytest.raises(ConfigurationError, match="rate_limit=2000 must be a RateLimit"):
        EmbedClient("openai", api_key="k", rate_limit=2_000)
