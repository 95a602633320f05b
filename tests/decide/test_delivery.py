"""Delivery: each text its own vector once, whatever a server sends and in however many attempts."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncembed import EmbedInput, EmbedOptions, ResponseError
from asyncembed._decide import Batch, ResultDelivery
from asyncembed._parser import ResponseParser, VectorDecoder
from asyncembed.providers import CohereV1, OpenAI

FIRST = 10
BY_ORDER = CohereV1().layout(EmbedOptions(model="m"), "float")
BY_INDEX = OpenAI().layout(EmbedOptions(model="m"), "float")


def new_delivery(count: int = 3) -> ResultDelivery:
    batch = Batch({FIRST + number: EmbedInput(str(number), id=-number) for number in range(count)})
    return ResultDelivery(batch, VectorDecoder("float32"))


def vector(number: float) -> np.ndarray:
    return np.array([number], np.float32)


def response(layout, text: str) -> tuple[ResponseParser, list]:
    parser = ResponseParser(layout, VectorDecoder("float32").decode)
    return parser, parser.feed(text.encode()) + parser.close()


def test_results_carry_all_of_their_input():
    """Index, text and id; the vector as it came."""
    delivery = new_delivery()
    assert delivery.missing == (10, 11, 12)
    assert delivery.begin_attempt() == ["0", "1", "2"]
    sent = vector(7)
    (result,) = delivery.accept([(1, sent)])
    assert (result.index, result.text, result.id) == (11, "1", -1)
    assert result.embedding is sent
    assert delivery.missing == (10, 12)
    delivery.check()


def test_only_what_is_missing_is_asked_for_again():
    """Positions count within the new attempt."""
    delivery = new_delivery(4)
    delivery.begin_attempt()
    delivery.accept([(0, vector(0)), (2, vector(2))])
    assert delivery.begin_attempt() == ["1", "3"]
    assert [(result.index, result.text) for result in delivery.accept([(1, vector(3)), (0, vector(1))])] == [
        (13, "3"),
        (11, "1"),
    ]
    assert delivery.missing == ()
    assert delivery.begin_attempt() == []


@pytest.mark.parametrize(
    ("positions", "kept", "message"),
    [
        ([0, 3], 1, "an extra vector for position 3 of 3"),
        ([-1], 0, "an extra vector for position -1 of 3"),
        ([10**30], 0, "an extra vector"),
        ([0, 1, 1], 2, "two vectors for position 1 of 3"),
        ([2, 2, 0], 1, "two vectors for position 2 of 3"),
        ([0, 1, 2, 0], 3, "two vectors for position 0 of 3"),
    ],
)
def test_a_position_twice_or_out_of_range_is_final(positions, kept, message):
    """What came before is kept, what comes after is not; asking again would not help."""
    delivery = new_delivery()
    delivery.begin_attempt()
    results = delivery.accept([(position, vector(position % 7)) for position in positions])
    assert len(results) == kept
    with pytest.raises(ResponseError, match=message) as caught:
        delivery.check()
    assert not caught.value.retryable
    assert caught.value.missing == caught.value.indices == delivery.missing
    assert "texts 10 to 12" in str(caught.value)


def test_a_position_of_the_last_attempt_is_out_of_range_in_this_one():
    """An attempt for two texts has positions 0 and 1."""
    delivery = new_delivery()
    delivery.begin_attempt()
    delivery.accept([(0, vector(0))])
    delivery.begin_attempt()
    assert delivery.accept([(2, vector(2))]) == []
    with pytest.raises(ResponseError, match="position 2 of 2"):
        delivery.check()


def test_a_whole_response_is_accepted():
    """By order or by index."""
    for layout, text in (
        (BY_ORDER, '{"embeddings":[[0],[1],[2]]}'),
        (BY_INDEX, '{"data":[{"index":2,"embedding":[2]},{"index":0,"embedding":[0]},{"index":1,"embedding":[1]}]}'),
    ):
        delivery = new_delivery()
        delivery.begin_attempt()
        parser, vectors = response(layout, text)
        results = delivery.accept(vectors)
        delivery.finish(parser, parser.message)
        assert {result.index - FIRST: result.embedding.item() for result in results} == {0: 0, 1: 1, 2: 2}


@pytest.mark.parametrize("embeddings", ["[[0]]", "[[0],[1]]", "[[0],null]", "[null]"])
def test_too_few_vectors_by_order_are_final(embeddings):
    """Nobody knows which text was left out."""
    delivery = new_delivery()
    delivery.begin_attempt()
    parser, vectors = response(BY_ORDER, f'{{"embeddings":{embeddings}}}')
    delivery.accept(vectors)
    delivery.check()
    with pytest.raises(ResponseError, match=r"it holds \d vectors? for 3 texts|cannot be matched") as caught:
        delivery.finish(parser, parser.message)
    assert not caught.value.retryable


@pytest.mark.parametrize("embeddings", ["[[0],[1],[2],null]", "[[0],[1],[2],[]]", "[null,[0],[1],[2]]"])
def test_too_many_places_by_order_are_final(embeddings):
    """Also where the surplus one is no vector."""
    delivery = new_delivery()
    delivery.begin_attempt()
    parser, vectors = response(BY_ORDER, f'{{"embeddings":{embeddings}}}')
    delivery.accept(vectors)
    with pytest.raises(ResponseError, match="cannot be matched") as caught:  # noqa: PT012
        delivery.check()
        delivery.finish(parser, parser.message)
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("layout", "text", "missing", "reason"),
    [
        (BY_ORDER, '{"embeddings":[[0],[null],[2]]}', (11,), "1 of 3 vectors did not arrive: a vector is"),
        (BY_ORDER, '{"embeddings":[[0],[1,2],[2]]}', (11,), "2 dimensions instead of 1"),
        (BY_ORDER, '{"embeddings":[]}', (10, 11, 12), "the response holds 0 vectors for 3 texts"),
        (BY_ORDER, '{"message":"busy"}', (10, 11, 12), "3 of 3 vectors did not arrive: busy"),
        (BY_INDEX, '{"data":[{"index":2,"embedding":[2]}]}', (10, 11), "2 of 3 .* holds 1 vectors for 3 texts"),
        (BY_INDEX, '{"error":"Unexpected endpoint"}', (10, 11, 12), "Unexpected endpoint"),
        (BY_INDEX, '{"data":[{"index":2}],"error":"e"}', (10, 11, 12), "a vector is null.*; e"),
        (BY_INDEX, "[]", (10, 11, 12), "holds 0 vectors"),
    ],
)
def test_missing_vectors_can_be_asked_for_again(layout, text, missing, reason):
    """Where it is known which ones they are; the reason is named."""
    delivery = new_delivery()
    delivery.begin_attempt()
    parser, vectors = response(layout, text)
    delivery.accept(vectors)
    delivery.check()
    with pytest.raises(ResponseError, match=reason) as caught:
        delivery.finish(parser, parser.message)
    assert caught.value.retryable
    assert caught.value.missing == delivery.missing == missing


def test_a_surplus_item_that_is_no_vector_harms_nobody_who_has_an_index():
    """Every text has its vector, and nothing is in doubt."""
    delivery = new_delivery(2)
    delivery.begin_attempt()
    text = '{"data":[{"index":0,"embedding":[0]},{"index":1,"embedding":[1]},{"index":2,"embedding":null}]}'
    parser, vectors = response(BY_INDEX, text)
    assert len(delivery.accept(vectors)) == 2
    delivery.finish(parser, parser.message)


def test_texts_that_were_refused_leave_gaps():
    """Positions count what was asked for."""
    batch = Batch({3: EmbedInput("a"), 7: EmbedInput("b")}, refused=[(5, EmbedInput(""), None)])
    delivery = ResultDelivery(batch, VectorDecoder("float32"))
    assert (delivery.missing, delivery.begin_attempt()) == ((3, 7), ["a", "b"])
    assert [(result.index, result.text) for result in delivery.accept([(1, vector(1)), (0, vector(0))])] == [
        (7, "b"),
        (3, "a"),
    ]


def test_giving_up_gives_back_what_is_missing():
    """Once."""
    delivery = new_delivery()
    delivery.begin_attempt()
    delivery.accept([(1, vector(1))])
    assert delivery.give_up() == [(10, EmbedInput("0", 0)), (12, EmbedInput("2", -2))]
    assert delivery.give_up() == []
    assert delivery.missing == ()


@settings(max_examples=200)
@given(st.integers(1, 12), st.integers(0, 2**32), st.booleans())
def test_each_text_gets_its_own_vector_once(count, seed, honest):
    """Over random attempts that break anywhere, shuffled or not; a dishonest server is found out or harmless."""
    draw = random.Random(seed)
    delivery = new_delivery(count)
    got: dict[int, float] = {}
    for _ in range(200):
        if not delivery.missing:
            break
        asked = delivery.begin_attempt()
        assert asked == [str(index - FIRST) for index in delivery.missing]
        positions = list(range(len(asked)))
        draw.shuffle(positions)
        answer = [(position, vector(float(asked[position]))) for position in positions[: draw.randint(0, len(asked))]]
        if not honest and draw.random() < 0.5:
            answer.append((draw.randint(-2, len(asked) + 1), vector(-1)))
        for result in delivery.accept(answer):
            assert result.index not in got
            got[result.index] = result.embedding.item()
        try:
            delivery.check()
        except ResponseError as error:
            assert not honest
            assert error.missing == delivery.missing  # noqa: PT017
            break
    given_up = {index for index, _ in delivery.give_up()}
    assert set(got) | given_up == set(range(FIRST, FIRST + count))
    assert not set(got) & given_up
    assert all(number in {index - FIRST, -1} for index, number in got.items())
    if honest:
        assert all(number == index - FIRST for index, number in got.items())
