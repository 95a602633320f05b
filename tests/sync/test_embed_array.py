"""A column of texts into a column of vectors."""

from __future__ import annotations

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")

from asyncembed import AuthenticationError, ConfigurationError, InvalidInputError, embed_array  # noqa: E402
from asyncembed.testing import faults, vector_of  # noqa: E402


@pytest.fixture
async def client(spec):
    async with spec.open() as client:
        yield client


TEXTS = ["a", None, "b", "", "c"]


@pytest.mark.parametrize(
    "array",
    [
        pa.array(TEXTS),
        pa.array(TEXTS, pa.large_string()),
        pa.array(TEXTS, pa.string_view()),
        pa.array(TEXTS).dictionary_encode(),
        pa.chunked_array([TEXTS[:2], [], TEXTS[2:]], pa.string()),
        pa.array(["x", *TEXTS])[1:],
    ],
    ids=["string", "large", "view", "dictionary", "chunked", "slice"],
)
async def test_every_row_has_its_vector_and_what_is_empty_none(client, server, array):
    found = await embed_array(client, array)
    assert found.type == pa.list_(pa.float32(), 8)
    assert found.to_pylist() == [(text and vector_of(text, 8).tolist()) or None for text in TEXTS]
    assert found.null_count == 2
    assert set(server.ledger.asked) == {"a", "b", "c"}


async def test_without_null_there_is_no_mask(client):
    found = await embed_array(client, pa.array(["a", "b"]))
    assert (found.flatten().to_numpy().reshape(2, 8) == np.stack([vector_of(text, 8) for text in "ab"])).all()


async def test_a_column_of_nulls_costs_nothing(client, server):
    for array in (pa.array([None, ""]), pa.nulls(2), pa.array([], pa.string())):
        found = await embed_array(client, array, model="unknown")
        assert found.null_count == len(found) == len(array)
    assert (await embed_array(client, pa.array([None], pa.string()), dimension=8)).type == pa.list_(pa.float32(), 8)
    assert (await embed_array(client, pa.array([None], pa.string()), dimensions=4)).type == pa.list_(pa.float32(), 4)
    assert server.ledger.requests == 0


async def test_a_text_that_the_api_refuses_gives_null_or_raises(client, server):
    server.rules.append(faults.Poisoned("bad"))
    found = await embed_array(client, pa.array(["a", "bad", None, "c"]))
    assert [each is not None for each in found.to_pylist()] == [True, False, False, True]
    assert found[3].as_py() == vector_of("c", 8).tolist()
    with pytest.raises(InvalidInputError):
        await embed_array(client, pa.array(["a", "bad"]), on_error="raise")
    assert (await embed_array(client, pa.array(["bad"]))).null_count == 1


async def test_a_wrong_key_raises_all_the_same(client, server):
    server.key = "another"
    with pytest.raises(AuthenticationError):
        await embed_array(client, pa.array(["a"]))


async def test_packed_bits_have_their_width(server, monkeypatch):
    from asyncembed import ClientSpec

    async with ClientSpec("cohere", base_url=server.url, api_key_env="EMBEDDINGS_KEY").open() as client:
        server.dimension = 64
        found = await embed_array(client, pa.array(["a", None]), dtype="ubinary")
        assert found.type == pa.list_(pa.uint8(), 8)
        empty = await embed_array(client, pa.array([None], pa.string()), dtype="ubinary", dimension=64)
        assert empty.type == found.type


@pytest.mark.parametrize("array", [["a"], pa.array([1]), pa.array([b"a"]), pa.array([["a"]]), None, "a"])
async def test_what_is_no_column_of_texts_is_refused(client, array):
    with pytest.raises(ConfigurationError, match="array"):
        await embed_array(client, array)
    with pytest.raises(ConfigurationError, match="on_error"):
        await embed_array(client, pa.array(["a"]), on_error="skip")
