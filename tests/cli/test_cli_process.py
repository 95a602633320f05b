"""The command as a process: signals, terminals, pipes, missing packages."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import signal
import struct
import termios

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
from support.scripted import Gate, stalled, vector_of

import asyncembed

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture
def texts_file(tmp_path):
    """Ten texts, a text a line."""
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"text {number}\n" for number in range(10)))
    return path


@pytest.mark.parametrize("number", SIGNALS)
async def test_a_signal_ends_a_run_cleanly_and_keeps_what_came(start, server, openai, texts_file, tmp_path, number):
    """The third request of two texts never ends; by then the first two have been answered."""
    out, partial = tmp_path / "v.parquet", tmp_path / "v.parquet.partial"
    gate = Gate()
    server.script.extend([server.default, server.default, stalled(gate)])
    one_by_one = ("--chunk-size", 2, "--max-concurrency", 1, "--stop-wait", 0.2)
    process = await start("embed", texts_file, "-o", out, *one_by_one, *openai(server))
    await asyncio.wait_for(gate.reached.wait(), 60)
    process.signal(number)
    ended = await asyncio.wait_for(process.end(), 60)
    assert ended.code == 130
    assert ended.err.endswith(f"stopped: 4 of 10 texts are kept in {partial}; continue with --resume\n")
    assert not out.exists()
    assert np.load(partial / "vectors.npy").shape == (4, 8)

    server.requests.clear()
    resumed = await (await start("embed", texts_file, "-o", out, "--resume", *one_by_one, *openai(server))).end()
    assert resumed.code == 0, resumed.err
    assert [text for request in server.requests for text in request.texts] == [f"text {n}" for n in range(4, 10)]
    assert not partial.exists()
    table = pq.read_table(out)
    assert table["index"].to_pylist() == list(range(10))
    expected = np.stack([vector_of(f"text {index}") for index in range(10)])
    np.testing.assert_array_equal(np.stack(table["embedding"].to_numpy()), expected)


@pytest.mark.parametrize("module", ["rich", "typer", "asyncembed.sinks.parquet"])
async def test_ctrl_c_while_something_is_imported_is_no_traceback(start, texts_file, tmp_path, module):
    """The last is imported by the command itself, before its first request."""
    code = f"""
import signal, sys
from asyncembed.cli import main

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Finder())
sys.argv = ["asyncembed", "embed", {str(texts_file)!r}, "-o", {str(tmp_path / "v.parquet")!r}]
main()
"""
    ended = await asyncio.wait_for((await start("-c", code)).end(), 60)
    assert (ended.code, ended.out) == (130, "")
    assert ended.err in {"stopped\n", "stopped: nothing is kept\n"}


@pytest.mark.parametrize("number", SIGNALS)
async def test_a_signal_ends_a_search_cleanly(start, server, openai, texts_file, tmp_path, number):
    out = tmp_path / "v.npy"
    await (await start("embed", texts_file, "-o", out, *openai(server))).end()
    gate = Gate()
    server.script.append(stalled(gate))
    process = await start("search", out, "text 3", *openai(server))
    await asyncio.wait_for(gate.reached.wait(), 60)
    process.signal(number)
    ended = await asyncio.wait_for(process.end(), 60)
    assert (ended.code, ended.out, ended.err) == (130, "", "stopped\n")


async def test_ctrl_c_works_while_nothing_comes_from_a_pipe(start, server, openai, tmp_path):
    out = tmp_path / "v.npy"
    gate = Gate()
    server.script.extend([server.default, server.default, stalled(gate)])
    process = await start(
        "embed", "-", "-o", out, "--chunk-size", 1, "--max-concurrency", 1, "--stop-wait", 0.2, *openai(server)
    )
    process.stdin.write(b"one\ntwo\nthree\n")
    await process.stdin.drain()
    await asyncio.wait_for(gate.reached.wait(), 60)
    process.signal(signal.SIGINT)
    code = await asyncio.wait_for(process.wait(), 60)  # the pipe is still open
    assert code == 130
    assert np.load(tmp_path / "v.npy.partial" / "vectors.npy").shape == (2, 8)


async def test_a_terminal_shows_how_the_run_goes_and_then_only_the_result(start, server, openai, texts_file, tmp_path):
    gate = Gate()
    server.script.extend([server.default, server.default, stalled(gate)])
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    arguments = ("--chunk-size", 2, "--max-concurrency", 1, *openai(server))
    process = await start("embed", texts_file, "-o", tmp_path / "v.npy", *arguments, stderr=slave)
    os.close(slave)
    shown = b""
    with os.fdopen(master, "rb", buffering=0) as terminal:
        while b"in flight" not in shown or b"4 of 10" not in shown:
            shown += await asyncio.wait_for(asyncio.to_thread(terminal.read, 4096), 60)
        gate.opened.set()
        while b"embedded to" not in shown:
            shown += await asyncio.wait_for(asyncio.to_thread(terminal.read, 4096), 60)
        assert (await process.end()).code == 0
    frame = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", shown).decode()
    assert re.search(r"━+╺?━* *4 of 10  40%  \d+:\d\d left", frame)
    assert re.search(r"\d texts/s · 1 in flight · memory \d+/256 MB · 4 tokens", frame)
    assert shown.rstrip().endswith(b"0 failed")


async def test_without_a_terminal_nothing_is_drawn(start, server, openai, texts_file, tmp_path):
    ended = await (await start("embed", texts_file, "-o", tmp_path / "v.npy", *openai(server))).end()
    assert ended.out == ""
    assert re.fullmatch(r"10 texts embedded to \S+ in [\d.]+ s .*, 0 failed\n", ended.err)


@pytest.mark.parametrize("package", ["typer", "rich"])
async def test_a_missing_package_of_the_command_line_is_named(start, package):
    code = f"import sys; sys.modules['{package}'] = None; from asyncembed.cli import main; main()"
    ended = await (await start("-c", code)).end()
    assert ended.code == 2
    assert ended.err == (
        f'Error: the command line needs the package {package}, which is not installed: pip install "asyncembed[cli]"\n'
    )


@pytest.mark.parametrize("files", [("texts.txt", "v.parquet"), ("rows.parquet", "v.npy")])
async def test_a_missing_pyarrow_is_named_before_anything_is_sent(start, server, openai, texts_file, tmp_path, files):
    (tmp_path / "rows.parquet").touch()
    source, out = (str(tmp_path / name) for name in files)
    command = ["asyncembed", "embed", source, "-o", out, *openai(server)]
    code = f"import sys; sys.argv = {command!r}; sys.modules['pyarrow'] = None; from asyncembed.cli import main; main()"
    ended = await (await start("-c", code)).end()
    assert ended.code == 2
    assert 'pip install "asyncembed[arrow]"' in ended.err
    assert server.requests == []


async def test_other_formats_need_no_pyarrow(start, server, openai, texts_file, tmp_path):
    command = ["asyncembed", "embed", str(texts_file), "-o", str(tmp_path / "v.npy"), *openai(server)]
    code = f"import sys; sys.argv = {command!r}; sys.modules['pyarrow'] = None; from asyncembed.cli import main; main()"
    ended = await (await start("-c", code)).end()
    assert ended.code == 0, ended.err


async def test_an_error_is_one_message_without_a_traceback(start, server, openai, tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"text": "one"}\n{"txet": "two"}\n')
    ended = await (await start("embed", path, "-o", tmp_path / "v.npy", *openai(server))).end()
    assert ended.code == 1
    assert ended.err.splitlines() == [
        f"Error: {path}:2: there is no field 'text'; the fields are 'txet'; choose with --text-field",
        f"1 row is kept in {tmp_path / 'v.npy.partial'}; continue with --resume",
    ]


async def test_the_version(start):
    ended = await (await start("--version")).end()
    assert (ended.code, ended.out) == (0, f"asyncembed {asyncembed.__version__}\n")


async def test_the_local_model_serves_other_programs_until_ctrl_c(start, monkeypatch):
    pytest.importorskip("model2vec")
    aiohttp = pytest.importorskip("aiohttp")
    monkeypatch.setenv("MY_KEY", "open-sesame")
    process = await start("serve", "--port", 0, "--api-key-env", "MY_KEY")
    line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
    url = re.search(r"http://127\.0\.0\.1:\d+/v1", line).group()
    body = {"model": "any", "input": ["hello"]}
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{url}/embeddings", json=body) as refused:
            assert refused.status == 401
        headers = {"Authorization": "Bearer open-sesame"}
        async with session.post(f"{url}/embeddings", json=body, headers=headers) as response:
            assert len(orjson.loads(await response.read())["data"]) == 1
    process.signal(signal.SIGINT)
    ended = await asyncio.wait_for(process.end(), 60)
    assert (ended.code, ended.err) == (0, "stopped\n")
    assert "curl" in ended.out
    assert '-H "Authorization: Bearer $MY_KEY"' in ended.out


def test_serve_wants_a_key_where_one_was_named(run):
    ended = run("serve", "--api-key-env", "NO_SUCH_VARIABLE")
    assert ended.code == 2
    assert "the environment variable NO_SUCH_VARIABLE is not set" in ended.err
