"""The source: every kind of texts, pulled no further than wanted, never held back for long, closed at the end."""

from __future__ import annotations

import asyncio
import io
import tempfile

import pytest
from anyio.lowlevel import checkpoint

from asyncembed import ConfigurationError, EmbedInput, InvalidInputError, Limits
from asyncembed.flow._cost import CostModel
from asyncembed.pipeline._chunker import Chunker
from asyncembed.pipeline._source import Source, check_texts

LONG = 60.0  # longer than any test waits
SHORT = 0.01


class Refusals(list):
    """What was refused; ends the run at a text that is `last`."""

    def __call__(self, index, item, error):
        self.append((index, item.text, error))
        if item.id == "last":
            raise error


def new_source(texts, most: int = 3, max_wait: float = LONG, refuse=None) -> Source:
    chunker = Chunker(Limits(inputs=most), None, CostModel(), 1 << 60)
    return Source(texts, chunker, max_wait, Refusals() if refuse is None else refuse)


class Running:
    """A source whose pump runs, as it does beside the feeder."""

    def __init__(self, source: Source) -> None:
        self.source = source

    async def __aenter__(self) -> Source:
        self.pump = asyncio.create_task(self.source.pump()) if self.source.needs_pump else None
        return self.source

    async def __aexit__(self, *error: object) -> None:
        if self.pump:
            self.pump.cancel()
            await asyncio.wait([self.pump])
        self.source.close()


async def batches(source: Source) -> list[list[str]]:
    got = []
    while batch := await source.next_batch():
        assert batch.first == sum(map(len, got))
        got.append([item.text for item in batch.inputs])
    return got


async def several(texts):
    for text in texts:
        await checkpoint()
        yield text


@pytest.mark.parametrize("count", [0, 1, 3, 4, 7])
@pytest.mark.parametrize("kind", [list, tuple, iter, lambda texts: (text for text in texts), several])
async def test_every_text_once_and_in_order(kind, count):
    """From a list, tuple, iterator, generator or async generator."""
    texts = [str(number) for number in range(count)]
    async with Running(new_source(kind(texts))) as source:
        got = await batches(source)
        assert [text for batch in got for text in batch] == texts
        assert [len(batch) for batch in got] == [3] * (count // 3) + [count % 3] * (count % 3 > 0)
        assert source.pulled == count
        assert await source.next_batch() is None


async def test_pairs_and_inputs_keep_their_ids():
    """In whatever form they were given."""
    source = new_source(["a", ("x", "b"), EmbedInput("c", 7)])
    assert (await source.next_batch()).inputs == [EmbedInput("a"), EmbedInput("b", "x"), EmbedInput("c", 7)]


@pytest.mark.parametrize("text", ["one\ntwo\r\nthree\n", "one\ntwo\nthree"])
async def test_a_text_file_gives_a_text_a_line(text, tmp_path):
    """Without line ends; from memory and from a disk."""
    path = tmp_path / "texts.txt"
    path.write_text(text, newline="")
    assert await batches(new_source(io.StringIO(text))) == [["one", "two", "three"]]
    with path.open() as file:
        assert await batches(new_source(file)) == [["one", "two", "three"]]
    with path.open(newline="") as file:
        assert await batches(new_source(file)) == [["one", "two", "three"]]


async def test_a_temporary_text_file_is_a_text_file():
    """Its lines end like those of any other."""
    with tempfile.NamedTemporaryFile("w+") as file:
        file.write("one\ntwo\n")
        file.seek(0)
        assert await batches(new_source(file)) == [["one", "two"]]


async def test_lines_of_a_list_keep_their_ends():
    """Only a file's line ends are not part of its texts."""
    assert await batches(new_source(["one\n", "two\r\n"])) == [["one\n", "two\r\n"]]


@pytest.mark.parametrize("texts", ["a text", b"bytes"])
def test_a_single_string_is_refused_with_the_fix(texts):
    """It would be taken letter by letter."""
    with pytest.raises(ConfigurationError, match=r"put it into a list: \[text\]"):
        check_texts(texts)


@pytest.mark.parametrize("texts", [7, None, object()])
def test_what_cannot_be_iterated_is_refused(texts):
    """By its type."""
    with pytest.raises(ConfigurationError, match=f"texts is a {type(texts).__name__}, which cannot be iterated"):
        check_texts(texts)


@pytest.mark.parametrize("kind", [iter, several])
async def test_no_text_is_pulled_before_it_is_wanted(kind):
    """None before the first batch, and then no more than each batch holds."""
    pulled = []

    def texts():
        for number in range(10):
            pulled.append(number)
            yield str(number)

    given = texts() if kind is iter else several(texts())
    async with Running(new_source(given)) as source:
        for wanted in (0, 3, 6):
            for _ in range(5):  # whatever would pull gets its chance
                await checkpoint()
            assert len(pulled) == source.pulled == wanted
            await source.next_batch()


async def test_a_slow_iterable_is_not_waited_for_for_ever():
    """A batch that is not full goes `max_wait` after its first text, without what never comes."""
    never = asyncio.Event()

    async def slow():
        yield "a"
        yield "b"
        await never.wait()
        yield "c"

    async with Running(new_source(slow(), max_wait=SHORT)) as source, asyncio.timeout(5):
        batch = await source.next_batch()
        assert [item.text for item in batch.inputs] == ["a", "b"]
        waits = asyncio.create_task(source.next_batch())
        done, _ = await asyncio.wait([waits], timeout=5 * SHORT)
        assert not done, "an empty batch is waited for without an end"
        never.set()
        batch = await waits
        assert (batch.first, [item.text for item in batch.inputs]) == (2, ["c"])
        assert await source.next_batch() is None


async def test_texts_that_come_in_time_fill_the_batch():
    """`max_wait` is an upper end, not a delay."""
    queue: asyncio.Queue[str] = asyncio.Queue()

    async def from_queue():
        while True:
            yield await queue.get()

    async with Running(new_source(from_queue(), most=2)) as source, asyncio.timeout(5):
        waits = asyncio.create_task(source.next_batch())
        await checkpoint()
        for text in "abc":
            queue.put_nowait(text)
        assert [item.text for item in (await waits).inputs] == ["a", "b"]
        assert source.pulled == 2


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
    """It keeps its index; the batch is divided at its place."""
    refused = Refusals()
    async with Running(new_source(kind(["a", "", ("x", "b\ud800"), "c", "d"]), refuse=refused)) as source:
        first, second = await source.next_batch(), await source.next_batch()
        assert await source.next_batch() is None
    assert (first.first, len(first.inputs), second.first, len(second.inputs)) == (0, 1, 3, 2)
    assert [(index, text, type(error)) for index, text, error in refused] == [
        (1, "", InvalidInputError),
        (2, "b\ud800", InvalidInputError),
    ]


@pytest.mark.parametrize("kind", [iter, several])
async def test_refusing_may_end_the_run(kind):
    """With the refusal, after the texts before it."""
    async with Running(new_source(kind(["a", ("last", ""), "b"]))) as source:
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
