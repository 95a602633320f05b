"""One cell of the matrix of blame: a refusal, the moment at which it comes, and what the caller wants of failures."""

from __future__ import annotations

import contextlib
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from asyncembed import AsyncEmbedError, EmbedClient, EmbedFailure, EmbedResult, RetryPolicy, Timeouts
from asyncembed.providers import PROVIDERS
from asyncembed.testing import FakeServer, vector_of
from support.results import check_plain, take_all
from support.watching import leftovers

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncembed import EmbedStream, OnError, Provider, RunSummary
    from asyncembed.testing import Entry, Ledger, Rule

Moment = Literal["first", "midway"]
WireName = Literal["openai", "cohere", "cohere-v1"]

CHUNK = 32
"""Texts of a request."""
BATCHES = 10
"""Requests of a run in which nothing goes wrong."""
START = {"first": 0, "midway": 4}
"""Requests that go well before anything goes wrong, by the moment."""
PLACE = 11
"""Position in its request of the text that is to blame."""
CONCURRENCY = 2
TEXTS = [f"text {number:03}".ljust(100, ".") for number in range(CHUNK * BATCHES)]
AGAIN = [f"once more {number:03}".ljust(100, ".") for number in range(CHUNK * 4)]
"""Texts of a second run of the same client, which shows what the client has learned."""
LONG = "word " * 480
"""A text of 600 tokens."""
BAD = "DELETE FROM accounts; DROP TABLE users;"
PATIENCE = RetryPolicy(initial_backoff=0.0005, max_backoff=0.002)
CALM = Timeouts(connect=20, first_byte=20, read=20)


class BlameOutcome(Protocol):
    """What is to come of a refusal."""

    def check(self, meeting: BlameMeeting) -> None:
        """Fail if something else came of it."""


@dataclass(frozen=True)
class Situation:
    """A refusal and its outcome.

    Attributes:
        name: What it is called: "key 400 gemini".
        outcome: What is to come of it.
        rule: Makes the server refuse, from this request on.
        wires: Wire formats that it is met in.
        moments: When it can come.
        bad_text: The text that is to blame, where one is.
        concurrency: Requests at once.
        is_own: Whether the server's address is the provider's own, and not a `base_url`.
        timeouts: Time limits of the client.
    """

    name: str
    outcome: BlameOutcome
    rule: Callable[[int], Rule]
    _: KW_ONLY
    wires: tuple[WireName, ...] = ("openai",)
    moments: tuple[Moment, ...] = ("first", "midway")
    bad_text: str | None = None
    concurrency: int = CONCURRENCY
    is_own: bool = True
    timeouts: Timeouts = CALM


@dataclass(frozen=True)
class Cell:
    """A situation, and how the client meets it."""

    situation: Situation
    moment: Moment
    on_error: OnError
    wire: WireName

    @property
    def row(self) -> str:
        """The situation, and the wire format where it is not the usual one."""
        return self.situation.name + f" over {self.wire}" * (self.wire != self.situation.wires[0])

    @property
    def column(self) -> str:
        return f"{self.moment}, {self.on_error}"

    def __str__(self) -> str:
        return f"{self.row}, {self.column}"

    @property
    def bad_index(self) -> int:
        """Index of the text that is to blame."""
        return START[self.moment] * CHUNK + PLACE

    @property
    def texts(self) -> list[str]:
        """The texts of the run."""
        if self.situation.bad_text is None:
            return TEXTS
        return [*TEXTS[: self.bad_index], self.situation.bad_text, *TEXTS[self.bad_index + 1 :]]


@dataclass
class BlameMeeting:
    """What came of it.

    Attributes:
        cell: The cell.
        ledger: What the server says.
        results: What the stream gave before its end.
        error: What it ended with.
        summary: What the client says of it.
        requests: Requests of the run; those of a second one come after them.
        left: What the client holds after it.
    """

    cell: Cell
    ledger: Ledger = field(repr=False)  # long, and a test that fails would write it
    results: list[EmbedResult | EmbedFailure] = field(default_factory=list, repr=False)
    error: AsyncEmbedError | None = None
    summary: RunSummary | None = None
    requests: int = 0
    left: object = None

    async def run(self, client: EmbedClient) -> None:
        """Embed all texts, keep whatever happens, and embed others with the same client."""
        stream = client.embed_stream(self.cell.texts, chunk_size=CHUNK, on_error=self.cell.on_error)
        self.error = await _take(stream, self.results)
        self.summary, self.requests = stream.summary, self.ledger.requests
        if self.error is None:
            await _take(client.embed_stream(AGAIN, chunk_size=CHUNK), [])
        self.left = leftovers(client)

    def check(self) -> None:
        """Fail unless the outcome is the one expected, and everything that holds of any outcome does."""
        self._check_results()
        self._check_books()
        assert not self.left
        if self.error is not None:
            check_plain(self.error, names_texts=bool(self.error.indices))
        self.cell.situation.outcome.check(self)

    @property
    def entries(self) -> list[Entry]:
        """The requests of the run."""
        return self.ledger.entries[: self.requests]

    @property
    def later(self) -> list[Entry]:
        """The requests of the second run."""
        return self.ledger.entries[self.requests :]

    @property
    def refused(self) -> list[Entry]:
        """The requests of the run that were not answered rightly."""
        return [entry for entry in self.entries if entry.reply != "right"]

    @property
    def arrived(self) -> set[int]:
        """Indices of the results."""
        return {result.index for result in self.results if isinstance(result, EmbedResult)}

    @property
    def failures(self) -> list[EmbedFailure]:
        return [result for result in self.results if isinstance(result, EmbedFailure)]

    def check_all_arrived(self) -> None:
        """Fail unless every text has its vector."""
        assert self.error is None
        assert not self.failures
        assert self.summary.failed == 0
        assert self.arrived == set(range(len(TEXTS)))

    def check_first_arrived(self) -> None:
        """Fail unless there is a result for all texts before the first one whose vector was not sent."""
        unsent = (index for index, text in enumerate(self.cell.texts) if not self.ledger.sent[text])
        assert self.arrived >= set(range(next(unsent, len(TEXTS))))

    def _check_results(self) -> None:
        """None comes twice, all come in order, and each has its own vector."""
        indices = [result.index for result in self.results]
        assert indices == sorted(set(indices))
        for result in self.results:
            assert result.text == self.cell.texts[result.index]
            if isinstance(result, EmbedResult):
                np.testing.assert_array_equal(result.embedding, vector_of(result.text))

    def _check_books(self) -> None:
        """Client and server say the same; of what the client leaves at an error, it may not have heard all."""
        asked_again = sum(self.ledger.asked_again[text] for text in self.cell.texts)
        assert asked_again <= 1, "texts whose vectors had arrived were asked for again; one may be, as a probe"
        told = sum(entry.told_tokens for entry in self.entries)
        if self.error is None:
            assert (self.summary.requests, self.summary.usage.tokens) == (self.requests, told)
        else:
            assert self.summary.requests >= self.requests
            assert self.summary.usage.tokens <= told


async def _take(stream: EmbedStream, results: list[EmbedResult | EmbedFailure]) -> AsyncEmbedError | None:
    async with stream:
        try:
            await take_all(stream, results)
        except AsyncEmbedError as error:
            return error
    return None


def provider_at(url: str, wire: WireName) -> Provider:
    """A provider of this wire format whose own address is the server's."""
    kind = PROVIDERS[wire]
    address = url + "/v1" * (wire == "openai")
    facts = {"base_url": address, "base_url_variable": None, "header_variables": {}, "rate_limit": None}
    return type(kind.__name__, (kind,), facts)()


async def meet(cell: Cell) -> BlameMeeting:
    """Have a client meet the refusal, and return what came of it."""
    situation = cell.situation
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(FakeServer(rules=[situation.rule(START[cell.moment])]))
        provider = provider_at(server.url, cell.wire)
        settings = {
            "api_key": "any",
            "model": "m",
            "max_concurrency": situation.concurrency,
            "retry": PATIENCE,
            "timeouts": situation.timeouts,
        }
        client = (
            EmbedClient(provider, **settings)
            if situation.is_own
            else EmbedClient(cell.wire, base_url=provider.base_url, **settings)
        )
        await stack.enter_async_context(client)
        meeting = BlameMeeting(cell, server.ledger)
        await meeting.run(client)
        return meeting
