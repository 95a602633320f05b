"""What a hostile server may cost: a response is refused before it fills the memory or blocks the event loop."""

from __future__ import annotations

import contextlib
import tracemalloc

import pytest

from asyncembed import EmbedOptions, ResponseError
from asyncembed._parser import ResponseParser, VectorDecoder
from asyncembed.providers import CohereV1

V1 = CohereV1().layout(EmbedOptions(model="m"), "float")


def fed(chunks, limit: int) -> tuple[int, str]:
    """Peak memory of a parser fed with `chunks`, and the error that ended it."""
    parser = ResponseParser(V1, VectorDecoder("float32").decode, limit)
    tracemalloc.start()
    try:
        for chunk in chunks:
            parser.feed(chunk)
    except ResponseError as error:
        return tracemalloc.get_traced_memory()[1], str(error)
    else:
        return tracemalloc.get_traced_memory()[1], ""
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("start", [b'{"texts":["', b'{"embeddings":[[1', b'{"embeddings":["', b'{"'])
def test_a_value_that_never_ends_is_refused(start):
    """Text, array, base64 and key."""
    peak, error = fed([start, *[b"1" * 65_536] * 100], limit=200_000)
    assert "more than 200000 bytes" in error
    assert peak < 2_000_000


@pytest.mark.parametrize("start", [b"[", b'{"a":'])
def test_deep_nesting_is_refused(start):
    """At the latest one chunk after the limit, so nothing is held but the events of that chunk."""
    peak, error = fed([start * (65_536 // len(start))] * 20, limit=200_000)
    assert "levels deep" in error
    assert peak < 8_000_000


def test_a_number_that_never_ends_is_refused():
    """Not only after the whole response was read, in time that grows with its square."""
    _, error = fed([b'{"meta":1', *[b"1" * 65_536] * 20], limit=200_000)
    assert error


def test_long_keys_do_not_multiply():
    """One key of 60 kB above 1,000 short ones needs no 60 MB."""
    peak, _ = fed([b'{"' + b"k" * 60_000 + b'":{', b'"a":1,' * 1_000], limit=200_000)
    assert peak < 5_000_000


def test_bad_vectors_do_not_pile_up():
    """Hundreds of thousands of empty vectors need no 100 bytes each to say so."""
    peak, _ = fed([b'{"embeddings":[', *[b"[]," * 1_000] * 30], limit=200_000)
    assert peak < 1_500_000


@pytest.mark.parametrize("end", [b',"no array of numbers"]}', b""])
def test_numbers_that_are_left_in_the_structure_do_not_pile_up(end):
    """ijson makes an event of each, which takes many times its bytes."""
    chunks = [b'{"x":[1', *[b",1" * 30_000] * 20, end]
    parser = ResponseParser(V1, VectorDecoder("float32").decode, 2_000_000)
    tracemalloc.start()
    try:
        for chunk in chunks:
            parser.feed(chunk)
        with contextlib.suppress(ResponseError):
            parser.close()
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("dimension", "fault", "words"), [(None, b"garbage", "not JSON"), (2, b"[1,2,3]", "3 dimensions instead of 2")]
)
def test_vectors_before_a_fault_are_given_however_much_comes_after_it(dimension, fault, words):
    """The rest of the chunk is long and no vector, and the fault is raised by the next call."""
    parser = ResponseParser(V1, VectorDecoder("float32", dimension).decode)
    data = b'{"embeddings":[[1,2],%b],"meta":{%b"z":0}}' % (fault, b'"a":1,' * 10_000)
    assert [position for position, _ in parser.feed(data)] == [0]
    with pytest.raises(ResponseError, match=words):
        parser.close()
