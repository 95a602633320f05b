"""The embedded server: routes, access, and errors in the form of the requested API.

The server has one event loop and one worker thread that owns the model. The worker turns body bytes into body bytes, so
neither JSON nor the model ever holds up the event loop.
"""

from __future__ import annotations

import asyncio
import errno
import hmac
import ipaddress
import logging
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import quote, urlsplit

import orjson
from aiohttp import web

from asyncembed._config import check_path, check_text, is_whole
from asyncembed._exceptions import ConfigurationError
from asyncembed._redaction import Secret, hide
from asyncembed._repr import shown
from asyncembed._version import __version__
from asyncembed.local import _cohere, _ollama, _openai, _tei
from asyncembed.local._fields import Reply, RequestError
from asyncembed.local._model import LocalModel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Executor
    from types import TracebackType

    from aiohttp.typedefs import Handler, Middleware


MAX_BODY_BYTES: Final = 32 * 1024 * 1024


def _health(model: LocalModel) -> dict[str, object]:
    return {
        "status": "ok",
        "model": model.name,
        "dimension": model.dimension,
        "max_tokens": model.max_tokens,
        "fingerprint": model.fingerprint,
        "version": __version__,
    }


_ANSWERS: Final[Mapping[str, Callable[[LocalModel, bytes], Reply]]] = {
    "/v1/embed": partial(_cohere.answer, version="1"),
    "/v2/embed": partial(_cohere.answer, version="2"),
    "/v1/embeddings": _openai.answer,
    "/api/embed": _ollama.answer,
    "/api/show": _ollama.show,
    "/embed": _tei.answer,
    "/": _tei.answer,
}
_FACTS: Final[Mapping[str, Callable[[LocalModel], dict[str, object]]]] = {
    "/v1/models": _openai.models,
    "/api/tags": _ollama.tags,
    "/api/version": lambda _: {"version": __version__},
    "/info": _tei.info,
    "/health": _health,
}
_ROUTES: Final = ", ".join([*(f"POST {path}" for path in _ANSWERS), *(f"GET {path}" for path in _FACTS)])
_TEI_PATHS: Final = frozenset({"/", "/embed", "/info"})
_REQUEST_ID: Final = web.RequestKey("request_id", str)

_log = logging.getLogger("asyncembed.local")


def build_app(model: LocalModel, worker: Executor, *, loopback: bool, api_key: str | None) -> web.Application:
    """Build the application.

    Args:
        model: The model that embeds the texts.
        worker: The executor in which it does so.
        loopback: Whether only this machine can reach the server. Without an `api_key` the server then answers only
            requests that are addressed to a loopback host.
        api_key: The key that every request must carry; None for a server without a key.
    """
    middlewares: list[Middleware] = [_errors_in_form]
    if loopback and api_key is None:  # with a key, a page in a browser cannot ask anyway
        middlewares.append(_require_loopback)
    if api_key is not None:
        middlewares.append(_require_key(api_key))
    app = web.Application(middlewares=middlewares, client_max_size=MAX_BODY_BYTES)
    app.on_response_prepare.append(_add_request_id)
    for path, facts in _FACTS.items():
        app.router.add_get(path, _always(facts(model)))
    for path, answer in _ANSWERS.items():
        app.router.add_post(path, _in_worker(worker, partial(answer, model)))
    return app


def is_loopback(host: str) -> bool:
    """Return whether the host is `localhost` or a loopback address."""
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _in_worker(worker: Executor, answer: Callable[[bytes], Reply]) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        body = await request.read()
        reply = await asyncio.get_running_loop().run_in_executor(worker, answer, body)
        return _json(reply.body, headers=reply.headers)

    return handle


def _always(document: object) -> Handler:
    body = orjson.dumps(document)

    async def handle(_: web.Request) -> web.Response:
        return _json(body)

    return handle


async def _add_request_id(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["x-request-id"] = _request_id(request)


def _request_id(request: web.Request) -> str:
    if _REQUEST_ID not in request:
        request[_REQUEST_ID] = f"req_{uuid.uuid4().hex}"
    return request[_REQUEST_ID]


@web.middleware
async def _require_loopback(request: web.Request, handler: Handler) -> web.StreamResponse:
    # A web page can give its own host name a loopback address (DNS rebinding); the Host header still names the page.
    try:
        host = urlsplit(f"//{request.headers.get('Host', '')}").hostname or ""
    except ValueError:
        host = ""
    if not is_loopback(host):
        raise RequestError(f"this server answers only for localhost and loopback addresses, not {host!r}", status=403)
    return await handler(request)


def _require_key(api_key: str) -> Middleware:
    expected = Secret(f"Bearer {api_key}")

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode(errors="surrogateescape")
        if not hmac.compare_digest(given, expected.encode()):
            message = "missing or wrong API key: send it as 'Authorization: Bearer <key>'"
            raise RequestError(message, status=401, code="invalid_api_key")
        return await handler(request)

    return check


@web.middleware
async def _errors_in_form(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Exception as failure:  # noqa: BLE001  # the client gets JSON for every failure
        status, body = _refuse(request.path, _as_request_error(request, failure))
        headers = {"Allow": failure.headers["Allow"]} if isinstance(failure, web.HTTPMethodNotAllowed) else {}
        return _json(orjson.dumps(body), status, headers)


def _refuse(path: str, error: RequestError) -> tuple[int, dict[str, object]]:
    """Return status and body of an error in the form of the API that a path belongs to, with or without a route."""
    folder = path + "/"
    if folder.startswith("/v1/") and not folder.startswith("/v1/embed/"):
        return _openai.refusal(error)
    if folder.startswith("/api/"):
        return _ollama.refusal(error)
    return _tei.refusal(error) if path in _TEI_PATHS else _cohere.refusal(error)


def _as_request_error(request: web.Request, failure: Exception) -> RequestError:
    match failure:
        case RequestError():
            return failure
        case web.HTTPRequestEntityTooLarge():
            return RequestError(f"the body is larger than {MAX_BODY_BYTES} bytes", status=413)
        case web.HTTPException():
            message = f"{failure.reason}: {request.method} {request.path}; the routes are {_ROUTES}"
            return RequestError(message, status=failure.status)
        case web.RequestPayloadError():
            return RequestError("the body is incomplete, or does not match its Content-Encoding")
    _log.error("%s %s failed (request %s)", request.method, request.path, _request_id(request), exc_info=failure)
    return RequestError("internal error; the server's log has the details", status=500)


def _json(body: bytes, status: int = 200, headers: Mapping[str, str] = {}) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)


GRACE_SECONDS: Final = 0.5
"""How long `stop` waits for running requests before it closes their connections."""


class LocalServer:
    """Serves a local model over HTTP in the formats of Cohere (v1 and v2), OpenAI, Ollama and TEI.

    Use it as `async with LocalServer() as server:` and point a client at `server.url` (Cohere, Ollama, TEI) or
    `server.url + "/v1"` (OpenAI). It accepts any model name, so code for the real service runs unchanged.

    Args:
        model: A loaded model, or the folder of a model2vec model; by default the model that comes with the package.
        host: Address to listen on. Any address that other machines can reach needs an `api_key`.
        port: Port to listen on; 0 chooses a free one.
        unix: Path of a Unix socket to listen on instead of host and port. The permissions of the folder and the umask
            decide who may connect.
        api_key: Key that requests must carry in their Authorization header; by default the server needs none.

    Raises:
        ConfigurationError: The host, port or key cannot be used.

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
        if unix is not None:
            check_path("unix", unix)
        if not isinstance(model, LocalModel | None):
            check_path("model", model)
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
            ConfigurationError: model2vec is not installed, or cannot read a model from the folder.
            OSError: The port or the socket is in use, or the host is not an address of this machine.
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
        """Stop listening, wait a moment for running requests, close their connections, and end the worker thread.

        It waits for the batch that the worker embeds, because a thread cannot be interrupted. If you cancel it, it
        closes the connections at once and the thread ends by itself. It does nothing if the server does not run.
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
                    self._unix.unlink(missing_ok=True)  # asyncio leaves it there before Python 3.13
                # After this last job the thread is idle, and joining it below does not block the event loop.
                await asyncio.get_running_loop().run_in_executor(worker, int)
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
        """Port that the running server listens on.

        Raises:
            RuntimeError: The server does not run, or listens on a Unix socket.
        """
        if self._unix:
            raise RuntimeError("the server listens on a Unix socket, which has no port")
        return self._address()[1]

    @property
    def url(self) -> str:
        """Address of the running server for clients on this machine, without a trailing slash.

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
    """Raise `OSError` if another server listens on a Unix socket; asyncio would replace it silently."""
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return
    writer.close()
    raise OSError(errno.EADDRINUSE, "another server listens on this socket", str(path))


def _check(host: str, port: int, api_key: str | None) -> None:
    check_text("host", host)
    if not host:
        raise ConfigurationError("host is empty: pass the address to listen on, such as 127.0.0.1")
    if not is_whole(port) or not 0 <= port <= 65_535:  # noqa: PLR2004  # the range of a TCP port
        raise ConfigurationError(f"port must be 0 to 65535, not {shown(port)}")
    if not isinstance(api_key, str | None):  # not shown, as it may hold a key
        raise ConfigurationError(f"api_key must be a str, not {type(api_key).__name__}")
    if api_key is not None and not api_key.strip():
        raise ConfigurationError("api_key is empty: pass a key, or None for a server without one")
    if api_key is None and not is_loopback(host):
        raise ConfigurationError(f"other machines can reach {host!r}: set an api_key")


def _drop_connections(runner: web.AppRunner) -> None:
    for connection in runner.server.connections if runner.server else ():
        connection.force_close()
