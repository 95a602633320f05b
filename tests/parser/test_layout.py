"""Layouts of APIs that have no provider of their own: all it takes is to say where things lie."""

from __future__ import annotations

import json

import pytest

from asyncembed import Layout
from asyncembed._parser import ResponseParser, VectorDecoder


@pytest.mark.parametrize(
    ("vectors", "item", "index", "document"),
    [
        ("item", None, None, "[{0},{1}]"),
        ("embeddings.item.values", None, None, '{{"embeddings":[{{"values":{0}}},{{"values":{1}}}]}}'),
        ("embeddings.item.values", "embeddings.item", None, '{{"embeddings":[{{"values":{0}}},{{"values":{1}}}]}}'),
        (
            "predictions.item.embeddings.values",
            "predictions.item",
            None,
            '{{"predictions":[{{"embeddings":{{"statistics":{{"a":[9]}},"values":{0}}}}},{{"embeddings":{{"values":{1}}}}}]}}',
        ),
        ("result.data.item", None, None, '{{"result":{{"shape":[2,2],"data":[{0},{1}]}},"errors":[],"messages":[]}}'),
        (
            "data.item.data.item.embedding",
            "data.item.data.item",
            "data.item.data.item.index",
            '{{"data":[{{"data":[{{"embedding":{0},"index":0}},{{"index":1,"embedding":{1}}}],"index":0}}]}}',
        ),
    ],
)
def test_layouts_of_other_apis(vectors, item, index, document):
    """A layout is all that a provider has to say, also one of the user's own."""
    layout = Layout(vectors=frozenset({vectors}), item=item, index=index)
    data = document.format("[1,2]", "[3,4]").encode()
    for size in range(1, len(data) + 1):
        parser = ResponseParser(layout, VectorDecoder("float32").decode)
        chunks = [data[start : start + size] for start in range(0, len(data), size)]
        got = [vector for chunk in chunks for vector in parser.feed(chunk)] + parser.close()
        assert [(i, v.tolist()) for i, v in got] == [(0, [1, 2]), (1, [3, 4])]
        assert (parser.count, parser.by_order, parser.faults) == (2, index is None, [])


def test_a_key_that_looks_like_a_path_is_none():
    """Dots in a key do not lead anywhere."""
    document = {"embeddings.float.item": [9, 9], "embeddings.float": [[9, 9]], "embeddings": {"float": [[1, 2]]}}
    parser = ResponseParser(Layout(vectors=frozenset({"embeddings.float.item"})), VectorDecoder("float32").decode)
    got = parser.feed(json.dumps(document).encode()) + parser.close()
    assert [(i, v.tolist()) for i, v in got] == [(0, [1, 2])]
    assert parser.count == 1
