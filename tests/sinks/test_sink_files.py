"""What the sinks write, as other programs read it, and as it is read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.blocks import block_of, read, write

from asyncembed import ConfigurationError
from asyncembed.sinks import FORMATS, Label, Provenance, find_format, open_vectors

PROVENANCE = Provenance(provider="openai", model="m", input_type="document", base_url="http://127.0.0.1/v1")
AWKWARD = [
    (0, "plain", "a"),
    (1, 'quotes " and, commas\nand lines\r\n', None),
    (4, "Ünïcödé 🙂 \x00 \u2028", 12),
    (5, "big", 2**70),
]


def rows_of(count, dimension=8, dtype="float32"):
    random = np.random.default_rng(3)
    numbers = np.dtype(Provenance(provider="", model="", dtype=dtype).number)
    if numbers == np.float32:
        matrix = random.standard_normal((count, dimension), np.float32)
    else:
        matrix = random.integers(-100, 100, (count, dimension)).astype(numbers)
    return [(index, f"text {index}", f"id-{index}", row) for index, row in enumerate(matrix)]


def results(*arguments):
    return block_of(*rows_of(*arguments))


@pytest.mark.parametrize("dtype", ["float32", "int8", "uint8", "binary", "ubinary"])
@pytest.mark.parametrize("suffix", FORMATS)
def test_every_type_comes_back_as_it_was(tmp_path, suffix, dtype):
    rows = rows_of(2_500, 8, dtype)
    path = tmp_path / f"v{suffix}"
    groups = [block_of(*part) for part in (rows[:1], rows[1:2_000], rows[2_000:])]
    write(path, groups, Provenance(provider="p", model="m", dtype=dtype))
    labels, matrix = read(path)
    assert labels == [Label(index, id_, text) for index, text, id_, _ in rows]
    assert matrix.dtype == rows[0][3].dtype
    np.testing.assert_array_equal(matrix, np.stack([row[3] for row in rows]))
    file = open_vectors(path)
    packed = 8 if dtype in {"binary", "ubinary"} else 1
    assert (file.rows, file.width, file.provenance.dimension) == (2_500, 8, 8 * packed)


@pytest.mark.parametrize("suffix", FORMATS)
def test_awkward_texts_ids_and_gaps_survive(tmp_path, suffix):
    path = tmp_path / f"v{suffix}"
    ones = np.ones(2, np.float32)
    write(path, [block_of(*((index, text, id_, ones) for index, text, id_ in AWKWARD))], PROVENANCE)
    labels, _ = read(path)
    assert [(label.index, label.text) for label in labels] == [(index, text) for index, text, _ in AWKWARD]
    ids = [label.id for label in labels]
    assert ids == ["a", None, "12" if suffix in {".parquet", ".arrow"} else 12, str(2**70)]


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_provenance_comes_back(tmp_path, suffix):
    path = tmp_path / f"v{suffix}"
    write(path, [results(3)], PROVENANCE)
    found = open_vectors(path).provenance
    assert found.dimension == 8
    assert (found.provider, found.model, found.input_type, found.base_url) == (
        "openai",
        "m",
        "document",
        "http://127.0.0.1/v1",
    )


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_same_run_gives_the_same_bytes(tmp_path, suffix):
    for name in ("one", "two"):
        write(tmp_path / f"{name}{suffix}", [results(100)], PROVENANCE)
    ours = sorted(path.read_bytes() for path in tmp_path.glob("one*"))
    assert ours == sorted(path.read_bytes() for path in tmp_path.glob("two*"))


def test_npy_is_mapped_by_numpy(tmp_path):
    rows = rows_of(100)
    write(tmp_path / "v.npy", [block_of(*rows[:60]), block_of(*rows[60:])], PROVENANCE)
    matrix = np.load(tmp_path / "v.npy", mmap_mode="r")
    assert isinstance(matrix, np.memmap)
    assert matrix.flags.c_contiguous
    np.testing.assert_array_equal(matrix, np.stack([row[3] for row in rows]))


def test_parquet_has_a_row_group_for_each_block_and_no_compressed_vectors(tmp_path):
    rows = rows_of(10_000)
    write(tmp_path / "v.parquet", [block_of(*rows[:60]), block_of(*rows[60:])], PROVENANCE)
    metadata = pq.ParquetFile(tmp_path / "v.parquet").metadata
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [8_192, 1_808]
    columns = {
        (column := metadata.row_group(0).column(place)).path_in_schema: column.compression
        for place in range(metadata.num_columns)
    }
    assert columns == {"index": "ZSTD", "id": "ZSTD", "text": "ZSTD", "embedding.list.element": "UNCOMPRESSED"}


def test_a_suffix_without_a_format_is_refused_with_those_there_are():
    with pytest.raises(ConfigurationError, match=r"no suffix; .* ends in \.parquet, \.npy, \.npz, \.arrow, \.jsonl"):
        find_format(Path("vectors"))


def damaged_texts(path):
    (path.parent / f"{path.name}.texts.jsonl").write_text('{"index":0,"id":null,"text":"one"}\n')


def damaged_meta(path):
    (path.parent / f"{path.name}.meta.json").write_text('{"provider": 1}')


def damaged_json(path):
    (path.parent / f"{path.name}.meta.json").write_text("{")


@pytest.mark.parametrize(
    ("suffix", "damage", "message"),
    [
        (".npy", damaged_texts, "does not have a line for each vector; it may belong to another file"),
        (".npy", damaged_meta, "does not say which provider and model"),
        (".jsonl", damaged_json, "does not say which provider and model"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(tmp_path, suffix, damage, message):
    path = tmp_path / f"v{suffix}"
    write(path, [results(10)], PROVENANCE)
    damage(path)
    with pytest.raises(ConfigurationError, match=message):
        read(path)


def test_rows_of_different_lengths_are_refused(tmp_path):
    path = tmp_path / "v.jsonl"
    path.write_bytes(b'{"index":0,"embedding":[1,2]}\n{"index":1,"embedding":[1,2,3]}\n')
    with pytest.raises(
        ConfigurationError, match=r"v\.jsonl:2 has an embedding of another length than the one in line 1"
    ):
        read(path)


def test_arrays_that_are_no_vectors_are_refused(tmp_path):
    np.save(tmp_path / "v.npy", np.arange(3))
    with pytest.raises(ConfigurationError, match=r"an array of shape \(3,\) and type int64, not rows of float32"):
        open_vectors(tmp_path / "v.npy")


def test_tables_that_hold_no_vectors_are_refused(tmp_path):
    path = tmp_path / "v.parquet"
    pq.write_table(pa.table({"text": ["a"]}), path)
    with pytest.raises(ConfigurationError, match="has no column 'index'; its columns are text"):
        open_vectors(path)
    pq.write_table(pa.table({"index": [0], "id": ["a"], "text": ["a"], "embedding": [[1.0, 2.0]]}), path)
    with pytest.raises(ConfigurationError, match=r"embeddings of type list<.*>, not lists of a fixed size"):
        open_vectors(path)


def test_a_note_in_the_metadata_that_is_not_ours_is_refused(tmp_path):
    path = tmp_path / "v.parquet"
    write(path, [results(2)], PROVENANCE)
    table = pq.read_table(path).replace_schema_metadata({b"asyncembed": b"[]"})
    pq.write_table(table, path)
    with pytest.raises(ConfigurationError, match="does not say which provider"):
        open_vectors(path)


def test_later_versions_may_add_to_the_note():
    note = {**orjson.loads(PROVENANCE.to_json()), "dimension": 3, "novelty": True}
    assert Provenance.from_json(orjson.dumps(note), "x").dimension == 3
