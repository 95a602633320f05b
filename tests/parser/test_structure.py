"""ijson without I/O: the same events as from the whole document, errors as ours, nothing lost before an error."""

from __future__ import annotations

import contextlib
import io

import ijson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.backends import ijson_with

from asyncembed import ResponseError
from asyncembed._parser import structure as _events
from asyncembed._parser.structure import EventReader

DOCUMENTS = [
    b'{"id":"x","texts":["a\\u00e9\\ud83d\\ude00","b\\n[1]"],"embeddings":[[],[]],"meta":{"n":2,"f":0.5,"t":true,"z":null}}',
    '{\n  "data": [\n    {"index": 0, "embedding": "é日\U0001f600"}\n  ]\n}\n'.encode(),
    b"[]",
    b"17",
    b' "alone" ',
]
NOT_JSON = [b"", b"{", b'{"a":1} x', b'{"a":1}{"b":2}', b"{'a':1}", b'{"a":tru}', b"<html>", b'{"a":"b', b'{"a":1e999}']


@pytest.fixture(params=["yajl2_c", "python"])
def backend(request, monkeypatch):
    """Each parser that ijson may find at the user's."""
    monkeypatch.setattr(_events, "ijson", ijson_with(request.param))
    return request.param


def read(data: bytes, size: int) -> list[_events.Event]:
    reader = EventReader()
    events = [event for start in range(0, len(data), size) for event in reader.feed(data[start : start + size])]
    return events + reader.close()


@pytest.mark.parametrize("data", DOCUMENTS)
def test_every_chunk_size_gives_the_events_of_the_whole(data, backend):
    """Also inside an escape, a surrogate pair, a number and a multi-byte character."""
    expected = list(ijson.basic_parse(io.BytesIO(data), use_float=True))
    for size in range(1, len(data) + 1):
        assert read(data, size) == expected


@pytest.mark.parametrize("data", NOT_JSON)
@pytest.mark.parametrize("size", [1, 1_000])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # ijson's own, in its Python lexer
def test_what_is_not_json_is_our_error(data, size, backend):
    """And it stays so: a reader that failed once gives nothing more."""
    reader = EventReader()
    with pytest.raises(ResponseError, match="not JSON, or is cut off"):  # noqa: PT012
        for start in range(0, len(data), size):
            reader.feed(data[start : start + size])
        reader.close()
    with pytest.raises(ResponseError):
        reader.close()
    with pytest.raises(ResponseError):
        reader.feed(b"{}")


def test_events_before_garbage_in_the_same_chunk_are_given(backend):
    """The error waits for the next call."""
    reader = EventReader()
    events = reader.feed(b'{"a":1,"b":[2]} garbage')
    assert [value for event, value in events if event == "number"] == [1, 2]
    with pytest.raises(ResponseError):
        reader.close()


def test_no_bytes_give_no_events(backend):
    """An empty chunk is not the end of the document."""
    reader = EventReader()
    assert reader.feed(b"") == []
    assert reader.feed(b"[1") + reader.feed(b"") + reader.feed(b"2]") + reader.close() == [
        ("start_array", None),
        ("number", 12),
        ("end_array", None),
    ]


def test_the_message_holds_no_piece_of_the_document():
    """The C parser's message shows an excerpt on further lines; it could be a user's text."""
    reader = EventReader()
    reader.feed(b'{"text":"confidential" confidential')
    with pytest.raises(ResponseError) as caught:
        reader.close()
    assert "confidential" not in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=150)
@given(
    st.sampled_from(DOCUMENTS),
    st.integers(0, 200),
    st.binary(max_size=4),
    st.data(),
)
def test_only_our_errors_come_out(document, at, noise, data):
    """Whatever bytes are put into a document, wherever."""
    mutated = document[:at] + noise + document[at + data.draw(st.integers(0, 3)) :]
    with contextlib.suppress(ResponseError):
        read(mutated, data.draw(st.integers(1, 40)))


@pytest.mark.parametrize(
    ("name", "data"),
    [("yajl2_c", b'{"a":1,"b":"\xed\xa0\x80"}'), ("python", b'{"a":1,"b":"\\x"}'), ("python", b'{"a":1,"b":"\n"}')],
)
def test_a_string_that_is_no_text_is_our_error(name, data, monkeypatch):
    """A surrogate encoded as UTF-8, an unknown escape, a control character; what came before is kept."""
    monkeypatch.setattr(_events, "ijson", ijson_with(name))
    reader = EventReader()
    assert ("number", 1) in reader.feed(data[:8]) + reader.feed(data[8:])
    with pytest.raises(ResponseError):
        reader.close()
