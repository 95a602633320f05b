"""Vectors as Arrow tables, for all that is made of them: `index`, `id`, `text` and `embedding` in columns.

`index` is int64, `id` and `text` are strings, `embedding` is a list of fixed size of float32, int8 or uint8.

Columns are made of buffers and not with `pyarrow.array`, which imports pandas wherever that is installed: 43 MB and a
quarter of a second for nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import pyarrow as pa

from asyncembed._errors import ConfigurationError
from asyncembed.sinks._base import Block, Label
from asyncembed.sinks._provenance import Provenance

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from asyncembed._models import Matrix

METADATA_KEY: Final = b"asyncembed"
NEEDED: Final = ("index", "id", "embedding")
LABELS: Final = ("index", "id", "text")


def new_schema(number: npt.DTypeLike, width: int, *, with_text: bool, note: bytes | None = None) -> pa.Schema:
    """Return a schema; `note` goes into its metadata."""
    columns: list[pa.Field[Any]] = [pa.field("index", pa.int64()), pa.field("id", pa.string())]
    if with_text:
        columns.append(pa.field("text", pa.string()))
    columns.append(pa.field("embedding", pa.list_(pa.from_numpy_dtype(np.dtype(number)), width)))
    return pa.schema(columns, metadata={METADATA_KEY: note} if note else None)


def schema_of(provenance: Provenance) -> pa.Schema:
    """Return the schema of a file, with its provenance in the metadata."""
    note = provenance.to_json()
    return new_schema(provenance.number, provenance.width, with_text=provenance.keep_text, note=note)


def labelled_batch(schema: pa.Schema, vectors: Matrix, labels: Sequence[Label]) -> pa.RecordBatch:
    """Return rows of a file as a record batch; the vectors are not copied."""
    index = np.array([label.index for label in labels], np.int64)
    ids = [label.id for label in labels]
    return record_batch(schema, vectors, index, ids, [label.text for label in labels])


def record_batch(
    schema: pa.Schema,
    vectors: Matrix,
    index: npt.NDArray[np.int64],
    ids: Sequence[str | int | None],
    texts: Sequence[str] = (),
) -> pa.RecordBatch:
    """Return rows as a record batch; the vectors are not copied. Texts are needed only if the schema has them."""
    columns: dict[str, pa.Array[Any]] = {
        "index": _numbers(index),
        "id": _ids(ids),
        "embedding": vector_column(schema, vectors),
    }
    if "text" in schema.names:
        columns["text"] = _strings(texts)
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def table_of(batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """Return batches as a table that shares their memory."""
    return pa.Table.from_batches(batches, schema=schema)


def vector_column(schema: pa.Schema, vectors: Matrix) -> pa.Array[Any]:
    """Return a matrix as a column that shares its memory."""
    kind = schema.field("embedding").type
    return pa.FixedSizeListArray.from_arrays(_numbers(vectors.reshape(-1)), type=kind)


def _ids(ids: Sequence[str | int | None]) -> pa.Array[Any]:
    if ids.count(None) == len(ids):
        return pa.nulls(len(ids), pa.string())
    return _strings([None if value is None else str(value) for value in ids])


def _numbers(numbers: npt.NDArray[np.generic]) -> pa.Array[Any]:
    return pa.Array.from_buffers(pa.from_numpy_dtype(numbers.dtype), len(numbers), [None, pa.py_buffer(numbers)])


def _strings(values: Sequence[str | None]) -> pa.Array[Any]:
    # As in JSON, half a surrogate pair is written out: an id may hold one.
    data = [(value or "").encode("utf-8", "backslashreplace") for value in values]
    ends = np.cumsum([0, *map(len, data)], dtype=np.int32)
    present = np.packbits([value is not None for value in values], bitorder="little")
    buffers = [pa.py_buffer(present), pa.py_buffer(ends), pa.py_buffer(b"".join(data))]
    return pa.Array.from_buffers(pa.string(), len(values), buffers)


def read_schema(path: Path, schema: pa.Schema) -> tuple[int, Provenance | None]:
    """Return the numbers in each vector, and the provenance if there is one.

    Raises:
        ConfigurationError: if it is not the schema of a file of vectors.
    """
    if missing := [name for name in NEEDED if name not in schema.names]:
        raise ConfigurationError(f"{path} has no column {missing[0]!r}; its columns are {', '.join(schema.names)}")
    vector = schema.field("embedding").type
    if not pa.types.is_fixed_size_list(vector):
        raise ConfigurationError(f"{path} holds embeddings of type {vector}, not lists of a fixed size")
    note = (schema.metadata or {}).get(METADATA_KEY)
    return vector.list_size, Provenance.from_json(note, str(path)) if note else None


def block_of(batch: pa.RecordBatch, width: int) -> Block:
    """Return the rows of a batch, vectors without a copy; labels become Python objects only where asked for."""
    vectors = cast("pa.FixedSizeListArray[Any, Any]", batch.column("embedding"))

    def label(row: int) -> Label:
        return Label(**{name: batch.column(name)[row].as_py() for name in LABELS if name in batch.schema.names})

    return Block(vectors.flatten().to_numpy().reshape(-1, width), label)
