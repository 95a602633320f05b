"""What a `FakeServer` does with a connection: read a request, choose a reply, write it down.

A server that is right by itself, and wrong exactly where it is told to be.
"""

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
    server.max_active = max(server.max_active, server.active)
    try:
        yield
    finally:
        server.active -= 1
        exchange.entry.ended = time.monotonic()


INFO: Final[dict[str, object]] = {"max_client_batch_size": 32, "max_batch_tokens": 16_384, "max_input_length": 512}


@dataclass(kw_only=True, eq=False)
class FakeServer:
    """An embedding server for tests, on 127.0.0.1 and a port of its own, while it is entered.

    It speaks the wire format of every provider, by the path that is asked for: give `server.url` to a client of Cohere,
    and `server.url + "/v1"` to one of OpenAI. Vectors are those of `vector_of`. Everything may be changed
    while it runs, and counts from the next request on. `async with` runs it in the loop of the test, and
    `with server.run_in_thread()` in one of its own. Either raises at its end what a reply of one's own has raised.

    Attributes:
        dimension: Length of the vectors, where the request does not say.
        framing: What tells the client where a body ends: its "length", "chunked", or "close" of the connection.
        gzip: Whether answers are compressed for clients that offer to take it.
        chunk_bytes: Bytes of a body that are written at once, down to 1; None for all.
        pretty: Whether documents are indented, one number a line.
        key_order: Order of the keys of each object: "usual", "reversed" or "shuffled".
        item_order: The same for vectors that bear an index.
        latency: Seconds before an answer, or what draws them: `lambda random: random.expovariate(20)`.
        info: What it says of itself at `GET /info`, as text-embeddings-inference does; None if it says nothing.
        key: The key that requests must bear; any will do, or none, if left out.
        limit: A rate limit that it enforces.
        rules: Replies to every request they apply to, such as `faults.Poisoned`; the first that applies answers.
        script: Replies to the next requests, used up in order.
        default: The reply after that, such as `Chaos`.
        seed: What draws follow from.
        count_tokens: How many tokens a text has.
        tls: Server side of TLS, if it is to speak that.
        tls_delay: Seconds before it begins to.
        ledger: Its books.
        active: Requests that are being answered now.
        max_active: Most of them at once so far.
        accepted: Connections there have been.
        port: Port to listen on, 0 for a free one; the one it got when it runs, which it keeps if it is started again.

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
    _mistakes: list[Exception] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        check_count("dimension", self.dimension)
        check(self.chunk_bytes is None or self.chunk_bytes >= 1, f"chunk_bytes={self.chunk_bytes!r} must be 1 or more")
        check_choice("framing", self.framing, Framing)
        for name in ("key_order", "item_order"):
            check_choice(name, getattr(self, name), Order)
        self.rules, self.script = list(self.rules), deque(self.script)

    @property
    def url(self) -> str:
        """Its address, without a trailing slash."""
        return f"http{'s' * (self.tls is not None)}://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: The port is taken.
        """
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening, and drop all connections at once."""
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
        if self._mistakes and error is None:
            raise self._mistakes[0]

    @contextmanager
    def run_in_thread(self) -> Iterator[Self]:
        """Run it in a thread with an event loop of its own, for tests that have none or block theirs."""
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(self):
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:  # never: streams run this in a task
            return
        self._connections.add(task)
        self.accepted += 1
        try:
            await serve(self, reader, writer)
        except asyncio.CancelledError:
            pass  # by `stop`; streams would log a task that ends so as a fault
        except Exception as error:  # noqa: BLE001  # a reply's mistake, raised where the test sees it
            self._mistakes.append(error)
        finally:
            self._connections.discard(task)
