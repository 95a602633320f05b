"""What is tried again, how often, how soon, and what is not."""

from __future__ import annotations

import asyncio
import email.utils
import time

import pytest
from support.results import check_results, numbered
from support.scripted import broken_after, changed, refused, right, said
from support.watching import pause_of, until

from asyncembed import (
    APIStatusError,
    AuthenticationError,
    InvalidInputError,
    QuotaExceededError,
    RateLimitError,
    RetryPolicy,
    ServerError,
)

TEXTS = numbered(6)
TRANSIENT = [408, 409, 425, 429, 500, 502, 503, 520, 529]
SLOW = [504, 524]
HARMLESS = ["hello"]
FINAL = {
    400: APIStatusError,
    401: AuthenticationError,
    402: QuotaExceededError,
    403: AuthenticationError,
    404: APIStatusError,
    405: APIStatusError,
    413: InvalidInputError,
    422: APIStatusError,
    501: ServerError,
    505: ServerError,
}


@pytest.mark.parametrize("status", TRANSIENT)
async def test_transient_statuses_are_retried(server, client, status):
    server.script.extend([refused(status)] * 3)
    stream = client.embed_stream(TEXTS)
    check_results([result async for result in stream], TEXTS)
    probes = server.asked.count(HARMLESS)  # to see whether it is the texts
    assert probes <= 1
    assert [texts for texts in server.asked if texts != HARMLESS] == [TEXTS] * (4 - probes)
    assert (stream.summary.retries, stream.summary.salvaged) == (3 - probes, 0)


@pytest.mark.parametrize("status", SLOW)
async def test_less_is_asked_for_after_a_status_that_says_it_took_too_long(server, client, status):
    server.script.append(refused(status))
    check_results([result async for result in client.embed_stream(TEXTS)], TEXTS)
    assert server.asked[0] == TEXTS
    assert sorted(server.asked[1:]) == [TEXTS[:3], TEXTS[3:]]


@pytest.mark.parametrize("status", FINAL)
async def test_final_statuses_are_not(server, client, status):
    server.default = refused(status, "the reason")
    with pytest.raises(FINAL[status], match="the reason") as caught:
        await client.embed(TEXTS[:1])
    assert type(caught.value) is FINAL[status]
    assert caught.value.status == status
    assert server.asked[:1] == [TEXTS[:1]]
    assert server.asked[1:] in ([], [HARMLESS])  # where the words do not say that it is no text


@pytest.mark.parametrize("fields", [{"code": "insufficient_quota"}, {"type": "insufficient_quota"}])
async def test_a_used_up_quota_is_final(server, client, fields):
    server.default = refused(429, "You exceeded your current quota", **fields)
    with pytest.raises(QuotaExceededError) as caught:
        await client.embed(TEXTS)
    assert (caught.value.code, caught.value.status) == ("insufficient_quota", 429)
    assert len(server.requests) == 1


async def test_attempts_are_limited_and_the_error_says_everything(server, connect):
    client = connect(retry=RetryPolicy(max_attempts=3, initial_backoff=0.001))
    server.default = refused(503, "try later", code="overloaded", headers={"X-Request-Id": "req-7", "Retry-After": "0"})
    with pytest.raises(ServerError) as caught:
        await client.embed(TEXTS)
    error = caught.value
    assert [texts for texts in server.asked if texts != HARMLESS] == [TEXTS] * 3
    assert (error.status, error.code, error.request_id, error.retry_after) == (503, "overloaded", "req-7", 0.0)
    assert error.provider_message == "try later"
    assert error.indices == tuple(range(6))
    assert all(word in str(error) for word in ("openai", "503", "try later", "req-7"))


async def test_the_indices_are_those_of_the_failed_request(server, connect):
    """Of a long run with ids of its own: the place in the caller's texts."""
    client = connect(max_concurrency=1)
    server.script.extend([right, right, broken_after(2)])
    server.default = refused(500)
    with pytest.raises(ServerError) as caught:
        await client.embed([(f"id {text}", text) for text in numbered(40)], chunk_size=10)
    assert caught.value.indices == tuple(range(22, 30))


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "0.15"},
        {"retry-after-ms": "150"},
        {"Retry-After": "1"},
        {"Retry-After": "date"},
        {"X-RateLimit-Reset": "unix"},
    ],
)
async def test_the_servers_wait_is_kept(server, connect, headers):
    now = time.time()
    values = {"date": email.utils.formatdate(now + 2, usegmt=True), "unix": f"{now + 0.2:.3f}", "1": "0.1"}
    headers = {name: values.get(value, value) for name, value in headers.items()}
    server.script.append(refused(429, headers=headers))
    client = connect(retry=RetryPolicy(initial_backoff=0.001, max_backoff=0.3))
    start = time.monotonic()
    await client.embed(TEXTS)
    assert 0.09 <= time.monotonic() - start < 5


async def test_a_date_counts_from_the_servers_own_clock(server, connect):
    """The client's clock may be far behind, so that the date seems to be far away."""
    clock = email.utils.formatdate(time.time() + 86_400, usegmt=True)
    server.script.extend([refused(429, headers={"Date": clock, "Retry-After": clock})] * 2)
    assert len(await connect().embed(TEXTS)) == len(TEXTS)


@pytest.mark.parametrize("wait", ["86400", "1e300", "nan", "-5", "soon", "", "Mon, 99 Foo 9999 99:99:99 GMT"])
async def test_absurd_waits_are_capped_or_ignored(server, connect, wait):
    server.script.append(refused(429, headers={"Retry-After": wait}))
    client = connect(retry=RetryPolicy(initial_backoff=0.001, max_backoff=0.05))
    async with asyncio.timeout(30):
        await client.embed(TEXTS)
    assert len(server.requests) == 2


@pytest.mark.parametrize("on_error", ["raise", "yield", "skip"])
@pytest.mark.parametrize(("words", "asked"), [("come back tomorrow", 2), ("the quota of 1000 per day is used up", 1)])
async def test_a_wait_that_is_too_long_ends_the_run(server, connect, on_error, words, asked):
    """With what the API says; no text fails because of it."""
    server.script.append(right)
    server.default = refused(429, words, headers={"Retry-After": "86400"})
    client = connect(retry=RetryPolicy(initial_backoff=0.001, max_backoff=0.02), max_concurrency=1)
    stream = client.embed_stream(numbered(40), chunk_size=10, on_error=on_error)
    taken = []
    with pytest.raises((RateLimitError, QuotaExceededError), match=words) as caught:
        taken += [result async for result in stream]
    assert len(server.requests) == 1 + asked
    assert (caught.value.retry_after, stream.summary.failed, stream.summary.done) == (86_400, 0, 10)


async def test_all_workers_pause_together(server, connect):
    """While one was told to wait, no other request of the client begins; not even of another stream."""
    client = connect(max_concurrency=4, retry=RetryPolicy(initial_backoff=0.001, max_backoff=0.3))
    arrived = []

    async def reply(exchange):
        arrived.append(time.monotonic())
        await right(exchange)

    server.script.append(refused(429, headers={"Retry-After": "0.3"}))
    server.default = reply
    start = time.monotonic()
    first = asyncio.create_task(client.embed(TEXTS[:1]))
    await until(lambda: pause_of(client)._until > start)
    await asyncio.gather(first, client.embed(TEXTS, chunk_size=1), client.embed(TEXTS, max_concurrency=2))
    assert len(arrived) == 1 + 6 + 1
    assert min(arrived) - start >= 0.3


async def test_time_is_limited_too(server, connect):
    client = connect(retry=RetryPolicy(max_attempts=10**6, initial_backoff=0.001, max_backoff=0.01, max_elapsed=0.2))
    server.default = refused(500)
    start = time.monotonic()
    with pytest.raises(ServerError):
        await client.embed(TEXTS)
    assert time.monotonic() - start < 2
    assert len(server.requests) > 5


async def test_overload_lowers_the_concurrency(server, connect):
    client = connect(max_concurrency=8)
    limits = []

    async def reply(exchange):
        limits.append(client._endpoint.slots_of(client.model).limit)
        await (refused(429) if len(limits) == 8 else right)(exchange)

    server.default = reply
    await client.embed(numbered(40), chunk_size=1)
    assert max(limits[:8]) == 8 > min(limits[8:])


async def test_retries_of_side_by_side_requests(server, connect):
    """A server that refuses every other request, for one reason or another."""
    faults = [
        refused(500),
        refused(429),
        broken_after(1),
        broken_after(0, reset=True),
        said(b"<html>"),
        changed(lambda document: {}),
    ]

    async def reply(exchange):
        number = len(server.requests)
        await (faults[number // 2 % len(faults)] if number % 2 else right)(exchange)

    server.default = reply
    texts = numbered(400)
    client = connect(retry=RetryPolicy(max_attempts=50, initial_backoff=0.0001))
    check_results([result async for result in client.embed_stream(texts, chunk_size=7)], texts)
