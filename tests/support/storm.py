"""A storm: one client, one bad server and one restless consumer, all of them drawn from a seed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from asyncembed import EmbedClient, EmbedResult, RetryPolicy, StreamClosedError
from asyncembed._ratelimit import Limiter
from asyncembed.testing import Chaos, FakeServer, faults, vector_of
from support.fault_rows import Stepwise
from support.formats import DIMENSION
from support.matrix import MINUTE, PATIENT, WIRES, Busy
from support.results import numbered
from support.watching import leftovers, turns

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asyncembed import ArrowStreamReader, EmbedStream, NumpyStreamReader, RunSummary, Vector
    from asyncembed.testing import Ledger, Reply

COUNT = 2_000
TEXTS = numbered(COUNT)
STUBBORN = RetryPolicy(max_attempts=10_000, initial_backoff=0.0001, max_backoff=0.001)
WAYS = ["stream", "numpy", "arrow", "callback", "async callback", "callbacks side by side"]
ENDS = ["exhausted", "exhausted", "exhausted", "broken off", "raised", "cancelled", "closed"]
SECONDS = 60
RARELY = 0.1
# After half a number, the usual garbage makes it look complete, and the reported tokens would be ambiguous.
USUAL = [faults.Garbage(garbage=b"e}") if fault == faults.Garbage() else fault for fault in faults.TRANSIENT]
FURTHER = [
    faults.Shuffled(),
    *(Stepwise(after=2, reset=reset) for reset in (True, False)),
    *(faults.WrongVector(what) for what in ("null", "null-inside", "nested", "empty", "string", "object")),
]
OF_BASE64 = [faults.WrongVector("nan"), *(faults.WrongBase64(what) for what in ("floats", "padding", "letters"))]
OF_INDEXED = [faults.WrongCount(-1), faults.WrongIndex("text")]


class Left(Exception):
    """The consumer has had enough."""


@dataclass
class Storm:
    """Everything that follows from a seed.

    Attributes:
        seed: The seed.
        random: All draws but the server's.
        wire: Wire format.
        way: How results are taken.
        end: How that ends.
        enough: After how many of them.
        ordered: Whether they come by index.
        busy: Whether the client is slow to look at what has come.
        restless: Share of results after which the consumer does something else.
        options: Options of the verb.
    """

    seed: int

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        choose = self.random.choice
        self.wire = choose(WIRES)
        self.way, self.end = choose(WAYS), choose(ENDS)
        self.ordered = choose([True, False])
        self.busy = choose([True, False, False])
        self.enough = COUNT if self.end == "exhausted" else self.random.randrange(COUNT)
        self.restless = choose([0, 0.002, 0.02, 0.1])
        self.options = {"chunk_size": choose([5, 17, 48, 96]), "ordered": self.ordered}

    def new_server(self) -> FakeServer:
        choose = self.random.choice
        return FakeServer(
            seed=self.seed,
            default=Chaos(self.seed, self.random.uniform(0.05, 0.4), self._faults()),
            framing=choose(["length", "chunked", "close"]),
            gzip=choose([True, False]),
            chunk_bytes=choose([None, None, 1000, 100]),
            pretty=choose([True, False, False]),
            key_order=choose(["usual", "reversed", "shuffled"]),
            item_order=choose(["usual", "shuffled"]),
        )

    def new_client(self, server: FakeServer) -> EmbedClient:
        choose = self.random.choice
        client = EmbedClient(
            self.wire.provider,
            base_url=server.url + "/v1" * (self.wire.provider == "openai"),
            api_key="any",
            encoding=self.wire.encoding,
            retry=STUBBORN,
            timeouts=PATIENT,
            max_concurrency=choose([1, 4, 32]),
            max_memory_mb=choose([0.7, 3, 50]),
        )
        client._endpoint.limiter = Limiter(period=MINUTE)
        if self.busy:
            client._endpoint.loop_budget = Busy()
        return client

    def _faults(self) -> list[Reply]:
        indexed = OF_INDEXED * (self.wire.provider == "openai")
        base64 = OF_BASE64 * (self.wire.encoding == "base64")
        return [*USUAL, faults.TooManyRequests("openai", wait=0.001), *FURTHER, *indexed, *base64]

    def __str__(self) -> str:
        return f"{'busy, ' * self.busy}{self.wire}, {self.way}, {self.end} after {self.enough}, {self.options}"


class Consumer:
    """Takes the results of a storm in one of many ways, in fits and starts, and may leave.

    Args:
        storm: What it takes part in.
        client: The client.
        ledger: The server's books.
    """

    def __init__(self, storm: Storm, client: EmbedClient, ledger: Ledger) -> None:
        self.storm = storm
        self._client = client
        self._ledger = ledger
        self._random = storm.random
        self._stream: EmbedStream | NumpyStreamReader | ArrowStreamReader | None = None
        self._is_broken_off = False
        self._may_leave = storm.end != "exhausted"
        self.indices: list[int] = []
        self.summary: RunSummary | None = None

    async def run(self) -> None:
        """Take everything, or until it is enough."""
        self._task = asyncio.create_task(self._call_back() if "callback" in self.storm.way else self._iterate())
        await asyncio.wait([self._task])
        try:
            await self._task
        except (Left, asyncio.CancelledError, StreamClosedError):
            assert self.storm.end != "exhausted"

    async def _iterate(self) -> None:
        storm = self.storm
        if storm.way == "stream":
            self._stream = self._client.embed_stream(TEXTS, **storm.options)
        else:
            self._stream = self._client.embed_binary_stream(TEXTS, format=storm.way, **storm.options)
        try:
            async with self._stream:
                async for item in self._stream:
                    for index, vector in _rows(item):
                        await self._take(vector, index)
                    if self._is_broken_off:
                        break
        finally:
            self.summary = self._stream.summary

    async def _call_back(self) -> None:
        storm = self.storm
        callback = self._take_now if storm.way == "callback" else self._take
        at_once = 4 if storm.way == "callbacks side by side" else 1
        self.summary = await self._client.embed_with_callback(
            TEXTS, callback, callback_concurrency=at_once, **storm.options
        )

    async def _take(self, vector: Vector, index: int) -> None:
        self._take_now(vector, index)
        if self._random.random() < self.storm.restless:
            await self._dawdle()

    def _take_now(self, vector: Vector, index: int) -> None:
        np.testing.assert_array_equal(vector, vector_of(TEXTS[index]))
        self.indices.append(index)
        if self._may_leave and len(self.indices) > self.storm.enough:
            self._may_leave = False
            self._leave()

    async def _dawdle(self) -> None:
        """Do something else for a while, or until nothing moves any more."""
        await turns(self._random.randrange(40))
        requests = self._ledger.requests if self._random.random() < RARELY else -1
        while requests >= 0 and requests != (requests := self._ledger.requests):
            await turns(200)

    def _leave(self) -> None:
        if self.storm.end == "raised":
            raise Left
        if self.storm.end == "broken off" and self._stream:
            self._is_broken_off = True
        elif self.storm.end == "closed" and self._stream:
            self._closing = asyncio.ensure_future(self._stream.aclose())
        else:
            self._task.cancel()


def _rows(item: object) -> Iterable[tuple[int, Vector]]:
    if isinstance(item, EmbedResult):
        return [(item.index, item.embedding)]
    if isinstance(item, tuple):
        first, matrix = item
        return enumerate(matrix, first)
    return zip(item["index"].to_pylist(), np.asarray(item["embedding"].flatten()).reshape(-1, DIMENSION), strict=True)


async def weather(storm: Storm) -> None:
    """Let the storm pass, and check what has to hold whatever happens."""
    async with storm.new_server() as server, storm.new_client(server) as client:
        consumer, ledger = Consumer(storm, client, server.ledger), server.ledger
        async with asyncio.timeout(SECONDS):
            await consumer.run()
        _check_indices(consumer)  # each of them with its own vector, which was looked at when it came
        assert not leftovers(client)
        assert not +ledger.asked_again
        if consumer.summary:
            _check_books(consumer.summary, ledger, whole=storm.end == "exhausted")
        assert (await client.embed(["once more"])).embeddings.tolist() == [vector_of("once more").tolist()]


def _check_indices(consumer: Consumer) -> None:
    indices, storm = consumer.indices, consumer.storm
    assert len(set(indices)) == len(indices)
    assert indices == sorted(indices) or not storm.ordered
    assert len(indices) == COUNT if storm.end == "exhausted" else len(indices) >= storm.enough


def _check_books(summary: RunSummary, ledger: Ledger, *, whole: bool) -> None:
    """What client and server say is the same; of what a client leaves, it hears no more than the server has told."""
    client, server = (summary.usage.tokens, summary.requests), (ledger.told_tokens, ledger.requests)
    if whole:
        assert client == server
    else:
        assert client[0] <= server[0]
        assert client[1] >= server[1]
    assert summary.done == COUNT or not whole
    assert summary.failed == 0
