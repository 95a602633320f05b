"""A source that is left before its end is closed, if it can be; one that was read to its end is not touched."""

from __future__ import annotations

import io
import sqlite3

import pytest
from support.scripted import refused

from asyncembed import AuthenticationError, ConfigurationError


class Plain:
    """An iterator that can be closed, as a cursor can."""

    def __init__(self, count: int) -> None:
        self.left, self.closed = count, 0

    def __iter__(self):
        return self

    def __next__(self):
        if not self.left:
            raise StopIteration
        self.left -= 1
        return f"text {self.left}"

    def close(self):
        self.closed += 1


class Async:
    """The same of an async driver."""

    def __init__(self, count: int) -> None:
        self.left, self.closed = count, 0

    def __aiter__(self):
        return self

    async def __anext__(self):
        if not self.left:
            raise StopAsyncIteration
        self.left -= 1
        return f"text {self.left}"

    async def aclose(self):
        self.closed += 1


class AsyncClose(Async):
    """An async iterator whose method has the other name, and is a coroutine all the same."""

    aclose = None

    async def close(self):
        self.closed += 1


class PlainClose(AsyncClose):
    """An async iterator whose `close` is a plain function."""

    def close(self):
        self.closed += 1


KINDS = [Plain, Async, AsyncClose, PlainClose]


async def leave_stream(client, texts, path):
    async with client.embed_stream(texts, chunk_size=1) as stream:
        async for _ in stream:
            break


async def leave_blocks(client, texts, path):
    async with client.embed_binary_stream(texts, chunk_size=1) as blocks:
        async for _ in blocks:
            break


async def leave_callback(client, texts, path):
    def stop(result):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await client.embed_with_callback(texts, stop, chunk_size=1)


async def leave_embed(client, texts, path):
    with pytest.raises(AuthenticationError):
        await client.embed(texts, chunk_size=1)


async def leave_file(client, texts, path):
    with pytest.raises(AuthenticationError):
        await client.embed_to_file(texts, path, chunk_size=1)


LEAVING = [leave_stream, leave_blocks, leave_callback, leave_embed, leave_file]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("leave", LEAVING)
async def test_what_is_left_early_is_closed(server, client, tmp_path, leave, kind):
    """Whatever the verb is, and however it was left."""
    if leave in {leave_embed, leave_file}:
        server.default = refused(401, "no such key")
    texts = kind(10**9)
    await leave(client, texts, tmp_path / "v.npy")
    assert texts.closed


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("verb", ["embed", "embed_to_file"])
async def test_what_was_read_to_its_end_is_not_touched(client, tmp_path, verb, kind):
    """A cursor may be used for the next query."""
    texts = kind(5)
    where = {"output_file": tmp_path / "v.npy"} if verb == "embed_to_file" else {}
    await getattr(client, verb)(texts, **where)
    assert not texts.closed


async def test_an_item_that_is_no_text_leaves_the_rest(client):
    """So what gave it is closed."""

    class Numbers(Plain):
        def __next__(self):
            return 3.5

    numbers = Numbers(5)
    with pytest.raises(ConfigurationError, match="is a float"):
        await client.embed(numbers)
    assert numbers.closed == 1


async def test_an_open_file_stays_open(client):
    """It is the caller's, who may read on."""
    file = io.StringIO("one\ntwo\nthree\n")
    async with client.embed_stream(file, chunk_size=1, max_concurrency=1) as stream:
        await anext(stream)
    assert not file.closed


async def test_a_cursor_is_closed(client):
    """Of the standard library."""
    connection = sqlite3.connect(":memory:")
    cursor = connection.execute("WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT n, 'x' FROM t")
    async with client.embed_stream(cursor, chunk_size=1) as stream:
        await anext(stream)
    with pytest.raises(sqlite3.ProgrammingError, match="closed cursor"):
        cursor.fetchone()
    connection.close()
