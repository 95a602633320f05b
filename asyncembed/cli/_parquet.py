"""Texts from Parquet files.

Reading Parquet needs random access, so a compressed file is first decompressed into a temporary file.
"""

from __future__ import annotations

from contextlib import ExitStack
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from asyncembed._decide.texts import UUID_BYTES, arrow_values
from asyncembed.cli._files import open_compressed, read_errors
from asyncembed.cli._rows import Fields, InputError

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa
    import pyarrow.parquet as pq

    from asyncembed import EmbedInput

COPY_BYTES: Final = 1_048_576
"""Bytes to decompress at once. The run can be stopped between two of these steps."""


def rows(file: io.BufferedIOBase, name: str, fields: Fields) -> Iterator[EmbedInput]:
    """Yield the inputs of a file. Memory use does not grow with the file.

    Args:
        file: The file. It is closed at the end.
        name: Name of the file, for error messages.
        fields: The fields to read from each row.

    Raises:
        InputError: if a column is missing, occurs twice or has a wrong type, or the file is not valid Parquet.
    """
    from asyncembed.sinks.parquet import read_batches

    with file, _open(file, name) as parquet:
        schema = parquet.schema_arrow
        fields.check(schema.names, name)
        _check_types(schema, name, fields)
        wanted = [column for column in fields.wanted if column in schema.names]
        number = 0
        try:
            for batch in read_batches(parquet, wanted):
                columns = [arrow_values(batch.column(column), is_text=column != fields.id_name) for column in wanted]
                for values in zip(*columns, strict=True):
                    number += 1
                    yield fields.pick(dict(zip(wanted, values, strict=True)), f"{name}, row {number}")
        except ValueError as error:  # pyarrow raises it if a part of the file is damaged
            raise InputError(f"{name} cannot be read after row {number}: {error}") from None


def _check_types(schema: pa.Schema, name: str, fields: Fields) -> None:
    """Raise `InputError` if the type of a column rules out texts or ids."""
    import pyarrow as pa

    is_ = pa.types

    def is_text(kind: pa.DataType) -> bool:
        texts = (is_.is_string, is_.is_large_string, is_.is_string_view, is_.is_binary, is_.is_large_binary)
        return any(check(kind) for check in (*texts, is_.is_binary_view, is_.is_null))

    if not fields.template:
        kind = schema.field(fields.text).type
        if not is_text(_plain_type(kind)):
            raise InputError(
                f"{name}: column {fields.text!r} has type {kind}, not text; choose another one with --text-field"
            )
    if fields.id_name in schema.names:
        kind = _plain_type(schema.field(fields.id_name).type)
        is_uuid = is_.is_fixed_size_binary(kind) and kind.byte_width == UUID_BYTES
        if not (is_text(kind) or is_.is_integer(kind) or is_uuid):
            raise InputError(
                f"{name}: the ids in column {fields.id_name!r} have type {kind}, but must be text, integers or UUIDs; "
                "convert them, or choose another column with --id-field"
            )


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values of a dictionary or extension type."""
    import pyarrow as pa

    if isinstance(kind, pa.DictionaryType):
        return _plain_type(kind.value_type)
    return _plain_type(kind.storage_type) if isinstance(kind, pa.BaseExtensionType) else kind


def count(path: Path) -> int:
    """Return the number of rows, from the metadata of the file."""
    with path.open("rb") as file, _open(file, str(path)) as parquet:
        number: int = parquet.metadata.num_rows
        return number


def is_output(path: Path) -> bool:
    """Return whether a file is one of vectors that this package wrote; False if it cannot be read."""
    from asyncembed.sinks._table import METADATA_KEY
    from asyncembed.sinks.parquet import open_parquet

    try:
        schema = open_parquet(str(path)).schema_arrow
    except (OSError, ValueError):  # reading the rows raises the error again
        return False
    return METADATA_KEY in (schema.metadata or {}) and "embedding" in schema.names


async def decompress(path: Path, compression: str) -> io.BufferedIOBase:
    """Return a temporary file with the decompressed content of a file. A thread does the work, which may take long.

    Raises:
        InputError: if the file is invalid or truncated, or the disk is too small for its content.
    """
    with ExitStack() as stack:
        try:
            decompressed = stack.enter_context(TemporaryFile())
            with open_compressed(path, compression) as compressed:
                while await anyio.to_thread.run_sync(_copy, compressed, decompressed):
                    pass
        except read_errors() as error:
            raise InputError(f"{path} cannot be decompressed: {error}") from None
        stack.pop_all()
    return decompressed


def _copy(source: io.BufferedIOBase, target: io.BufferedIOBase) -> int:
    return target.write(source.read(COPY_BYTES))


def _open(file: io.BufferedIOBase, name: str) -> pq.ParquetFile:
    from asyncembed.sinks.parquet import open_parquet

    try:
        return open_parquet(file)
    except ValueError as error:  # pyarrow raises it if the file is not Parquet
        raise InputError(f"{name} cannot be read: {error}") from None
