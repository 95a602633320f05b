"""Named pipes as inputs, consoles that lack characters, and the embedded server on a Unix socket."""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
import stat

import aiohttp
import numpy as np
import pytest
from support.scripted import vector_of
from support.watching import until

from asyncembed import EmbedClient
from asyncembed.local import LocalServer

ROWS = {
    "txt": b"".join(b"text %d\n" % number for number in range(10)),
    "jsonl": b"".join(b'{"text": "text %d"}\n' % number for number in range(10)),
}


@pytest.fixture
def pipe(tmp_path):
    def make(name):
        os.mkfifo(tmp_path / name)
        return tmp_path / name

    return make


async def write(path, *pieces):
    """Open a pipe for writing, which waits for its reader, and return its descriptor."""
    file = await asyncio.to_thread(os.open, path, os.O_WRONLY)
    for piece in pieces:
        await asyncio.to_thread(os.write, file, piece)
    return file


@pytest.mark.parametrize("how", ["plain", "gzip", "members", "padding"])
@pytest.mark.parametrize("kind", ROWS)
async def test_a_named_pipe(start, server, openai, pipe, tmp_path, kind, how):
    path, rows = pipe(f"in.{kind}" + ("" if how == "plain" else ".gz")), ROWS[kind]
    half = len(rows) // 2
    data = {
        "plain": rows,
        "gzip": gzip.compress(rows),
        "members": gzip.compress(rows[:half]) + gzip.compress(rows[half:]),
        "padding": gzip.compress(rows) + bytes(100),
    }[how]
    process = await start("embed", path, "-o", tmp_path / "v.npy", *openai(server))
    os.close(await write(path, data[:50], data[50:]))
    ended = await process.end()
    assert ended.code == 0, ended.err
    np.testing.assert_array_equal(np.load(tmp_path / "v.npy"), [vector_of(f"text {number}") for number in range(10)])


async def test_a_pipe_as_the_shell_names_it(start, server, openai, tmp_path):
    """What `<(...)` passes, whose writer may be gone before the reader comes."""
    read, write_end = os.pipe()
    os.write(write_end, ROWS["txt"])
    os.close(write_end)
    path = f"/dev/fd/{read}"
    process = await start("embed", path, "--format", "txt", "-o", tmp_path / "v.npy", *openai(server), pass_fds=[read])
    os.close(read)
    ended = await process.end()
    assert ended.code == 0, ended.err
    assert np.load(tmp_path / "v.npy").shape == (10, 8)


@pytest.mark.parametrize("when", ["before anything was written", "while the writer pauses"])
async def test_the_event_loop_does_not_stand_still(start, server, openai, pipe, tmp_path, when):
    """What has come is embedded meanwhile, and Ctrl-C is heard."""
    path = pipe("in.txt")
    process = await start("embed", path, "-o", tmp_path / "v.npy", "--chunk-size", 2, *openai(server))
    if when == "while the writer pauses":
        file = await write(path, ROWS["txt"])
        await until(lambda: sum(map(len, server.asked)) >= 8, 60)
    else:
        file = await write(path)  # which waits for the reader
    process.signal(signal.SIGINT)
    ended = await asyncio.wait_for(process.end(), 60)
    os.close(file)
    assert ended.code == 130, ended.err


async def test_a_pipe_that_breaks_off(start, server, openai, pipe, tmp_path):
    path = pipe("in.txt.gz")
    process = await start("embed", path, "-o", tmp_path / "v.npy", *openai(server))
    os.close(await write(path, gzip.compress(ROWS["txt"])[:-12]))
    ended = await process.end()
    assert ended.code == 1
    assert f"{path} cannot be read: the compressed data ends too early" in ended.err


def test_parquet_cannot_be_a_pipe(run, pipe, tmp_path):
    ended = run("embed", pipe("in.parquet"), "-o", tmp_path / "v.npy")
    assert ended.code == 2
    assert "Parquet cannot be read from a pipe" in ended.err


async def test_serve_on_a_unix_socket(start, tmp_path):
    path = tmp_path / "Local.Sock"
    process = await start("serve", "--unix", path)
    greeting = (await process.stdout.readline()).decode()
    url = f"http+unix://{str(path).replace('/', '%2F')}"
    assert url in greeting
    async with EmbedClient("openai", base_url=f"{url}/v1", model="local") as client:
        assert (await client.embed(["a small cat"])).embeddings.shape[0] == 1
    second = await (await start("serve", "--unix", path)).end()
    assert second.code == 1
    assert "another server listens on this socket" in second.err
    assert stat.S_ISSOCK(path.stat().st_mode)
    process.signal(signal.SIGTERM)
    assert (await process.end()).code == 0
    assert not path.exists()


async def test_a_socket_that_a_dead_server_has_left(tmp_path):
    path = tmp_path / "left.sock"
    server = await asyncio.start_unix_server(lambda *_: None, path)
    os.link(path, tmp_path / "kept")
    server.close()
    await server.wait_closed()
    (tmp_path / "kept").replace(path)
    async with LocalServer(unix=path) as local:
        assert local.url == f"http+unix://{str(path).replace('/', '%2F')}"
        with pytest.raises(RuntimeError, match="no port"):
            _ = local.port
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
            session.get("http://localhost/health") as response,
        ):
            assert response.status == 200
    assert not path.exists()


async def test_a_file_that_is_no_socket_is_left_alone(tmp_path):
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(OSError, match="precious"):
        await LocalServer(unix=path).start()
    assert path.read_text() == "data"
