"""Shares of the event loop's time, so that no other task waits until all responses have been read.

When bytes of many connections are there at once, their workers would all run in one turn of the loop, and a timer or a
request of the program's own would wait for the sum of them. Here they may use so much of a turn; the others stand in
line, and one of them goes on in each of the next turns. They wait for a future, as a task that looks again in every
turn costs as much as the parsing of several vectors each time.

What all streams of one client share: the provider, the way there, and what has been learned about it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal

import orjson

from asyncembed._core.circuit_breaker import SharedPause
from asyncembed._core.rate_gate import TokenEstimate
from asyncembed._decide.base64_proof import proof_of
from asyncembed._decide.splitting import LearnedLimits
from asyncembed._http.route import Route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from asyncembed._cache import VectorCache
    from asyncembed._config import EmbedOptions, Encoding, RetryPolicy
    from asyncembed._core.circuit_breaker import CircuitBreaker
    from asyncembed._core.memory import MemoryBudget
    from asyncembed._core.observer import Hook
    from asyncembed._core.slots import RequestSlots, SlotsByModel
    from asyncembed._decide.base64_proof import Proof
    from asyncembed._http.transport import Transport
    from asyncembed._models import Limits
    from asyncembed._ratelimit import Limiter
    from asyncembed.providers import Provider


LONGEST: Final = 0.0005
"""Seconds of a turn of the event loop after which nothing more begins in it: a timer may wait for two whole turns."""


class LoopBudget:
    """Lets work begin that takes a while without an `await`; shared by all who do such work on one event loop."""

    __slots__ = ("_began", "_line", "_loop")

    def __init__(self) -> None:
        self._began: float | None = None  # the first work of this turn
        self._line: deque[asyncio.Future[None]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def wait(self) -> None:
        """Return at once if there is time left in this turn of the loop, and else in a later one."""
        if self._began is None or self._loop is not asyncio.get_running_loop():  # the last one may have died in a turn
            self._line.clear()
            self._begin()
        elif self._line or time.perf_counter() - self._began > LONGEST:
            place = asyncio.get_running_loop().create_future()
            self._line.append(place)
            await place

    def _begin(self) -> None:
        self._began, self._loop = time.perf_counter(), asyncio.get_running_loop()
        self._loop.call_soon(self._end)

    def _end(self) -> None:
        self._began = None
        while self._line:
            place = self._line.popleft()
            if not place.done():  # whoever stood there may have been cancelled
                place.set_result(None)
                self._begin()
                return


TOKEN_PARTS: Final = 40
"""Requests that the tokens of a minute should suffice for: what does not fit any more is lost to the minute."""


@dataclass(slots=True)
class EndpointState:
    """What the answers of an API have taught.

    Attributes:
        outage: Stops every request but one while the API is down.
        pause: Stops every request while the API wants to be left alone.
        refuses_base64: It does not know base64, and is asked for floats.
        dimensions: Dimension that vectors had, by the model and the dimension that were asked for.
        tokens: How many tokens texts have, by model.
        caps: How large a request may be, by model.
        accepted: Models that requests to went well.
        has_asked_limits: The server was asked what its limits are.
        untold: Models of which it was logged that an input type changes nothing.
    """

    breaker: CircuitBreaker
    pause: SharedPause = field(default_factory=SharedPause)
    refuses_base64: bool = False
    dimensions: dict[tuple[str, int | None], int] = field(default_factory=dict)
    tokens: defaultdict[str, TokenEstimate] = field(default_factory=lambda: defaultdict(TokenEstimate))
    caps: defaultdict[str, LearnedLimits] = field(default_factory=lambda: defaultdict(LearnedLimits))
    accepted: set[str] = field(default_factory=set)
    has_asked_limits: bool = False
    untold: set[str] = field(default_factory=set)


@dataclass(slots=True, repr=False)
class Endpoint:
    """One API as one client sees it.

    Attributes:
        provider: The wire format.
        encoding: "base64", "float", or "auto" to let the provider and its answers decide.
        retry: When to try again.
        slots: Slots for requests, by model.
        budget: Memory for requests and results.
        limiter: Requests, texts and tokens a minute.
        connect: Opens the way there, once, when it is first needed.
        learned: The same object for every stream, also for those with a budget or slots of their own.
        address: Where it is, if that is not the provider's own address; None for the embedded server, too.
        is_official: Whether it is the provider's own address, so that its models are what their names say.
        prompts: What the caller wants before texts, by input type.
        cache: Vectors that need not be asked for again.
        hook: Told of every event, if the caller wants that.
        turns: Shares of the event loop's time.
    """

    provider: Provider
    encoding: Encoding
    retry: RetryPolicy
    slots: SlotsByModel
    budget: MemoryBudget
    limiter: Limiter
    connect: Callable[[], Awaitable[Transport]]
    learned: EndpointState
    address: str | None = None
    is_official: bool = True
    prompts: Mapping[str, str] = field(default_factory=dict)
    hook: Hook | None = None
    cache: VectorCache | None = None
    loop_budget: LoopBudget = field(default_factory=LoopBudget)

    @property
    def knows_models(self) -> bool:
        """Whether models are what their names say, or what the caller has said."""
        return self.is_official or self.provider.is_told_model

    def limits_of(self, model: str) -> Limits:
        """What one request may hold, as it was published."""
        return self.provider.limits_of(model) if self.knows_models else self.provider.limits

    async def ask_limits(self, transport: Transport, model: str) -> None:
        """Ask the server what a request may hold, once, if it can tell; what it does not tell is found out."""
        path = self.provider.limits_path
        if path is None or self.learned.has_asked_limits:
            return
        self.learned.has_asked_limits = True
        told = await transport.get_object(Route(path))
        limits = self.provider.read_limits(told) if told else None
        if limits:
            caps = self.learned.caps[model]
            caps.inputs, caps.tokens, caps.request_bytes = limits.inputs, limits.tokens, limits.request_bytes

    def slots_of(self, model: str) -> RequestSlots:
        """Slots for requests to a model."""
        limits = self.limits_of(model)
        return self.slots.of(model, limits.inputs, is_own_address=self.is_official, initial_size=limits.first)

    def learned_limits(self, model: str) -> Limits:
        """What one request may hold, as the answers of the API have taught."""
        limits = self.learned.caps[model].within(self.limits_of(model))
        size = self.slots_of(model).size
        return limits if limits.inputs <= size else replace(limits, inputs=size)

    def limits(self, model: str, chunk_size: int | None) -> Limits:
        """What one request may hold: at most `chunk_size` texts, and of what a minute allows about an even part.

        With 96 texts a request and 100 a minute, 50 at a time use up the minute, and 96 at a time do not.
        """
        return self._in_a_minute(self.learned_limits(model), chunk_size)

    def largest_limits(self, model: str, chunk_size: int | None) -> Limits:
        """What one request may hold once the number of texts in it has grown as far as it may."""
        return self._in_a_minute(self.learned.caps[model].within(self.limits_of(model)), chunk_size)

    def _in_a_minute(self, limits: Limits, chunk_size: int | None) -> Limits:
        requests, inputs, tokens = self.limiter.limits
        most = min(chunk_size or limits.inputs, limits.inputs)
        if inputs:
            limits = replace(limits, inputs=max(1, math.floor(inputs / math.ceil(inputs / most))))
        if tokens:
            part = max(1, math.floor(tokens / min(TOKEN_PARTS, max(1, requests or TOKEN_PARTS))))
            limits = replace(limits, tokens=min(part, limits.tokens or part))
        return limits

    def proof(self, options: EmbedOptions) -> Proof | None:
        """What is known of base64 that can be compared with numbers; None where it cannot, or need not."""
        can_be = self.provider.both_encodings is not None and options.dtype == "float32" and not options.extra
        if self.encoding != "auto" or not can_be:
            return None
        where = self.address or self.provider.base_url
        return proof_of((self.provider.name, where, options.model, options.dimensions))

    def wire_encoding(self, *, compact: bool = False) -> Literal["base64", "float"]:
        """Which encoding to ask for now; `compact` asks for base64 also where it has only been promised."""
        if self.encoding != "auto":
            return self.encoding
        base64 = self.provider.base64
        promised = base64 == "offered" and self.provider.both_encodings is None
        wanted = base64 == "seen" or (compact and promised)
        return "base64" if wanted and not self.learned.refuses_base64 else "float"

    def body(
        self,
        texts: Sequence[str],
        options: EmbedOptions,
        encoding: Literal["base64", "float"],
        *,
        is_both: bool = False,
    ) -> bytes:
        """Return a request body as JSON, without the fields that are not set; `is_both` asks for numbers and base64."""
        if prompt := options.prompt:
            texts = [prompt + text for text in texts]
        fields = self.provider.body(texts, options, encoding)
        both = self.provider.both_encodings
        if is_both and both:
            fields = {**fields, **both.fields}
        body = {name: value for name, value in fields.items() if value is not None}
        return orjson.dumps(self.provider.add(body, options.extra))
