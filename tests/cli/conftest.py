"""The command line in this process and in processes of its own, and a scripted server for both."""

from __future__ import annotations

import asyncio
import io
import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.scripted import ScriptedServer

from asyncembed.cli import main

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No keys, addresses or terminal settings of the machine that runs the tests."""
    keys = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "CO_API_KEY", "COHERE_API_KEY", "CO_API_URL")
    for name in (*keys, "FORCE_COLOR", "JPY_PARENT_PID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def run(plain_environment, monkeypatch):
    """Run a command in this process."""

    def run(*arguments: object, stdin: bytes | None = None) -> Ended:
        streams = [io.TextIOWrapper(io.BytesIO(given), "utf-8") for given in (stdin or b"", b"", b"")]
        with monkeypatch.context() as patch:
            for name, stream in zip(("stdin", "stdout", "stderr"), streams, strict=True):
                patch.setattr(sys, name, stream)
            patch.setattr(sys, "argv", ["asyncembed", *map(str, arguments)])
            patch.setattr(sys, "excepthook", sys.excepthook)
            try:
                main()
                code = 0
            except SystemExit as error:
                code = error.code or 0
        for stream in streams[1:]:
            stream.flush()
        return Ended(code, *(stream.buffer.getvalue().decode() for stream in streams[1:]))

    return run


class Process:
    """A command in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.stdin, self.stdout = process.stdin, process.stdout

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def end(self, stdin: bytes | None = None) -> Ended:
        out, err = await self._process.communicate(stdin)
        return Ended(self._process.returncode, out.decode(), (err or b"").decode())

    async def wait(self) -> int:
        """Wait for its end, and leave its standard input open."""
        return await self._process.wait()

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


@pytest.fixture
async def start(plain_environment):
    """Start a command in a process of its own; it is killed if it is still there at the end."""
    started = []

    async def start(*arguments: object, **options: object) -> Process:
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), asyncio.subprocess.PIPE) | options
        process = Process(
            await asyncio.create_subprocess_exec(
                sys.executable,
                *map(str, arguments if arguments[0] == "-c" else ("-m", "asyncembed", *arguments)),
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                **pipes,
            )
        )
        started.append(process)
        return process

    yield start
    for process in started:
        await process.kill()


@pytest.fixture
async def server():
    """A scripted server in the event loop of the test, for commands in processes of their own."""
    async with ScriptedServer() as server:
        yield server


@pytest.fixture
def threaded_server() -> Iterator[ScriptedServer]:
    """A scripted server in a thread, for commands that run in this process and keep its main thread."""
    server, ready, stop = ScriptedServer(), threading.Event(), asyncio.Event()
    loops = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        async with server:
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(5)
    yield server
    loops[0].call_soon_threadsafe(stop.set)
    thread.join(5)


def _openai(server: ScriptedServer) -> tuple[str, ...]:
    """Options that point a command at a server."""
    return ("--provider", "openai", "--base-url", f"{server.url}/v1", "--model", "scripted")


@pytest.fixture(name="openai")
def openai_fixture():
    """Options that point a command at a server."""
    return _openai
