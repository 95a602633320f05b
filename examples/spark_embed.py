"""Vectors in a Spark data frame: `frame = embed(frame, ClientSpec("cohere"), workers=8)`.

Spark hands each task the Arrow batches of one partition. Here a task has one client, and keeps several batches in
flight. Rows keep their columns; null and empty texts give null, unpaid. Set the variable with the key on the workers.

If a worker dies, Spark runs its partitions again from their beginning and pays for them again, so make partitions
small: `frame.repartition(...)`. To pay for nothing twice, run `asyncembed.parts.embed_part` in the tasks.
"""

import asyncio
from collections import deque
from collections.abc import Iterator

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.types import ArrayType, FloatType, StructField, StructType

from asyncembed import ClientSpec, EmbedClient
from asyncembed.arrow import embed_array

IN_FLIGHT = 4
"""Batches at once in a task; `spark.sql.execution.arrow.maxRecordsPerBatch` says how many rows they have."""


def embed(
    frame: DataFrame, spec: ClientSpec, *, column: str = "text", into: str = "embedding", workers: int
) -> DataFrame:
    """Return the frame with a column of vectors; `workers` tasks at once keep the rate limit of the spec together."""
    share = spec.share(workers)

    async def add_vectors(client: EmbedClient, batch: pa.RecordBatch) -> pa.RecordBatch:
        vectors = await embed_array(client, batch.column(column))
        # Spark has no lists of a fixed size.
        columns = [*batch.columns, vectors.cast(pa.list_(pa.float32()))]
        return pa.RecordBatch.from_arrays(columns, [*batch.schema.names, into])

    def embed_partition(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with asyncio.Runner() as runner:
            client = share.open()
            pending: deque[asyncio.Task[pa.RecordBatch]] = deque()

            async def first() -> pa.RecordBatch:
                return await pending.popleft()

            try:
                for batch in batches:
                    pending.append(runner.get_loop().create_task(add_vectors(client, batch)))
                    if len(pending) == IN_FLIGHT:
                        yield runner.run(first())
                while pending:
                    yield runner.run(first())
            finally:
                runner.run(client.aclose())

    schema = StructType([*frame.schema.fields, StructField(into, ArrayType(FloatType()))])
    return frame.mapInArrow(embed_partition, schema)
