"""Parquet: one file with everything, in columns that can be read apart.

`index` int64, `id` string, `text` string, `embedding` fixed-size list of float32, int8 or uint8. Each block of results
is a row group. The provenance is JSON in the schema's metadata under `asyncembed`. Texts are compressed; vectors are
not, because their bits are close to random.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from asyncembed._errors import ConfigurationError
from asyncembed.sinks._base import Block, Format, Label, Sink, VectorFile, stack
from asyncembed.sinks._provenance import Provenance

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from asyncembed._models import EmbedResult

METADATA_KEY: Final = b"asyncembed"
COLUMNS: Final = ("index", "id", "text", "embedding")
BLOCK_ROWS: Final = 1_024
"""Most rows read at once."""
READ_BUFFER: Final = 1_048_576
"""Bytes read ahead of each column."""


class ParquetSink(Sink):
    """Writes each block of results as a row group."""

    def __init__(self, path: Path, provenance: Provenance) -> None:
        self._schema = _schema(provenance)
        # Statistics and dictionaries of vectors would cost time and say nothing.
        self._writer = pq.ParquetWriter(
            path,
            self._schema,
            compression={"index": "zstd", "id": "zstd", "text": "zstd", "embedding.list.element": "none"},
            use_dictionary=False,
            write_statistics=["index"],
        )

    def write(self, results: Sequence[EmbedResult]) -> None:
        """Append a row group."""
        numbers = pa.array(stack(results).reshape(-1))
        columns: list[pa.Array[Any]] = [
            pa.array([result.index for result in results], pa.int64()),
            pa.array([None if result.id is None else str(result.id) for result in results], pa.string()),
            pa.array([result.text for result in results], pa.string()),
            pa.FixedSizeListArray.from_arrays(numbers, type=self._schema.field("embedding").type),
        ]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))

    def close(self) -> None:
        """Write the footer."""
        self._writer.close()


class ParquetVectors(VectorFile):
    """Reads such a file a few thousand rows at a time."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = open_parquet(str(path))
        except ValueError as error:
            raise ConfigurationError(f"{path} is not a whole Parquet file: {error}") from None
        schema = self._file.schema_arrow
        if missing := [name for name in COLUMNS if name not in schema.names]:
            raise ConfigurationError(f"{path} has no column {missing[0]!r}; its columns are {', '.join(schema.names)}")
        vector = schema.field("embedding").type
        if not pa.types.is_fixed_size_list(vector):
            raise ConfigurationError(f"{path} holds embeddings of type {vector}, not lists of a fixed size")
        note = (schema.metadata or {}).get(METADATA_KEY)
        self.provenance = Provenance.from_json(note, str(path)) if note else None
        self.rows = self._file.metadata.num_rows
        self.width = vector.list_size

    def blocks(self) -> Iterator[Block]:
        """Give record batches, vectors without a copy; ids and texts become Python objects only where asked for."""
        for batch in read_batches(self._file, COLUMNS):
            vectors = cast("pa.FixedSizeListArray[Any, Any]", batch.column("embedding"))
            yield Block(vectors.flatten().to_numpy().reshape(-1, self.width), partial(_label, batch))


def open_parquet(file: str | io.BufferedIOBase) -> pq.ParquetFile:
    """Open any Parquet file for `read_batches`; raises `ValueError`, as pyarrow does, if it is none."""
    return pq.ParquetFile(file, buffer_size=READ_BUFFER, pre_buffer=False)


def read_batches(file: pq.ParquetFile, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Read rows in memory that does not grow with the file.

    Row group by row group, because pyarrow keeps what it has read of a group until it is done with all of them.
    """
    for group in range(file.num_row_groups):
        yield from file.iter_batches(BLOCK_ROWS, row_groups=[group], columns=list(columns))


def _schema(provenance: Provenance) -> pa.Schema:
    number = pa.from_numpy_dtype(np.dtype(provenance.number))
    columns: list[pa.Field[Any]] = [
        pa.field("index", pa.int64()),
        pa.field("id", pa.string()),
        pa.field("text", pa.string()),
        pa.field("embedding", pa.list_(number, provenance.width)),
    ]
    return pa.schema(columns, metadata={METADATA_KEY: provenance.to_json()})


def _label(batch: pa.RecordBatch, row: int) -> Label:
    return Label(*(batch.column(name)[row].as_py() for name in COLUMNS[:3]))


FORMAT: Final = Format(ParquetSink, ParquetVectors)
