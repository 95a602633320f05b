"""Arrow IPC: one file with columns that programs can map into memory.

The columns are those of `_table`. Each block is a record batch. The provenance is JSON under the key `asyncembed` of
the schema's metadata.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa

from asyncembed._exceptions import ConfigurationError
from asyncembed.sinks._base import Block, Format, VectorFile
from asyncembed.sinks._safe_open import new_file
from asyncembed.sinks._table import block_of, labelled_batch, read_schema, schema_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from asyncembed.sinks._columns import Columns
    from asyncembed.sinks._provenance import Provenance


def write(path: Path, rows: VectorFile, provenance: Provenance, columns: Columns) -> Iterator[None]:
    """Write each block as a record batch."""
    schema = schema_of(provenance, columns)
    with new_file(path) as file, pa.ipc.new_file(file, schema) as writer:
        for block in rows.blocks():
            writer.write_batch(labelled_batch(schema, block.vectors, block.labels))
            yield


class ArrowFile(VectorFile):
    """Reads an Arrow IPC file that is mapped into memory."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = pa.ipc.open_file(pa.memory_map(str(path)))
        except ValueError as error:
            raise ConfigurationError(f"{path} is not a complete Arrow IPC file: {error}") from None
        self.width, self.provenance = read_schema(path, self._file.schema)
        batches = range(self._file.num_record_batches)
        self.rows = sum(self._file.get_batch(number).num_rows for number in batches)

    def blocks(self) -> Iterator[Block]:
        """Yield each record batch as a block."""
        for number in range(self._file.num_record_batches):
            yield block_of(self._file.get_batch(number), self.width)


FORMAT: Final = Format("arrow", write, ArrowFile)
