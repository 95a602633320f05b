"""A server that is right by itself, and wrong exactly where it is told to be."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from anyio.from_thread import start_blocking_portal

from asyncembed._settings import check, check_choice, check_count
from asyncembed.testing._answers import Order
from asyncembed.testing._exchange import right
from asyncembed.testing._http import Framing
from asyncembed.testing._ledger import Ledger
from asyncembed.testing._serving import serve
from asyncembed.testing._vectors import DIMENSION, tokens_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Mapping
    from random import Random
    from types import TracebackType

    from asyncembed.testing._exchange import Reply
    from asyncembed.testing._limit import Limit
    from asyncembed.testing._serving import Rule


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
        most_active: Most of them at once so far.
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
    most_active: int = field(default=0, init=False)
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
