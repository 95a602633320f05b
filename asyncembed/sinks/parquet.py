"""Parquet: one file with everything, in columns that can be read apart.

The columns are those of `_table`. Each block of rows is a row group. The provenance is JSON in the schema's metadata
under `asyncembed`. Texts are compressed; vectors are not, because their bits are close to random.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from asyncembed._exceptions import ConfigurationError
from asyncembed.sinks._base import Block, Format, VectorFile
from asyncembed.sinks._safe_open import new_file
from asyncembed.sinks._table import LABELS, block_of, labelled_batch, read_schema, schema_of

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from asyncembed.sinks._columns import Columns
    from asyncembed.sinks._provenance import Provenance

BLOCK_ROWS: Final = 1_024
"""Most rows read at once."""
READ_BUFFER: Final = 1_048_576
"""Bytes read ahead of each column."""


def write(path: Path, rows: VectorFile, provenance: Provenance, columns: Columns) -> Iterator[None]:
    """Write each block as a row group."""
    schema = schema_of(provenance, columns)
    compression = {**dict.fromkeys(schema.names, "zstd"), "embedding.list.element": "none"}
    del compression["embedding"]
    # Statistics and dictionaries of vectors would cost time and say nothing.
    with (
        new_file(path) as file,
        pq.ParquetWriter(
            file, schema, compression=compression, use_dictionary=False, write_statistics=["index"]
        ) as writer,
    ):
        for block in rows.blocks():
            writer.write_table(pa.Table.from_batches([labelled_batch(schema, block.vectors, block.labels)]))
            pa.default_memory_pool().release_unused()
            yield


class ParquetVectors(VectorFile):
    """Reads such a file a few thousand rows at a time."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = open_parquet(str(path))
        except ValueError as error:
            raise ConfigurationError(f"{path} is not a whole Parquet file: {error}") from None
        self.width, self.provenance = read_schema(path, self._file.schema_arrow)
        self.rows = self._file.metadata.num_rows

    def blocks(self) -> Iterator[Block]:
        """Give record batches."""
        names = self._file.schema_arrow.names
        columns = names if self.provenance else [name for name in (*LABELS, "embedding") if name in names]
        for batch in read_batches(self._file, columns):
            yield block_of(batch, self.width)


def open_parquet(file: str | io.BufferedIOBase) -> pq.ParquetFile:
    """Open any Parquet file for `read_batches`; raises `ValueError`, as pyarrow does, if it is none."""
    return pq.ParquetFile(file, buffer_size=READ_BUFFER, pre_buffer=False)


def read_batches(file: pq.ParquetFile, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Read rows in memory that does not grow with the file.

    Row group by row group, because pyarrow keeps what it has read of a group until it is done with all of them.
    """
    for group in range(file.num_row_groups):
        yield from file.iter_batches(BLOCK_ROWS, row_groups=[group], columns=list(columns))


FORMAT: Final = Format("parquet", write, ParquetVectors)
