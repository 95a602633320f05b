"""Parquet as input, and Parquet that is compressed with gzip."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asyncembed import EmbedInput
from asyncembed.cli._inputs import Fields, InputError, count, parse_sources, read


def rows_of(path, kind=None, **fields):
    return list(read(parse_sources([str(path)], kind), Fields(**fields)))


async def test_parquet_is_read_by_row_groups_and_counted(tmp_path):
    path = tmp_path / "rows.parquet"
    names = [f"name {number}" for number in range(3_000)]
    pq.write_table(pa.table({"id": range(3_000), "text": names, "other": names}), path, row_group_size=1_100)
    assert rows_of(path) == [EmbedInput(name, number) for number, name in enumerate(names)]
    assert await count(parse_sources([str(path)], None)) == 3_000


def test_errors_in_parquet_name_the_row(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": ["one", None]}), path)
    assert "x.parquet, row 2: field 'text' is not a string but null" in rows_of(path)[1].reason
    with pytest.raises(InputError, match=r"x\.parquet: there is no field 'key'; the fields are 'text'; .*--id-field"):
        rows_of(path, id="key")


@pytest.fixture
def packed_parquet(tmp_path):
    """Five texts in a Parquet file that is compressed with gzip."""
    plain, path = tmp_path / "plain.parquet", tmp_path / "rows.parquet.gz"
    pq.write_table(pa.table({"text": [f"text {number}" for number in range(5)]}), plain, row_group_size=2)
    path.write_bytes(gzip.compress(plain.read_bytes()))
    return path


async def test_a_packed_parquet_file_follows_another_file(packed_parquet, tmp_path):
    (tmp_path / "a.txt").write_text("one\n")
    sources = parse_sources([str(tmp_path / "a.txt"), str(packed_parquet)], None)
    assert [row.text async for row in read(sources, Fields())] == ["one", *(f"text {number}" for number in range(5))]
    assert await count(sources) is None


async def test_a_parquet_file_is_unpacked_in_a_thread_and_bounded_memory(tmp_path):
    """While 64 MB of zeros are unpacked, the event loop runs and a small part of them is in memory."""
    path = tmp_path / "zeros.parquet.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(64):
            file.write(bytes(1_000_000))
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.001)

    tracemalloc.start()
    task = asyncio.create_task(turn())
    try:
        with pytest.raises(InputError, match="cannot be read"):  # as it is no Parquet
            await anext(read(parse_sources([str(path)], None), Fields()))
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        task.cancel()
        tracemalloc.stop()
    assert turns > 10


@pytest.mark.parametrize("cut", [slice(-9), slice(2, None)])
async def test_a_broken_packed_parquet_file_is_named(packed_parquet, cut):
    packed_parquet.write_bytes(packed_parquet.read_bytes()[cut])
    with pytest.raises(
        InputError, match=f"^{packed_parquet} cannot be decompressed: (Compressed file ended|Not a gzipped)"
    ):
        await anext(read(parse_sources([str(packed_parquet)], None), Fields()))


async def test_a_packed_file_that_is_no_parquet_is_named(packed_parquet):
    packed_parquet.write_bytes(gzip.compress(b"no parquet"))
    with pytest.raises(InputError, match=f"^{packed_parquet} cannot be read: "):
        await anext(read(parse_sources([str(packed_parquet)], None), Fields()))


def test_a_packed_parquet_file_is_embedded(run, threaded_server, openai, packed_parquet, tmp_path):
    out = tmp_path / "v.jsonl"
    ended = run("embed", packed_parquet, "-o", out, *openai(threaded_server))
    assert ended.code == 0, ended.err
    assert [row.text for row in rows_of(out)] == [f"text {number}" for number in range(5)]


def test_parquet_can_be_given_as_the_format_of_a_file_but_not_of_standard_input(run, tmp_path):
    path = tmp_path / "rows"
    pq.write_table(pa.table({"text": ["one"]}), path)
    assert rows_of(path, "parquet") == [EmbedInput("one")]
    ended = run("embed", "-", "--format", "parquet", "-o", tmp_path / "v.npy")
    assert (ended.code, ended.err) == (2, "Error: Parquet cannot be read from standard input; name a file\n")


def test_a_folder_stands_for_the_files_that_this_command_did_not_write(run, tmp_path):
    """Vectors that lie there are no inputs, unless their file is named."""
    folder, output = tmp_path / "in", tmp_path / "v.npy"
    folder.mkdir()
    pq.write_table(pa.table({"text": ["one", "two"]}), folder / "a.parquet")
    assert run("embed", folder / "a.parquet", "-o", folder / "vectors.parquet").code == 0
    ended = run("embed", folder, "-o", output)
    assert ended.code == 0, ended.err
    assert (
        f"left out of the folder {folder}, because this command wrote them: {folder / 'vectors.parquet'}" in ended.err
    )
    assert "2 texts embedded" in ended.err
    (folder / "a.parquet").unlink()
    ended = run("embed", folder, "-o", output, "--overwrite")
    assert ended.code == 2
    assert "to embed their texts again, name the files" in ended.err
    assert run("embed", folder / "vectors.parquet", "-o", output, "--overwrite").code == 0
