"""The chunker: every text once, in order, and no batch beyond any limit unless a single text is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncembed import ConfigurationError, EmbedInput, InvalidInputError, Limits, TextLike
from asyncembed._decide import JSON_OVERHEAD, Batch, Chunker, CostModel, as_input

UNLIMITED = 1 << 60
BYTES_PER_TOKEN = 2


def chunked(texts: list[TextLike], chunker: Chunker) -> list[Batch]:
    batches, rest = [], iter(texts)
    while more := chunker.take(rest):
        batches += more
    return batches + chunker.flush()


def take_one(text: str, index: int = 0) -> list[Batch]:
    return Chunker(Limits(inputs=1), None, CostModel(), UNLIMITED, first=index, strict=True).take([text])


def sizes(batches: list[Batch]) -> list[int]:
    return [len(batch.inputs) for batch in batches]


def tokens(batch: Batch) -> int:
    return sum(len(item.text.encode()) // BYTES_PER_TOKEN + 1 for item in batch.inputs.values())


@settings(max_examples=200)
@given(
    texts=st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=40), max_size=40),
    inputs=st.integers(1, 12),
    chunk_size=st.none() | st.integers(1, 20),
    most_tokens=st.none() | st.integers(1, 60),
    request_bytes=st.integers(1, 200),
    budget=st.integers(1, 400_000),
    dimension=st.integers(1, 3_000),
)
def test_whatever_the_limits(texts, inputs, chunk_size, most_tokens, request_bytes, budget, dimension):
    """Every text once and in order; all limits kept by every batch of more than one text."""
    cost = CostModel(dimension=dimension)
    limits = Limits(inputs=inputs, tokens=most_tokens, request_bytes=request_bytes)
    batches = chunked(texts, Chunker(limits, chunk_size, cost, budget, first=7))
    placed = [(index, item.text) for batch in batches for index, item in batch.inputs.items()]
    assert placed == list(enumerate(texts, 7))
    for batch in batches:
        count = len(batch.inputs)
        assert 1 <= count <= min(inputs, chunk_size or inputs)
        assert batch.request_bytes == sum(len(item.text.encode()) + JSON_OVERHEAD for item in batch.inputs.values())
        if count > 1:
            assert batch.request_bytes <= request_bytes
            assert most_tokens is None or tokens(batch) <= most_tokens
            assert cost.total(count, batch.request_bytes, batch.text_memory) <= budget


@pytest.mark.parametrize(
    ("limits", "chunk_size", "expected"),
    [
        (Limits(inputs=4), None, [4, 4, 2]),
        (Limits(inputs=4), 3, [3, 3, 3, 1]),
        (Limits(inputs=4), 100, [4, 4, 2]),
        (Limits(inputs=100, tokens=12), None, [4, 4, 2]),  # 5 bytes are 3 tokens
        (Limits(inputs=100, tokens=1), None, [1] * 10),
        (Limits(inputs=100, request_bytes=5 * (5 + JSON_OVERHEAD)), None, [5, 5]),
        (Limits(inputs=100, request_bytes=1), None, [1] * 10),
    ],
)
def test_batches_are_as_full_as_the_limits_allow(limits, chunk_size, expected):
    """The narrowest limit decides."""
    assert sizes(chunked(["12345"] * 10, Chunker(limits, chunk_size, CostModel(), UNLIMITED))) == expected


def test_the_memory_budget_limits_a_batch():
    """What a batch may need fits into it; one text that does not goes alone."""
    cost = CostModel(dimension=1_000)
    budget = cost.total(3, 3 * (5 + JSON_OVERHEAD), 3 * (5 + JSON_OVERHEAD))
    assert sizes(chunked(["12345"] * 7, Chunker(Limits(inputs=100), None, cost, budget))) == [3, 3, 1]
    assert sizes(chunked(["12345"] * 2, Chunker(Limits(inputs=100), None, cost, 1))) == [1, 1]


def test_a_dimension_that_is_learned_counts_from_then_on():
    """The cost model is shared with the run."""
    cost = CostModel(dimension=1_000)
    chunker = Chunker(Limits(inputs=100), None, cost, cost.total(2, 100, 100))
    assert sizes(chunked(["12345"] * 4, chunker)) == [2, 2]
    cost.dimension = 10
    assert sizes(chunked(["12345"] * 4, chunker)) == [4]


def test_a_batch_is_given_with_the_text_that_completes_it():
    """Not with the one after it; `pending` says what is left."""
    chunker = Chunker(Limits(inputs=2), None, CostModel(), UNLIMITED)
    assert chunker.flush() == []
    assert (chunker.take(["a"]), chunker.pending) == ([], 1)
    (batch,) = chunker.take([EmbedInput("b", id=7)])
    assert batch == Batch({0: EmbedInput("a"), 1: EmbedInput("b", id=7)}, request_bytes=8, text_memory=8)
    assert (chunker.pending, chunker.flush()) == (0, [])


def test_one_text_may_complete_two_batches():
    """The one before it, which it does not fit into, and its own."""
    chunker = Chunker(Limits(inputs=1), None, CostModel(), UNLIMITED)
    assert sizes(chunker.take(["a"])) == [1]
    chunker = Chunker(Limits(inputs=2, request_bytes=20), 2, CostModel(), UNLIMITED)
    assert chunker.take(["a"]) == []
    assert [list(batch.inputs) for batch in chunker.take(["b" * 50]) + chunker.flush()] == [[0], [1]]


def test_refused_texts_count_but_are_not_sent():
    """They have a place in the batch, and memory for what they are."""
    chunker = Chunker(Limits(inputs=3), None, CostModel(), UNLIMITED)
    assert chunker.take(["a", ""]) == []
    assert chunker.pending == 2
    (batch,) = chunker.take(["b"])
    assert batch.inputs == {0: EmbedInput("a"), 2: EmbedInput("b")}
    assert [(index, item, type(error)) for index, item, error in batch.refused] == [
        (1, EmbedInput(""), InvalidInputError)
    ]
    assert (batch.request_bytes, batch.text_memory, len(batch)) == (11, 11, 3)
    (batch,) = chunker.take([""] * 5)
    assert (batch.inputs, len(batch)) == ({}, 3)


def test_a_strict_chunker_raises_for_a_text_that_no_api_takes():
    """After the texts before it were taken."""
    chunker = Chunker(Limits(inputs=5), None, CostModel(), UNLIMITED, strict=True)
    with pytest.raises(InvalidInputError, match=r"texts\[2\] is empty"):
        chunker.take(["a", "b", "", "c"])
    assert sizes(chunker.flush()) == [2]


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("a", EmbedInput("a")),
        ("", EmbedInput("")),
        (("id", "a"), EmbedInput("a", "id")),
        ((7, "a"), EmbedInput("a", 7)),
        (EmbedInput("a", 7), EmbedInput("a", 7)),
    ],
)
def test_forms_of_a_text(item, expected):
    """A str, an (id, str) pair or an EmbedInput."""
    assert as_input(item, 0) == expected


@pytest.mark.parametrize(
    ("item", "what"),
    [
        (b"a", r"bytes \(decode them first\)"),
        (7, "a int"),
        (None, "a NoneType"),
        (["id", "a"], "a list"),
        ((1.5, "a"), "a tuple of float, str"),
        (("a",), "a tuple of str"),
        (("a", "b", "c"), "a tuple of str, str, str"),
    ],
)
def test_other_forms_are_named_with_index_and_fix(item, what):
    """So that one wrong line among millions is found."""
    with pytest.raises(ConfigurationError, match=rf"^texts\[41\] is {what}; give a str, an \(id, str\) pair or an Emb"):
        as_input(item, 41)


@pytest.mark.parametrize("item", [("id", 5), ("id", b"a"), (7, None), EmbedInput(5)])
def test_a_pair_without_a_text_is_described_as_it_was_given(item):
    """Not as the EmbedInput that was made of it."""
    with pytest.raises(ConfigurationError, match=r"int|bytes|NoneType"):
        as_input(item, 41)


@pytest.mark.parametrize(("text", "size"), [("a", 1), ("é", 2), ("日本", 6), ("\U0001f600", 4), (" ", 1), ("\x00", 1)])
def test_size_of_a_text(text, size):
    """In UTF-8 bytes."""
    (batch,) = take_one(text)
    assert batch.request_bytes == size + JSON_OVERHEAD


def test_an_empty_text_is_refused_with_index_and_fix():
    """APIs refuse the whole request for it."""
    with pytest.raises(InvalidInputError, match=r"texts\[41\] is empty; leave it out or replace it") as caught:
        take_one("", index=41)
    assert caught.value.indices == (41,)
    assert caught.value.status is None


@pytest.mark.parametrize("text", ["ab\ud800", "ab\udfffé", "ab\ude00\ud83d"])
def test_half_a_surrogate_pair_is_refused_with_index_place_and_fix(text):
    """It cannot be sent; the fix that is named works."""
    with pytest.raises(
        InvalidInputError, match=r"texts\[41\] .* at character 2.*encode\('utf-8', 'replace'\)"
    ) as caught:
        take_one(text, index=41)
    assert caught.value.indices == (41,)
    assert take_one(text.encode("utf-8", "replace").decode())


@pytest.mark.parametrize(("text", "width"), [("a", 1), ("é", 1), ("и", 2), ("🙂", 4)])
def test_texts_are_reckoned_with_what_they_take_as_strings(text, width):
    """One character beyond ASCII makes all of them wider, and a string of them larger than its UTF-8."""
    text += "a" * 9_999
    chunker = Chunker(Limits(inputs=1), None, CostModel(), UNLIMITED)
    (batch,) = chunker.take([text])
    assert 0 <= batch.text_memory - 10_000 * width < 100
    assert batch.request_bytes == len(text.encode()) + JSON_OVERHEAD


def test_metadata_is_reckoned_with_what_it_holds():
    """In memory, as it is not sent."""
    plain, small, large = (
        Chunker(Limits(inputs=1), None, CostModel(), UNLIMITED).take([EmbedInput("a", 1, metadata)])[0]
        for metadata in (None, {"x": [1, {"y": None}], "n": 3}, {"x": ["y" * 10_000]})
    )
    assert plain.request_bytes == small.request_bytes == large.request_bytes
    assert small.text_memory > plain.text_memory + 100
    assert large.text_memory > plain.text_memory + 10_000
