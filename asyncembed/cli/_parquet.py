"""Texts from Parquet files. They are read from the end, so compressed ones are unpacked into a temporary file first."""

from __future__ import annotations

from contextlib import ExitStack
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from asyncembed._decide.texts import UUID_BYTES, arrow_values
from asyncembed.cli._files import open_packed, packed_errors
from asyncembed.cli._rows import Fields, InputError

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa
    import pyarrow.parquet as pq

    from asyncembed import EmbedInput

UNPACKED_BYTES: Final = 1_048_576
"""Bytes that are unpacked at once; between them the run can be stopped."""


def rows(file: io.BufferedIOBase, name: str, fields: Fields) -> Iterator[EmbedInput]:
    """Read the inputs, in memory that does not grow with the file.

    Args:
        file: The file, which is closed at the end.
        name: Name of the file, for errors.
        fields: What is taken of a row.

    Raises:
        InputError: if a column is missing, there twice or of a wrong type, or the file is no Parquet.
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
        except ValueError as error:  # what pyarrow calls a damaged part
            raise InputError(f"{name} cannot be read after row {number}: {error}") from None


def _check_types(schema: pa.Schema, name: str, fields: Fields) -> None:
    """Raise `InputError` if a column cannot hold texts or ids, whatever its rows are."""
    import pyarrow as pa

    is_ = pa.types

    def is_text(kind: pa.DataType) -> bool:
        texts = (is_.is_string, is_.is_large_string, is_.is_string_view, is_.is_binary, is_.is_large_binary)
        return any(check(kind) for check in (*texts, is_.is_binary_view, is_.is_null))

    if not fields.template:
        kind = schema.field(fields.text).type
        if not is_text(_plain_type(kind)):
            raise InputError(f"{name}: column {fields.text!r} holds {kind}, and not text; choose with --text-field")
    if fields.id_name in schema.names:
        kind = _plain_type(schema.field(fields.id_name).type)
        is_uuid = is_.is_fixed_size_binary(kind) and kind.byte_width == UUID_BYTES
        if not (is_text(kind) or is_.is_integer(kind) or is_uuid):
            raise InputError(
                f"{name}: the ids in column {fields.id_name!r} are {kind}, and not text, whole numbers or UUIDs; "
                "convert them, or choose another column with --id-field"
            )


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values, where a column names them by number or by a name of its own."""
    import pyarrow as pa

    if isinstance(kind, pa.DictionaryType):
        return _plain_type(kind.value_type)
    return _plain_type(kind.storage_type) if isinstance(kind, pa.BaseExtensionType) else kind


def count(path: Path) -> int:
    """Return the number of rows, which the file says."""
    with path.open("rb") as file, _open(file, str(path)) as parquet:
        number: int = parquet.metadata.num_rows
        return number


async def unpack(path: Path, packing: str) -> io.BufferedIOBase:
    """Return a temporary file with what a compressed file holds. It is made in a thread, because that may take long.

    Raises:
        InputError: if it is no such file, or its end is missing, or there is no room for what it holds.
    """
    with ExitStack() as stack:
        try:
            unpacked = stack.enter_context(TemporaryFile())
            with open_packed(path, packing) as packed:
                while await anyio.to_thread.run_sync(_copy, packed, unpacked):
                    pass
        except packed_errors() as error:
            raise InputError(f"{path} cannot be unpacked: {error}") from None
        stack.pop_all()
    return unpacked


def _copy(packed: io.BufferedIOBase, to: io.BufferedIOBase) -> int:
    return to.write(packed.read(UNPACKED_BYTES))


def _open(file: io.BufferedIOBase, name: str) -> pq.ParquetFile:
    from asyncembed.sinks.parquet import open_parquet

    try:
        return open_parquet(file)
    except ValueError as error:  # what pyarrow calls a file that is not Parquet
        raise InputError(f"{name} cannot be read: {error}") from None
