"""An error that ended a stream is raised by every call after that, with a traceback that does not grow."""

from __future__ import annotations

import traceback

import pytest
from support.results import numbered

from asyncembed import AuthenticationError


async def refused(exchange):
    await exchange.answer(b'{"message":"invalid api token"}', 401)


async def with_its_own_error():
    """A source that fails in frames of its own."""
    yield "a text"
    raise LookupError("the database has gone")


READERS = {
    "stream": lambda client, texts: client.embed_stream(texts),
    "as completed": lambda client, texts: client.embed_stream(texts, ordered=False),
    "matrices": lambda client, texts: client.embed_binary_stream(texts),
    "matrices of one size": lambda client, texts: client.embed_binary_stream(texts).rechunk(2),
    "arrow": lambda client, texts: client.embed_binary_stream(texts, format="arrow"),
    "large dataset": lambda client, texts: client.embed_large_dataset(texts, max_memory_mb=100_000),
}


async def raised(reader, times):
    """Ask a reader on and on, and return the errors and how many frames each had."""
    found = []
    while len(found) < times:
        try:
            await anext(reader)
        except StopAsyncIteration:
            pytest.fail("it ended without its error")
        except Exception as error:  # noqa: BLE001
            found.append((error, len(traceback.extract_tb(error.__traceback__))))
    return found


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("is_own", [True, False], ids=["of ours", "of the caller"])
async def test_the_traceback_of_a_stored_error_does_not_grow(server, connect, reader, is_own):
    client = connect("cohere")
    if is_own:
        server.default = refused
    async with READERS[reader](client, numbered(3) if is_own else with_its_own_error()) as opened:
        found = await raised(opened, 6)
    errors, frames = zip(*found, strict=True)
    assert {type(error) for error in errors} == {AuthenticationError if is_own else LookupError}
    assert len(set(map(id, errors))) == 1
    assert len(set(frames[1:])) == 1
    assert frames[1] <= frames[0]
