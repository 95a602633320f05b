"""Items that repeat each other take short cuts; they must come out as if each had been looked at in full."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncembed.providers import OpenAI
from asyncembed.wire import _cutter
from asyncembed.wire._cutter import ValueCutter
from asyncembed.wire._gap import Gap
from asyncembed.wire._items import ItemReader
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
    """Position and vector of each item, straight from the document."""
    found = []
    for place, item in enumerate(items):
        fields = item if isinstance(item, dict) else {}
        index, vector = fields.get("index"), fields.get("embedding")
        if isinstance(vector, dict) or (isinstance(vector, list) and any(isinstance(part, list) for part in vector)):
            vector = None
        found.append((place if index is None else index, vector if isinstance(vector, str | list) else None))
    return found


def plain(value: object) -> object:
    return value if value is None or isinstance(value, str) else json.loads(bytes(value))


@settings(max_examples=400, deadline=None)
@given(responses(), st.lists(st.integers(0, 5_000), max_size=6), st.sampled_from([(",", ":"), (", ", ": ")]))
def test_any_items_in_any_split(items, cuts, separators):
    """Whatever differs from one to the next, and wherever a chunk ends."""
    data = json.dumps({"data": items, "usage": {"prompt_tokens": 3}}, separators=separators).encode()
    cutter, parser, found = ValueCutter(), ResponseParser(LAYOUT, plain), []
    reader = ItemReader(LAYOUT)
    for piece in split(data, cuts):
        structure, cut = cutter.feed(piece)
        found += [(position, plain(value)) for position, value in reader.read(parser._events.feed(structure), cut)]
    assert found == expected(items)
    assert reader.found == {"usage.prompt_tokens": 3}


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


def test_a_text_is_not_taken_for_the_vector():
    """The vector is short and stays in the structure, and something else of the item is cut out of it."""
    items = [{"index": number, "embedding": "AAAA", "text": LONG} for number in range(6)]
    parser = ResponseParser(LAYOUT, plain)
    assert parser.feed(json.dumps({"data": items}).encode()) == [(number, "AAAA") for number in range(6)]
    parser.close()
