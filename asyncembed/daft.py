"""Vectors in a Daft data frame: by Daft's own `embed_text(provider=AsyncEmbedProvider(spec))`, or by `embed`.

`embed` hands Arrow arrays over and is faster; `embed_text` is what other providers of Daft are used by.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack, cast

from asyncembed._config import check_count
from asyncembed._missing import missing
from asyncembed.sinks import NUMPY_TYPES, PACKED

try:
    import daft
    from daft.ai.protocols import TextEmbedder, TextEmbedderDescriptor
    from daft.ai.provider import Provider
    from daft.ai.typing import EmbeddingDimensions, UDFOptions
    from daft.datatype import DataType
except ImportError:
    raise missing("asyncembed.daft", "daft", "daft") from None

from asyncembed._column import Column

if TYPE_CHECKING:
    from asyncembed._column import NullOrRaise
    from asyncembed._models import Vector
    from asyncembed._options import EmbedOptionsArgs
    from asyncembed._spec import ClientSpec

BATCH_ROWS = 1_000
BATCHES_AT_ONCE = 8


class AsyncEmbedProvider(Provider):
    """A provider for `daft.functions.embed_text`, by itself or by a name that it was attached with.

    Null and empty texts give null, unpaid. So do texts that the API refuses, unless `embed_text` is given
    `on_error="raise"`. Neither the plan nor a pickle holds the key: each worker reads it from its environment.

    Args:
        spec: The settings of the client. Daft's native runner is one process with one client; where Daft runs on Ray,
            give `spec.share(nodes)`.
        name: What `daft.attach_provider` calls it.

    Example:
        ```python
        provider = AsyncEmbedProvider(ClientSpec("cohere"))
        frame = frame.with_column("embedding", embed_text(daft.col("text"), provider=provider))
        ```
    """

    def __init__(self, spec: ClientSpec, name: str = "asyncembed") -> None:
        Column(spec=spec)  # checks it
        self._spec = spec
        self._name = name

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    def get_text_embedder(
        self, model: str | None = None, dimensions: int | None = None, **options: Any
    ) -> TextEmbedderDescriptor:
        """Return what Daft makes an embedder of on its workers; called by `embed_text`.

        Args:
            model: Instead of that of the spec.
            dimensions: Length of the vectors, where the model can shorten them.
            **options: Daft's `batch_size`, `max_retries` and `on_error`, and those of `EmbedOptionsArgs`.

        Raises:
            ConfigurationError: if a setting is wrong.
            AsyncEmbedError: if the length of the vectors is not known and the API does not take a harmless text.
        """
        batch_size = options.pop("batch_size", BATCH_ROWS)
        max_retries = options.pop("max_retries", 0)  # the client repeats requests itself
        on_error: NullOrRaise = "raise" if options.pop("on_error", "null") == "raise" else "null"
        for name in ("supports_overriding_dimensions", "batch_token_limit"):
            options.pop(name, None)
        if model is not None:
            options["model"] = model
        if dimensions is not None:
            options["dimensions"] = dimensions
        column = _column(self._spec, on_error, cast("EmbedOptionsArgs", options))
        return _Descriptor(self._name, column, batch_size, max_retries)


def embed(
    text: daft.Expression,
    spec: ClientSpec,
    *,
    batch_size: int = BATCH_ROWS,
    concurrent_batches: int = BATCHES_AT_ONCE,
    max_retries: int = 0,
    on_error: NullOrRaise = "null",
    **options: Unpack[EmbedOptionsArgs],
) -> daft.Expression:
    """Return an expression for the vectors of a column of texts.

    Null and empty texts give null, unpaid. Daft does not keep the order of rows, so give them an id. Its native runner
    is one process: if it dies, the query is lost, and all of it is paid for again. Where Daft runs on Ray, the tasks
    of a worker that dies are run again and paid for again; give `spec.share(nodes)` there.

    Args:
        text: The column.
        spec: The settings of the client.
        batch_size: Rows that are embedded together.
        concurrent_batches: Maximum number of batches at once.
        max_retries: How often Daft repeats a batch that failed, and pays for it again. The client repeats requests
            itself, so 0 is right as a rule.
        on_error: "null", or "raise" for a text that the API refuses. A wrong key always raises.
        **options: See `EmbedOptionsArgs`; `model` and `dimensions` are among them.

    Raises:
        ConfigurationError: if a setting is wrong.
        AsyncEmbedError: if the length of the vectors is not known and the API does not take a harmless text.

    Example:
        ```python
        frame = frame.with_column("embedding", embed(daft.col("text"), ClientSpec("cohere")))
        ```
    """
    check_count("batch_size", batch_size)
    check_count("concurrent_batches", concurrent_batches)
    column = _column(spec, on_error, options)

    # A class for each call, as the type of the vectors belongs to the method.
    @daft.cls(max_concurrency=concurrent_batches, max_retries=max_retries, name_override="asyncembed")
    class Embed:
        def __init__(self, column: Column) -> None:
            self._column = column

        @daft.method.batch(return_dtype=_dimensions_of(column).as_dtype(), batch_size=batch_size)  # type: ignore[untyped-decorator]
        async def __call__(self, text: daft.Series) -> daft.Series:
            return daft.Series.from_arrow(await self._column.embed(text.to_arrow()))

    return Embed(column)(text)


@dataclass(frozen=True, slots=True)
class _Descriptor(TextEmbedderDescriptor):
    name: str
    column: Column
    batch_size: int
    max_retries: int

    def get_provider(self) -> str:
        return self.name

    def get_model(self) -> str:
        spec = self.column.spec
        return self.column.options.get("model") or spec.model or spec.make_provider().default_model or ""

    def get_options(self) -> dict[str, Any]:
        return dict(self.column.options)

    def get_dimensions(self) -> EmbeddingDimensions:
        return _dimensions_of(self.column)

    def get_udf_options(self) -> UDFOptions:
        return UDFOptions(concurrency=BATCHES_AT_ONCE, max_retries=self.max_retries, batch_size=self.batch_size)

    def is_async(self) -> bool:
        return True

    def instantiate(self) -> TextEmbedder:
        return _Embedder(self.column)


@dataclass(frozen=True, slots=True)
class _Embedder(TextEmbedder):
    column: Column

    async def embed_text(self, text: list[str]) -> list[Vector | None]:
        """Return the vectors of texts, which may be null."""
        import pyarrow as pa  # noqa: PLC0415

        vectors = await self.column.embed(pa.array(text, pa.large_string()))
        if vectors.null_count == len(vectors):
            return [None] * len(vectors)
        rows = iter(vectors.flatten().to_numpy().reshape(-1, vectors.type.list_size))  # of those that are not null
        return [next(rows) if is_there else None for is_there in vectors.is_valid().to_pylist()]


def _column(spec: ClientSpec, on_error: NullOrRaise, options: EmbedOptionsArgs) -> Column:
    """Return the column, with the length of its vectors, which a plan must know."""
    checked = Column(spec=spec, on_error=on_error, options=options)
    dimension = options.get("dimensions") or spec.dimension(**options)
    return Column(spec=checked.spec, on_error=on_error, dimension=dimension, options=options)


def _dimensions_of(column: Column) -> EmbeddingDimensions:
    assert column.dimension
    dtype = column.options.get("dtype") or "float32"
    size = column.dimension // 8 if dtype in PACKED else column.dimension
    return EmbeddingDimensions(size, DataType.from_numpy_dtype(NUMPY_TYPES[dtype]))
