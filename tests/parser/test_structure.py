"""Responses that are no JSON: an error of ours with each backend of ijson, and nothing lost before it."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.backends import BACKENDS, use_backend

from asyncembed import EmbedOptions, ResponseError
from asyncembed._parser import ResponseParser, VectorDecoder
from asyncembed.providers import CohereV1

LAYOUT = CohereV1().layout(EmbedOptions(model="m"), "float")
ONE = b'{"embeddings":[[1,2]],"meta":{"billed_units":{"input_tokens":3}}}'
DOCUMENTS = [
    b'{"id":"x","texts":["a\\u00e9\\ud83d\\ude00","b\\n[1]"],"embeddings":[[],[]],"meta":{"n":2,"f":0.5,"t":true,"z":null}}',
    '{\n  "data": [\n    {"index": 0, "embedding": "é日\U0001f600"}\n  ]\n}\n'.encode(),
    b"[]",
    b"17",
    b' "alone" ',
]
NOT_JSON = [b"", b"{", b'{"a":1} x', b'{"a":1}{"b":2}', b"{'a':1}", b'{"a":tru}', b"<html>", b'{"a":"b', b'{"a":1e999}']


@pytest.fixture(params=BACKENDS)
def backend(request, monkeypatch):
    """Each parser that ijson may find at the user's."""
    use_backend(monkeypatch, request.param)
    return request.param


def new_parser() -> ResponseParser:
    return ResponseParser(LAYOUT, VectorDecoder("float32").decode)


def read(data: bytes, size: int) -> list[tuple[int, list[float]]]:
    parser = new_parser()
    found = [vector for start in range(0, len(data), size) for vector in parser.feed(data[start : start + size])]
    return [(place, vector.tolist()) for place, vector in found + parser.close()]


@pytest.mark.parametrize("data", [*DOCUMENTS, ONE])
def test_every_chunk_size_gives_the_same(data, backend):
    """Also inside an escape, a surrogate pair, a number and a multi-byte character."""
    whole = read(data, len(data))
    assert whole == ([(0, [1, 2])] if data == ONE else [])
    for size in range(1, len(data)):
        assert read(data, size) == whole


@pytest.mark.parametrize("data", NOT_JSON)
@pytest.mark.parametrize("size", [1, 1_000])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # ijson's own, in its Python lexer
def test_what_is_not_json_is_our_error(data, size, backend):
    """And it stays so: a parser that failed once gives nothing more."""
    parser = new_parser()
    with pytest.raises(ResponseError, match="not JSON, or is cut off"):  # noqa: PT012
        for start in range(0, len(data), size):
            parser.feed(data[start : start + size])
        parser.close()
    with pytest.raises(ResponseError):
        parser.close()
    with pytest.raises(ResponseError):
        parser.feed(b"{}")


def test_a_vector_before_garbage_in_the_same_chunk_is_given(backend):
    """The error waits for the next call."""
    parser = new_parser()
    assert len(parser.feed(ONE + b" garbage")) == 1
    assert parser.tokens == 3
    with pytest.raises(ResponseError):
        parser.close()


def test_no_bytes_are_not_the_end(backend):
    """Wherever an empty chunk comes."""
    for cut in range(len(ONE)):
        parser = new_parser()
        found = [*parser.feed(ONE[:cut]), *parser.feed(b""), *parser.feed(ONE[cut:]), *parser.close()]
        assert [vector.tolist() for _, vector in found] == [[1, 2]]


def test_the_message_holds_no_piece_of_the_document():
    """The C parser's message shows an excerpt on further lines; it could be a user's text."""
    parser = new_parser()
    parser.feed(b'{"text":"confidential" confidential')
    with pytest.raises(ResponseError) as caught:
        parser.close()
    assert "confidential" not in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=150)
@given(st.sampled_from([*DOCUMENTS, ONE]), st.integers(0, 200), st.binary(max_size=4), st.data())
def test_only_our_errors_come_out(document, at, noise, data):
    """Whatever bytes are put into a document, wherever."""
    mutated = document[:at] + noise + document[at + data.draw(st.integers(0, 3)) :]
    with contextlib.suppress(ResponseError):
        read(mutated, data.draw(st.integers(1, 40)))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("yajl2_c", b'{"embeddings":[[1,2]],"b":"\xed\xa0\x80"}'),
        ("python", b'{"embeddings":[[1,2]],"b":"\\x"}'),
        ("python", b'{"embeddings":[[1,2]],"b":"\n"}'),
    ],
)
def test_a_string_that_is_no_text_is_our_error(name, data, monkeypatch):
    """A surrogate encoded as UTF-8, an unknown escape, a control character; what came before is kept."""
    use_backend(monkeypatch, name)
    parser = new_parser()
    assert len(parser.feed(data[:22]) + parser.feed(data[22:])) == 1
    with pytest.raises(ResponseError):
        parser.close()
