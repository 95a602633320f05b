"""The HTTP side: routes, who may ask, and errors in the form of the API that was asked.

Answers are made in the worker thread, from body bytes to body bytes, so that neither JSON nor the model ever holds up
the event loop.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import time
import uuid
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import orjson
from aiohttp import web

from asyncembed._secret import Secret
from asyncembed._version import __version__
from asyncembed.local import _cohere, _openai
from asyncembed.local._fields import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from aiohttp.typedefs import Handler, Middleware

    from asyncembed.local._model import LocalModel

MAX_BODY_BYTES: Final = 32 * 1024 * 1024

_ANSWERS: Final[dict[str, Callable[[LocalModel, bytes], bytes]]] = {
    "/v1/embed": partial(_cohere.answer, version="1"),
    "/v2/embed": partial(_cohere.answer, version="2"),
    "/v1/embeddings": _openai.answer,
}
_ROUTES: Final = ", ".join(f"POST {path}" for path in _ANSWERS) + ", GET /v1/models, GET /health"
_REQUEST_ID: Final = web.RequestKey("request_id", str)

_log = logging.getLogger("asyncembed.local")


def build_app(model: LocalModel, worker: Executor, *, loopback: bool, api_key: str | None) -> web.Application:
    """Build the application.

    Args:
        model: What embeds.
        worker: Where it embeds.
        loopback: Whether it can be reached from this machine alone. Where no key is demanded besides, only requests
            addressed to a loopback host are taken.
        api_key: The key every request has to bear; none if None.
    """
    middlewares: list[Middleware] = [_errors_in_form]
    if loopback and api_key is None:  # a page in a browser does not know the key
        middlewares.append(_require_loopback)
    if api_key is not None:
        middlewares.append(_require_key(api_key))
    app = web.Application(middlewares=middlewares, client_max_size=MAX_BODY_BYTES)
    app.on_response_prepare.append(_add_request_id)
    app.router.add_get("/health", _health(model))
    app.router.add_get("/v1/models", _models(model))
    for path, answer in _ANSWERS.items():
        app.router.add_post(path, _in_worker(worker, partial(answer, model)))
    return app


def is_loopback(host: str) -> bool:
    """Tell whether the host is `localhost` or a loopback address."""
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _in_worker(worker: Executor, answer: Callable[[bytes], bytes]) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        body = await request.read()
        reply = await asyncio.get_running_loop().run_in_executor(worker, answer, body)
        return _json(reply)

    return handle


def _health(model: LocalModel) -> Handler:
    state = {
        "status": "ok",
        "model": model.name,
        "dimension": model.dimension,
        "max_tokens": model.max_tokens,
        "fingerprint": model.fingerprint,
        "version": __version__,
    }

    return _always(state)


def _models(model: LocalModel) -> Handler:
    """Answer as OpenAI lists its models; there is one, whatever requests call it."""
    entry = {"id": model.name, "object": "model", "created": int(time.time()), "owned_by": "asyncembed"}
    return _always({"object": "list", "data": [entry]})


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
    # A page in a browser can give its own name a loopback address (DNS rebinding); the Host header tells.
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
    except Exception as failure:  # noqa: BLE001  # whatever it is, the caller gets JSON
        error = _as_request_error(request, failure)
        body = (_openai if _is_openai(request.path) else _cohere).error_body(error)
        headers = {"Allow": failure.headers["Allow"]} if isinstance(failure, web.HTTPMethodNotAllowed) else None
        return _json(orjson.dumps(body), error.status, headers)


def _is_openai(path: str) -> bool:
    """Whether a path is one of OpenAI's API, whether it exists or not; `/v1/embed` is Cohere's."""
    return (path + "/").startswith("/v1/") and not (path + "/").startswith("/v1/embed/")


def _as_request_error(request: web.Request, failure: Exception) -> RequestError:
    match failure:
        case RequestError():
            return failure
        case web.HTTPRequestEntityTooLarge():
            return RequestError(f"the body is larger than {MAX_BODY_BYTES} bytes", status=413)
        case web.HTTPException():
            return RequestError(
                f"{failure.reason}: {request.method} {request.path}; there is {_ROUTES}", status=failure.status
            )
        case web.RequestPayloadError():
            return RequestError("the body broke off, or is not what Content-Encoding says")
    _log.error("%s %s failed (request %s)", request.method, request.path, _request_id(request), exc_info=failure)
    return RequestError("internal error; the server's log has the details", status=500)


def _json(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)
