"""Items of a response: whatever their form, and however they are split, each vector comes with its own position."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncembed import Layout, ResponseError
from asyncembed._parser import ResponseParser
from asyncembed.providers import OpenAI

LAYOUT = OpenAI().layout(None, "base64")  # type: ignore[arg-type]  # it does not ask for the options
LONG, OTHER = "A" * 80, "B" * 80

values = st.sampled_from([LONG, OTHER, "short", "", [1.5, 2], [], [[1]], None, {"a": LONG}, {}, 7, True])
fields = {
    "index": st.integers(-1, 300) | st.sampled_from([None, "3", 1.5, False, LONG]),
    "embedding": values,
    "object": st.sampled_from(["embedding", "", LONG, "3", "33"]),
    "more": st.sampled_from([{"index": 5, "embedding": LONG}, [LONG], [{"embedding": [1]}], 0, 12, -3, None]),
    LONG: st.just(1),
}


@st.composite
def responses(draw: st.DrawFn) -> list[object]:
    """A list in which items often have the shape of the one before, with all things that can differ."""
    items: list[object] = []
    shape = draw(st.fixed_dictionaries({}, optional=fields))
    for number in range(draw(st.integers(0, 14))):
        change = draw(st.sampled_from(["nothing"] * 6 + ["a field", "everything", "no item"]))
        if change == "everything":
            shape = draw(st.fixed_dictionaries({}, optional=fields))
        item = {**shape, "index": number} if "index" in shape and draw(st.booleans()) else dict(shape)
        if change == "a field" and item:
            name = draw(st.sampled_from(sorted(item)))
            item[name] = draw(fields[name])
        # A list that begins with a number would be taken for a vector as a whole.
        items.append(draw(values.filter(lambda value: value != 7)) if change == "no item" else item)
    return items


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def expected(items: list[object]) -> list[tuple[object, object]]:
    """Position and vector of each item, straight from the document, up to a contradiction."""
    found, has_indices, by_order = [], False, False
    for place, item in enumerate(items):
        fields = item if isinstance(item, dict) else {}
        index, vector = fields.get("index"), fields.get("embedding")
        if isinstance(vector, dict) or (isinstance(vector, list) and any(isinstance(part, list) for part in vector)):
            vector = None
        has_indices = has_indices or index is not None
        by_order = by_order or not has_indices
        if by_order and type(index) is int and index != place:
            break
        found.append((index if has_indices else place, vector if isinstance(vector, str | list) else None))
    return found


def plain(value: object) -> object:
    return value if value is None or isinstance(value, str) else json.loads(bytes(value))


def read(pieces: list[bytes], layout: Layout = LAYOUT) -> list[tuple[int, object]]:
    parser = ResponseParser(layout, plain)
    found = [vector for piece in pieces for vector in parser.feed(piece)]
    return found + parser.close()


def whole(positions: list[tuple[object, object]]) -> list[tuple[object, object]]:
    return [(position, value) for position, value in positions if type(position) is int]


@settings(max_examples=400)
@given(responses(), st.lists(st.integers(0, 5_000), max_size=6), st.sampled_from([(",", ":"), (", ", ": ")]))
def test_any_items_in_any_split(items, cuts, separators):
    """Whatever differs from one to the next, and wherever a chunk ends."""
    data = json.dumps({"data": items, "usage": {"prompt_tokens": 3}}, separators=separators).encode()
    right = expected(items)
    found, *books = outcome(split(data, cuts), LAYOUT)
    assert found == whole(right)
    assert books[0] == ("an error" if len(right) < len(items) else len(items))


HEADS = (
    '{"index":%d,"embedding":',
    '{"n":%d,"index":0,"embedding":',
    '{"index":-%d,"embedding":',
    '{"index":1%d,"embedding":',
    '{"index":%d.0,"embedding":',
    '{"index":"%d","embedding":',
    '{"x":[%d],"embedding":',
    '{"index":%d,"t":"a\\"b","embedding":',
    '{"embedding":',
    '"embedding":',
    "[",
    '"a\\"b",',
    "",
)
TAILS = ("}", ',"index":%d}', ',"n":%d}', ',"index":null}', ',"t":"%d"}', "]", "", ',"a\\"b"')
BEGINNINGS = ('{"data":[', '{"data":[{', '{"data":{"item":[', '{"more":[', "[", '{"data":[],"more":[', '{"data":[[')


@st.composite
def alike(draw: st.DrawFn) -> bytes:
    """Vectors with the same bytes between them, or nearly, in places that the layout names and in others."""
    head, tail = draw(st.sampled_from(HEADS)), draw(st.sampled_from(TAILS))
    value = draw(st.sampled_from([f'"{LONG}"', "[1]"]))
    parts, number = [], draw(st.integers(0, 12))
    for _ in range(draw(st.integers(1, 12))):
        number += draw(st.sampled_from([1, 1, 1, 1, 1, 0, -1]))
        if draw(st.integers(0, 9)) == 0:
            head, tail = draw(st.sampled_from(HEADS)), draw(st.sampled_from(TAILS))
        parts.append("".join(part % number if "%d" in part else part for part in (head, value, tail)))
    begin = draw(st.sampled_from(BEGINNINGS))
    end = draw(st.sampled_from(["]}", "}]}", '],"data":[' + ",".join(parts) + "]}", "]", "]]}", ""]))
    return (begin + ",".join(parts) + end).encode()


def outcome(pieces: list[bytes], layout: Layout) -> object:
    """What a parser gives, up to the fault if there is one."""
    parser, found = ResponseParser(layout, plain), []
    try:
        for piece in pieces:
            found += parser.feed(piece)
        found += parser.close()
    except ResponseError:
        return found, "an error", parser.count
    return found, parser.count, parser.by_order, parser.tokens


BARE = Layout(vectors=frozenset({"data.item"}))
DEEP = Layout(vectors=frozenset({"data.item.item", "more.item"}), one_list=True)


@settings(max_examples=600)
@given(alike(), st.lists(st.integers(0, 2_000), max_size=4), st.sampled_from([LAYOUT, BARE, DEEP]))
def test_a_split_changes_nothing(data, cuts, layout):
    """Up to the fault, if there is one."""
    assert outcome(split(data, cuts), layout) == outcome([data], layout)


ORDERS = {
    "index first": '{"index":%d,"embedding":%s}',
    "vector first": '{"embedding":%s,"index":%d}',
    "no index": '{"embedding":%s}',
    "bare list": "%s",
}
VALUES = {"strings": LONG, "numbers": [1.5, -2]}


def document(order: str, value: object, count: int) -> tuple[bytes, Layout]:
    text = ORDERS[order].replace("%s", json.dumps(value))
    items = [text % number if "%" in text else text for number in range(count)]
    return ('{"data":[' + ",".join(items) + "]}").encode(), BARE if order == "bare list" else LAYOUT


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("order", ORDERS)
def test_what_has_come_is_given_wherever_a_response_breaks(order, value):
    """A vector is given when its item has ended, or its array where there is no item, and waits for nothing more."""
    data, layout = document(order, value, 8)
    last = b"}" if layout.item else json.dumps(value).encode()[-1:]
    text = json.dumps(value).encode()
    for cut in range(len(data)):
        parser = ResponseParser(layout, plain)
        given = [position for position, _ in parser.feed(data[:cut])]
        parser.discard()
        start, whole = 0, 0
        while (found := data.find(text, start)) >= 0 and (end := data.find(last, found + len(text) - 1) + 1) <= cut:
            start, whole = end, whole + 1
        assert given == list(range(whole))


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("order", ORDERS)
def test_two_cuts_anywhere(order, value):
    """The second one maybe in the same value."""
    data, layout = document(order, value, 6)
    start = data.index(b'"data"')
    for first in range(start, len(data)):
        for second in (first + 1, first + 2, first + 50, first + 100):
            pieces = [data[:first], data[first:second], data[second:]]
            assert read(pieces, layout) == [(number, value) for number in range(6)]


@pytest.mark.parametrize(
    "odd",
    [
        '"' + "B" * 30 + '"},{"index":7,"embedding":"' + "B" * 25 + '"',  # as long as one, but two
        '"' + "B" * 79 + '\\""',
        '"' + "B" * 78 + '\\\\"',
        '"' + "B" * 40 + '\\"' + "B" * 38 + '"',
        '"' + "B" * 81 + '"',
        '"' + "B" * 62 + '"',
        '""',
        "[1]",
        "null",
        '"' + "B" * 80 + '","embedding":"' + "C" * 80 + '"',
    ],
)
@pytest.mark.parametrize("size", [100_000, 150, 97, 31])
def test_an_odd_value_among_strings_of_one_length(odd, size):
    items = [f'{{"index":{number},"embedding":"{LONG}"}}' for number in range(6)]
    items += [f'{{"index":6,"embedding":{odd}}}']
    items += [f'{{"index":{number},"embedding":"{LONG}"}}' for number in range(8, 14)]
    data = ('{"data":[' + ",".join(items) + "]}").encode()
    right = expected(json.loads(data, object_pairs_hook=dict)["data"])
    assert read([data[start : start + size] for start in range(0, len(data), size)]) == right


def test_many_vectors_of_one_item_are_one_vector():
    vectors = ",".join(f'"embedding":"{LONG}"' for _ in range(8))
    assert read([f'{{"data":[{{"index":3,{vectors}}}]}}'.encode()]) == [(3, LONG)]


@pytest.mark.parametrize(
    ("item", "positions"),
    [
        ('{"n":%d,"index":0,"embedding":"V"}', [0] * 8),
        ('{"index":-%d,"embedding":"V"}', [-number for number in range(8)]),
        ('{"index":1%d,"embedding":"V"}', [10 + number for number in range(8)]),
        ('{"index":0,"embedding":"V","n":%d}', [0] * 8),
        ('{"n":%d,"embedding":"V"}', list(range(8))),
    ],
)
def test_another_number_is_not_taken_for_the_index(item, positions):
    text = ",".join(item.replace("V", LONG) % number for number in range(8))
    assert [position for position, _ in read([f'{{"data":[{text}]}}'.encode()])] == positions


def test_a_text_is_not_taken_for_the_vector():
    """The vector is short and stays in the structure, and something else of the item is cut out of it."""
    items = [{"index": number, "embedding": "AAAA", "text": LONG} for number in range(6)]
    parser = ResponseParser(LAYOUT, plain)
    assert parser.feed(json.dumps({"data": items}).encode()) == [(number, "AAAA") for number in range(6)]
    parser.close()


def test_a_chunk_without_bytes_changes_nothing():
    """Also between a backslash and what it escapes, in a value that is open."""
    items = [f'{{"index":{number},"embedding":"{LONG}"}}' for number in range(6)]
    items += ['{"index":6,"embedding":"' + "B" * 70 + '\\"' + "},{" + '"}', f'{{"index":7,"embedding":"{LONG}"}}']
    data = ('{"data":[' + ",".join(items) + "]}").encode()
    right = read([data])
    for cut in range(len(data)):
        assert read([data[:cut], b"", data[cut:]]) == right


@pytest.mark.parametrize("text", [b'"', b'"{-1}z"', b'"{-1}z",""{-1}z"'])
def test_empty_strings_do_not_repeat(text):
    """They are cut out, too, but nothing is skipped for them."""
    data = b'{"data":["","","","","","","' + text + b"]}"
    pieces = [data[place : place + 1] for place in range(len(data))]
    assert outcome([data], BARE) == outcome(pieces, BARE)


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_an_index_that_is_too_large_is_refused_among_many(value):
    """As it is when it stands alone."""
    text = ORDERS["index first"].replace("%s", json.dumps(value))
    items = [text % number for number in (*range(8), 10**18, 10**19, 5)]
    data = ('{"data":[' + ",".join(items) + "]}").encode()
    found = outcome([data], LAYOUT)
    assert found == outcome([data[place : place + 1] for place in range(len(data))], LAYOUT)
    assert found[1] == "an error"
