"""The server's books: who asked for what, what it was charged, and what was sent in full."""

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
    """One exchange.

    Attributes:
        number: Requests before it.
        path: Path it asked for.
        texts: Texts it asked for.
        kinds: Types of vectors it asked for.
        request_bytes: Length of its body.
        attempt: How often the very same request came before.
        reply: What it was answered with: "right", or the fault.
        status: HTTP status that was sent, None if none was.
        sent: Texts whose right vector was sent in full, in that order.
        billed_tokens: Tokens it was charged; charged is whoever gets an answer with vectors, however it ends.
        told_tokens: Tokens the client was told of: 0 unless that part of the answer was sent.
        is_whole: Whether the answer was sent to its end.
        began: When it came, in seconds of `time.monotonic()`.
        ended: When the server was done with it, None before.
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

    What was sent is what was handed to the operating system. It knows no more: whether bytes arrived is known to the
    client alone, and a reset may lose what was on its way.

    Attributes:
        keep: Whether exchanges and texts are kept; without them a run of millions takes no memory, but `Chaos` depends
            on the order in which requests come.
        entries: The exchanges, in the order they came.
        asked: How often each text was asked for.
        sent: How often the right vector of each text was sent in full.
        asked_again: How often each text was asked for when its vector had been sent in full already. It says something
            only where no two inputs are equal.
        statuses: How often each HTTP status was sent.
        requests: How many requests came.
        billed_tokens: Tokens charged for all answers with vectors.
        told_tokens: Tokens the client was told of.
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
        """Write down a request that has come."""
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
        """Write down that this status goes out."""
        entry.status = status
        self.statuses[status] += 1

    def bill(self, entry: Entry, tokens: int) -> None:
        """Charge for an answer with vectors."""
        entry.billed_tokens += tokens
        self.billed_tokens += tokens

    def tell(self, entry: Entry, mark: Mark) -> None:
        """Write down what the client has been sent by now."""
        entry.told_tokens += mark.tokens
        self.told_tokens += mark.tokens
        if mark.text is not None and self.keep:
            entry.sent.append(mark.text)
            self.sent[mark.text] += 1
