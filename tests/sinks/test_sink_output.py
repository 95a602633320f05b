"""When a file gets its name, and what is left of one that never does."""

from __future__ import annotations

import asyncio
import gc
import resource
import weakref

import numpy as np
import pytest

from asyncembed import ConfigurationError, EmbedResult
from asyncembed.sinks import FORMATS, Output, Provenance, open_vectors, save
from asyncembed.sinks._output import BLOCK_BYTES, BLOCK_ROWS

PROVENANCE = Provenance(provider="p", model="m")
GONE = RuntimeError("the source is gone")


def result(index, dimension=4):
    return EmbedResult(index, np.full(dimension, index, np.float32), f"text {index}")


async def stream(count, error=None, gate=None):
    for index in range(count):
        yield result(index)
    if gate:
        gate.set()
        await asyncio.Event().wait()
    if error:
        raise error


def rows_in(path):
    return [float(row[0]) for block in open_vectors(path).blocks() for row in block.vectors]


@pytest.mark.parametrize("suffix", FORMATS)
async def test_the_name_appears_only_when_the_file_is_whole(tmp_path, suffix):
    path = tmp_path / f"v{suffix}"
    with Output(path, PROVENANCE) as output:
        output.write([result(0)])
        assert {file.name.replace(".partial", "", 1) for file in tmp_path.iterdir()} >= {path.name}
        assert not list(tmp_path.glob(f"v{suffix}*"))
        await save(stream(0), output)
        assert path.exists()
    assert not list(tmp_path.glob("*partial*"))
    assert rows_in(path) == [0]


@pytest.mark.parametrize("suffix", FORMATS)
async def test_an_error_keeps_the_rows_before_it_in_a_valid_partial_file(tmp_path, suffix):
    path = tmp_path / f"v{suffix}"
    with pytest.raises(RuntimeError, match="the source is gone"), Output(path, PROVENANCE) as output:
        await save(stream(BLOCK_ROWS + 3, GONE), output)
    assert not path.exists()
    assert output.partial == tmp_path / f"v.partial{suffix}"
    assert output.rows == BLOCK_ROWS + 3
    assert rows_in(output.partial) == list(range(BLOCK_ROWS + 3))
    assert open_vectors(output.partial).provenance.model == "m"


@pytest.mark.parametrize("suffix", FORMATS)
async def test_cancellation_keeps_the_rows_before_it_too(tmp_path, suffix):
    gate = asyncio.Event()

    async def run():
        with Output(tmp_path / f"v{suffix}", PROVENANCE) as output:
            await save(stream(5, gate=gate), output)

    task = asyncio.create_task(run())
    await gate.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert rows_in(tmp_path / f"v.partial{suffix}") == [0, 1, 2, 3, 4]


async def test_cancellation_while_a_block_is_written_keeps_the_block(tmp_path):
    """The thread that writes is not interrupted, and the file is closed after it."""
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Slow(Output):
        def write(self, results):
            loop.call_soon_threadsafe(started.set)
            super().write(results)

    async def run():
        with Slow(tmp_path / "v.parquet", PROVENANCE) as output:
            await save(stream(2 * BLOCK_ROWS), output)

    task = asyncio.create_task(run())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert rows_in(tmp_path / "v.partial.parquet") == list(range(BLOCK_ROWS))


async def test_without_results_there_is_no_file(tmp_path):
    with Output(tmp_path / "v.npy", PROVENANCE) as output:
        await save(stream(0), output)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", FORMATS)
async def test_replacing_leaves_nothing_of_the_old_file(tmp_path, suffix):
    path = tmp_path / f"v{suffix}"
    for count in (10, 3):
        with Output(path, PROVENANCE, overwrite=True) as output:
            await save(stream(count), output)
    assert rows_in(path) == [0, 1, 2]


async def test_a_failed_run_that_may_replace_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "v.npy"
    with Output(path, PROVENANCE) as output:
        await save(stream(10), output)
    with pytest.raises(RuntimeError), Output(path, PROVENANCE, overwrite=True) as output:
        await save(stream(2, GONE), output)
    assert rows_in(path) == list(range(10))


async def test_a_run_without_results_leaves_what_an_earlier_one_kept(tmp_path):
    with pytest.raises(RuntimeError), Output(tmp_path / "v.npy", PROVENANCE) as kept:
        await save(stream(2, GONE), kept)
    with pytest.raises(RuntimeError), Output(tmp_path / "v.npy", PROVENANCE, overwrite=True) as output:
        await save(stream(0, GONE), output)
    assert rows_in(kept.partial) == [0, 1]


def test_two_runs_cannot_make_the_same_file(tmp_path):
    with Output(tmp_path / "v.npy", PROVENANCE), pytest.raises(ConfigurationError, match="another one is writing it"):
        Output(tmp_path / "v.npy", PROVENANCE)


def test_a_folder_is_never_replaced(tmp_path):
    (tmp_path / "v.npy").mkdir()
    with pytest.raises(ConfigurationError, match="exists"):
        Output(tmp_path / "v.npy", PROVENANCE, overwrite=True)


@pytest.mark.parametrize("suffix", FORMATS)
async def test_a_full_disk_is_an_os_error_and_no_file(tmp_path, suffix):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, hard))
    try:
        with pytest.raises(OSError, match="File too large"), Output(tmp_path / f"v{suffix}", PROVENANCE) as output:
            await save(stream(BLOCK_ROWS), output)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", FORMATS)
async def test_memory_does_not_grow_with_the_number_of_results(tmp_path, suffix):
    """No more vectors are alive at once than two blocks have."""
    alive = most = 0

    def died():
        nonlocal alive
        alive -= 1

    async def many():
        nonlocal alive, most
        for index in range(4 * BLOCK_ROWS):
            item = result(index)
            weakref.finalize(item.embedding, died)
            alive += 1
            most = max(most, alive)
            yield item
            del item

    with Output(tmp_path / f"v{suffix}", PROVENANCE) as output:
        await save(many(), output)
    gc.collect()
    assert most <= 2 * BLOCK_ROWS
    assert alive == 0


async def test_blocks_of_long_vectors_are_shorter(tmp_path):
    dimension = BLOCK_BYTES // 4 // 10

    async def long_vectors():
        for index in range(25):
            yield result(index, dimension)

    sizes = []

    class Watched(Output):
        def write(self, results):
            sizes.append(len(results))
            super().write(results)

    with Watched(tmp_path / "v.npy", PROVENANCE) as output:
        await save(long_vectors(), output)
    assert sizes == [10, 10, 5]
