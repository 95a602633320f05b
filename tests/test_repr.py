"""What a notebook, a debugger or a log shows of our values: short whatever they hold, and without a secret."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import asyncembed
from asyncembed import (
    EmbedClient,
    EmbedOptions,
    EmbedResponse,
    EmbedResult,
    MemoryMonitor,
    RunSummary,
    ServerError,
    StreamingEmbedResponse,
    Usage,
    testing,
)

LONG = 3_000
MAX_OTHER = 400
HUGE = [
    "x" * 10**6,
    b"x" * 10**6,
    ("word " * 100,) * 10**5,
    list(range(10**5)),
    {n: n for n in range(10**5)},
    set(range(10**5)),
    [[["x" * 100] * 100] * 100] * 100,
    10**100_000,
    np.zeros((10_000, 100), np.float32),
    ServerError("x" * 10**6),
]
VALUES = [
    kind
    for kind in (getattr(asyncembed, name) for name in asyncembed.__all__)
    if inspect.isclass(kind) and dataclasses.is_dataclass(kind)
]
OF_FAKE_SERVER = [
    testing.Answer,
    testing.Body,
    testing.Entry,
    testing.FakeServer,
    testing.Item,
    testing.Ledger,
    testing.Request,
    testing.faults.Poisoned,
    testing.faults.Refused,
]


class Unwilling:
    """Cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError


def filled(kind, value):
    """A value of this class whose fields all hold `value`, which its checks would not take."""
    made = object.__new__(kind)
    for field in dataclasses.fields(kind):
        object.__setattr__(made, field.name, value)
    return made


@pytest.mark.parametrize("value", HUGE, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("kind", VALUES + OF_FAKE_SERVER, ids=lambda kind: kind.__name__)
def test_a_value_is_shown_in_a_bounded_line(kind, value):
    """Whatever is in its fields; the name of the class comes first."""
    line = repr(filled(kind, value))
    assert line.startswith(f"{kind.__name__}(")
    assert len(line) <= 60 + len(dataclasses.fields(kind)) * (MAX_OTHER + 40)
    assert "\n" not in line


def test_a_response_of_many_texts_is_short():
    """It names the shape, and the beginnings of the first texts."""
    texts = ["something to embed " * 5] * 10_000
    line = repr(EmbedResponse(np.zeros((10_000, 384), np.float32), texts, [None] * 10_000, Usage(3), "model"))
    assert len(line) < 1_000
    assert "<float32 array of shape (10000, 384)>" in line
    assert "10,000 in all" in line


def test_a_result_shows_what_it_is_about():
    """Index, id, the beginning of its text, and no numbers."""
    line = repr(EmbedResult(7, np.full(1_536, 0.125, np.float32), "a text", "key-7"))
    assert (
        line
        == "EmbedResult(index=7, embedding=<float32 array of shape (1536,)>, text='a text', id='key-7', metadata=None, "
        "truncated=None)"
    )


def test_a_summary_shows_what_there_is_to_say():
    """The fields that hold something."""
    assert repr(RunSummary(done=3, usage=Usage(5))) == "RunSummary(done=3, usage=Usage(tokens=5, unreported_tokens=0))"


def test_an_error_is_shown_with_the_begin_of_its_message():
    """And `str` gives all of it."""
    assert repr(ServerError("down")) == "ServerError('down')"
    assert len(repr(ServerError("x" * 10**6))) < MAX_OTHER
    assert str(ServerError("x" * 10**6)) == "x" * 10**6


def test_no_secret_of_extra_is_shown():
    """It goes into the body as it is, and some servers want a key there."""
    extra = {"api_key": "sk-very-secret", "user": "me", "auth": {"token": "sk-very-secret"}}
    line = repr(EmbedOptions(model="m", extra=extra))
    assert "very-secret" not in line
    assert "'user': 'me'" in line


async def test_what_does_the_work_is_short_too():
    """Clients, streams, readers, monitors and parsers."""
    long = "m" * 10**6
    url = f"http://user:pass@127.0.0.1:1/{'p' * 10**5}?key=sk-very-secret"
    client = EmbedClient("openai", base_url=url, model=long)
    stream = client.embed_stream(["a"], model=long)
    reader = client.embed_binary_stream(["a"], model=long)
    parser = StreamingEmbedResponse(asyncio.StreamReader(), "openai")
    things = [client, stream, reader, reader.rechunk(3), MemoryMonitor(100), parser, client.provider]
    for thing in things:
        line = repr(thing)
        assert len(line) < LONG, line[:200]
        assert "very-secret" not in line
        assert "pass@" not in line
    assert "not started" in repr(stream)
    await client.aclose()


@given(
    st.recursive(
        st.text() | st.integers() | st.binary(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_anything_is_shown_in_a_bounded_line(value):
    """Also what is nested."""
    assert len(repr(filled(Usage, value))) <= 60 + 2 * MAX_OTHER


def test_what_cannot_be_shown_does_no_harm():
    """It is the caller's own."""
    assert "extra={'x': <Unwilling>}" in repr(EmbedOptions(model="m", extra={"x": Unwilling()}))
