"""What goes in and what comes out, as slotted values: one for each text is made, so these are plain, others frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, TypeAlias
from uuid import UUID

import numpy as np
import numpy.typing as npt

from asyncembed._repr import ShortRepr

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from asyncembed._exceptions import AsyncEmbedError

Vector: TypeAlias = npt.NDArray[np.float32 | np.int8 | np.uint8]
"""A one-dimensional array: float32 for float embeddings, int8 or uint8 for integer and packed-bit ones."""

Matrix: TypeAlias = npt.NDArray[np.float32 | np.int8 | np.uint8]
"""Vectors as the rows of a two-dimensional array, in the same types."""


TextId: TypeAlias = str | int | UUID
"""What the caller may call a text: a string, a whole number (NumPy's, too) or a UUID."""

Metadata: TypeAlias = Mapping[str, object]
"""What belongs to a text besides its id: names with values that JSON has, dates and UUIDs."""


@dataclass(slots=True, unsafe_hash=True, repr=False)
class EmbedInput(ShortRepr):
    """One text to embed.

    Attributes:
        text: The text.
        id: The caller's own id of it, if there is one.
        metadata: What else belongs to the text. It comes back with the vector, and files keep it in columns of these
            names. "index", "id", "text" and "embedding" are taken.

    Example:
        ```python
        EmbedInput("a tabby cat", id=17, metadata={"lang": "en"})
        ```
    """

    text: str
    id: TextId | None = None
    metadata: Metadata | None = field(default=None, hash=False)


@dataclass(slots=True, eq=False, repr=False)
class EmbedResult(ShortRepr):
    """The vector of one input.

    Attributes:
        index: Position of the text in the caller's iterable, from 0.
        embedding: 1-D array of the asked dtype: (dimension,), or (dimension / 8,) for the packed bits of
            "binary" and "ubinary". The array is the caller's own: writable and shared with nothing.
        text: The text as it was given.
        id: The caller's id of the text, if one was given.
        metadata: What was given with the text besides its id.
        span: How many inputs it stands for.
    """

    span: ClassVar[int] = 1

    index: int
    embedding: Vector
    text: str
    id: TextId | None = None
    metadata: Metadata | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class EmbedFailure(ShortRepr):
    """What stands in the place of a result that could not be had (`on_error="yield"`)."""

    span: ClassVar[int] = 1

    index: int
    text: str
    id: TextId | None
    error: AsyncEmbedError
    metadata: Metadata | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class EmbedBlock(ShortRepr):
    """The vectors of consecutive inputs, for whoever wants matrices and not rows.

    Attributes:
        index: Position of the first of the inputs.
        embeddings: Array of shape (n, width) in the asked dtype, the caller's own.
        inputs: The n texts with their ids.
    """

    index: int
    embeddings: Matrix
    inputs: Sequence[EmbedInput]

    @property
    def span(self) -> int:
        """How many inputs it stands for."""
        return len(self.inputs)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Withdrawal(ShortRepr):
    """What takes back blocks that were handed over: their vectors cannot be trusted, and are asked for again.

    Attributes:
        indices: Positions of the inputs.
        inputs: The texts with their ids.
    """

    span: ClassVar[int] = 0

    indices: Sequence[int]
    inputs: Sequence[EmbedInput]

    @property
    def index(self) -> int:
        """Position of the first of the inputs."""
        return self.indices[0]


@dataclass(frozen=True, slots=True, repr=False)
class Usage(ShortRepr):
    """Tokens as the API billed them, retries included.

    Attributes:
        tokens: What the API said; 0 where it did not, or said what cannot be true.
        unreported_tokens: An estimate for answers that began and broke off before they said it: APIs bill these, too.
            An answer that came whole and does not say it adds nothing.
    """

    tokens: int = 0
    unreported_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.tokens + other.tokens, self.unreported_tokens + other.unreported_tokens)


@dataclass(frozen=True, slots=True, repr=False)
class LimitHeader(ShortRepr):
    """What an API says about one of its limits.

    Attributes:
        limit: Units a minute.
        remaining: Units that are left of it now.
        reset: Seconds until it is whole again.
        refills: Whether it comes back little by little until then, and not all at once.
    """

    limit: float | None = None
    remaining: float | None = None
    reset: float | None = None
    refills: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class RateLimitHeaders(ShortRepr):
    """What an API says about its limits in the headers of an answer."""

    requests: LimitHeader | None = None
    tokens: LimitHeader | None = None


@dataclass(frozen=True, slots=True, repr=False)
class RunTotals(ShortRepr):
    """What one or more runs took.

    Attributes:
        runs: How many there were.
        failed: Inputs given up.
        failure: Why the first of them was given up.
        requests: HTTP requests sent, retries included.
        retries: Requests that repeated an earlier one for what had not arrived.
        salvaged: Vectors kept from responses that broke.
        cached: Texts whose vectors came out of the client's cache.
        duplicates: Texts that got the vector of an equal text.
        bytes_received: Body bytes read, decompressed.
        usage: Tokens.
        seconds: How long they took, together.
    """

    hides_defaults: ClassVar[bool] = True

    runs: int = 0
    failed: int = 0
    failure: AsyncEmbedError | None = None
    requests: int = 0
    retries: int = 0
    salvaged: int = 0
    cached: int = 0
    duplicates: int = 0
    bytes_received: int = 0
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0

    def __add__(self, other: RunTotals) -> RunTotals:
        return RunTotals(
            runs=self.runs + other.runs,
            failed=self.failed + other.failed,
            failure=self.failure or other.failure,
            requests=self.requests + other.requests,
            retries=self.retries + other.retries,
            salvaged=self.salvaged + other.salvaged,
            cached=self.cached + other.cached,
            duplicates=self.duplicates + other.duplicates,
            bytes_received=self.bytes_received + other.bytes_received,
            usage=self.usage + other.usage,
            seconds=self.seconds + other.seconds,
        )


@dataclass(frozen=True, slots=True, repr=False)
class RunSummary(ShortRepr):
    """How a run stands, or how it ended.

    `embed_to_file` sums up all runs of its file, and says in `earlier` what the runs before this one took: of `failed`,
    `failure`, `requests`, `retries`, `salvaged`, `cached`, `duplicates`, `bytes_received`, `usage` and `elapsed`.

    Attributes:
        done: Results handed over by the API (not necessarily taken by the consumer yet).
        failed: Inputs given up, with `on_error` "yield" or "skip".
        failure: Why the first of them was given up.
        resumed: Inputs that earlier runs of `embed_to_file` had settled already, those that failed among them.
        saved: Rows that are safe on the disk, with `embed_to_file`; those of earlier runs are among them.
        earlier: What earlier runs of the same file took.
        requests: HTTP requests sent, retries included.
        retries: Requests that repeated an earlier one for what had not arrived.
        salvaged: Vectors kept from responses that broke.
        cached: Texts whose vectors came out of the client's cache.
        duplicates: Texts that got the vector of an equal text.
        bytes_received: Body bytes read, decompressed.
        usage: Tokens that were billed.
        elapsed: Seconds since texts were first pulled.
        in_flight: Requests being sent, answered or waiting to be tried again.
        reserved_bytes: Memory reserved now, by all streams that share the budget.
        peak_reserved_bytes: The most of it that was ever reserved at once.
        budget_bytes: What may be reserved.
        model: The model the API was asked for.
        dimension: Length of the vectors, once the first has arrived.
    """

    hides_defaults: ClassVar[bool] = True

    done: int = 0
    failed: int = 0
    failure: AsyncEmbedError | None = None
    resumed: int = 0
    saved: int = 0
    earlier: RunTotals = field(default_factory=RunTotals)
    requests: int = 0
    retries: int = 0
    salvaged: int = 0
    cached: int = 0
    duplicates: int = 0
    bytes_received: int = 0
    usage: Usage = field(default_factory=Usage)
    elapsed: float = 0.0
    in_flight: int = 0
    reserved_bytes: int = 0
    peak_reserved_bytes: int = 0
    budget_bytes: int = 0
    model: str = ""
    dimension: int | None = None

    @property
    def totals(self) -> RunTotals:
        """What is summed up in this."""
        return RunTotals(
            runs=self.earlier.runs + 1,
            failed=self.failed,
            failure=self.failure,
            requests=self.requests,
            retries=self.retries,
            salvaged=self.salvaged,
            cached=self.cached,
            duplicates=self.duplicates,
            bytes_received=self.bytes_received,
            usage=self.usage,
            seconds=self.elapsed,
        )

    def after(self, earlier: RunTotals) -> RunSummary:
        """Return this with what earlier runs took."""
        totals = earlier + self.totals
        return replace(
            self,
            earlier=earlier,
            failed=totals.failed,
            failure=totals.failure,
            requests=totals.requests,
            retries=totals.retries,
            salvaged=totals.salvaged,
            cached=totals.cached,
            duplicates=totals.duplicates,
            bytes_received=totals.bytes_received,
            usage=totals.usage,
            elapsed=totals.seconds,
        )


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class EmbedResponse(ShortRepr):
    """All vectors of one `embed` call, in the order of the texts.

    Iterating and indexing give the rows of `embeddings`.

    Attributes:
        embeddings: Array of shape (n, dimension), or (n, dimension / 8) for packed bits, in the asked dtype. The row
            of a text that failed holds NaN (float32) or zeros (other dtypes).
        texts: The texts as given.
        ids: The callers' ids, None where a text had none.
        usage: Tokens that were billed.
        model: The model the API was asked for.
        failures: The texts that could not be embedded, by index; there are none but with `on_error="skip"`.
    """

    embeddings: Matrix
    texts: Sequence[str]
    ids: Sequence[TextId | None]
    usage: Usage
    model: str
    failures: Sequence[EmbedFailure] = ()

    @property
    def ok(self) -> npt.NDArray[np.bool_]:
        """Which rows hold a vector, as a mask of shape (n,): `response.embeddings[response.ok]` are the good ones."""
        mask = np.ones(len(self.texts), np.bool_)
        mask[[failure.index for failure in self.failures]] = False
        return mask

    def __len__(self) -> int:
        return len(self.texts)

    def __iter__(self) -> Iterator[Vector]:
        return iter(self.embeddings)

    def __getitem__(self, index: int) -> Vector:
        row: Vector = self.embeddings[index]
        return row


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Limits(ShortRepr):
    """What one request may hold.

    Attributes:
        inputs: Most texts.
        tokens: Most tokens of all texts together, as estimated; None where the API sets no such limit.
        request_bytes: Most UTF-8 bytes of all texts together.
        first: Texts to begin with, where `inputs` is not confirmed: requests grow from there.
    """

    inputs: int
    tokens: int | None = None
    request_bytes: int = 8_000_000
    first: int | None = None
