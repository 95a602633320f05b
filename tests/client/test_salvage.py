"""A response that breaks costs only the vectors that did not arrive: the rest alone is asked for again."""

from __future__ import annotations

import pytest
from support.results import check_results, numbered, take_all
from support.scripted import broken_after, right
from support.watching import leftovers

from asyncembed import RetryPolicy

TEXTS = numbered(12)

BREAKS = {
    "end of connection": {},
    "end of connection in chunks": {"chunked": True},
    "reset": {"reset": True},
    "reset in chunks": {"chunked": True, "reset": True},
    "cut inside a vector": {"part": 0.6},
    "cut inside a vector in chunks": {"part": 0.6, "chunked": True},
    "cut behind a vector": {"part": 0.99},
    "garbage": {"garbage": b"}]} what?"},
    "garbage inside a vector": {"part": 0.6, "garbage": b"oops"},
    "zeros": {"garbage": bytes(100)},
    "another document": {"garbage": b"]}{}"},
    "an error message": {"garbage": b'{"error":{"message":"out of memory"}}'},
}


async def without_length(exchange):
    """As HTTP/1.0 does: the end of the connection is the end of the body, so only the JSON shows that it is cut."""
    await exchange.send(b"HTTP/1.0 200 OK\r\n\r\n" + b"".join(exchange.request.pieces[:6]))
    exchange.end()


@pytest.fixture(params=["openai/base64", "openai/float", "cohere/float", "cohere-v1/float", "cohere/base64"])
def client(request, connect):
    provider, encoding = request.param.split("/")
    return connect(provider, encoding=encoding, model="some-model")


@pytest.mark.parametrize("how", BREAKS)
async def test_only_the_rest_is_asked_for_again(server, client, how):
    server.script.append(broken_after(5, **BREAKS[how]))
    stream = client.embed_stream(TEXTS)
    check_results([result async for result in stream], TEXTS)
    assert server.asked == [TEXTS, TEXTS[5:]]
    assert (stream.summary.requests, stream.summary.retries, stream.summary.salvaged) == (2, 1, 5)
    assert not leftovers(client)


async def test_cut_off_without_a_length(server, client):
    server.script.append(without_length)
    check_results([result async for result in client.embed_stream(TEXTS)], TEXTS)
    assert server.asked == [TEXTS, TEXTS[5:]]


async def test_broken_twice_and_more(server, client):
    """Every attempt that brings something new counts as a first one."""
    server.script.extend([broken_after(3), broken_after(4), *[broken_after(1)] * 4])
    stream = client.embed_stream(TEXTS)
    check_results([result async for result in stream], TEXTS)
    assert server.asked == [TEXTS, TEXTS[3:], TEXTS[7:], TEXTS[8:], TEXTS[9:], TEXTS[10:], TEXTS[11:]]
    assert stream.summary.salvaged == 3 + 4 + 1 + 1 + 1 + 1


@pytest.mark.parametrize("ordered", [True, False])
async def test_every_first_answer_breaks(server, connect, ordered):
    """Many requests side by side, each of which breaks at another place."""
    seen = set()

    async def reply(exchange):
        texts = exchange.request.texts
        again = texts[-1] in seen
        seen.add(texts[-1])
        await (right if again else broken_after(int(texts[-1].split()[1]) % len(texts)))(exchange)

    server.default = reply
    texts = numbered(600)
    results = [result async for result in connect().embed_stream(texts, chunk_size=17, ordered=ordered)]
    check_results(results, texts, ordered=ordered)
    assert sum(map(len, server.asked)) < 2 * len(texts)


async def test_broken_behind_the_last_vector(server, client):
    """Everything has arrived, so nothing is asked for again."""
    server.script.append(broken_after(len(TEXTS)))
    check_results([result async for result in client.embed_stream(TEXTS)], TEXTS)
    assert server.asked == [TEXTS]


async def test_results_come_before_the_rest_is_asked_for(server, connect):
    """What arrived is handed over at once, and not kept until the batch is complete."""
    server.script.append(broken_after(5))
    server.default = lambda exchange: _never()
    client = connect()
    async with client.embed_stream(TEXTS) as stream:
        check_results([await anext(stream) for _ in range(5)], TEXTS[:5])


async def _never():
    raise ConnectionError


async def test_what_had_arrived_comes_before_the_error(server, connect):
    server.default = broken_after(0)
    server.script.append(broken_after(5))
    client = connect(retry=RetryPolicy(max_attempts=2, initial_backoff=0.001))
    results = []
    with pytest.raises(Exception, match="broke off") as caught:
        await take_all(client.embed_stream(TEXTS), results)
    check_results(results, TEXTS[:5])
    assert caught.value.indices == tuple(range(5, 12))


async def test_the_vector_after_a_bad_one_is_kept(server, connect):
    """One unreadable vector costs itself and no more."""

    async def reply(exchange):
        pieces = exchange.request.pieces
        pieces[4] = b',{"object":"embedding","index":3,"embedding":null}'
        await exchange.answer(b"".join(pieces))

    server.script.append(reply)
    check_results([result async for result in connect().embed_stream(TEXTS)], TEXTS)
    assert server.asked == [TEXTS, TEXTS[3:4]]


async def test_large_responses_are_salvaged_to_the_last_vector(server, connect):
    """Also what lies in socket buffers when the connection ends is used."""
    server.dimension = 2_000
    texts = numbered(60)
    server.script.append(broken_after(50, part=0.5))
    results = [result async for result in connect().embed_stream(texts)]
    check_results(results, texts, dimension=2_000)
    assert server.asked == [texts, texts[50:]]
