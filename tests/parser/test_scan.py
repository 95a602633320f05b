"""The scanner: what it takes out is exactly what is missing from the structure, however the bytes are split."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncembed._parser import text_of
from asyncembed._parser.splitter import MAX_INLINE, scan

quick = settings(max_examples=150)

NASTY = '[]{}",:\\ 1-\n\té\u2028日\U0001f600'
texts = st.text(alphabet=NASTY, max_size=12) | st.text(max_size=8) | st.text(alphabet=NASTY, min_size=50, max_size=80)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=4), max_leaves=25
)
renderings = st.fixed_dictionaries({"indent": st.sampled_from([None, 2, 4]), "ensure_ascii": st.booleans()})


def render(document: object, rendering: dict) -> bytes:
    separators = (",", ":") if rendering["indent"] is None else None
    return json.dumps(document, **rendering, separators=separators).encode("utf-8", "surrogatepass")


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def chunks(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def cut(pieces: list[bytes]) -> tuple[bytes, list[bytes], bytes]:
    """Structure, values, and what has begun and not ended, of pieces that are scanned as they come."""
    structure, values, rest = b"", [], bytearray()
    for piece in pieces:
        searched = len(rest)
        rest += piece
        more_structure, more_values, end = scan(rest, searched)
        structure += more_structure
        values += map(bytes, more_values)
        rest = rest[end:]
    return structure, values, bytes(rest)


def put_back(structure: bytes, values: list[bytes]) -> object:
    """The document, with each empty string of the structure replaced by the next value that was taken out."""
    slices = iter(values)

    def fill(value: object) -> object:
        if isinstance(value, list):
            return [fill(item) for item in value]
        if isinstance(value, Pairs):
            return {fill(key): fill(item) for key, item in value.pairs}
        return json.loads(next(slices)) if value == "" else value

    document = fill(json.loads(structure, object_pairs_hook=Pairs))
    assert next(slices, None) is None, "more values were cut than places were left"
    return document


class Pairs:
    """An object whose keys may all be empty."""

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        self.pairs = pairs


@quick
@given(documents, renderings, st.lists(st.integers(0, 10_000), max_size=8))
def test_nothing_is_lost_or_moved_in_any_document(document, rendering, cuts):
    """Structure and cut arrays together are the document, for every split."""
    data = render(document, rendering)
    structure, values, rest = cut(split(data, cuts))
    assert not rest
    assert put_back(structure, values) == json.loads(data)
    for value in map(json.loads, values):
        if isinstance(value, list):
            assert not any(isinstance(item, str | list) for item in value)


@quick
@given(st.lists(st.sampled_from([bytes([byte]) for byte in b'[]{}",:1-\\ e.n']), max_size=40).map(b"".join))
def test_every_split_of_any_bytes_gives_the_same(data):
    """Also of bytes that are no JSON, so that ijson always judges the same structure."""
    whole = cut([data])
    for size in range(1, len(data) + 1):
        assert cut(chunks(data, size)) == whole


@pytest.mark.parametrize(
    "data",
    [
        rb'{"t":["[1,2]","\\","\"","\\\"[3]","\u005b1]"],"e":[[1,-2.5e-3],[3]]}',
        '{"t":["[1, \U0001f600", "é]", "日[本"], "e": [[1], [], [2]]}'.encode(),
        b'{"a":[],"b":[ ],"c":[\n],"d":[[]],"e":[{}],"f":[{"g":[]}]}',
        b'[1,[2,[3,"]"]],{"a":[4,{"b":[5]}]}]',
        b"[1,null,true,-0.0,1E-5,17]",
        b'{"a":[null,1],"b":[true],"c":[ false ],"d":["x",1],"e":[ null ]}',
        b'{"data":[{"embedding":[1,2],"index":0},{"index":1,"embedding":[3,4]}]}',
        b'{"data":[{"embedding":"%b","":""},{"%b":[1,{}]}]}' % (b"A" * 63, b"k" * 63),
        rb'{"t":["%b","%b"],"u":"\\"}' % (rb"\"" * 40, rb"\\" * 40),
    ],
)
def test_every_chunk_size_gives_the_same(data):
    """One byte at a time, two, ... and as a whole."""
    whole = cut([data])
    assert put_back(*whole[:2]) == json.loads(data)
    for size in range(1, len(data) + 1):
        assert cut(chunks(data, size)) == whole


@pytest.mark.parametrize("data", [b"[1,2]", b"[]", b"[ \t\r\n]", b"[-1e5]", b"[ 0 , 1 ]", b"[1,null]"])
def test_arrays_of_numbers_are_cut(data):
    """Empty ones too, so that there is no empty array in the structure."""
    assert cut([data]) == (b'""', [data], b"")


@pytest.mark.parametrize("data", [b"[null,1]", b'["1"]', b"[{}]", b"[true]", b'[1,"]"]', b"[x]"])
def test_other_arrays_are_left_alone(data):
    """Their first item is no number, or they hold a string."""
    assert cut([data]) == (data, [], b"")


@pytest.mark.parametrize("size", [0, MAX_INLINE + 1, 5_000])
@pytest.mark.parametrize("filling", [b"A", b"[", b"]"])
def test_long_strings_are_cut(size, filling):
    """As values and as keys; and empty ones, so that every empty string in the structure stands for a cut one."""
    string = b'"' + filling * size + b'"'
    for data, left in ((string, b'""'), (b"[%b]" % string, b'[""]'), (b"{%b:1}" % string, b'{"":1}')):
        for chunk in (1, 7, 10_000):
            assert cut(chunks(data, chunk)) == (left, [string], b"")


@pytest.mark.parametrize("string", [b'"a"', rb'"\""', rb'"\\"', b'"' + b"x" * MAX_INLINE + b'"', rb'"\u0041"'])
def test_short_strings_are_left_in_the_structure(string):
    for chunk in (1, 2, 10_000):
        assert cut(chunks(b"[%b]" % string, chunk)) == (b"[%b]" % string, [], b"")


def test_values_of_one_chunk_are_not_copied():
    data = b'{"a":[1,2],"b":"%b"}' % (b"x" * 100)
    values = scan(data)[1]
    assert [(type(value), value.obj is data) for value in values] == [(memoryview, True)] * 2


@pytest.mark.parametrize(
    ("string", "text"),
    [(b'"a\\u00e9\\/"', "a\u00e9/"), ('"日"'.encode(), "日"), (b'"\x01"', "\x01"), (b'"\xff"', "\ufffd")],
)
def test_the_text_of_a_string(string, text):
    """Also of one that is no good JSON: it is only shown."""
    assert text_of(memoryview(string)) == text


@pytest.mark.parametrize(
    ("data", "rest"),
    [
        (b"[1, 2", b"[1, 2"),
        (b"[1, [2], [3", b"[3"),
        (b"[ ", b"[ "),
        (b'[1, "a', b'"a'),
        (b'{"a":"' + b"x" * 99, b'"' + b"x" * 99),
        (b'["' + b"\\" * 99, b'"' + b"\\" * 99),
        (b'{"a', b'"a'),
        (b'{"a":1', b""),
    ],
)
def test_what_does_not_end_is_left(data, rest):
    """From its bracket or quote on, and nothing else."""
    assert cut([data])[2] == rest
    assert cut(chunks(data, 1))[2] == rest


def test_an_empty_piece_changes_nothing():
    """Wherever it comes, also between a backslash and what it escapes."""
    data = b'{"a":"b\\"","c":"%b\\"","d":[ 1,2 ],"e":[ ]}' % (b"x" * 70)
    for place in range(len(data)):
        assert cut([data[:place], b"", data[place:]]) == cut([data])


@pytest.mark.parametrize("blanks", [1, 63, 64, 65, 200])
@pytest.mark.parametrize(("item", "is_number"), [(b"1", True), (b"", True), (b"null", False), (b"{}", False)])
def test_the_first_item_decides_if_it_is_not_far_away(blanks, item, is_number):
    """An array that begins with more white space is taken out, and it is for the decoder to say what it is."""
    data = b"[" + b" " * blanks + item + b"]"
    structure, values, _ = cut([data])
    assert (structure, values) == ((b'""', [data]) if is_number or blanks > 64 else (data, []))
    assert cut(chunks(data, 1)) == cut([data])


class Counting(bytearray):
    """Counts the bytes that are searched in it."""

    searched = 0

    def find(self, *given):
        found = super().find(*given)
        start, end = given[1], given[2] if len(given) > 2 else len(self)
        self.searched += (found if found >= 0 else min(end, len(self))) - start
        return found


@pytest.mark.parametrize("data", [b"[1," * 100_000, b'["a",' * 100_000, b"[1]" * 100_000, b'{"a":' * 100_000])
def test_many_brackets_cost_no_more_than_as_many_bytes(data):
    """Each piece is looked at a few times, and not once for each bracket in it."""
    counting = Counting(data)
    scan(counting)
    assert counting.searched < 10 * len(data)


@pytest.mark.parametrize("start", [b"[1", b'["x', b"[ "])
def test_what_was_searched_is_not_searched_again(start):
    """A value that arrives byte by byte costs its length, and not the square of it."""
    counting = Counting(start)
    end = start.rfind(b'"')
    for _ in range(2_000):
        searched = len(counting)
        counting += b"1"
        if end < 0:
            assert scan(counting, searched)[2] == 0
        else:
            assert scan(Counting(counting[end:]), searched - end)[2] == 0
    assert counting.searched < 10 * 2_000
