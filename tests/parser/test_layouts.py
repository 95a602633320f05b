"""Every response layout of the providers, in every split, with every parser: the vectors that `json.loads` gives."""

from __future__ import annotations

import base64
import json
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.backends import use_backend

from asyncembed import EmbedOptions
from asyncembed._parser import ResponseParser, VectorDecoder
from asyncembed.providers import Cohere, CohereV1, OpenAI

TEXTS = ['[1, 2], "embeddings": [[9', 'say "hi" \\" \\\\', "\U0001f600 é 日本\u2028", "", "]}", "\x00\t\u005b1]"]
ROWS = [[0.1, -2.5, 0.0, 1e-05], [-0.0, 0.30000000000000004, 17, 1.7976931348623157e-308], [1e30, -1e-45, 3, 4]]
INTEGERS = {"int8": [[-128, 0, 127]] * 2, "uint8": [[0, 128, 255]] * 2, "binary": [[-51, 21]], "ubinary": [[77, 149]]}
FLOAT = EmbedOptions(model="m")
USAGE = {"prompt_tokens": 6, "total_tokens": 7}
META = {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 7}, "warnings": ["[1]", []]}
V1, V2 = CohereV1().layout(FLOAT, "float"), Cohere().layout(FLOAT, "float")
V2_BASE64, OPENAI = Cohere().layout(FLOAT, "base64"), OpenAI().layout(FLOAT, "base64")


def in_base64(row: list[float]) -> str:
    return base64.b64encode(np.array(row, "<f4").tobytes()).decode()


def cohere(embeddings: object, **more: object) -> dict:
    return {"id": "0f", "texts": TEXTS, "embeddings": embeddings, "meta": META, "response_type": "x"} | more


def openai(rows: list, order: tuple[str, ...] = ("object", "index", "embedding"), at: list[int] | None = None) -> dict:
    values = [
        {"object": "embedding", "index": index, "embedding": row, "encoding_format": "[0]"}
        for row, index in zip(rows, at or range(len(rows)), strict=True)
    ]
    items = [{key: item[key] for key in order} for item in values]
    return {"object": "list", "data": items, "model": "m", "usage": USAGE}


def reordered(document: dict, *first: str) -> dict:
    return {key: document[key] for key in (*first, *(key for key in document if key not in first))}


CASES = {
    "v1 floats": (V1, cohere(ROWS)),
    "v1 floats, vectors last": (V1, reordered(cohere(ROWS), "meta", "response_type", "texts", "id")),
    "v1 by type all the same": (V1, cohere({"float": ROWS})),
    "v2": (V2, cohere({"float": ROWS})),
    "v2, texts after the vectors": (V2, reordered(cohere({"float": ROWS}), "id", "embeddings")),
    "v2, several types": (V2, cohere({"int8": [[1], [2], [3]], "base64": ["AA=="], "float": ROWS, "ubinary": [[]]})),
    "v2, image echo": (V2, cohere({"float": ROWS}, texts=[], images=[{"width": 400, "format": "jpeg"}])),
    "v2 base64": (V2_BASE64, cohere({"float": [[1], [2]], "base64": [in_base64(row) for row in ROWS]})),
    "openai floats": (OPENAI, openai(ROWS)),
    "openai base64": (OPENAI, openai([in_base64(row) for row in ROWS])),
    "openai mixed": (OPENAI, openai([ROWS[0], in_base64(ROWS[1]), ROWS[2]])),
    "openai, usage first": (OPENAI, reordered(openai(ROWS), "model", "object", "usage")),
    "openai without index": (OPENAI, openai(ROWS, ("object", "embedding"))),
    "openai, index null": (OPENAI, openai(ROWS, at=[None] * 3)),
    "openai, item order shuffled": (OPENAI, openai(ROWS, at=[2, 0, 1])),
    "llama.cpp": (OPENAI, reordered(openai(ROWS, ("embedding", "index", "object", "encoding_format")), "usage")),
    "openai, unknown nested fields": (
        OPENAI,
        {"x": [[], [1, [2]], {"embedding": [5]}], **openai(ROWS), "y": {"data": [{"embedding": [6]}]}},
    ),
}
STYLES = {
    "compact": {"separators": (",", ":"), "ensure_ascii": False},
    "escaped": {"separators": (", ", ": ")},
    "pretty": {"indent": 2, "ensure_ascii": False},
    "wide": {"indent": 4},
}


def expected(layout, data: bytes, dtype: str = "float32") -> list[tuple[int, np.ndarray]]:
    """The same vectors from the whole document, by other means."""
    document = json.loads(data)
    if layout.item:
        values = [(item.get("index"), item["embedding"]) for item in document["data"]]
    else:
        (path,) = (path for path in sorted(layout.vectors, key=len) if isinstance(at(document, path), list))
        values = [(None, value) for value in at(document, path)]
    return [(place if index is None else index, plain(value, dtype)) for place, (index, value) in enumerate(values)]


def at(document: object, path: str) -> object:
    for key in path.removesuffix(".item").split("."):
        document = document.get(key) if isinstance(document, dict) else None
    return document


def plain(value: object, dtype: str) -> np.ndarray:
    if isinstance(value, str):
        return np.frombuffer(base64.b64decode(value), "<f4")
    return np.array(value, np.float64).astype({"binary": "int8", "ubinary": "uint8"}.get(dtype, dtype))


def parse(
    layout, chunks: list[bytes], dtype: str = "float32", dimension: int | None = None
) -> tuple[ResponseParser, list]:
    parser = ResponseParser(layout, VectorDecoder(dtype, dimension).decode, 10_000)
    return parser, [vector for chunk in chunks for vector in parser.feed(chunk)] + parser.close()


def same(got: list[tuple[int, np.ndarray]], want: list[tuple[int, np.ndarray]]) -> bool:
    """Bit by bit."""
    return [(i, v.dtype, v.tobytes()) for i, v in got] == [(i, v.dtype, v.tobytes()) for i, v in want]


def by_size(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.fixture
def python_backend(monkeypatch):
    """ijson without its C extension."""
    use_backend(monkeypatch, "python")


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("case", CASES)
def test_every_chunk_size_gives_the_vectors_of_the_whole(case, style):
    """From one byte at a time on."""
    layout, document = CASES[case]
    data = json.dumps(document, **STYLES[style]).encode()
    want = expected(layout, data)
    assert len(want) == len(ROWS)
    for size in range(1, len(data) + 1):
        parser, got = parse(layout, by_size(data, size))
        assert same(got, want), size
        assert (parser.count, parser.tokens, parser.faults, parser.message) == (len(ROWS), 7, [], "")
        assert parser.by_order == (layout is not OPENAI or "without index" in case or "index null" in case)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("size", [1, 3, 64, 100_000])
def test_the_python_parser_gives_the_same(case, size, python_backend):
    """Where ijson has no C extension."""
    layout, document = CASES[case]
    data = json.dumps(document).encode()
    assert same(parse(layout, by_size(data, size))[1], expected(layout, data))


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_integer_types_come_from_their_own_place(dtype, encoding):
    """`encoding` is about floats alone."""
    options = EmbedOptions(model="m", dtype=dtype)
    document = cohere({"float": ROWS, **INTEGERS})
    data = json.dumps(document).encode()
    for provider in (Cohere(), CohereV1()):
        layout = provider.layout(options, encoding)
        for size in (1, 10, len(data)):
            _, got = parse(layout, by_size(data, size), dtype)
            assert [(i, v.tolist()) for i, v in got] == list(enumerate(INTEGERS[dtype]))
            assert {v.dtype.name for _, v in got} == {"int8" if dtype in {"int8", "binary"} else "uint8"}


@pytest.mark.parametrize("order", [*permutations(["object", "index", "embedding"])])
def test_the_index_may_come_before_or_after_the_vector(order):
    """Each server has its own order of keys."""
    data = json.dumps(openai(ROWS, order, at=[1, 2, 0])).encode()
    for size in (1, 5, len(data)):
        assert same(parse(OPENAI, by_size(data, size))[1], expected(OPENAI, data))


def test_vectors_come_as_soon_as_they_are_closed():
    """Not at the end of the response, and each in the chunk that closes it."""
    parser = ResponseParser(V1, VectorDecoder("float32").decode)
    chunks = [b'{"embeddings":[[1,2', b"],[3,4],[5", b",6", b"]", b"]}"]
    assert [[(i, v.tolist()) for i, v in parser.feed(chunk)] for chunk in chunks] == [
        [],
        [(0, [1, 2]), (1, [3, 4])],
        [],
        [(2, [5, 6])],
        [],
    ]
    assert parser.close() == []


def test_no_vectors_at_all():
    """An empty list is a valid response, and says so in its count."""
    for layout, document in ((V1, cohere([])), (V2, cohere({"float": []})), (OPENAI, openai([]))):
        parser, got = parse(layout, by_size(json.dumps(document).encode(), 7))
        assert (got, parser.count, parser.by_order) == ([], 0, False)


float32s = st.floats(width=32, allow_nan=False, allow_infinity=False)
rows = st.integers(1, 6).flatmap(
    lambda size: st.lists(st.lists(float32s | st.integers(-999, 999), min_size=size, max_size=size), max_size=5)
)


@settings(max_examples=150)
@given(rows=rows, echo=st.lists(st.text(alphabet='[]{}",:\\ 1é\U0001f600\n', max_size=9), max_size=4), data=st.data())
def test_any_response_in_any_split(rows, echo, data):
    """Random vectors, echoed texts, key orders, white space and splits."""
    at = data.draw(st.permutations(range(len(rows))))
    keys = data.draw(st.permutations(["object", "index", "embedding"]))
    layout, document = data.draw(
        st.sampled_from([(V1, cohere(rows)), (V2, cohere({"float": rows})), (OPENAI, openai(rows, tuple(keys), at))])
    )
    document = reordered(document | {"texts": echo}, *data.draw(st.permutations(list(document))))
    body = json.dumps(document, **STYLES[data.draw(st.sampled_from(sorted(STYLES)))]).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=12)))
    chunks = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    parser, got = parse(layout, chunks)
    assert same(got, expected(layout, body))
    assert parser.count == len(rows)
