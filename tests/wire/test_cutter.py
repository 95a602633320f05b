"""The cutter: what it takes out is exactly what is missing from the structure, however the bytes are split."""

from __future__ import annotations

import json
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncembed import ResponseError
from asyncembed.wire._cutter import ValueCutter
from asyncembed.wire._text import LONGEST_INLINE, text_of

quick = settings(max_examples=150, deadline=None)

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


def cut(pieces: list[bytes]) -> tuple[bytes, list[bytes]]:
    cutter = ValueCutter()
    structure, values = b"", []
    for piece in pieces:
        more_structure, more_values = cutter.feed(piece)
        structure += more_structure
        values += map(bytes, more_values)
    return structure + cutter.close(), values


def put_back(structure: bytes, values: list[bytes]) -> object:
    """The document, with each empty array or string of the structure replaced by the next value that was cut."""
    slices = iter(values)

    def fill_list(items: list) -> list:
        return [fill(item) for item in items] if items else json.loads(next(slices))

    def fill(value: object) -> object:
        if isinstance(value, list):
            return fill_list(value)
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
    structure, values = cut(split(data, cuts))
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
    assert put_back(*whole) == json.loads(data)
    for size in range(1, len(data) + 1):
        assert cut(chunks(data, size)) == whole


@pytest.mark.parametrize("data", [b"[1,2]", b"[]", b"[ \t\r\n]", b"[-1e5]", b"[ 0 , 1 ]", b"[1,null]"])
def test_arrays_of_numbers_are_cut(data):
    """Empty ones too, so that every empty array in the structure stands for a cut one."""
    assert cut([data]) == (b"[]", [data])


@pytest.mark.parametrize("data", [b"[null,1]", b'["1"]', b"[{}]", b"[true]", b'[1,"]"]', b"[x]"])
def test_other_arrays_are_left_alone(data):
    """Their first item is no number, or they hold a string."""
    assert cut([data]) == (data, [])


@pytest.mark.parametrize("size", [0, LONGEST_INLINE + 1, 5_000])
@pytest.mark.parametrize("filling", [b"A", b"[", b"]"])
def test_long_strings_are_cut(size, filling):
    """As values and as keys; and empty ones, so that every empty string in the structure stands for a cut one."""
    string = b'"' + filling * size + b'"'
    for data, left in ((string, b'""'), (b"[%b]" % string, b'[""]'), (b"{%b:1}" % string, b'{"":1}')):
        for chunk in (1, 7, 10_000):
            assert cut(chunks(data, chunk)) == (left, [string])


@pytest.mark.parametrize("string", [b'"a"', rb'"\""', rb'"\\"', b'"' + b"x" * LONGEST_INLINE + b'"', rb'"\u0041"'])
def test_short_strings_are_left_in_the_structure(string):
    for chunk in (1, 2, 10_000):
        assert cut(chunks(b"[%b]" % string, chunk)) == (b"[%b]" % string, [])


def test_values_of_one_chunk_are_not_copied():
    data = b'{"a":[1,2],"b":"%b"}' % (b"x" * 100)
    values = ValueCutter().feed(data)[1]
    assert [(type(value), value.obj is data) for value in values] == [(memoryview, True)] * 2


@pytest.mark.parametrize(
    ("string", "text"),
    [(b'"a\\u00e9\\/"', "a\u00e9/"), ('"日"'.encode(), "日"), (b'"\x01"', "\x01"), (b'"\xff"', "\ufffd")],
)
def test_the_text_of_a_string(string, text):
    """Also of one that is no good JSON: it is only shown."""
    assert text_of(memoryview(string)) == text


@pytest.mark.parametrize("data", [b"[1, 2", b"[1, [2], [3", b"[ ", b'[1, "a'])
def test_an_open_array_comes_back_at_the_end(data):
    """So that the parser sees a response that was cut off as what it is."""
    structure, arrays = cut([data])
    with pytest.raises(json.JSONDecodeError):
        json.loads(structure)
    assert structure.count(b"[") == data.count(b"[")
    assert b"".join(arrays) in data


@pytest.mark.parametrize("data", [b'{"a":"' + b"x" * 99, b'["' + b"\\" * 99, b'{"a'])
def test_an_open_string_begins_again_at_the_end(data):
    """So that the parser sees it; not all of it, as it may be long."""
    structure, values = cut([data])
    assert (structure, values) == (data[: data.rindex(b'"', 0, 8) + 1], [])


@pytest.mark.parametrize("start", [b'{"text":"', b'{"embeddings":[[1', b'{"embeddings":[[1,', b'{"text":"\\"'])
def test_a_value_over_several_chunks_is_limited(start):
    """A text or vector that never ends is refused, and little more than the limit is held until then."""
    cutter = ValueCutter(max_value_bytes=100_000)
    cutter.feed(start)
    tracemalloc.start()
    try:
        with pytest.raises(ResponseError, match="more than 100000 bytes"):  # noqa: PT012  # which one is not the point
            for _ in range(1_000):
                cutter.feed(b"1" * 10_000)
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()


def test_the_limit_is_for_each_value_alone():
    """Many values below the limit pass, and a value is counted from its own start."""
    cutter = ValueCutter(max_value_bytes=50)
    pair = [b'"' + b"x" * 40 + b'"', b"[" + b"1," * 20 + b"1]"]
    data = b"[" + b",".join(pair * 20) + b"]"
    values = [bytes(value) for piece in chunks(data, 7) for value in cutter.feed(piece)[1]]
    assert values == pair[1:] * 20


def test_white_space_cannot_fill_the_memory():
    """An open array whose first item never comes is limited like any other."""
    cutter = ValueCutter(max_value_bytes=1_000)
    cutter.feed(b"[")
    tracemalloc.start()
    try:
        for _ in range(50):
            cutter.feed(b" " * 10_000)
    except ResponseError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 100_000


def test_an_empty_chunk_changes_nothing():
    """In a string, in an array, and between."""
    for data in (b'{"a":"b', b"[1,", b"[", b"{"):
        cutter = ValueCutter()
        before = cutter.feed(data)
        assert cutter.feed(b"") == (b"", [])
        assert cut([data]) == (before[0] + cutter.close(), before[1])


@pytest.mark.parametrize("data", [b"[1," * 100_000, b'["a",' * 100_000, b"[1]" * 100_000, b'{"a":' * 100_000])
def test_many_brackets_cost_no_more_than_as_many_bytes(data):
    """Each chunk is looked at a few times, and not once for each bracket in it."""
    calls = 0

    class Counting(bytes):
        def find(self, *given):
            nonlocal calls
            found = super().find(*given)
            start, end = given[1], given[2] if len(given) > 2 else len(self)
            calls += (found if found >= 0 else min(end, len(self))) - start
            return found

    ValueCutter().feed(Counting(data))
    assert calls < 10 * len(data)
