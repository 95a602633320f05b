"""What belongs to a text besides its id, and ids of every kind, from the caller through streams into files."""

from __future__ import annotations

import uuid

import numpy as np
import pytest
from support.blocks import read
from support.results import check_vectors

from asyncembed import ConfigurationError, EmbedFailure, EmbedInput
from asyncembed.sinks import FORMATS

UUID = uuid.UUID("12345678-9abc-4def-8123-456789abcdef")
ROWS = [EmbedInput("one", 1, {"lang": "de", "n": 1}), EmbedInput("two"), EmbedInput("three", 3, {"lang": "en"})]


async def test_metadata_comes_back_with_the_vector(client):
    rows = [*ROWS, EmbedInput("", 4, {"lang": "fr"})]
    items = [item async for item in client.embed_stream(rows, on_error="yield", chunk_size=2)]
    assert [item.metadata for item in items] == [row.metadata for row in rows]
    assert isinstance(items[3], EmbedFailure)
    check_vectors(items[:3], ["one", "two", "three"])


async def test_ids_come_back_as_the_objects_they_were(client):
    ids = ["a", 2**70, np.int64(5), UUID, None]
    rows = [EmbedInput(f"text {place}", id_) for place, id_ in enumerate(ids)]
    found = [item.id async for item in client.embed_stream(rows)]
    assert all(given is back for given, back in zip(ids, found, strict=True))
    assert (await client.embed(rows)).ids == ids


@pytest.mark.parametrize("suffix", FORMATS)
async def test_files_hold_metadata_and_every_kind_of_id(client, tmp_path, suffix):
    path = tmp_path / f"v{suffix}"
    ids = ["a", 2**70, np.int64(5), UUID, UUID.bytes[::-1]]
    await client.embed_to_file([EmbedInput(f"t{place}", id_, {"n": place}) for place, id_ in enumerate(ids)], path)
    labels, _ = read(path)
    assert [str(label.id) for label in labels] == [
        "a",
        str(2**70),
        "5",
        str(UUID),
        str(uuid.UUID(bytes=UUID.bytes[::-1])),
    ]
    assert [label.metadata for label in labels] == [{"n": place} for place in range(5)]


@pytest.mark.parametrize("suffix", FORMATS)
async def test_metadata_need_not_be_the_same_everywhere(client, tmp_path, suffix):
    path = tmp_path / f"v{suffix}"
    await client.embed_to_file(ROWS, path, chunk_size=1)
    labels, _ = read(path)
    found = [{name: value for name, value in (label.metadata or {}).items() if value is not None} for label in labels]
    assert found == [dict(row.metadata or {}) for row in ROWS]


async def test_numbers_of_numpy_are_the_same_ids_in_a_resumed_run(server, client, tmp_path):
    path = tmp_path / "v.parquet"
    await client.embed_to_file([(np.int64(number), "t") for number in range(5)], path)
    sent = len(server.requests)
    await client.embed_to_file([(number, "t") for number in range(5)], path, resume=True)
    assert len(server.requests) == sent
    labels, _ = read(path)
    assert [label.id for label in labels] == [0, 1, 2, 3, 4]


async def test_frames_and_mappings_are_refused_by_every_verb(server, client, tmp_path):
    pandas = pytest.importorskip("pandas")
    for texts in (pandas.DataFrame({"text": ["a"]}), {"text": "a"}, {"a"}):
        with pytest.raises(ConfigurationError, match=r"not a list of texts; "):
            await client.embed(texts)
        with pytest.raises(ConfigurationError, match=r"not a list of texts; "):
            await client.embed_to_file(texts, tmp_path / "v.npy")
        with pytest.raises(ConfigurationError, match=r"not a list of texts; "):
            client.embed_stream(texts)
    assert server.requests == []


async def test_a_series_with_a_missing_value(client, tmp_path):
    pandas = pytest.importorskip("pandas")
    texts = pandas.Series(["one", None, "three", pandas.NA, float("nan")], dtype=object)
    summary = await client.embed_to_file(texts, tmp_path / "v.npy", on_error="skip")
    assert (summary.saved, summary.failed) == (2, 3)
    with pytest.raises(ConfigurationError, match=r"texts\[1\] is a NoneType"):
        await client.embed(texts)
