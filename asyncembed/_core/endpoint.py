"""What all streams of one client share: the provider, its connection, and what the client has learned about it."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal

import orjson

from asyncembed._core.loop_budget import LoopBudget
from asyncembed._core.pause import SharedPause
from asyncembed._decide.base64_proof import proof_of
from asyncembed._decide.giving_way import GivingWay
from asyncembed._decide.long_texts import LongTexts, TextLimit
from asyncembed._decide.splitting import LearnedLimits
from asyncembed._decide.token_estimate import TokenEstimate
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


MAX_TOKEN_SHARES: Final = 40
"""Requests that one minute's token limit is divided among; a remainder too small for one request goes unused."""


QUERY_SHARES: Final = 60
"""The same while queries come: each request then uses the limit of at most a second."""


@dataclass(slots=True)
class EndpointState:
    """What the client has learned from the responses of an API.

    Attributes:
        breaker: Stops all requests but one while the API is down.
        pause: Stops all requests while the API asks for a pause.
        refuses_base64: The API rejected base64, so requests ask for floats.
        dimensions: Dimension of earlier vectors, by model and requested dimension.
        tokens: Estimate of tokens per byte, by model.
        caps: Learned limits on the size of a request, by model.
        giving_way: How much bulk runs beside queries, by model.
        text_limits: What the client has learned from refusals about texts that are too long, by model.
        accepted: Models for which a request has succeeded.
        has_asked_limits: The server was asked for its limits.
        warned_models: Models for which the log already says that an input type has no effect.
    """

    breaker: CircuitBreaker
    pause: SharedPause = field(default_factory=SharedPause)
    refuses_base64: bool = False
    dimensions: dict[tuple[str, int | None], int] = field(default_factory=dict)
    tokens: defaultdict[str, TokenEstimate] = field(default_factory=lambda: defaultdict(TokenEstimate))
    caps: defaultdict[str, LearnedLimits] = field(default_factory=lambda: defaultdict(LearnedLimits))
    giving_way: defaultdict[str, GivingWay] = field(default_factory=lambda: defaultdict(GivingWay))
    text_limits: defaultdict[str, TextLimit] = field(default_factory=lambda: defaultdict(TextLimit))
    accepted: set[str] = field(default_factory=set)
    has_asked_limits: bool = False
    warned_models: set[str] = field(default_factory=set)


@dataclass(slots=True, repr=False)
class Endpoint:
    """One API as one client sees it.

    Attributes:
        provider: The wire format.
        encoding: "base64", "float", or "auto" to let the provider and its responses decide.
        retry: When to retry.
        slots: Request slots, by model.
        budget: Memory for requests and results.
        limiter: Limits requests, texts and tokens per minute.
        connect: Opens the transport, once, when it is first needed.
        learned: Shared by all streams, including those with a budget or slots of their own.
        address: The base URL, unless it is the provider's own or the embedded server.
        route_digest: Digest of the address with its query, and of the caller's headers, without secrets.
        is_official: Whether it is the provider's own address, so that a model's name says which model it is.
        prompts: Prefix for each text, by input type, as set by the caller.
        cache: Vectors of earlier runs, which are not requested again.
        hook: Receives every event, if the caller set `on_event`.
        loop_budget: Limits the work per event loop iteration.
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
    route_digest: bytes = b""
    is_official: bool = True
    prompts: Mapping[str, str] = field(default_factory=dict)
    hook: Hook | None = None
    cache: VectorCache | None = None
    loop_budget: LoopBudget = field(default_factory=LoopBudget)

    @property
    def knows_models(self) -> bool:
        """Whether a model's name, or the caller, says which model it is."""
        return self.is_official or self.provider.has_given_model

    def limits_of(self, model: str) -> Limits:
        """Published limits of one request."""
        return self.provider.limits_of(model) if self.knows_models else self.provider.limits

    async def ask_limits(self, transport: Transport, model: str) -> None:
        """Ask the server once for its limits, if it has a path for that; other limits are learned from errors."""
        path = self.provider.limits_path
        if path is None or self.learned.has_asked_limits:
            return
        self.learned.has_asked_limits = True
        answer = await transport.get_object(Route(path))
        limits = self.provider.read_limits(answer) if answer else None
        if limits:
            caps = self.learned.caps[model]
            caps.inputs, caps.tokens, caps.request_bytes = limits.inputs, limits.tokens, limits.request_bytes

    def slots_of(self, model: str) -> RequestSlots:
        """Return the request slots of a model."""
        slots = self.slots.get(model)
        if slots is None:
            limits = self.limits_of(model)
            slots = self.slots.add(
                model,
                self.learned.giving_way[model],
                limits.inputs,
                is_own_address=self.is_official,
                initial_size=limits.first,
            )
        return slots

    def learned_limits(self, model: str) -> Limits:
        """Return the limits of one request, after the limits learned from the API's responses."""
        limits = self.learned.caps[model].within(self.limits_of(model))
        size = self.slots_of(model).size
        return limits if limits.inputs <= size else limits.with_inputs(size)

    def limits(self, model: str, chunk_size: int | None) -> Limits:
        """Return the limits of the next request: no more than `chunk_size` texts, and an even share of the rate limit.

        For example, with 96 texts per request and a limit of 100 texts per minute, requests of 50 texts use the whole
        limit, and requests of 96 do not.
        """
        return self._in_a_minute(self.learned_limits(model), chunk_size)

    def largest_limits(self, model: str, chunk_size: int | None) -> Limits:
        """Return the limits of one request, once the controller has increased the number of texts to the maximum."""
        return self._in_a_minute(self.learned.caps[model].within(self.limits_of(model)), chunk_size)

    def _in_a_minute(self, limits: Limits, chunk_size: int | None) -> Limits:
        requests, inputs, tokens = self.limiter.limits
        max_inputs = min(chunk_size or limits.inputs, limits.inputs)
        shares, has_queries = MAX_TOKEN_SHARES, (inputs or tokens) and self.limiter.has_queries
        if has_queries:  # small requests, so that a query waits at most about a second
            shares, requests = QUERY_SHARES, None
            max_inputs = min(max_inputs, max(1, math.floor(inputs / QUERY_SHARES))) if inputs else max_inputs
        if inputs:
            limits = limits.with_inputs(max(1, math.floor(inputs / math.ceil(inputs / max_inputs))))
        if tokens:
            share = max(1, math.floor(tokens / min(shares, max(1, requests or shares))))
            limits = replace(limits, tokens=min(share, limits.tokens or share))
        return limits

    def refuses_long_texts(self, options: EmbedOptions) -> bool:
        """Whether the API is known to refuse a text that is too long, so that it has cut none that has a vector."""
        provider = self.provider
        word = provider.truncation(options)
        if word is not None:
            return word == provider.long_text.get("fail")
        is_the_service = self.is_official or not provider.needs_key
        return provider.refuses_long_texts and is_the_service and not options.extra

    def long_texts(self, options: EmbedOptions, max_tokens: int | None) -> LongTexts | None:
        """Return what finds and cuts texts that are too long; None if no limit is known and none is to be cut."""
        cuts, refuses = options.long_text == "truncate", self.refuses_long_texts(options)
        known = self.provider.model(options.model).max_tokens if self.knows_models else None
        limit, learned = max_tokens or known, self.learned.text_limits[options.model]
        if not cuts and limit is None and learned.tokens is None:
            return None
        # The API cuts at its own limit, not at the caller's.
        api_cuts = max_tokens is None and not refuses and self.provider.truncation(options) is not None
        return LongTexts(learned, limit, options.prompt, cuts=cuts, api_cuts=api_cuts, refuses=refuses)

    def proof(self, options: EmbedOptions) -> Proof | None:
        """Return what is known about the API's base64 from comparing it with numbers.

        None if the two cannot be compared, or the encoding is fixed.
        """
        can_compare = self.provider.both_encodings is not None and options.dtype == "float32" and not options.extra
        if self.encoding != "auto" or not can_compare:
            return None
        address = self.address or self.provider.base_url
        return proof_of((self.provider.name, address, options.model, options.dimensions))

    def wire_encoding(self, *, compact: bool = False) -> Literal["base64", "float"]:
        """Return the encoding to request now; `compact` also uses base64 that is documented but not yet observed."""
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
        """Return a request body as JSON without unset fields; `is_both` requests numbers and base64."""
        if prompt := options.prompt:
            texts = [prompt + text for text in texts]
        fields = self.provider.body(texts, options, encoding)
        both = self.provider.both_encodings
        if is_both and both:
            fields = {**fields, **both.fields}
        body = {name: value for name, value in fields.items() if value is not None}
        return orjson.dumps(self.provider.add(body, options.extra))
