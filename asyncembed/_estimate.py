"""`client.estimate`: counts what a run would take and cost, without sending anything.

The chunker that cuts the batches of a run counts the requests. The caller's tokenizer counts the tokens. Without one,
they are estimated; of many texts only an evenly spaced sample, which is scaled up by bytes.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterator, Sized
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias, runtime_checkable

import anyio.lowlevel

from asyncembed._config import check, is_whole
from asyncembed._core.source import async_lines, lines
from asyncembed._decide.chunker import Chunker
from asyncembed._decide.cost import ASSUMED_DIMENSION, CostModel
from asyncembed._decide.spending_cap import MILLION
from asyncembed._decide.texts import as_input_or_refused, text_key
from asyncembed._decide.token_count import estimate_tokens
from asyncembed._public import publish
from asyncembed._ratelimit import PERIOD
from asyncembed._repr import ShortRepr, shown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from asyncembed._core.call import Call
    from asyncembed._decide.chunker import Batch
    from asyncembed._decide.texts import TextLike, Texts
    from asyncembed._models import EmbedInput

TEXTS_AT_ONCE: Final = 256
"""Number of texts to count before other tasks get a turn of the event loop."""

SAMPLE: Final = 2_000
"""Minimum size of the sample. When it has doubled, every second text is dropped."""


@runtime_checkable
class Encoder(Protocol):
    """A tokenizer object, such as those of tiktoken, tokenizers and transformers."""

    def encode(self, text: str, /) -> Sized:
        """Return the tokens of a text."""
        ...


Tokenizer: TypeAlias = Callable[[str], int] | Encoder
"""A function that returns the number of tokens of a text, or an object whose `encode` returns the tokens."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Estimate(ShortRepr):
    """What a run would take and cost, without retries.

    Attributes:
        texts: Number of texts.
        equal: Texts that are equal to an earlier one. With `dedupe` they cost nothing.
        cached: Texts whose vectors the client's cache holds. They cost nothing.
        invalid: Texts that no API accepts, such as empty ones.
        over_long: Texts longer than the model accepts, or than `max_text_tokens`; None if the maximum is unknown.
        tokens: Tokens that would be billed. Texts that are too long cost as many as remain of them with
            `long_text="truncate"`, and otherwise none, because they fail.
        counted: "tokenizer" if your tokenizer counted the tokens, else "estimated".
        requests: Requests of the maximum size that would be sent.
        seconds: Duration at the rate limit, in seconds; None if no limit is known.
        cost: Cost of the tokens; None if the price is unknown.
        price: Price of a million tokens; None if it is unknown.
        price_date: Month in which the provider published the price, such as "2026-11"; empty for a price of yours.
        currency: Currency of cost and price.
    """

    texts: int
    equal: int = 0
    cached: int = 0
    invalid: int = 0
    over_long: int | None = None
    tokens: int = 0
    counted: Literal["tokenizer", "estimated"] = "estimated"
    requests: int = 0
    seconds: float | None = None
    cost: float | None = None
    price: float | None = None
    price_date: str = ""
    currency: str = "USD"


async def estimate(call: Call, texts: Texts, tokenizer: Tokenizer | None) -> Estimate:
    """Count what a call would take for these texts.

    Raises:
        ConfigurationError: if the tokenizer does not return a number.
        Exception: any exception of the texts or the tokenizer.
    """
    tally = _Tally(call, _counting(tokenizer))
    async for some in _slices(texts):
        await tally.add(some)
    tally.end()
    return tally.result()


class _Tally:
    """Counts the texts of one call.

    Args:
        call: The checked arguments of the call.
        count: Function that returns the number of tokens of a text; None to estimate them.
    """

    def __init__(self, call: Call, count: Callable[[str], int] | None) -> None:
        endpoint, options = call.endpoint, call.options
        known = call.known_dimension
        self._call = call
        self._cache = endpoint.cache if endpoint.cache and endpoint.cache.exists else None
        self._chunker = Chunker(
            endpoint.largest_limits(options.model, call.chunk_size),
            call.chunk_size,
            CostModel(dimension=known or ASSUMED_DIMENSION, is_settled=known is not None),
            endpoint.budget.largest,
            prefix=len(options.prompt.encode()),
        )
        known = endpoint.provider.model(options.model).max_tokens if endpoint.knows_models else None
        self._longest = call.max_text_tokens or known
        billed = self._longest if self._longest and options.long_text == "truncate" else 0
        self._tokens: _Counted | _Sampled = (
            _Counted(self._longest, billed, count) if count else _Sampled(self._longest, billed)
        )
        self._seen: set[int] = set()
        self._texts = self._equal = self._cached = self._invalid = self._over_long = self._requests = self._sent = 0

    async def add(self, some: Sequence[TextLike]) -> None:
        """Count the next texts."""
        items = [as_input_or_refused(item, place) for place, item in enumerate(some, self._texts)]
        self._texts += len(items)
        asked = iter(await self._not_cached([item for item in items if not self._is_equal(item) or not self._joins]))
        while batches := self._chunker.take(asked):
            self._add_batches(batches)

    def end(self) -> None:
        """Count the last request."""
        self._add_batches(self._chunker.flush())

    def result(self) -> Estimate:
        """Return the counts."""
        tokens, price = self._tokens.total, self._call.price
        return Estimate(
            texts=self._texts,
            equal=self._equal,
            cached=self._cached,
            invalid=self._invalid,
            over_long=None if self._longest is None else self._over_long,
            tokens=tokens,
            counted="tokenizer" if isinstance(self._tokens, _Counted) else "estimated",
            requests=self._requests,
            seconds=self._seconds(tokens),
            cost=None if price is None else tokens * price.dollars / MILLION,
            price=None if price is None else price.dollars,
            price_date="" if price is None else price.date,
        )

    @property
    def _joins(self) -> bool:
        return self._call.dedupe_bytes > 0

    def _is_equal(self, item: EmbedInput) -> bool:
        """Return whether an equal text came before. It keeps only hashes, for millions of texts."""
        key = hash(item.text)
        if not item.text or key not in self._seen:
            self._seen.add(key)
            return False
        self._equal += 1
        return True

    async def _not_cached(self, items: list[EmbedInput]) -> list[EmbedInput]:
        if self._cache is None:
            return items
        keys = [text_key(item.text, self._call.identity) for item in items]
        found = await self._cache.get(keys)
        rest = [item for key, item in zip(keys, items, strict=True) if key not in found]
        self._cached += len(items) - len(rest)
        return rest

    def _add_batches(self, batches: Sequence[Batch]) -> None:
        prompt = self._call.options.prompt
        for batch in batches:
            self._requests += bool(batch.inputs)
            self._sent += len(batch.inputs)
            self._invalid += len(batch.refused)
            for item in batch.inputs.values():
                self._over_long += self._tokens.add(prompt + item.text)

    def _seconds(self, tokens: int) -> float | None:
        """Return the duration at the rate limit that is reached first."""
        amounts = zip((self._requests, self._sent, tokens), self._call.endpoint.limiter.limits, strict=True)
        return max((PERIOD * amount / limit for amount, limit in amounts if limit), default=None)


class _Counted:
    """Sums up tokens that a tokenizer counts.

    Args:
        longest: Maximum number of tokens of a text, if it is known.
        billed: Tokens that the API bills of a longer text: the maximum if it is cut, 0 if it fails.
        count: Function that returns the number of tokens of a text.
    """

    def __init__(self, longest: int | None, billed: int, count: Callable[[str], int]) -> None:
        self._longest = longest
        self._billed = billed
        self._count = count
        self.total = 0

    def add(self, text: str) -> bool:
        """Count a text, and return whether it is too long."""
        tokens = self._count(text)
        is_long = self._longest is not None and tokens > self._longest
        self.total += self._billed if is_long else tokens
        return is_long


class _Sampled:
    """Estimates the tokens of all texts from an evenly spaced sample; those of texts that are too long are added.

    Args:
        longest: Maximum number of tokens of a text, if it is known.
        billed: Tokens that the API bills of a longer text: the maximum if it is cut, 0 if it fails.
    """

    def __init__(self, longest: int | None, billed: int) -> None:
        self._longest = longest
        self._billed = billed
        self._sample: list[tuple[int, int]] = []  # bytes and tokens
        self._texts = self._bytes = self._tokens_of_long = 0
        self._step = 1

    @property
    def total(self) -> int:
        """Estimated tokens of all texts."""
        size = sum(each for each, _ in self._sample)
        tokens = sum(each for _, each in self._sample)
        return self._tokens_of_long + (round(tokens * self._bytes / size) if size else 0)

    def add(self, text: str) -> bool:
        """Add a text, and return whether it seems too long."""
        size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        is_sampled = self._texts % self._step == 0
        may_be_long = self._longest is not None and size > self._longest  # a token is at least a byte
        tokens = estimate_tokens(text) if is_sampled or may_be_long else 0
        if self._longest is not None and tokens > self._longest:
            self._tokens_of_long += self._billed
            return True
        self._texts += 1
        self._bytes += size
        if is_sampled:
            self._sample.append((size, tokens))
            if len(self._sample) >= 2 * SAMPLE:
                del self._sample[1::2]
                self._step *= 2
        return False


def _counting(tokenizer: Tokenizer | None) -> Callable[[str], int] | None:
    """Return a function that counts tokens with the caller's tokenizer.

    Raises:
        ConfigurationError: if it is not a tokenizer. The function raises it, too, for results other than numbers.
    """
    if tokenizer is None:
        return None
    check(
        callable(tokenizer) or (isinstance(tokenizer, Encoder) and not isinstance(tokenizer, str)),
        f"tokenizer={shown(tokenizer)} must be a function of one text, or an object with encode()",
    )
    if isinstance(tokenizer, Encoder):
        encode = tokenizer.encode
        return lambda text: len(encode(text))

    def count(text: str) -> int:
        tokens = tokenizer(text)
        check(
            is_whole(tokens) and tokens >= 0,
            f"tokenizer= returned {shown(tokens)}, but must return the number of tokens; pass an object with encode(), "
            "or lambda text: len(encode(text))",
        )
        return tokens

    return count


async def _slices(texts: Texts) -> AsyncIterator[list[TextLike]]:
    """Yield a few texts at a time, and let other tasks run in between."""
    if isinstance(texts, AsyncIterable):
        some: list[TextLike] = []
        async for item in async_lines(texts):
            some.append(item)
            if len(some) == TEXTS_AT_ONCE:
                yield some
                some = []
        yield some
        return
    source: Iterator[TextLike] = lines(texts)
    while some := list(islice(source, TEXTS_AT_ONCE)):
        yield some
        await anyio.lowlevel.checkpoint()


publish("asyncembed", [Estimate])
