"""Broken, hostile and strange responses: no wrong vector, no foreign exception, no unbounded memory."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncembed import EmbedOptions, ResponseError
from asyncembed._parser import ResponseParser, VectorDecoder
from asyncembed.providers import Cohere, CohereV1, OpenAI

OPTIONS = EmbedOptions(model="m")
V1, V2, OPENAI = (provider.layout(OPTIONS, "float") for provider in (CohereV1(), Cohere(), OpenAI()))
ROWS = [[0.25, -2.5, 10], [0.5, 1, 12.75], [3, 0, 1.5]]
ITEMS = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(ROWS)]
RESPONSES = {
    "v1": (
        V1,
        {"id": "0", "texts": ["[1,é", '"]'], "embeddings": ROWS, "meta": {"billed_units": {"input_tokens": 12}}},
    ),
    "v2": (V2, {"embeddings": {"int8": [[1]], "float": ROWS}, "texts": ["日本", "\n"]}),
    "openai": (OPENAI, {"usage": {"total_tokens": 12}, "data": ITEMS, "model": "m"}),
    "base64": (OPENAI, {"data": [{"embedding": "AACAPwAAIMAAAAAA", "index": index} for index in (10, 12)]}),
}


def new_parser(layout, limit: int = 10_000) -> ResponseParser:
    return ResponseParser(layout, VectorDecoder("float32").decode, limit)


def values(vectors) -> list[tuple[int, list[float]]]:
    return [(position, vector.tolist()) for position, vector in vectors]


def body(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()


@pytest.mark.parametrize("name", RESPONSES)
@pytest.mark.parametrize("size", [1, 16, 10_000])
def test_cut_off_anywhere_gives_a_correct_prefix_and_an_error(name, size):
    """A response that breaks after k vectors gives those k, and never says that it was whole."""
    layout, document = RESPONSES[name]
    data = body(document)
    parser = new_parser(layout)
    whole = values(parser.feed(data) + parser.close())
    assert len(whole) >= 2
    for length in range(len(data)):
        parser, got = new_parser(layout), []
        for start in range(0, length, size):
            got += parser.feed(data[start : min(start + size, length)])
        assert values(got) == whole[: len(got)]
        with pytest.raises(ResponseError, match="cut off"):
            parser.close()
        assert not parser.faults


@settings(max_examples=300)
@given(
    st.sampled_from(sorted(RESPONSES)),
    st.lists(
        st.tuples(
            st.integers(0, 300),
            st.binary(max_size=3) | st.sampled_from([b"[", b"]", b'"', b"e3", b"\x0b", b",", b"[]", b"{}"]),
            st.integers(0, 2),
        ),
        min_size=1,
        max_size=3,
    ),
    st.integers(1, 60),
)
def test_only_our_errors_come_out_of_damaged_responses(name, damages, size):
    """And only sound vectors, of one dimension, whatever bytes are put in, replaced or taken out."""
    layout, document = RESPONSES[name]
    data = body(document)
    for at, noise, gone in damages:
        data = data[:at] + noise + data[at + gone :]
    parser, got = new_parser(layout), []
    with contextlib.suppress(ResponseError):
        for start in range(0, len(data), size):
            got += parser.feed(data[start : start + size])
        got += parser.close()
    assert len({len(vector) for _, vector in got}) <= 1
    assert all(vector.dtype == np.float32 and np.isfinite(vector).all() for _, vector in got)
    assert all(type(position) is int for position, _ in got)
    assert len(got) + len(parser.faults) == parser.count


@pytest.mark.parametrize("garbage", [b"]}} garbage", b"<html>", b"]}{", b'"', b"]]]"])
def test_vectors_before_garbage_in_the_same_chunk_are_kept(garbage):
    """The error is raised by the next call, and by every call after that."""
    parser = new_parser(V1)
    assert values(parser.feed(b'{"embeddings":[[1,2],[3,4]' + garbage)) == [(0, [1, 2]), (1, [3, 4])]
    for _ in range(2):
        with pytest.raises(ResponseError):
            parser.close()


def test_vectors_before_a_refused_value_in_the_same_chunk_are_kept():
    """As before garbage; `feed` says so."""
    parser = new_parser(V1)
    assert values(parser.feed(b'{"embeddings":[[1,2],[3,4]' + b',{"a":' * 80)) == [(0, [1, 2]), (1, [3, 4])]
    with pytest.raises(ResponseError):
        parser.close()


BAD_VECTORS = [
    "null", "true", "7", '"no base64!"', '""', "[]", "{}", '{"a":[1,2]}', "[[1,2]]", "[[[1,2]]]", "[null,1]",
    "[1,null]", "[1,true]", "[true,1]", '["1","2"]', '[1,"2"]', "[1,NaN]", "[1,-Infinity]", "[1e400,1]", "[1e39,1]",
    "[1]", "[1,2,3]", "[1,,2]", "[1 2]", "[1,2,]", "[01,2]", "[1.,2]", "[-,2]", "[1,{}]", "[1,[]]", "[0x1,2]", '"AAAA"',
    '"AADAfwAAgD8="',
]  # fmt: skip


@pytest.mark.parametrize("size", [1, 5, 1_000])
@pytest.mark.parametrize("bad", BAD_VECTORS)
def test_a_bad_vector_harms_no_other(bad, size):
    """It is left out and noted; the ones around it keep their places."""
    parser = new_parser(V1)
    data = b'{"embeddings":[[1,2],' + bad.encode() + b",[3,4]]}"
    got = [vector for start in range(0, len(data), size) for vector in parser.feed(data[start : start + size])]
    assert values(got + parser.close()) == [(0, [1, 2]), (2, [3, 4])]
    assert parser.count == 3
    assert len(parser.faults) == 1
    assert parser.faults[0].startswith("a vector")


@pytest.mark.parametrize("bad", BAD_VECTORS)
def test_a_bad_item_harms_no_other(bad):
    """The same inside items with an index."""
    parser = new_parser(OPENAI)
    items = ('{"index":1,"embedding":[1,2]}', f'{{"index":5,"embedding":{bad}}}', '{"embedding":[3,4],"index":0}')
    got = parser.feed(f'{{"data":[{",".join(items)}]}}'.encode())
    assert values(got + parser.close()) == [(1, [1, 2]), (0, [3, 4])]
    assert (parser.count, len(parser.faults)) == (3, 1)


@pytest.mark.parametrize(
    "item", ["null", "7", "{}", "[1,2]", "[]", "[[1,2]]", '"x"', "true", '{"index":0}', '{"embeddings":[1,2]}']
)
def test_an_item_without_a_vector_counts(item):
    """It stands in somebody's place."""
    parser = new_parser(OPENAI)
    got = parser.feed(f'{{"data":[{item},{{"index":1,"embedding":[3,4]}}]}}'.encode()) + parser.close()
    assert (values(got), parser.count, len(parser.faults)) == ([(1, [3, 4])], 2, 1)


@pytest.mark.parametrize("index", ['"0"', "0.0", "true", "1e2", '""', "false"])
def test_an_index_that_is_no_whole_number_is_a_fault(index):
    """It is not guessed at."""
    parser = new_parser(OPENAI)
    assert parser.feed(f'{{"data":[{{"embedding":[1,2],"index":{index}}}]}}'.encode()) + parser.close() == []
    assert "instead of an integer" in parser.faults[0]


def test_an_index_belongs_to_its_own_item():
    """One that is missing is not taken from the item before, nor from the order where others have one."""
    parser = new_parser(OPENAI)
    got = parser.feed(b'{"data":[{"index":5},{"embedding":[1,2]},{"embedding":[3,4],"index":0}]}')
    assert values(got) == [(0, [3, 4])]
    assert "an item has no index, although others have one" in parser.faults
    assert not parser.by_order


def test_an_index_that_contradicts_the_order_before_it_ends_the_response():
    parser = new_parser(OPENAI)
    got = parser.feed(b'{"data":[{"embedding":[1,2]},{"embedding":[3,4],"index":1},{"embedding":[5,6],"index":0}]}')
    assert values(got) == [(0, [1, 2]), (1, [3, 4])]
    with pytest.raises(ResponseError, match="contradicts the order") as caught:
        parser.close()
    assert not caught.value.retryable


@pytest.mark.parametrize("index", ["[1]", "{}", "[]", '["a"]', '{"a":1}'])
def test_an_index_that_is_a_container_is_none(index):
    parser = new_parser(OPENAI)
    assert parser.feed(f'{{"data":[{{"index":{index},"embedding":[1,2]}}]}}'.encode()) + parser.close() == []
    assert "instead of an integer" in parser.faults[0]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ('{"error":{"message":"no such model","code":4}}', "no such model"),
        ('{"error":"Unexpected endpoint or method"}', "Unexpected endpoint or method"),
        ('{"message":"m"}', "m"),
        ('{"detail":"d"}', "d"),
        ('{"detail":[{"msg":"d"}]}', ""),
        ('{"error":{"message":7}}', ""),
        ("[]", ""),
        ('"text"', ""),
        ("11", ""),
    ],
)
def test_an_error_inside_a_200(document, message):
    """No vectors, and the provider's words if there are any."""
    parser = new_parser(OPENAI)
    assert parser.feed(document.encode()) + parser.close() == []
    assert (parser.message, parser.count, parser.tokens) == (message, 0, None)


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ('{"total_tokens":7,"prompt_tokens":6}', 7),
        ('{"prompt_tokens":6}', 6),
        ('{"prompt_tokens":6,"total_tokens":null}', 6),
        ('{"prompt_tokens":"6"}', None),
        ("null", None),
        ('[{"total_tokens":7}]', None),
    ],
)
def test_tokens(usage, tokens):
    """The first place that holds a number counts."""
    parser = new_parser(OPENAI)
    parser.feed(f'{{"data":[],"usage":{usage}}}'.encode())
    parser.close()
    assert parser.tokens == tokens


def test_tokens_may_be_written_as_a_float():
    """JSON has one kind of number."""
    parser = new_parser(V1)
    parser.feed(b'{"embeddings":[],"meta":{"billed_units":{"input_tokens":12.0}}}')
    assert parser.tokens == 12


@pytest.mark.parametrize("space", [b"\x0b", b"\x0c", b" \x0b "])
def test_an_array_of_other_white_space_is_no_place_of_a_cut_one(space):
    """yajl skips vertical tabs and form feeds, so `[\\v]` is an empty array that was not cut."""
    parser = new_parser(V1)
    parser.feed(b'{"embeddings":[[' + space + b"],[1,2]]}")
    assert len(parser.faults) == 1


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("size", [1, 1000])
def test_a_number_that_json_does_not_have_harms_no_other_vector(number, place, size):
    numbers = ["1", "2"]
    numbers[place] = number
    body = (
        f'{{"id":"x","embeddings":[[3,4],[{",".join(numbers)}],[5,6]],"meta":{{"billed_units":{{"input_tokens":7}}}}}}'
    )
    parser = new_parser(V1)
    found = [vector for at in range(0, len(body), size) for vector in parser.feed(body[at : at + size].encode())]
    found += parser.close()
    assert [(position, vector.tolist()) for position, vector in found] == [(0, [3, 4]), (2, [5, 6])]
    assert (parser.count, parser.tokens, len(parser.faults)) == (3, 7, 1)
