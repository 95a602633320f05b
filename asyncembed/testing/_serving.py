"""What a `FakeServer` does with a connection: read a request, choose a reply, write it down."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from asyncembed.testing._answers import Answer, Style
from asyncembed.testing._exchange import Exchange, name_of
from asyncembed.testing._http import head_bytes, read_request
from asyncembed.testing._sockets import hang_up
from asyncembed.testing.faults import Refuse, Refused, TooManyRequests

if TYPE_CHECKING:
    import ssl
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Iterator, Mapping

    from asyncembed.testing._exchange import Reply
    from asyncembed.testing._limit import Limit
    from asyncembed.testing._request import Request
    from asyncembed.testing._server import FakeServer


class Rule(Protocol):
    """A reply to every request that it applies to: `faults.Poisoned`, `faults.TooLarge`, or one's own."""

    def applies(self, exchange: Exchange, /) -> bool:
        """Whether it is to answer this request."""

    async def __call__(self, exchange: Exchange, /) -> None:
        """Answer the request."""


async def serve(server: FakeServer, reader: StreamReader, writer: StreamWriter) -> None:
    """Answer the requests of one connection until either side has enough."""
    writer.transport.set_write_buffer_limits(0)  # what `drain` has waited for has left the process
    try:
        if server.tls is not None:
            await _start_tls(writer, server.tls, server.tls_delay)
        await _answer_all(server, reader, writer)
    except OSError:
        writer.transport.abort()  # the client has gone in the middle of something
    except BaseException:
        writer.transport.abort()  # whoever does not read would keep a polite end from coming
        raise
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _start_tls(writer: StreamWriter, context: ssl.SSLContext, delay: float) -> None:
    if isinstance(writer.transport, asyncio.Transport):
        writer.transport.pause_reading()  # the client's first words are for the TLS side
    await asyncio.sleep(delay)
    await writer.start_tls(context)


async def _answer_all(server: FakeServer, reader: StreamReader, writer: StreamWriter) -> None:
    if server.script and isinstance(refusal := server.script[0], Refuse):
        server.script.popleft()
        hang_up(writer, reset=refusal.reset)
        return
    while request := await read_request(reader):
        if request.method == "GET" and request.path == "/info" and server.info is not None:
            await _tell(writer, server.info)
            continue
        exchange = _open(server, request, (reader, writer))
        reply = _choose(server, exchange)
        exchange.entry.reply = name_of(reply)
        with _counted(server, exchange):
            await asyncio.sleep(_latency(server, exchange))
            await reply(exchange)
        if exchange.over or request.headers.get("connection", "").lower() == "close":
            return


async def _tell(writer: StreamWriter, info: Mapping[str, object]) -> None:
    """Say what the server says of itself; no book is kept of that."""
    body = json.dumps(info).encode()
    writer.write(head_bytes(200, {"Content-Type": "application/json", "Content-Length": str(len(body))}) + body)
    await writer.drain()


def _open(server: FakeServer, request: Request, connection: tuple[StreamReader, StreamWriter]) -> Exchange:
    tokens = sum(map(server.count_tokens, request.texts))
    answer = Answer.right(request, request.dimension or server.dimension, tokens)
    entry = server.ledger.open(request, time.monotonic())
    style = Style(pretty=server.pretty, key_order=server.key_order, item_order=server.item_order)
    return Exchange(
        request,
        answer,
        connection,
        (server.ledger, entry),
        style=style,
        framing=server.framing,
        gzip=server.gzip,
        chunk_size=server.chunk_bytes,
        seed=server.seed,
    )


def _choose(server: FakeServer, exchange: Exchange) -> Reply:
    """What stands first decides: the request itself, its key, rules, the limit, the script, the default."""
    if problem := exchange.request.problem:
        return Refused(*problem)
    if server.key is not None and exchange.request.key != server.key:
        return Refused(401, "the API key is wrong", code="invalid_api_key")
    if rule := next((rule for rule in server.rules if rule.applies(exchange)), None):
        return rule
    if server.limit and (refusal := _take(server, server.limit, exchange)):
        return refusal
    return server.script.popleft() if server.script else server.default


def _take(server: FakeServer, limit: Limit, exchange: Exchange) -> Reply | None:
    now = time.monotonic()
    wait = limit.take(len(exchange.request.texts), exchange.answer.tokens, now, server.active)
    if limit.announce:
        exchange.headers |= limit.headers(now)
    return None if wait is None else TooManyRequests(limit.hint, wait)


def _latency(server: FakeServer, exchange: Exchange) -> float:
    return server.latency(exchange.random) if callable(server.latency) else server.latency


@contextmanager
def _counted(server: FakeServer, exchange: Exchange) -> Iterator[None]:
    server.active += 1
    server.most_active = max(server.most_active, server.active)
    try:
        yield
    finally:
        server.active -= 1
        exchange.entry.ended = time.monotonic()
