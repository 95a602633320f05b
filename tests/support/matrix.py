"""One cell of the matrix of faults: a fault, the client of one wire format that meets it, and what is to come of it."""

from __future__ import annotations

import contextlib
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

import aiohttp
import numpy as np

from asyncembed import AsyncEmbedError, EmbedClient, EmbedFailure, EmbedResult, RetryPolicy, Timeouts
from asyncembed._ratelimit import Limiter
from asyncembed.testing import FakeServer, right, vector_of
from support.results import take_all
from support.watching import leftovers, turns

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from asyncembed import RunSummary
    from asyncembed.testing import Ledger, Reply, Rule

CHUNK = 4
TEXTS = [f"text {number:02} é日🙂".ljust(100, ".") for number in range(3 * CHUNK)]
ATTEMPTS = 3
RETRY = RetryPolicy(max_attempts=ATTEMPTS, initial_backoff=0.0005, max_backoff=0.002)
PATIENT = Timeouts(connect=20, first_byte=20, read=20)
IMPATIENT = Timeouts(connect=0.1, first_byte=0.1, read=0.1)
MINUTE = 0.06
"""Seconds that a minute of the rate limits takes here."""


@dataclass(frozen=True)
class Wire:
    """A provider, and the encoding that its vectors are asked for in."""

    provider: Literal["cohere", "cohere-v1", "openai"]
    encoding: Literal["float", "base64"]

    def __str__(self) -> str:
        return f"{self.provider}-{self.encoding}"


WIRES = [
    Wire("cohere", "float"),
    Wire("cohere", "base64"),
    Wire("cohere-v1", "float"),
    Wire("openai", "float"),
    Wire("openai", "base64"),
]
FLOATS = frozenset(wire for wire in WIRES if wire.encoding == "float")
INDEXED = frozenset(wire for wire in WIRES if wire.provider == "openai")
BY_ORDER = frozenset(WIRES) - INDEXED
BASE64 = frozenset(WIRES) - FLOATS


class Busy:
    """An event loop that has much else to do before a chunk is looked at."""

    async def wait(self) -> None:
        await turns(30)


class Outcome(Protocol):
    """What is to come of a fault."""

    def check(self, meeting: Meeting) -> None:
        """Fail if something else came of it."""


@dataclass(frozen=True)
class Row:
    """A fault and its outcome.

    Attributes:
        outcome: What is to come of it.
        script: Replies to the first requests.
        always: Reply to those after them.
        rules: Replies to all requests that they are about.
        server: Options of the server.
        client: Options of the client.
        options: Options of the stream.
        wires: Where it can happen.
        unseen: Requests of which the server never hears.
        over_tls: Whether client and server speak TLS; False if the client does not trust the server.
        busy: Whether the client is slow to look at what has come.
    """

    outcome: Outcome
    _: KW_ONLY
    script: tuple[Reply, ...] = ()
    always: Reply = right
    rules: tuple[Rule, ...] = ()
    server: Mapping[str, object] = field(default_factory=dict)
    client: Mapping[str, object] = field(default_factory=dict)
    options: Mapping[str, object] = field(default_factory=dict)
    wires: frozenset[Wire] = frozenset(WIRES)
    unseen: int = 0
    over_tls: bool | None = None
    busy: bool = False


@dataclass
class Meeting:
    """What came of it.

    Attributes:
        row: The fault.
        ordered: Whether results were to come by index.
        ledger: What the server says.
        results: What the stream gave before its end.
        error: What it ended with.
        summary: What the client says.
        left: What the client holds after it.
    """

    row: Row
    ordered: bool
    ledger: Ledger
    results: list[EmbedResult | EmbedFailure] = field(default_factory=list)
    error: AsyncEmbedError | None = None
    summary: RunSummary | None = None
    left: object = None

    async def run(self, client: EmbedClient) -> None:
        """Embed all texts, and keep whatever happens."""
        stream = client.embed_stream(TEXTS, ordered=self.ordered, **{"chunk_size": CHUNK, **self.row.options})
        async with stream:
            try:
                await take_all(stream, self.results)
            except AsyncEmbedError as error:
                self.error = error
        self.summary, self.left = stream.summary, leftovers(client)

    def check(self) -> None:
        """Fail unless the outcome is the one expected, and everything that holds of any fault does."""
        self._check_results()
        assert not self.left
        assert not +self.ledger.asked_again  # what had arrived
        assert self.summary.requests == self.ledger.requests + self.row.unseen
        assert self.summary.usage.tokens == self.ledger.told_tokens
        self.row.outcome.check(self)

    @property
    def arrived(self) -> list[int]:
        """Indices of the results."""
        return [result.index for result in self.results if isinstance(result, EmbedResult)]

    def _check_results(self) -> None:
        """None comes twice, all come in order if that was promised, and each has its own vector."""
        indices = [result.index for result in self.results]
        assert len(set(indices)) == len(indices)
        assert not self.ordered or indices == sorted(indices)
        for result in self.results:
            assert result.text == TEXTS[result.index]
            if isinstance(result, EmbedResult):
                np.testing.assert_array_equal(result.embedding, vector_of(result.text))
        assert (self.summary.done, self.summary.failed) >= (len(self.arrived), len(indices) - len(self.arrived))


async def meet(row: Row, wire: Wire, certificate: tuple[ssl.SSLContext, ssl.SSLContext], *, ordered: bool) -> Meeting:
    """Have a client meet the fault, and return what came of it."""
    for_server, for_client = certificate
    options = {"tls": for_server if row.over_tls is not None else None, **row.server}
    async with contextlib.AsyncExitStack() as stack:
        server = FakeServer(script=row.script, default=row.always, rules=row.rules, **options)
        await stack.enter_async_context(server)
        session = None
        if row.over_tls:
            session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, ssl=for_client))
            await stack.enter_async_context(session)
        client = EmbedClient(
            wire.provider,
            base_url=server.url + "/v1" * (wire.provider == "openai"),
            api_key="any",
            session=session,
            encoding=wire.encoding,
            **{"retry": RETRY, "timeouts": PATIENT, **row.client},
        )
        client._endpoint.limiter = Limiter(period=MINUTE)
        if row.busy:
            client._endpoint.loop_budget = Busy()
        await stack.enter_async_context(client)
        meeting = Meeting(row, ordered, server.ledger)
        await meeting.run(client)
        return meeting
