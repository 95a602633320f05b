"""Parquet: one file with columns that programs can read separately.

The columns are those of `_table`. Each block is a row group. The provenance is JSON under the key `asyncembed` of the
schema's metadata. Texts are compressed. Vectors are not, because their bits are almost random.
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
"""Maximum rows to read at once."""
READ_BUFFER: Final = 1_048_576
"""Bytes to read ahead per column."""


def write(path: Path, rows: VectorFile, provenance: Provenance, columns: Columns) -> Iterator[None]:
    """Write each block as a row group."""
    schema = schema_of(provenance, columns)
    compression = {**dict.fromkeys(schema.names, "zstd"), "embedding.list.element": "none"}
    del compression["embedding"]
    # Statistics and dictionaries of vectors take time and are useless.
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
    """Reads a Parquet file in blocks."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = open_parquet(str(path))
        except ValueError as error:
            raise ConfigurationError(f"{path} is not a complete Parquet file: {error}") from None
        self.width, self.provenance = read_schema(path, self._file.schema_arrow)
        self.rows = self._file.metadata.num_rows

    def blocks(self) -> Iterator[Block]:
        """Yield each record batch as a block."""
        names = self._file.schema_arrow.names
        columns = names if self.provenance else [name for name in (*LABELS, "embedding") if name in names]
        for batch in read_batches(self._file, columns):
            yield block_of(batch, self.width)


def open_parquet(file: str | io.BufferedIOBase) -> pq.ParquetFile:
    """Open a Parquet file for `read_batches`; raise pyarrow's `ValueError` if the file is not Parquet."""
    return pq.ParquetFile(file, buffer_size=READ_BUFFER, pre_buffer=False)


def read_batches(file: pq.ParquetFile, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield the rows in record batches. Memory use does not grow with the file.

    It reads one row group per call of pyarrow, which keeps the data of all groups of a call until the call ends.
    """
    for group in range(file.num_row_groups):
        yield from file.iter_batches(BLOCK_ROWS, row_groups=[group], columns=list(columns))


FORMAT: Final = Format("parquet", write, ParquetVectors)
