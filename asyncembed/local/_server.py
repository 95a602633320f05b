"""The life of the embedded server: one event loop, one worker thread that owns the model."""

from __future__ import annotations

import asyncio
import errno
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import quote

from aiohttp import web

from asyncembed._errors import ConfigurationError
from asyncembed._secret import hide
from asyncembed.local._app import build_app, is_loopback
from asyncembed.local._model import LocalModel

if TYPE_CHECKING:
    from types import TracebackType

GRACE_SECONDS: Final = 0.5
"""How long `stop` lets requests in flight finish before it breaks them off."""


class LocalServer:
    """Serves a local model over HTTP in the formats of Cohere (v1 and v2) and OpenAI.

    Use it as `async with LocalServer() as server:` and point a client at `server.url` (Cohere) or
    `server.url + "/v1"` (OpenAI). Any model name in a request is taken, so code for the real service runs unchanged.

    Args:
        model: A loaded model, the folder of a model2vec model, or the shipped one if left out.
        host: Address to listen on. Anything but a loopback address needs an `api_key`.
        port: Port to listen on; 0 takes a free one.
        unix: Path of a Unix socket to listen on instead of host and port. The permissions of the folder and the umask
            say who may connect.
        api_key: Key that requests must bear in their Authorization header; none is needed if left out.

    Raises:
        ConfigurationError: Host, port or key is unusable.

    Example:
        ```python
        async with LocalServer() as server:
            async with EmbedClient("openai", base_url=server.url + "/v1", api_key="unused") as client:
                response = await client.embed(["one text"])
        ```
    """

    def __init__(
        self,
        *,
        model: LocalModel | str | Path | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        unix: str | Path | None = None,
        api_key: str | None = None,
    ) -> None:
        api_key = hide(api_key)
        _check(host, port, api_key)
        self._model = model
        self._host = host
        self._port = port
        self._unix = None if unix is None else Path(unix).absolute()
        self._api_key = api_key
        self._lock = asyncio.Lock()
        self._worker: ThreadPoolExecutor | None = None
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Load the model and listen; does nothing if the server runs already.

        Raises:
            ConfigurationError: model2vec is not installed, or the folder holds no model it can read.
            OSError: The port or the socket is taken, or the host is no address of this machine.
        """
        async with self._lock:
            if self._runner is not None:
                return
            worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="asyncembed-local")
            try:
                self._runner = await self._listen(worker)
            except BaseException:
                worker.shutdown(wait=False, cancel_futures=True)
                raise
            self._worker = worker

    async def stop(self) -> None:
        """Stop listening, break off what is still in flight after a moment of grace, and end the worker thread.

        The batch being embedded is waited for, since a thread cannot be broken off. If this is cancelled, connections
        are dropped at once and the thread ends by itself. Does nothing if the server does not run.
        """
        async with self._lock:
            runner, self._runner = self._runner, None
            worker, self._worker = self._worker, None
            if runner is None or worker is None:
                return
            idle = False
            try:
                await runner.cleanup()
                if self._unix:
                    self._unix.unlink(missing_ok=True)  # before Python 3.13 asyncio leaves it
                await asyncio.get_running_loop().run_in_executor(
                    worker, int
                )  # the last job: joining costs nothing then
                idle = True
            finally:
                _drop_connections(runner)
                worker.shutdown(wait=idle, cancel_futures=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def port(self) -> int:
        """Port the running server listens on.

        Raises:
            RuntimeError: The server does not run, or listens on a Unix socket.
        """
        if self._unix:
            raise RuntimeError("the server listens on a Unix socket, which has no port")
        return self._address()[1]

    @property
    def url(self) -> str:
        """Where the running server is reached from this machine, without a trailing slash.

        Raises:
            RuntimeError: The server does not run.
        """
        host, port = self._address()
        if self._unix:
            return f"http+unix://{quote(str(self._unix), safe='')}"
        reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # compared, not bound
        return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"

    def _address(self) -> tuple[str, int]:
        if self._runner is None:
            raise RuntimeError("the server does not run: await start(), or use it in 'async with'")
        if self._unix:
            return str(self._unix), 0
        host, port = self._runner.addresses[0][:2]
        return host, port

    async def _listen(self, worker: ThreadPoolExecutor) -> web.AppRunner:
        if not isinstance(self._model, LocalModel):
            self._model = await asyncio.get_running_loop().run_in_executor(worker, LocalModel, self._model)
        is_near = self._unix is not None or is_loopback(self._host)
        app = build_app(self._model, worker, loopback=is_near, api_key=self._api_key)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=GRACE_SECONDS)
        await runner.setup()
        try:
            if self._unix:
                await _check_free(self._unix)
                await web.UnixSite(runner, self._unix).start()
            else:
                await web.TCPSite(runner, self._host, self._port).start()
        except BaseException:
            await runner.cleanup()
            raise
        return runner


async def _check_free(path: Path) -> None:
    """Raise `OSError` if a server listens on a Unix socket; asyncio would take its place unasked."""
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return
    writer.close()
    raise OSError(errno.EADDRINUSE, "another server listens on this socket", str(path))


def _check(host: str, port: int, api_key: str | None) -> None:
    if not host:
        raise ConfigurationError("host is empty: name the address to listen on, such as 127.0.0.1")
    if not 0 <= port <= 65_535:  # noqa: PLR2004  # the range of a TCP port
        raise ConfigurationError(f"port must be 0 to 65535, not {port}")
    if api_key is not None and not api_key.strip():
        raise ConfigurationError("api_key is empty: give a key, or None for a server without one")
    if api_key is None and not is_loopback(host):
        raise ConfigurationError(f"listening on {host!r} lets other machines in: set an api_key")


def _drop_connections(runner: web.AppRunner) -> None:
    for connection in runner.server.connections if runner.server else ():
        connection.force_close()
