"""Vectors in a Ray dataset: `asyncembed.ray.embed(dataset, ClientSpec("cohere"))`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from asyncembed._config import check, check_count
from asyncembed._exceptions import ConfigurationError
from asyncembed._missing import missing

try:
    import pyarrow as pa
    import ray.data
except ImportError:
    raise missing("asyncembed.ray", "ray[data]", "ray") from None

from asyncembed._column import Column

if TYPE_CHECKING:
    from asyncembed._column import NullOrRaise
    from asyncembed._options import EmbedOptionsArgs
    from asyncembed._spec import ClientSpec


class Embed:
    """Adds a column of vectors to Arrow batches; give it to `Dataset.map_batches` where `embed` is not enough.

    Each actor has one client. Pass `batch_format="pyarrow"`, and `spec.share(workers)` as the spec.

    Args:
        spec: The settings of the client of one worker.
        column: Name of the column of texts.
        into: Name of the new column.
        on_error: "null", or "raise" for a text that the API refuses.
        **options: See `EmbedOptionsArgs`.

    Raises:
        ConfigurationError: if a setting is wrong.
    """

    def __init__(
        self,
        spec: ClientSpec,
        column: str = "text",
        into: str = "embedding",
        *,
        on_error: NullOrRaise = "null",
        **options: Unpack[EmbedOptionsArgs],
    ) -> None:
        check(column != into, f"into={into!r} must be another column than that of the texts")
        self._column = Column(spec=spec, on_error=on_error, options=options)
        self._from = column
        self._into = into

    async def __call__(self, batch: pa.Table) -> pa.Table:
        """Return the batch with its vectors."""
        names = batch.column_names
        if self._from not in names:
            raise ConfigurationError(f"the dataset has no column {self._from!r}; it has: {', '.join(names)}")
        if self._into in names:
            raise ConfigurationError(f"the dataset has a column {self._into!r} already; choose another into=")
        vectors = await self._column.embed(batch.column(self._from))
        # Not of a fixed size: pyarrow writes such lists with nulls into Parquet files that it cannot read again.
        return batch.append_column(self._into, vectors.cast(pa.list_(vectors.type.value_type)))


def embed(
    dataset: ray.data.Dataset,
    spec: ClientSpec,
    *,
    column: str = "text",
    into: str = "embedding",
    workers: int = 2,
    rows_per_block: int = 5_000,
    max_retries: int = 3,
    num_cpus: float = 0.5,
    on_error: NullOrRaise = "null",
    **options: Unpack[EmbedOptionsArgs],
) -> ray.data.Dataset:
    """Return a dataset with a column of vectors (Arrow lists), which a fixed pool of actors adds.

    Null and empty texts give null, unpaid. Ray does not keep the order of rows, so give them an id. All workers
    together keep the rate limit of the spec. Each reads its key from its own environment: set the variable on the
    nodes, and not in Ray's `runtime_env`, which Ray writes into its logs.

    Ray runs up to four blocks at once in an actor. If an actor dies, Ray starts another one and runs its blocks again
    from their beginning, so they are paid for again; the rows stay right. Smaller blocks cost less then. To pay for
    nothing twice, run `asyncembed.parts.embed_part` as Ray tasks.

    Args:
        dataset: The texts, and whatever columns belong to them.
        spec: The settings of the client; its rate limit is that of the account.
        column: Name of the column of texts.
        into: Name of the new column.
        workers: Number of actors. Each gets an equal part of the rate limit.
        rows_per_block: Rows that are embedded together. Vectors are much larger than texts, so Ray's own blocks may be
            too large for the memory of an actor.
        max_retries: How often Ray may start an actor anew, and run a block again, before the dataset fails.
        num_cpus: Processors that Ray reserves for each actor.
        on_error: "null", or "raise" for a text that the API refuses. A wrong key always raises.
        **options: See `EmbedOptionsArgs`.

    Raises:
        ConfigurationError: if a setting is wrong.
    """
    check_count("workers", workers)
    check_count("rows_per_block", rows_per_block)
    check(max_retries >= 0, f"max_retries={max_retries!r} must be 0 or more")
    Embed(spec, column, into, on_error=on_error, **options)  # checks all of them here, and not on a worker
    return dataset.repartition(target_num_rows_per_block=rows_per_block).map_batches(
        Embed,
        fn_constructor_args=(spec.share(workers), column, into),
        fn_constructor_kwargs={"on_error": on_error, **options},
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=num_cpus,
        max_restarts=max_retries,
        max_task_retries=max_retries,
    )
