"""The fake server. For each request of a connection, it chooses a reply, sends it and records it in the ledger."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, Self

from anyio.from_thread import start_blocking_portal

from asyncembed._config import check, check_choice, check_count
from asyncembed._repr import ShortRepr
from asyncembed.testing._answers import Answer, Order, Style
from asyncembed.testing._exchange import Exchange, hang_up, name_of, right
from asyncembed.testing._ledger import Ledger
from asyncembed.testing._request import Framing, head_bytes, read_request
from asyncembed.testing._vectors import DIMENSION, tokens_of
from asyncembed.testing.faults import Refuse, Refused, TooManyRequests

if TYPE_CHECKING:
    import ssl
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Callable, Iterator, Mapping
    from random import Random
    from types import TracebackType

    from asyncembed.testing._exchange import Reply
    from asyncembed.testing._limit import Limit
    from asyncembed.testing._request import Request
    from asyncembed.testing._workers import Workers


class Rule(Protocol):
    """A reply to every request that it applies to: `faults.Poisoned`, `faults.TooLarge`, or your own."""

    def applies(self, exchange: Exchange, /) -> bool:
        """Return whether this rule answers the request."""

    async def __call__(self, exchange: Exchange, /) -> None:
        """Answer the request."""


async def serve(server: FakeServer, reader: StreamReader, writer: StreamWriter) -> None:
    """Answer the requests of one connection until either side closes it."""
    writer.transport.set_write_buffer_limits(0)  # so `drain` returns only when the bytes have left the process
    try:
        if server.tls is not None:
            await _start_tls(writer, server.tls, server.tls_delay)
        await _answer_all(server, reader, writer)
    except OSError:
        writer.transport.abort()  # the client closed the connection during an exchange
    except BaseException:
        writer.transport.abort()  # a normal close would wait for a client that does not read
        raise
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _start_tls(writer: StreamWriter, context: ssl.SSLContext, delay: float) -> None:
    if isinstance(writer.transport, asyncio.Transport):
        writer.transport.pause_reading()  # the first bytes of the client belong to the TLS handshake
    await asyncio.sleep(delay)
    await writer.start_tls(context)


async def _answer_all(server: FakeServer, reader: StreamReader, writer: StreamWriter) -> None:
    if server.script and isinstance(refusal := server.script[0], Refuse):
        server.script.popleft()
        hang_up(writer, reset=refusal.reset)
        return
    while request := await read_request(reader):
        if request.method == "GET" and request.path == "/info" and server.info is not None:
            await _send_info(writer, server.info)
            continue
        exchange = _open_exchange(server, request, (reader, writer))
        reply = _choose_reply(server, exchange)
        exchange.entry.reply = name_of(reply)
        with _track_active(server, exchange):
            await asyncio.sleep(_draw_latency(server, exchange))
            if server.workers:
                await server.workers.work(len(exchange.request.texts))
            await reply(exchange)
        if exchange.over or request.headers.get("connection", "").lower() == "close":
            return


async def _send_info(writer: StreamWriter, info: Mapping[str, object]) -> None:
    """Answer `GET /info`; the ledger does not record it."""
    body = json.dumps(info).encode()
    writer.write(head_bytes(200, {"Content-Type": "application/json", "Content-Length": str(len(body))}) + body)
    await writer.drain()


def _open_exchange(server: FakeServer, request: Request, connection: tuple[StreamReader, StreamWriter]) -> Exchange:
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


def _choose_reply(server: FakeServer, exchange: Exchange) -> Reply:
    """Return the first reply that applies: invalid request, wrong key, rules, limit, script, default."""
    is_for_api = not exchange.request.is_connect
    if is_for_api and (problem := exchange.request.problem):
        return Refused(*problem)
    if is_for_api and server.key is not None and exchange.request.key != server.key:
        return Refused(401, "the API key is wrong", code="invalid_api_key")
    if rule := next((rule for rule in server.rules if rule.applies(exchange)), None):
        return rule
    if is_for_api and server.limit and (refusal := _check_limit(server, server.limit, exchange)):
        return refusal
    return server.script.popleft() if server.script else server.default


def _check_limit(server: FakeServer, limit: Limit, exchange: Exchange) -> Reply | None:
    now = time.monotonic()
    wait = limit.take(len(exchange.request.texts), exchange.answer.tokens, now, server.active)
    if limit.announce:
        exchange.headers |= limit.headers(now)
    return None if wait is None else TooManyRequests(limit.hint, wait)


def _draw_latency(server: FakeServer, exchange: Exchange) -> float:
    return server.latency(exchange.random) if callable(server.latency) else server.latency


@contextmanager
def _track_active(server: FakeServer, exchange: Exchange) -> Iterator[None]:
    server.active += 1
    server.max_active = max(server.max_active, server.active)
    try:
        yield
    finally:
        server.active -= 1
        exchange.entry.ended = time.monotonic()


INFO: Final[dict[str, object]] = {"max_client_batch_size": 32, "max_batch_tokens": 16_384, "max_input_length": 512}


@dataclass(kw_only=True, eq=False, repr=False)
class FakeServer(ShortRepr):
    """An embedding server for tests, on 127.0.0.1 and a free port.

    The path of a request decides its wire format: give `server.url` to a Cohere client, and `server.url + "/v1"` to an
    OpenAI client. The vector of a text is `vector_of(text, dimension)`. You may change every attribute while the server
    runs; the change applies from the next request on. `async with` runs the server in the event loop of the test, and
    `with server.run_in_thread()` in a thread of its own. If a reply of yours raises an exception, both raise it when
    the block ends.

    It also stands for a proxy, as in `HTTPS_PROXY=server.url`: rules, script and default refuse a CONNECT as they
    refuse other requests. It answers 405 where they do not, because it opens no tunnels.

    Attributes:
        dimension: Length of the vectors if the request does not say.
        framing: How a body ends: by its "length", "chunked", or by the "close" of the connection.
        gzip: Whether to compress answers for clients that accept gzip.
        chunk_bytes: Bytes of a body per write, at least 1; None for the whole body.
        pretty: Whether documents are indented, one number per line.
        key_order: Order of the keys of each object: "usual", "reversed" or "shuffled".
        item_order: Order of the vectors, in formats where each vector has an index.
        latency: Seconds before an answer, or a function that draws them: `lambda random: random.expovariate(20)`.
        workers: Workers that requests wait for, and that take longer for more texts; None for as many as needed.
        info: Answer to `GET /info`, as text-embeddings-inference sends it; None for a 404.
        key: API key that requests must have; None accepts requests with any key or none.
        limit: Rate limit that the server enforces.
        rules: Replies to every request that they apply to, such as `faults.Poisoned`; the first that applies answers.
        script: Replies to the next requests, each used once, in order.
        default: Reply when no rule applies and the script is empty, such as `Chaos`.
        seed: Seed of all random draws.
        count_tokens: Function that counts the tokens of a text.
        tls: TLS context, if the server speaks TLS.
        tls_delay: Seconds before the TLS handshake starts.
        ledger: Record of every request, response and charge.
        active: Number of requests that are being answered now.
        max_active: Maximum of `active` so far.
        accepted: Number of connections so far.
        port: Port to listen on; 0 picks a free one, which the server keeps when it is started again.

    Example:
        ```python
        async with FakeServer(dimension=8) as server:
            server.script += [faults.Refused(503)]  # the reply to the next request
            async with EmbedClient("cohere", base_url=server.url, api_key="any") as client:
                response = await client.embed(["one text"])
        assert server.ledger.statuses == {503: 1, 200: 1}
        ```
    """

    dimension: int = DIMENSION
    framing: Framing = "length"
    gzip: bool = False
    chunk_bytes: int | None = None
    pretty: bool = False
    key_order: Order = "usual"
    item_order: Order = "usual"
    latency: float | Callable[[Random], float] = 0.0
    workers: Workers | None = None
    info: Mapping[str, object] | None = field(default_factory=INFO.copy)
    key: str | None = field(default=None, repr=False)
    limit: Limit | None = None
    rules: list[Rule] = field(default_factory=list)
    script: deque[Reply] = field(default_factory=deque)
    default: Reply = right
    seed: int = 0
    count_tokens: Callable[[str], int] = tokens_of
    tls: ssl.SSLContext | None = None
    tls_delay: float = 0.0
    ledger: Ledger = field(default_factory=Ledger)
    active: int = field(default=0, init=False)
    max_active: int = field(default=0, init=False)
    accepted: int = field(default=0, init=False)
    port: int = 0
    _listener: asyncio.Server | None = field(default=None, init=False, repr=False)
    _connections: set[asyncio.Task[None]] = field(default_factory=set, init=False, repr=False)
    _reply_errors: list[Exception] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        check_count("dimension", self.dimension)
        check(self.chunk_bytes is None or self.chunk_bytes >= 1, f"chunk_bytes={self.chunk_bytes!r} must be 1 or more")
        check_choice("framing", self.framing, Framing)
        for name in ("key_order", "item_order"):
            check_choice(name, getattr(self, name), Order)
        self.rules, self.script = list(self.rules), deque(self.script)

    @property
    def url(self) -> str:
        """Address of the server, without a trailing slash."""
        return f"http{'s' * (self.tls is not None)}://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start to listen.

        Raises:
            OSError: if the port is taken.
        """
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening, and close all connections at once."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        listener.close()
        tasks = tuple(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listener.wait_closed()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()
        if self._reply_errors and error is None:
            raise self._reply_errors[0]

    @contextmanager
    def run_in_thread(self) -> Iterator[Self]:
        """Run the server in a thread with its own event loop, for tests without a loop or that block theirs."""
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(self):
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:  # cannot happen: asyncio runs this in a task
            return
        self._connections.add(task)
        self.accepted += 1
        try:
            await serve(self, reader, writer)
        except asyncio.CancelledError:
            pass  # from `stop`; asyncio would log a cancelled task as an error
        except Exception as error:  # noqa: BLE001  # an error of a reply: `__aexit__` raises it in the test
            self._reply_errors.append(error)
        finally:
            self._connections.discard(task)
