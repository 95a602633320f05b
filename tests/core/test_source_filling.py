"""Batches from a plain iterable: every text once and in order, and every limit is kept."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncembed import EmbedInput, Limits
from asyncembed._core.source import Source
from asyncembed._decide import JSON_OVERHEAD, Chunker, CostModel

BYTES_PER_TOKEN = 2
PLAIN = st.text(st.characters(codec="ascii"), min_size=1, max_size=30)
ANY = st.one_of(
    PLAIN, PLAIN, PLAIN, st.text(max_size=5), st.tuples(st.integers(0, 9), PLAIN), st.builds(EmbedInput, PLAIN)
)


class BrokenError(Exception):
    """The caller's own."""


def breaking(items):
    yield from items
    raise BrokenError


def plain(item) -> str:
    return item if isinstance(item, str) else item[1] if isinstance(item, tuple) else item.text


async def drained(source: Source):
    batches = []
    try:
        while (batch := await source.next_batch()) is not None:
            batches.append(batch)
    except BrokenError:
        pass
    return batches


def size_of(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


@settings(max_examples=300)
@given(
    items=st.lists(ANY, max_size=200),
    inputs=st.integers(1, 200),
    most_tokens=st.none() | st.integers(1, 400),
    request_bytes=st.integers(10, 3_000),
    budget=st.integers(300_000, 2_000_000),
    breaks=st.booleans(),
)
async def test_whatever_is_given(items, inputs, most_tokens, request_bytes, budget, breaks):
    """Every text once and in order, also those before an error of the caller's own."""
    cost = CostModel(dimension=10)
    limits = Limits(inputs=inputs, tokens=most_tokens, request_bytes=request_bytes)
    source = Source(breaking(items) if breaks else items, Chunker(limits, None, cost, budget), 1.0)
    batches = await drained(source)
    placed = sorted(
        [(index, item.text) for batch in batches for index, item in batch.inputs.items()]
        + [(index, item.text) for batch in batches for index, item, _ in batch.refused]
    )
    assert placed == [(index, plain(item)) for index, item in enumerate(items)]
    assert source.pulled == len(items)
    for batch in batches:
        texts = [item.text for item in batch.inputs.values()] + [item.text for _, item, _ in batch.refused]
        sizes = list(map(size_of, texts))
        assert 1 <= len(texts) <= inputs
        assert batch.request_bytes == sum(sizes) + JSON_OVERHEAD * len(texts)
        if len(texts) > 1:
            assert batch.request_bytes <= request_bytes
            assert cost.total(len(texts), batch.request_bytes, batch.text_memory) <= budget
            tokens = sum(size_of(item.text) // BYTES_PER_TOKEN + 1 for item in batch.inputs.values())
            assert most_tokens is None or tokens <= most_tokens


@pytest.mark.parametrize("count", [1, 2, 64, 200])
async def test_a_batch_is_as_full_as_it_may_be(count):
    """And no text is pulled that it has no room for."""
    pulled = []

    def texts():
        for number in range(1_000):
            pulled.append(number)
            yield "twelve bytes"

    source = Source(texts(), Chunker(Limits(inputs=count), None, CostModel(), 1 << 60, strict=True), 1.0)
    for batches in range(1, 4):
        assert len(await source.next_batch()) == count
        assert len(pulled) == source.pulled == batches * count


async def test_an_error_comes_after_the_texts_before_it():
    """However many of them were taken at once."""
    source = Source(breaking(["text"] * 20), Chunker(Limits(inputs=50), None, CostModel(), 1 << 60, strict=True), 1.0)
    assert list((await source.next_batch()).inputs) == list(range(20))
    with pytest.raises(BrokenError):
        await source.next_batch()


class Resuming:
    """An iterator that breaks the rules: after its end there is more."""

    def __init__(self) -> None:
        self.asked = 0

    def __iter__(self):
        return self

    def __next__(self) -> str:
        self.asked += 1
        if self.asked == 4:
            raise StopIteration
        return f"text {self.asked}"


async def test_the_end_of_the_texts_is_the_end():
    """Nobody asks for more, as no `for` loop would."""
    texts = Resuming()
    source = Source(texts, Chunker(Limits(inputs=50), None, CostModel(), 1 << 60, strict=True), 1.0)
    assert len(await source.next_batch()) == 3
    assert await source.next_batch() is None
    assert texts.asked == 4
