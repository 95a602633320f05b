"""One result for every text, with its own vector, in the promised order, whatever form the texts come in."""

from __future__ import annotations

import asyncio
import io
import random

import numpy as np
import pytest
from support.results import check_results, numbered, take_all
from support.scripted import Gate, right
from support.watching import turns, until

from asyncembed import EmbedInput


@pytest.fixture(params=["openai", "cohere", "cohere-v1"])
def provider(request):
    return request.param


@pytest.fixture(params=["base64", "float"])
def encoding(request):
    return request.param


def shuffling(seed: int):
    """A reply that takes its time: some number of turns of the event loop, so that answers overtake each other."""
    generator = random.Random(seed)

    async def reply(exchange):
        await turns(generator.randrange(30))
        await right(exchange)

    return reply


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize(("count", "chunk_size"), [(1, 7), (7, 7), (8, 7), (503, 7), (3_000, None)])
async def test_every_text_gets_its_own_vector(server, connect, count, chunk_size, ordered):
    server.default = shuffling(count)
    texts = numbered(count)
    options = {"chunk_size": chunk_size} if chunk_size else {}
    client = connect("openai", max_concurrency=16)
    results = [result async for result in client.embed_stream(texts, ordered=ordered, **options)]
    check_results(results, texts, ordered=ordered)
    assert sorted(server.texts) == sorted(texts)


async def test_wire_formats(server, connect, provider, encoding):
    texts = numbered(200)
    client = connect(provider, encoding=encoding, model="some-model")
    check_results([result async for result in client.embed_stream(texts)], texts)
    assert {request.base64 for request in server.requests} == {encoding == "base64"}


async def test_requests_run_side_by_side(server, client):
    """As many requests as there are slots are open at once, and answers that overtake come out in order."""
    gates = [Gate() for _ in range(8)]

    async def reply_when_open(exchange):
        await gates[int(exchange.request.texts[0].split()[1])].wait()
        await right(exchange)

    server.default = reply_when_open
    texts = numbered(8)
    stream = client.embed_stream(texts, chunk_size=1)
    first = asyncio.create_task(anext(stream))
    await until(lambda: all(gate.reached.is_set() for gate in gates))
    for gate in gates[:0:-1]:
        gate.opened.set()
    await until(lambda: stream.summary.done == 7)
    assert not first.done()
    gates[0].opened.set()
    check_results([await first] + [result async for result in stream], texts)


async def test_unordered_results_do_not_wait_for_the_first(server, client):
    gate = Gate()

    async def hold(exchange):
        await gate.wait()
        await right(exchange)

    server.script.append(hold)
    texts = numbered(50)
    results = []
    async with client.embed_stream(texts, chunk_size=5, ordered=False) as stream:
        async for result in stream:
            results.append(result)
            if len(results) == 45:
                assert server.requests[0].texts[0] not in {result.text for result in results}
                gate.opened.set()
    check_results(results, texts, ordered=False)


class OnlyAnext:
    """An async iterator and nothing more."""

    def __init__(self, items):
        self._items = iter(items)

    def __aiter__(self):
        return self

    async def __anext__(self):
        await asyncio.sleep(0)
        for item in self._items:
            return item
        raise StopAsyncIteration


async def slow_generator(items):
    for item in items:
        await asyncio.sleep(0)
        yield item


async def fast_generator(items):
    for item in items:
        yield item


FORMS = {
    "list": list,
    "tuple": tuple,
    "dict keys": lambda items: dict.fromkeys(items).keys(),
    "iterator": iter,
    "generator": lambda items: (item for item in items),
    "text file": lambda items: io.StringIO("".join(item + "\n" for item in items)),
    "text file of Windows": lambda items: io.StringIO("\r\n".join(items), newline=""),
    "async generator": slow_generator,
    "async generator that never pauses": fast_generator,
    "async iterator": OnlyAnext,
}


@pytest.mark.parametrize("form", FORMS)
async def test_forms_of_the_texts(server, client, form):
    texts = numbered(250)
    check_results([result async for result in client.embed_stream(FORMS[form](texts), chunk_size=16)], texts)
    assert sorted(server.texts) == sorted(texts)


@pytest.mark.parametrize("form", FORMS)
async def test_no_texts_at_all(server, client, form):
    assert [result async for result in client.embed_stream(FORMS[form]([]))] == []
    assert not server.requests


async def test_ids_come_back(client):
    texts = ["a", (17, "b"), ("key", "c"), EmbedInput("d", "e"), EmbedInput("f")]
    results = [result async for result in client.embed_stream(texts, chunk_size=2)]
    check_results(results, ["a", "b", "c", "d", "f"])
    assert [result.id for result in results] == [None, 17, "key", "e", None]


async def test_texts_with_characters_that_json_escapes(client):
    texts = ['say "[1, 2]"', "back\\slash", "line\nbreak\r\t\x01", "\u2028 \x7f", "Ä 世界 \N{GRINNING FACE}", "]}", " "]
    check_results([result async for result in client.embed_stream(texts)], texts)


async def test_equal_texts_are_not_mixed_up(client):
    texts = ["same"] * 100
    check_results(
        [result async for result in client.embed_stream(texts, chunk_size=7, ordered=False)], texts, ordered=False
    )


@pytest.mark.parametrize("form", [list, fast_generator])
async def test_embed_gives_the_rows_in_order(server, client, form):
    server.default = shuffling(5)
    texts = numbered(3_000)
    response = await client.embed(form(texts), chunk_size=100)
    assert response.embeddings.shape == (3_000, 8)
    assert response.texts == texts
    assert response.usage.tokens == 3_000
    np.testing.assert_array_equal(response.embeddings, (await client.embed(texts)).embeddings)
    check_results([result async for result in client.embed_stream(texts)], texts)


async def test_several_streams_share_a_client(server, connect):
    server.default = shuffling(6)
    client = connect(max_concurrency=4)
    groups = [[f"{group}: {text}" for text in numbered(120)] for group in range(10)]

    async def run(texts):
        return [result async for result in client.embed_stream(texts, chunk_size=9)]

    for texts, results in zip(groups, await asyncio.gather(*map(run, groups)), strict=True):
        check_results(results, texts)


async def test_responses_in_bytes_of_any_size(server, client):
    """The same result, whether the body comes byte by byte or at once."""

    async def drip(exchange):
        send = await exchange.start(chunked=True)
        for byte in b"".join(exchange.request.pieces):
            await send(bytes([byte]))
        await exchange.send(b"0\r\n\r\n")

    server.default = drip
    texts = numbered(30)
    check_results([result async for result in client.embed_stream(texts, chunk_size=10)], texts)


async def test_the_end_stays_the_end(client):
    stream = client.embed_stream(["a"])
    assert [result.text async for result in stream] == ["a"]
    assert [result.text async for result in stream] == []


async def test_the_error_of_the_callers_iterable_comes_after_the_results_before_it(client):
    def texts():
        yield from numbered(25)
        raise LookupError("the database has gone")

    results = []
    with pytest.raises(LookupError, match="database has gone"):
        await take_all(client.embed_stream(texts(), chunk_size=10), results)
    check_results(results, numbered(25))


async def test_an_async_source_that_was_cancelled_is_no_end(client):
    """A cancellation inside the caller's source must not look as if the texts had ended."""

    async def texts():
        yield "a"
        helper = asyncio.create_task(asyncio.sleep(60))
        helper.cancel()
        await helper

    with pytest.raises((Exception, asyncio.CancelledError)):
        async with asyncio.timeout(30):
            [result async for result in client.embed_stream(texts())]
