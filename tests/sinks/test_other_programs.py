"""Files as the programs open them that people use: numpy, pyarrow, pandas, polars, DuckDB and LanceDB."""

from __future__ import annotations

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.blocks import block_of, write

from asyncembed.sinks import Provenance

COUNT, WIDTH = 1_500, 16
DTYPES = ["float32", "int8", "uint8", "binary", "ubinary"]
NUMBERS = {"float32": pa.float32(), "int8": pa.int8(), "uint8": pa.uint8(), "binary": pa.int8(), "ubinary": pa.uint8()}


def matrix_of(dtype):
    random = np.random.default_rng(5)
    number = Provenance(provider="", model="", dtype=dtype).number
    if number == np.float32:
        return random.standard_normal((COUNT, WIDTH), np.float32)
    return random.integers(-128 if number == np.int8 else 0, 128, (COUNT, WIDTH)).astype(number)


@pytest.fixture(params=DTYPES)
def made(request, tmp_path):
    """Makes a file of one type in the format asked for; returns its path and the matrix."""
    matrix = matrix_of(request.param)
    rows = [(index, f"text {index}", f"id-{index}", row) for index, row in enumerate(matrix)]

    def make(suffix):
        path = tmp_path / f"v{suffix}"
        write(path, [block_of(*rows)], Provenance(provider="p", model="m", dtype=request.param))
        return path, matrix

    make.type = pa.list_(NUMBERS[request.param], WIDTH)
    return make


def same(found, matrix):
    found = np.asarray(found)
    assert (found.shape, found.dtype) == (matrix.shape, matrix.dtype)
    np.testing.assert_array_equal(found, matrix)


def test_numpy_loads_and_maps_npy(made):
    path, matrix = made(".npy")
    same(np.load(path, allow_pickle=False), matrix)
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    assert isinstance(mapped, np.memmap)
    same(mapped, matrix)


def test_numpy_loads_npz(made):
    path, matrix = made(".npz")
    with np.load(path, allow_pickle=False) as archive:
        assert archive.files == ["embeddings", "index", "ids", "texts.jsonl", "meta.json"]
        same(archive["embeddings"], matrix)
        same(archive["index"], np.arange(COUNT))
        assert archive["ids"].tolist() == [f"id-{index}" for index in range(COUNT)]
        assert orjson.loads(archive["meta.json"])["model"] == "m"
        assert orjson.loads(archive["texts.jsonl"].splitlines()[7]) == {"index": 7, "id": "id-7", "text": "text 7"}


@pytest.mark.parametrize(
    ("ids", "found"),
    [
        ([3, 1, 2], np.array([3, 1, 2])),
        (["a", None, "längst"], np.array(["a", "", "längst"])),
        ([1, "b", None], np.array(["1", "b", ""])),
        ([None, None, None], None),
    ],
    ids=["whole numbers", "strings", "both", "none"],
)
def test_ids_in_npz_have_the_type_they_can_have(tmp_path, ids, found):
    rows = [(index, "t", id_, np.ones(2, np.float32)) for index, id_ in enumerate(ids)]
    write(tmp_path / "v.npz", [block_of(*rows)], Provenance(provider="p", model="m"))
    with np.load(tmp_path / "v.npz", allow_pickle=False) as archive:
        if found is None:
            assert "ids" not in archive.files
        else:
            same(archive["ids"], found)


def test_pyarrow_reads_parquet_and_arrow_as_lists_of_a_fixed_size(made):
    path, matrix = made(".parquet")
    table = pq.read_table(path)
    arrow, _ = made(".arrow")
    mapped = pa.ipc.open_file(pa.memory_map(str(arrow))).read_all()
    for found in (table, mapped):
        assert found.schema.field("embedding").type == made.type
        found.validate(full=True)
        same(found["embedding"].combine_chunks().flatten().to_numpy().reshape(-1, WIDTH), matrix)
        assert found["index"].to_pylist() == list(range(COUNT))
        assert orjson.loads(found.schema.metadata[b"asyncembed"])["fingerprint"]


def test_pandas_reads_parquet_and_feather(made):
    pandas = pytest.importorskip("pandas")
    path, matrix = made(".parquet")
    arrow, _ = made(".arrow")
    for frame in (pandas.read_parquet(path), pandas.read_feather(arrow)):
        same(np.stack(frame["embedding"]), matrix)
        assert list(frame["id"][:2]) == ["id-0", "id-1"]


def test_pandas_reads_json_lines(made):
    pandas = pytest.importorskip("pandas")
    path, matrix = made(".jsonl")
    frame = pandas.read_json(path, lines=True, precise_float=True)
    same(np.array(frame["embedding"].tolist(), matrix.dtype), matrix)
    assert list(frame.columns) == ["index", "id", "text", "embedding"]


def test_polars_reads_parquet_and_arrow(made):
    polars = pytest.importorskip("polars")
    path, matrix = made(".parquet")
    arrow, _ = made(".arrow")
    for frame in (polars.read_parquet(path), polars.read_ipc(arrow)):
        assert isinstance(frame.schema["embedding"], polars.Array)
        same(frame["embedding"].to_numpy(), matrix)
        assert frame["text"][3] == "text 3"


def test_duckdb_reads_parquet(made):
    duckdb = pytest.importorskip("duckdb")
    path, matrix = made(".parquet")
    with duckdb.connect() as database:
        rows = database.execute(f"select embedding, id from '{path}' order by index").fetchall()
        same(np.array([row[0] for row in rows], matrix.dtype), matrix)
        if matrix.dtype == np.float32:
            nearest = database.execute(
                f"select id from '{path}' order by array_distance(embedding::float[{WIDTH}], "
                f"(select embedding::float[{WIDTH}] from '{path}' where index = 11)) limit 1"
            ).fetchall()
            assert nearest == [("id-11",)]


def test_lancedb_takes_arrow_as_vectors(made, tmp_path):
    lancedb = pytest.importorskip("lancedb")
    path, matrix = made(".arrow")
    if matrix.dtype != np.float32:
        pytest.skip("LanceDB searches floats")
    table = lancedb.connect(tmp_path / "lance").create_table("t", pa.ipc.open_file(str(path)).read_all())
    hit = table.search(matrix[11], vector_column_name="embedding").limit(1).to_list()[0]
    assert hit["id"] == "id-11"
