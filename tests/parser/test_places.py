"""What a layout names besides vectors: tokens that each item tells, and base64 that is to be compared."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from asyncembed import EmbedOptions
from asyncembed._parser import ResponseParser, VectorDecoder
from asyncembed.providers import TEI, BedrockNova, BedrockTitan, Cohere, Gemini, Vertex

OPTIONS = EmbedOptions(model="m")
VECTORS = [[0.5, -1.0], [0.25, 2.0], [4.0, 8.0]]


def read(layout, document: bytes, size: int) -> tuple[list[tuple[int, list[float]]], ResponseParser, list[str]]:
    """Read a document in pieces of a size."""
    parser = ResponseParser(layout, VectorDecoder("float32").decode)
    found, proofs = [], []
    for start in range(0, len(document), size):
        found += parser.feed(document[start : start + size])
        proofs += [value if isinstance(value, str) else json.loads(bytes(value)) for value in parser.take_proofs()]
    found += parser.close()
    return [(position, vector.tolist()) for position, vector in found], parser, proofs


def predictions(tokens: list[object], *, first: bool) -> bytes:
    items = []
    for vector, count in zip(VECTORS, tokens, strict=True):
        parts = {"statistics": {"truncated": False, "token_count": count}, "values": vector}
        items.append({"embeddings": parts if first else dict(reversed(parts.items()))})
    return json.dumps({"predictions": items, "metadata": {"billableCharacterCount": 9}}).encode()


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("tokens", "total"), [([3, 4, 5], 12), ([3, None, "5"], 3), ([0, 0, 0], 0), ([True, 2, 1.0], 3), ([None] * 3, None)]
)
def test_tokens_of_items_are_added_up_at_every_split(first, tokens, total):
    """What is no number says nothing."""
    document = predictions(tokens, first=first)
    for size in range(1, len(document) + 1):
        found, parser, _ = read(Vertex(project="p").layout(OPTIONS, "float"), document, size)
        assert found == list(enumerate(VECTORS))
        assert parser.tokens == total


@pytest.mark.parametrize("order", [("float", "base64"), ("base64", "float")])
def test_base64_to_be_compared_is_kept_apart_at_every_split(order):
    """Vectors are the numbers, whichever comes first."""
    both = {"float": VECTORS, "base64": ["AAAA", "BBBB", "a longer one" * 9]}
    document = json.dumps({"embeddings": {kind: both[kind] for kind in order}}).encode()
    layout = replace(Cohere().layout(OPTIONS, "float"), proof="embeddings.base64.item")
    for size in range(1, len(document) + 1):
        found, _, proofs = read(layout, document, size)
        assert found == list(enumerate(VECTORS))
        assert proofs == both["base64"]


@pytest.mark.parametrize(
    ("provider", "document"),
    [
        (TEI(), VECTORS),
        (Gemini(), {"embeddings": [{"values": vector} for vector in VECTORS]}),
        (BedrockNova(), {"embeddings": [{"embedding": vector, "embeddingType": "TEXT"} for vector in VECTORS]}),
    ],
    ids=["tei", "gemini", "nova"],
)
def test_layouts_of_lists_at_every_split(provider, document):
    for text in (json.dumps(document), json.dumps(document, indent=2), json.dumps(document, separators=(",", ":"))):
        data = text.encode()
        for size in range(1, len(data) + 1):
            assert read(provider.layout(OPTIONS, "float"), data, size)[0] == list(enumerate(VECTORS))


def test_floats_that_come_twice_are_one_vector():
    """As Titan's do, below the name of their type too."""
    document = {"embedding": VECTORS[0], "embeddingsByType": {"float": VECTORS[0]}, "inputTextTokenCount": 3}
    for fields in (document, dict(reversed(document.items()))):
        data = json.dumps(fields).encode()
        for size in range(1, len(data) + 1):
            found, parser, _ = read(BedrockTitan().layout(OPTIONS, "float"), data, size)
            assert found == [(0, VECTORS[0])]
            assert parser.tokens == 3


def test_a_list_of_matrices_is_no_list_of_vectors():
    """As servers answer that do not pool: each text has a vector for each token."""
    found, parser, _ = read(TEI().layout(OPTIONS, "float"), json.dumps([VECTORS, VECTORS]).encode(), 1 << 20)
    assert found == []
    assert parser.faults
