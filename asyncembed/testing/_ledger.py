"""The server's record of every request, response and charge."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from asyncembed._repr import ShortRepr

if TYPE_CHECKING:
    from asyncembed.testing._answers import Mark
    from asyncembed.testing._request import Request


@dataclass(slots=True, repr=False)
class Entry(ShortRepr):
    """The record of one exchange.

    Attributes:
        number: Number of requests before this one.
        path: Path of the request.
        texts: Texts of the request.
        kinds: Types of vectors that the request asked for.
        request_bytes: Length of the request's body.
        attempt: Number of earlier requests with the same body.
        reply: Name of the reply: "right", or the fault.
        status: HTTP status that was sent, None if none was.
        sent: Texts whose correct vector was sent in full, in the order of sending.
        billed_tokens: Tokens charged. Every answer with vectors is charged for, even if it breaks off.
        told_tokens: Tokens reported to the client: 0 unless that part of the answer was sent.
        is_whole: Whether the whole answer was sent.
        began: When the request came, in seconds of `time.monotonic()`.
        ended: When the server finished with it, None before.
    """

    number: int
    path: str
    texts: tuple[str, ...]
    kinds: tuple[str, ...]
    request_bytes: int
    attempt: int
    began: float
    reply: str = "right"
    status: int | None = None
    sent: list[str] = field(default_factory=list)
    billed_tokens: int = 0
    told_tokens: int = 0
    is_whole: bool = False
    ended: float | None = None


@dataclass(slots=True, repr=False)
class Ledger(ShortRepr):
    """All exchanges of a server, and sums over them.

    "Sent" means handed to the operating system. The ledger cannot know what arrived: a reset may lose bytes that are
    on their way.

    Attributes:
        keep: Whether to keep exchanges and texts. Without them a run of millions takes no memory, but the draws of
            `Chaos` depend on the order of the requests.
        entries: The exchanges, in the order of the requests.
        asked: How often each text was requested.
        sent: How often the correct vector of each text was sent in full.
        asked_again: How often each text was requested after its vector had been sent in full. Meaningful only if all
            inputs differ.
        statuses: How often each HTTP status was sent.
        requests: Number of requests.
        billed_tokens: Tokens charged for all answers with vectors.
        told_tokens: Tokens reported to the client.
    """

    keep: bool = True
    entries: list[Entry] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    asked_again: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    requests: int = 0
    billed_tokens: int = 0
    told_tokens: int = 0
    _bodies: Counter[int] = field(default_factory=Counter, repr=False)

    def open(self, request: Request, now: float) -> Entry:
        """Record a request that has come."""
        body = hash(request.body)
        attempt = self._bodies[body] if self.keep else self.requests
        kinds = tuple(map(str, request.kinds))
        entry = Entry(self.requests, request.path, request.texts, kinds, len(request.body), attempt, now)
        self.requests += 1
        if self.keep:
            self._bodies[body] += 1
            self.entries.append(entry)
            self.asked_again.update(text for text in request.texts if text in self.sent)
            self.asked.update(request.texts)
        return entry

    def answered(self, entry: Entry, status: int) -> None:
        """Record the status of the answer."""
        entry.status = status
        self.statuses[status] += 1

    def bill(self, entry: Entry, tokens: int) -> None:
        """Charge for an answer with vectors."""
        entry.billed_tokens += tokens
        self.billed_tokens += tokens

    def tell(self, entry: Entry, mark: Mark) -> None:
        """Record that everything up to this mark was sent."""
        entry.told_tokens += mark.tokens
        self.told_tokens += mark.tokens
        if mark.text is not None and self.keep:
            entry.sent.append(mark.text)
            self.sent[mark.text] += 1
