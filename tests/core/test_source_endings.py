"""How a source ends: errors come after the texts before them, nothing ends silently, generators are closed."""

from __future__ import annotations

import asyncio
import io

import pytest
from anyio.lowlevel import checkpoint
from support.scripted import Gate, ScriptedServer, right
from support.sources import SHORT, Running, new_source, several

from asyncembed import AsyncEmbedError, ConfigurationError, EmbedClient, EmbedInput, InvalidInputError


@pytest.mark.parametrize("kind", [iter, several])
async def test_the_callers_own_error_comes_after_the_texts_before_it(kind):
    """Unchanged, and as often as it is asked for."""
    error = KeyError("the caller's")

    def texts():
        yield from "abcd"
        raise error

    given = texts() if kind is iter else several(texts())
    async with Running(new_source(given)) as source:
        assert len((await source.next_batch()).inputs) == 3
        assert len((await source.next_batch()).inputs) == 1
        for _ in range(2):
            with pytest.raises(KeyError) as caught:
                await source.next_batch()
            assert caught.value is error


@pytest.mark.parametrize("kind", [iter, several])
async def test_a_form_that_is_no_text_comes_after_the_texts_before_it(kind):
    """With its index."""
    async with Running(new_source(kind(["a", "b", 7, "c"]))) as source:
        assert len((await source.next_batch()).inputs) == 2
        with pytest.raises(ConfigurationError, match=r"texts\[2\] is a int"):
            await source.next_batch()


@pytest.mark.parametrize("kind", [iter, several])
async def test_a_text_that_no_api_takes_is_refused_alone(kind):
    """It keeps its index and its place in the batch."""
    given = ["a", "", ("x", "b\ud800"), "c", "", "", "", "d"]
    async with Running(new_source(kind(given), strict=False)) as source:
        got = [await source.next_batch() for _ in range(3)]
        assert await source.next_batch() is None
    assert [{index: item.text for index, item in batch.inputs.items()} for batch in got] == [
        {0: "a"},
        {3: "c"},
        {7: "d"},
    ]
    assert [[index for index, _, _ in batch.refused] for batch in got] == [[1, 2], [4, 5], [6]]
    assert [len(batch) for batch in got] == [3, 3, 2]
    _, (index, item, error) = got[0].refused
    assert (item, error.indices, type(error)) == (EmbedInput("b\ud800", "x"), (index,), InvalidInputError)


async def test_refused_texts_alone_make_a_batch_too():
    """They are not pulled without limit."""
    source = new_source(iter([""] * 10), strict=False)
    assert [len((await source.next_batch()).refused) for _ in range(4)] == [3, 3, 3, 1]
    assert await source.next_batch() is None


async def test_a_refused_text_of_a_slow_iterable_is_not_held_back():
    """Its failure is a result like any other."""
    never = asyncio.Event()

    async def slow():
        yield ""
        await never.wait()

    async with Running(new_source(slow(), max_wait=SHORT, strict=False)) as source, asyncio.timeout(30):
        assert len((await source.next_batch()).refused) == 1


@pytest.mark.parametrize("kind", [iter, several])
async def test_where_errors_are_raised_a_refused_text_ends_the_run(kind):
    """After the texts before it."""
    async with Running(new_source(kind(["a", "", "b"]))) as source:
        assert len((await source.next_batch()).inputs) == 1
        with pytest.raises(InvalidInputError) as caught:
            await source.next_batch()
    assert caught.value.indices == (1,)


class Closes:
    """An iterable, sync and async, that notes when its generator is closed."""

    def __init__(self) -> None:
        self.closed = False

    def __iter__(self):
        try:
            while True:
                yield "a"
        finally:
            self.closed = True

    async def generate(self):
        try:
            while True:
                yield "a"
        finally:
            await checkpoint()
            self.closed = True


class AsyncCloses(Closes):
    __iter__ = None
    __aiter__ = Closes.generate


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("kind", [Closes, AsyncCloses])
async def test_a_generator_is_closed_when_the_source_is(kind, wrapped):
    """Given itself, or made by the iterable that was given; before the next statement."""
    texts = kind()
    given = texts if wrapped else iter(texts) if kind is Closes else texts.generate()
    running = Running(new_source(given))
    async with running as source:
        await source.next_batch()
        assert not texts.closed
    assert texts.closed


async def test_a_generator_that_was_never_pulled_is_closed_without_running():
    """Nothing of it begins."""

    def texts():
        pytest.fail("it ran")
        yield ""

    source = new_source(texts())
    source.close()
    assert await source.next_batch() is None


async def test_a_list_and_an_iterator_need_no_closing():
    """Closing twice is fine, too."""
    for texts in (["a"], iter(["a"]), io.StringIO("a")):
        source = new_source(texts)
        source.close()
        source.close()


async def test_a_cancellation_of_the_iterables_own_is_an_error():
    """The caller's generator awaited something that was cancelled; its texts have not ended."""

    async def texts():
        yield "a"
        cancelled = asyncio.get_running_loop().create_future()
        cancelled.cancel()
        await cancelled
        yield "b"

    async with Running(new_source(texts())) as source:
        assert len((await source.next_batch()).inputs) == 1
        with pytest.raises(BaseException):  # noqa: B017  # whatever it is, but not the end
            await source.next_batch()


async def test_a_cancellation_of_the_iterables_own_never_ends_a_run_silently():
    """Also while the run waits for a slot and not for a text; what was asked for before it arrives."""
    gate, waits = Gate(), asyncio.Event()

    async def held(exchange):
        await gate.wait()
        await right(exchange)

    async def texts():
        yield "a"
        await gate.reached.wait()
        yield "b"
        await asyncio.sleep(20 * SHORT)  # slow enough for "b" to go alone, and to wait for the slot of "a"
        waits.set()
        cancelled = asyncio.get_running_loop().create_future()
        cancelled.cancel()
        await cancelled

    async with (
        ScriptedServer(default=held) as server,
        EmbedClient("openai", base_url=f"{server.url}/v1", api_key="k", max_concurrency=1) as client,
        asyncio.timeout(30),
        client.embed_stream(texts(), max_wait=SHORT) as stream,
    ):
        first = asyncio.create_task(anext(stream))
        await waits.wait()
        gate.opened.set()
        assert [(await first).index, (await anext(stream)).index] == [0, 1]
        with pytest.raises(AsyncEmbedError, match="the iterable of texts was cancelled"):
            await anext(stream)
