"""Inputs and results.

All are slotted dataclasses. The client makes one `EmbedInput` and one `EmbedResult` per text, so these two are not
frozen: a frozen dataclass takes longer to construct.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence  # for `typing.get_type_hints`
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Generic, TypeAlias
from uuid import UUID

import numpy as np
import numpy.typing as npt
from typing_extensions import TypeVar

from asyncembed._repr import ShortRepr

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncembed._exceptions import AsyncEmbedError

Scalar: TypeAlias = np.float32 | np.int8 | np.uint8
"""The NumPy types of vectors: float32, int8 (also for "binary") or uint8 (also for "ubinary")."""

ScalarT_co = TypeVar("ScalarT_co", bound=Scalar, covariant=True, default=np.float32)
"""The NumPy type of the vectors in a result: `EmbedResult` means `EmbedResult[np.float32]`."""

Vector: TypeAlias = npt.NDArray[Scalar]
"""A one-dimensional array of any of the NumPy types that vectors have. A float32 array is one of these."""

Matrix: TypeAlias = npt.NDArray[Scalar]
"""Vectors as the rows of a two-dimensional array, in the same NumPy types."""


TextId: TypeAlias = str | int | UUID
"""Your id of a text: a string, a whole number (also a NumPy integer) or a UUID."""

Metadata: TypeAlias = Mapping[str, object]
"""Further values of a text, by name. A value is anything that JSON can hold, a date or a UUID."""


@dataclass(slots=True, unsafe_hash=True, repr=False)
class EmbedInput(ShortRepr):
    """One text to embed.

    Attributes:
        text: The text.
        id: Your id of the text, or None.
        metadata: Further values of the text, by name. The result carries the same mapping, and files store each name
            as a column. The names "index", "id", "text" and "embedding" are reserved.

    Example:
        ```python
        EmbedInput("a tabby cat", id=17, metadata={"lang": "en"})
        ```
    """

    text: str
    id: TextId | None = None
    metadata: Metadata | None = field(default=None, hash=False)


@dataclass(slots=True, eq=False, repr=False)
class EmbedResult(ShortRepr, Generic[ScalarT_co]):
    """The vector of one input.

    `EmbedResult` means `EmbedResult[np.float32]`. With `dtype="int8"` or "binary" it is `EmbedResult[np.int8]`, with
    "uint8" or "ubinary" `EmbedResult[np.uint8]`.

    Attributes:
        index: Position of the text in your iterable, from 0.
        embedding: Array of shape (dimension,) in the requested dtype, or of shape (dimension / 8,) for the packed bits
            of "binary" and "ubinary". The array is writable and shares no memory with other results.
        text: The text, unchanged.
        id: Your id of the text, or None.
        metadata: The metadata of the input, or None.
        truncated: Whether the vector is that of the start of the text alone, because the text was too long; None if
            the client cannot know, as some APIs cut texts silently.
        span: Number of inputs in this result, always 1.

    Example:
        ```python
        async with client.embed_stream(["a tabby cat"]) as stream:
            async for result in stream:
                print(result.index, result.text, result.embedding.shape)
        ```
    """

    span: ClassVar[int] = 1

    index: int
    embedding: npt.NDArray[ScalarT_co]
    text: str
    id: TextId | None = None
    metadata: Metadata | None = None
    truncated: bool | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class EmbedFailure(ShortRepr):
    """A text that could not be embedded. It takes the place of the result with `on_error="yield"`.

    Attributes:
        index: Position of the text in your iterable, from 0.
        text: The text, unchanged.
        id: Your id of the text, or None.
        error: Why the text could not be embedded.
        metadata: The metadata of the input, or None.
        span: Number of inputs in this failure, always 1.

    Example:
        ```python
        async with client.embed_stream(texts, on_error="yield") as stream:
            async for item in stream:
                if isinstance(item, EmbedFailure):
                    print(item.index, item.error)
        ```
    """

    span: ClassVar[int] = 1

    index: int
    text: str
    id: TextId | None
    error: AsyncEmbedError
    metadata: Metadata | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class EmbedBlock(ShortRepr, Generic[ScalarT_co]):
    """The vectors of n consecutive inputs as one matrix.

    Attributes:
        index: Position of the first input, from 0.
        embeddings: Array of shape (n, dimension) in the requested dtype, or of shape (n, dimension / 8) for packed
            bits. The array is writable and shares no memory with other blocks.
        inputs: The n inputs.
        truncated: For each input, whether the vector is that of the start of the text alone; None if unknown.
    """

    index: int
    embeddings: npt.NDArray[ScalarT_co]
    inputs: Sequence[EmbedInput]
    truncated: Sequence[bool | None] = ()

    @property
    def span(self) -> int:
        """Number of inputs in this block."""
        return len(self.inputs)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Withdrawal(ShortRepr):
    """Takes back vectors of earlier blocks, because they may belong to other texts. The client requests them again.

    Attributes:
        indices: Positions of the inputs, from 0.
        inputs: The inputs.
        span: Number of inputs that are finished with this, always 0.
    """

    span: ClassVar[int] = 0

    indices: Sequence[int]
    inputs: Sequence[EmbedInput]

    @property
    def index(self) -> int:
        """Position of the first input, from 0."""
        return self.indices[0]


@dataclass(frozen=True, slots=True, repr=False)
class Usage(ShortRepr):
    """Billed tokens, retries included.

    Attributes:
        tokens: Tokens that the API reported. A response without a plausible number counts as 0.
        unreported_tokens: Estimated tokens of responses that broke off before they reported a number. APIs bill these
            as well. A complete response without a number adds nothing.

    Example:
        ```python
        response = await client.embed(texts)
        print(response.usage.tokens)
        ```
    """

    tokens: int = 0
    unreported_tokens: int = 0

    @property
    def total(self) -> int:
        """All tokens, reported or not."""
        return self.tokens + self.unreported_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.tokens + other.tokens, self.unreported_tokens + other.unreported_tokens)


@dataclass(frozen=True, slots=True, repr=False)
class LimitHeader(ShortRepr):
    """One rate limit, as the headers of a response state it.

    Attributes:
        limit: Units per minute.
        remaining: Units that are left.
        reset: Seconds until all units are available again.
        refills: Whether units become available gradually rather than all at once.
    """

    limit: float | None = None
    remaining: float | None = None
    reset: float | None = None
    refills: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class RateLimitHeaders(ShortRepr):
    """The rate limits in the headers of a response.

    Attributes:
        requests: The limit of requests, or None.
        tokens: The limit of tokens, or None.
    """

    requests: LimitHeader | None = None
    tokens: LimitHeader | None = None


@dataclass(frozen=True, slots=True, repr=False)
class RunTotals(ShortRepr):
    """Counts of one or more runs.

    Attributes:
        runs: Number of runs.
        failed: Inputs that could not be embedded.
        failure: Error of the first of these inputs, or None.
        requests: HTTP requests that were sent, retries included.
        retries: Requests that repeated an earlier one, for the vectors that were missing.
        salvaged: Vectors kept from responses that broke off.
        bytes_received: Bytes of response bodies after decompression.
        usage: Billed tokens.
        seconds: Duration of all runs together, in seconds.
        cached: Texts whose vectors came out of the client's cache.
        duplicates: Texts that got the vector of an equal text.
        truncated: Texts that were too long and whose vector is that of their start, as far as that is known.
        cost: Cost of the billed tokens in US dollars, unreported ones included; None if the price is unknown.
    """

    hides_defaults: ClassVar[bool] = True

    runs: int = 0
    failed: int = 0
    failure: AsyncEmbedError | None = None
    requests: int = 0
    retries: int = 0
    salvaged: int = 0
    bytes_received: int = 0
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    cached: int = 0
    duplicates: int = 0
    truncated: int = 0
    cost: float | None = None

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
            cost=_sum_of_costs(self, other),
            truncated=self.truncated + other.truncated,
            bytes_received=self.bytes_received + other.bytes_received,
            usage=self.usage + other.usage,
            seconds=self.seconds + other.seconds,
        )


def _sum_of_costs(first: RunTotals, second: RunTotals) -> float | None:
    """Return the cost of two totals; None if the cost of runs among them is unknown."""
    if not first.runs:
        return second.cost
    if not second.runs:
        return first.cost
    return None if first.cost is None or second.cost is None else first.cost + second.cost


@dataclass(frozen=True, slots=True, repr=False)
class RunSummary(ShortRepr):
    """The progress of a run, or its outcome.

    With `embed_to_file`, `failed`, `failure`, `requests`, `retries`, `salvaged`, `cached`, `duplicates`,
    `truncated`, `cost`, `bytes_received`, `usage` and `elapsed` cover all runs of the file. `earlier` holds the
    share of the runs before this one.

    Attributes:
        done: Vectors that have arrived. You may not have consumed all of them yet.
        failed: Inputs that could not be embedded, with `on_error` "yield" or "skip".
        failure: Error of the first of these inputs, or None.
        resumed: Inputs that earlier runs of `embed_to_file` finished, including those that failed.
        saved: Rows that are safe on the disk, with `embed_to_file`, including those of earlier runs.
        earlier: Counts of the earlier runs of the same file.
        requests: HTTP requests that were sent, retries included.
        retries: Requests that repeated an earlier one, for the vectors that were missing.
        salvaged: Vectors kept from responses that broke off.
        cached: Texts whose vectors came out of the client's cache.
        duplicates: Texts that got the vector of an equal text.
        cost: Cost of the billed tokens in US dollars, unreported ones included; None if the price is unknown.
        truncated: Texts that were too long and whose vector is that of their start, as far as that is known.
        bytes_received: Bytes of response bodies after decompression.
        usage: Billed tokens.
        elapsed: Seconds since the client read the first text.
        in_flight: Requests that are being sent or answered, or that wait for a retry.
        reserved_bytes: Memory that all streams with the same budget have reserved now.
        peak_reserved_bytes: Largest amount that was reserved at the same time.
        budget_bytes: Size of the memory budget.
        model: Name of the model in the requests.
        dimension: Length of the vectors, or None before the first one has arrived.

    Example:
        ```python
        summary = await client.embed_to_file(texts, "vectors.npy")
        print(summary.done, summary.failed, summary.usage.tokens)
        ```
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
    cost: float | None = None
    truncated: int = 0
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
        """The counts of this run and all earlier ones."""
        return RunTotals(
            runs=self.earlier.runs + 1,
            failed=self.failed,
            failure=self.failure,
            requests=self.requests,
            retries=self.retries,
            salvaged=self.salvaged,
            cached=self.cached,
            duplicates=self.duplicates,
            cost=self.cost,
            truncated=self.truncated,
            bytes_received=self.bytes_received,
            usage=self.usage,
            seconds=self.elapsed,
        )

    def after(self, earlier: RunTotals) -> RunSummary:
        """Return a copy that includes the counts of earlier runs."""
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
            cost=totals.cost,
            truncated=totals.truncated,
            bytes_received=totals.bytes_received,
            usage=totals.usage,
            elapsed=totals.seconds,
        )


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class EmbedResponse(ShortRepr, Generic[ScalarT_co]):
    """All vectors of one `embed` call, in the order of the texts.

    Iterating and indexing give the rows of `embeddings`. `EmbedResponse` means `EmbedResponse[np.float32]`.

    Attributes:
        embeddings: Array of shape (n, dimension) in the requested dtype, or of shape (n, dimension / 8) for packed
            bits. The row of a text that failed holds NaN (float32) or zeros (other dtypes).
        texts: The texts, unchanged.
        ids: Your ids, with None for each text without an id.
        usage: Billed tokens.
        model: Name of the model in the requests.
        failures: The texts that could not be embedded, sorted by index. Empty unless `on_error="skip"`.
        truncated: For each text, whether the vector is that of its start alone; None if unknown.

    Example:
        ```python
        response = await client.embed(["a tabby cat", "a savings bank"], on_error="skip")
        matrix = response.embeddings[response.ok]
        ```
    """

    embeddings: npt.NDArray[ScalarT_co]
    texts: Sequence[str]
    ids: Sequence[TextId | None]
    usage: Usage
    model: str
    failures: Sequence[EmbedFailure] = ()
    truncated: Sequence[bool | None] = ()

    @property
    def ok(self) -> npt.NDArray[np.bool_]:
        """Boolean mask of shape (n,): True for each row that holds a vector.

        `response.embeddings[response.ok]` selects these rows.
        """
        mask = np.ones(len(self.texts), np.bool_)
        mask[[failure.index for failure in self.failures]] = False
        return mask

    def __len__(self) -> int:
        return len(self.texts)

    def __iter__(self) -> Iterator[npt.NDArray[ScalarT_co]]:
        return iter(self.embeddings)

    def __getitem__(self, index: int) -> npt.NDArray[ScalarT_co]:
        row: npt.NDArray[ScalarT_co] = self.embeddings[index]
        return row


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Limits(ShortRepr):
    """Limits of one request.

    Attributes:
        inputs: Maximum number of texts.
        tokens: Maximum number of tokens in all texts together, by the client's estimate. None means no such limit.
        request_bytes: Maximum number of UTF-8 bytes in all texts together.
        first: Number of texts in the first requests, if `inputs` is not confirmed. Later requests grow.

    Example:
        ```python
        Limits(inputs=96, tokens=None)
        ```
    """

    inputs: int
    tokens: int | None = None
    request_bytes: int = 8_000_000
    first: int | None = None

    def with_inputs(self, inputs: int) -> Limits:
        """Return the same limits with another number of texts."""
        return Limits(inputs=inputs, tokens=self.tokens, request_bytes=self.request_bytes, first=self.first)
