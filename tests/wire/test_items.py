"""Items that repeat each other take short cuts; they must come out as if each had been looked at in full."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncembed import ResponseError
from asyncembed.providers import OpenAI
from asyncembed.wire import _cutter
from asyncembed.wire._cutter import ValueCutter
from asyncembed.wire._gap import Gap, _before_string
from asyncembed.wire._items import ItemReader
from asyncembed.wire._layout import Layout
from asyncembed.wire._parser import ResponseParser

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


@settings(max_examples=400, deadline=None)
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


@settings(max_examples=600, deadline=None)
@given(alike(), st.lists(st.integers(0, 2_000), max_size=4), st.sampled_from([LAYOUT, BARE, DEEP]))
def test_vectors_that_are_skipped_to_come_out_as_if_they_had_been_parsed(data, cuts, layout):
    pieces = split(data, cuts)
    fast = outcome(pieces, layout)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ItemReader, "can_repeat", lambda self, number: False)
        slow = outcome(pieces, layout)
    assert fast == slow


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


@pytest.fixture
def repeated(monkeypatch) -> list[int]:
    """How many values were taken at a time without being parsed."""
    counts: list[int] = []
    repeat = ItemReader.repeat
    monkeypatch.setattr(
        ItemReader, "repeat", lambda self, numbers, values: counts.append(len(values)) or repeat(self, numbers, values)
    )
    return counts


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("order", ORDERS)
def test_items_that_repeat_are_not_parsed(order, value, repeated):
    """Of many items in one chunk, only the first few go through ijson."""
    data, layout = document(order, value, 100)
    assert read([data], layout) == [(number, value) for number in range(100)]
    assert sum(repeated) > 90
    repeated.clear()
    value = value * 100
    data, layout = document(order, value, 100)
    size = len(data) // 140  # most lie in two of them
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    assert read(pieces, layout) == [(number, value) for number in range(100)]
    assert sum(repeated) > 40, "the end of a chunk is no reason to parse"


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("earlier", ORDERS)
def test_what_an_earlier_response_has_taught(order, earlier, repeated):
    """It spares a few items, and does no harm if the next response has another form."""
    data, layout = document(earlier, LONG, 20)
    parser = ResponseParser(layout, plain)
    parser.feed(data)
    parser.close()
    repeated.clear()
    data, layout = document(order, LONG, 100)
    following = ResponseParser(layout, plain, gap=parser.gap)
    assert following.feed(data) + following.close() == [(number, LONG) for number in range(100)]
    assert sum(repeated) == 96 if order == earlier else sum(repeated) > 90


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("order", ORDERS)
def test_what_has_come_is_given_wherever_a_response_breaks(order, value, monkeypatch):
    """An item whose end has come, too, though the value of the next one is not whole."""
    data, layout = document(order, value, 8)
    given: list[list[object]] = []
    for _ in range(2):
        for cut in range(len(data)):
            parser = ResponseParser(layout, plain)
            given.append(parser.feed(data[:cut]))
            parser.discard()
        monkeypatch.setattr(ItemReader, "can_repeat", lambda self, number: False)
    assert given[: len(data)] == given[len(data) :]


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


@settings(max_examples=200, deadline=None)
@given(responses(), st.lists(st.integers(0, 5_000), max_size=4))
def test_gaps_that_are_recognised_change_nothing(items, cuts):
    """Structure and values are the same as where every gap is looked at in full."""
    pieces = split(json.dumps(items).encode(), cuts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_cutter, "Gap", NoGap)
        slow = cut_all(pieces)
    assert cut_all(pieces) == slow


class NoGap(Gap):
    def end(self, data: bytes, start: int) -> int:
        return 0


def cut_all(pieces: list[bytes]) -> tuple[bytes, list[bytes]]:
    cutter = ValueCutter()
    fed = [cutter.feed(piece) for piece in pieces]
    return b"".join(structure for structure, _ in fed), [bytes(value) for _, cut in fed for value in cut]


def test_a_gap_is_recognised_but_for_its_number():
    gap = Gap()
    for number in (b"8", b"9"):
        gap.learn(b'},{"v2":%b,"e":"' % number)
    for number in (b"0", b"10", b"123456789"):
        data = b'},{"v2":%b,"e":"AAA"}' % number
        assert data[gap.end(data, 0) :] == b'"AAA"}'
    for other in (b"", b"x", b"-1", b"1.5", b'"', b"1" * 30):
        assert gap.end(b'},{"v2":%b,"e":"AAA"}' % other, 0) == 0
    assert gap.end(b'},{"v3":1,"e":"AAA"}', 0) == 0


def test_gaps_that_differ_in_more_than_a_number_are_not_learned():
    gap = Gap()
    for text in (b"one", b"two", b"2", b"", b"3 "):
        gap.learn(b'},{"t":"%b","e":"' % text)
        assert gap.end(b'},{"t":"%b","e":"' % text, 0) == 0


def test_a_number_that_json_does_not_have_is_not_recognised():
    gap = Gap()
    for number in (b"8", b"9"):
        gap.learn(b',"i":%b,"e":"' % number)
    assert gap.end(b',"i":0,"e":"', 0)
    assert not gap.end(b',"i":07,"e":"', 0)


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


def test_what_is_not_the_same_after_all_is_not_tried_again(monkeypatch):
    """To look at all that follows for each string would take the square of the time."""
    tries = []
    repeat_strings = Gap.repeat_strings
    monkeypatch.setattr(
        Gap, "repeat_strings", lambda self, data, pos, size: tries.append(pos) or repeat_strings(self, data, pos, size)
    )
    strings = [f'"{LONG}"'] * 200 + ['"' + "B" * 40 + '\\"' + "B" * 38 + '"']
    data = ('{"data":[' + ",".join(strings) + "]}").encode()
    assert [position for position, _ in read([data], BARE)] == list(range(201))
    assert len(tries) == 1


def test_strings_of_many_lengths_are_not_taken_to_be_alike():
    """What finds the next of the same length would have to be made for each of them."""
    _before_string.cache_clear()
    strings = [f'"{LONG}{"B" * (number // 2)}"' for number in range(400)]
    data = ('{"data":[' + ",".join(strings) + "]}").encode()
    assert read([data], BARE) == [(number, LONG + "B" * (number // 2)) for number in range(400)]
    assert _before_string.cache_info().misses < 20


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_an_index_that_is_too_large_is_refused_among_many(value):
    """As it is when it stands alone."""
    text = ORDERS["index first"].replace("%s", json.dumps(value))
    items = [text % number for number in (*range(8), 10**18, 10**19, 5)]
    data = ('{"data":[' + ",".join(items) + "]}").encode()
    found = outcome([data], LAYOUT)
    assert found == outcome([data[place : place + 1] for place in range(len(data))], LAYOUT)
    assert found[1] == "an error"
