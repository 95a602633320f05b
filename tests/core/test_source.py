"""The source: every kind of texts, pulled no further than wanted, and never held back for long."""

from __future__ import annotations

import asyncio
import codecs
import io
import tempfile

import pytest
from anyio.lowlevel import checkpoint
from support.sources import SHORT, Running, Stepping, batches, new_source, several, texts_of

from asyncembed import ConfigurationError, EmbedInput
from asyncembed._decide import check_texts


@pytest.mark.parametrize("count", [0, 1, 3, 4, 7])
@pytest.mark.parametrize("kind", [list, tuple, iter, lambda texts: (text for text in texts), several, Stepping])
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
    assert (await source.next_batch()).inputs == {0: EmbedInput("a"), 1: EmbedInput("b", "x"), 2: EmbedInput("c", 7)}


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


@pytest.mark.parametrize(
    "opened",
    [
        lambda path: tempfile.NamedTemporaryFile("w+"),  # noqa: SIM115  # the test enters it
        lambda path: tempfile.SpooledTemporaryFile(mode="w+"),  # noqa: SIM115
        lambda path: codecs.open(path, "w+", "utf-8"),  # noqa: SIM115
    ],
)
async def test_other_kinds_of_text_files(opened, tmp_path):
    """Their lines end like those of any other."""
    with opened(tmp_path / "texts.txt") as file:
        file.write("one\ntwo\n")
        file.seek(0)
        assert await batches(new_source(file)) == [["one", "two"]]


async def test_a_binary_file_is_refused_with_the_fix():
    """Its lines are bytes."""
    with pytest.raises(ConfigurationError, match=r"texts\[0\] is bytes \(decode them first\)"):
        await new_source(io.BytesIO(b"one\n")).next_batch()


async def test_an_iterable_that_reads_a_file_is_not_taken_for_it():
    """What it makes of the lines are the texts."""

    class Corpus:
        file = io.StringIO("1;one\n2;two\n")

        def __iter__(self):
            return (line.strip().split(";")[1] for line in self.file)

    assert await batches(new_source(Corpus())) == [["one", "two"]]


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

    async with Running(new_source(slow(), max_wait=SHORT)) as source, asyncio.timeout(30):
        batch = await source.next_batch()
        assert texts_of(batch) == ["a", "b"]
        waits = asyncio.create_task(source.next_batch())
        done, _ = await asyncio.wait([waits], timeout=5 * SHORT)
        assert not done, "an empty batch is waited for without an end"
        never.set()
        batch = await waits
        assert batch.inputs == {2: EmbedInput("c")}
        assert await source.next_batch() is None


async def test_texts_that_come_in_time_fill_the_batch():
    """`max_wait` is an upper end, not a delay."""
    queue: asyncio.Queue[str] = asyncio.Queue()

    async def from_queue():
        while True:
            yield await queue.get()

    async with Running(new_source(from_queue(), most=2)) as source, asyncio.timeout(30):
        waits = asyncio.create_task(source.next_batch())
        await checkpoint()
        for text in "abc":
            queue.put_nowait(text)
        assert texts_of(await waits) == ["a", "b"]
        assert source.pulled == 2
