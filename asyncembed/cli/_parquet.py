"""Texts from Parquet files. They are read from the end, so compressed ones are unpacked into a temporary file first."""

from __future__ import annotations

import gzip
import zlib
from contextlib import ExitStack
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from asyncembed.cli._rows import Fields, InputError

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow.parquet as pq

    from asyncembed import EmbedInput

UNPACKED_BYTES: Final = 1_048_576
"""Bytes that are unpacked at once; between them the run can be stopped."""


def rows(file: io.BufferedIOBase, name: str, fields: Fields) -> Iterator[EmbedInput]:
    """Read the inputs, in memory that does not grow with the file.

    Args:
        file: The file, which is closed at the end.
        name: Name of the file, for errors.
        fields: The columns with text and id.

    Raises:
        InputError: if a row cannot be used, or the file is no Parquet.
    """
    from asyncembed.sinks.parquet import read_batches

    with file, _open(file, name) as parquet:
        names = parquet.schema_arrow.names
        fields.check(names, name)
        wanted = [column for column in (fields.text, fields.id or "id") if column in names]
        number = 0
        for batch in read_batches(parquet, wanted):
            for row in batch.to_pylist():
                number += 1
                yield fields.pick(row, f"{name}, row {number}")


def count(path: Path) -> int:
    """Return the number of rows, which the file says."""
    with path.open("rb") as file, _open(file, str(path)) as parquet:
        number: int = parquet.metadata.num_rows
        return number


async def unpack(path: Path) -> io.BufferedIOBase:
    """Return a temporary file with what a gzip file holds. It is made in a thread, because that may take long.

    Raises:
        InputError: if it is no such file, or its end is missing, or there is no room for what it holds.
    """
    with ExitStack() as stack:
        try:
            unpacked = stack.enter_context(TemporaryFile())
            with gzip.GzipFile(path) as packed:
                while await anyio.to_thread.run_sync(_copy, packed, unpacked):
                    pass
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path} cannot be unpacked: {error}") from None
        stack.pop_all()
    return unpacked


def _copy(packed: gzip.GzipFile, to: io.BufferedIOBase) -> int:
    return to.write(packed.read(UNPACKED_BYTES))


def _open(file: io.BufferedIOBase, name: str) -> pq.ParquetFile:
    from asyncembed.sinks.parquet import open_parquet

    try:
        return open_parquet(file)
    except ValueError as error:  # what pyarrow calls a file that is not Parquet
        raise InputError(f"{name} cannot be read: {error}") from None
