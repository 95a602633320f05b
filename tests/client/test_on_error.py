"""A text that cannot be had raises, leaves its failure in its place, or is left out; the others are spared."""

from __future__ import annotations

import pytest
from support.results import check_plain, check_vectors, numbered, take_all
from support.scripted import broken_after, changed, raw, refused, right, said

from asyncembed import AsyncEmbedError, EmbedFailure, InvalidInputError

TEXTS = numbered(6)
FAULTS = {
    "400": refused(400),
    "500": refused(500),
    "disconnected": raw(b""),
    "HTML": said(b"<html>"),
    "cut off": broken_after(2),
    "wrong count": changed(lambda document: document.update(data=[])),
}


async def take(stream):
    return [item async for item in stream]


def split(items):
    failures = [item for item in items if isinstance(item, EmbedFailure)]
    return [item for item in items if not isinstance(item, EmbedFailure)], failures


MIXED = ["a", "", "b", "\ud800", "c", ("id", ""), "d"]
PLAIN = ["a", "", "b", "\ud800", "c", "", "d"]


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("chunk_size", [1, 2, 100])
async def test_failures_in_the_place_of_results(client, ordered, chunk_size):
    stream = client.embed_stream(MIXED, on_error="yield", ordered=ordered, chunk_size=chunk_size)
    items = await take(stream)
    indices = [item.index for item in items]
    assert (indices if ordered else sorted(indices)) == list(range(7))
    results, failures = split(items)
    check_vectors(results, PLAIN)
    assert sorted(failure.index for failure in failures) == [1, 3, 5]
    for failure in failures:
        assert isinstance(failure.error, InvalidInputError)
        assert failure.error.indices == (failure.index,)
        assert f"texts[{failure.index}]" in str(failure.error)
        assert failure.text == PLAIN[failure.index]
        assert failure.id == ("id" if failure.index == 5 else None)
    assert (stream.summary.done, stream.summary.failed) == (4, 3)


@pytest.mark.parametrize("ordered", [True, False])
async def test_failures_left_out(client, ordered):
    stream = client.embed_stream(MIXED, on_error="skip", ordered=ordered)
    results = await take(stream)
    assert sorted(result.index for result in results) == [0, 2, 4, 6]
    check_vectors(results, PLAIN)
    assert (stream.summary.done, stream.summary.failed) == (4, 3)


@pytest.mark.parametrize("bad", ["", "\ud800", "x\udfffy"])
async def test_a_refused_text_raises_after_what_came_before(server, client, bad):
    results = []
    with pytest.raises(InvalidInputError) as caught:
        await take_all(client.embed_stream([*TEXTS, bad, "more"], chunk_size=2), results)
    check_vectors(results, TEXTS)
    assert len(results) == 6
    assert caught.value.indices == (6,)
    check_plain(caught.value)
    assert "more" not in server.texts


@pytest.mark.parametrize("how", ["yield", "skip"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_failed_request_spares_the_others(server, once, fault, how):
    async def reply(exchange):
        await (FAULTS[fault] if "text 5" in exchange.request.texts else right)(exchange)

    server.default = reply
    texts = numbered(20)
    results, failures = split(await take(once.embed_stream(texts, chunk_size=5, on_error=how)))
    check_vectors(results, texts)
    lost = set(range(20)) - {result.index for result in results}
    assert lost
    assert lost <= {5, 6, 7, 8, 9}
    assert {failure.index for failure in failures} == (lost if how == "yield" else set())
    for failure in failures:
        check_plain(failure.error)


@pytest.mark.parametrize("how", ["yield", "skip", "raise"])
@pytest.mark.parametrize("status", [401, 402, 403, 404, 405, 501])
async def test_errors_of_the_whole_run_always_raise(server, client, how, status):
    server.default = refused(status)
    with pytest.raises(AsyncEmbedError) as caught:
        await take(client.embed_stream(TEXTS, on_error=how, chunk_size=1))
    check_plain(caught.value)
    assert caught.value.status == status
