"""Vectors as Arrow tables, with the columns `index`, `id`, `text`, one per metadata name, and `embedding`.

`index` is int64, `text` a string, and `embedding` a fixed-size list of float32, int8 or uint8. `id` is int64 if all ids
are integers of up to 64 bits, else a string. A metadata column has the type of its values. If they have several types,
or are lists or objects, each value is a JSON string, and the metadata of the column says so.

Columns are made from buffers, because `pyarrow.array` imports pandas if it is installed, which takes 43 MB of memory
and a quarter of a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import orjson
import pyarrow as pa

from asyncembed._exceptions import ConfigurationError
from asyncembed.sinks._base import Block, Label
from asyncembed.sinks._labels import id_text
from asyncembed.sinks._provenance import Provenance

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from asyncembed._models import Matrix, Metadata, TextId
    from asyncembed.sinks._columns import Columns, ColumnType

METADATA_KEY: Final = b"asyncembed"
NEEDED: Final = ("index", "id", "embedding")
LABELS: Final = ("index", "id", "text")


_TYPES: Final[Mapping[ColumnType, pa.DataType]] = {
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "text": pa.string(),
    "json": pa.string(),
}
_IS_JSON: Final = {METADATA_KEY: b"json"}
"""Arrow metadata of a column whose strings are JSON."""


def new_schema(
    number: npt.DTypeLike, width: int, *, with_text: bool, note: bytes | None = None, of: Columns | None = None
) -> pa.Schema:
    """Return a schema with `note` in its metadata; `of` gives the types of the id and metadata columns."""
    columns: list[pa.Field[Any]] = [pa.field("index", pa.int64()), _field("id", of.id_type if of else "text")]
    if with_text:
        columns.append(pa.field("text", pa.string()))
    if of:
        columns += [_field(name, kind) for name, kind in of.types.items()]
    columns.append(pa.field("embedding", pa.list_(pa.from_numpy_dtype(np.dtype(number)), width)))
    return pa.schema(columns, metadata={METADATA_KEY: note} if note else None)


def schema_of(provenance: Provenance, columns: Columns) -> pa.Schema:
    """Return the schema of a file, with its provenance in the metadata."""
    note = provenance.to_json()
    return new_schema(provenance.number, provenance.width, with_text=provenance.keep_text, note=note, of=columns)


def _field(name: str, kind: ColumnType) -> pa.Field[Any]:
    return pa.field(name, _TYPES[kind], metadata=_IS_JSON if kind == "json" else None)


def labelled_batch(schema: pa.Schema, vectors: Matrix, labels: Sequence[Label]) -> pa.RecordBatch:
    """Return rows of a file as a record batch; the vectors are not copied."""
    index = np.array([label.index for label in labels], np.int64)
    ids = [label.id for label in labels]
    texts = [label.text for label in labels]
    return record_batch(schema, vectors, index, ids, texts, [label.metadata or {} for label in labels])


def record_batch(  # noqa: PLR0917  # one per column
    schema: pa.Schema,
    vectors: Matrix,
    index: npt.NDArray[np.int64],
    ids: Sequence[TextId | None],
    texts: Sequence[str] = (),
    metadata: Sequence[Metadata] = (),
) -> pa.RecordBatch:
    """Return rows as a record batch; the vectors are not copied. `texts` is needed only if the schema has texts."""
    columns: list[pa.Array[Any]] = []
    for field in schema:
        if field.name == "index":
            columns.append(_numbers(index))
        elif field.name == "id":
            columns.append(_ids(field, ids))
        elif field.name == "text":
            columns.append(_strings(texts))
        elif field.name == "embedding":
            columns.append(vector_column(schema, vectors))
        else:
            columns.append(_values(field, [given.get(field.name) for given in metadata]))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def table_of(batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """Return a table that shares the memory of the batches."""
    return pa.Table.from_batches(batches, schema=schema)


def vector_column(schema: pa.Schema, vectors: Matrix) -> pa.Array[Any]:
    """Return a column that shares the memory of a matrix."""
    kind = schema.field("embedding").type
    return pa.FixedSizeListArray.from_arrays(_numbers(vectors.reshape(-1)), type=kind)


def _ids(field: pa.Field[Any], ids: Sequence[TextId | None]) -> pa.Array[Any]:
    if ids.count(None) == len(ids):
        return pa.nulls(len(ids), field.type)
    if field.type == pa.int64():
        return _nullable(ids, np.dtype(np.int64))
    return _strings([id_text(value, "json" if _is_json(field) else "text") for value in ids])


def _values(field: pa.Field[Any], values: Sequence[object]) -> pa.Array[Any]:
    if field.type == pa.bool_():
        bits = np.packbits([bool(value) for value in values], bitorder="little")
        return pa.Array.from_buffers(pa.bool_(), len(values), [_present(values), pa.py_buffer(bits)])
    if field.type != pa.string():
        return _nullable(values, np.dtype(np.int64 if field.type == pa.int64() else np.float64))
    if _is_json(field):
        return _strings([None if value is None else orjson.dumps(value).decode() for value in values])
    return _strings(cast("Sequence[str | None]", values))


def _is_json(field: pa.Field[Any]) -> bool:
    return (field.metadata or {}).get(METADATA_KEY) == b"json"


def _nullable(values: Sequence[object], kind: npt.DTypeLike) -> pa.Array[Any]:
    numbers = np.array([0 if value is None else value for value in values], kind)
    data_type = pa.from_numpy_dtype(numbers.dtype)
    return pa.Array.from_buffers(data_type, len(values), [_present(values), pa.py_buffer(numbers)])


def _present(values: Sequence[object]) -> pa.Buffer:
    return pa.py_buffer(np.packbits([value is not None for value in values], bitorder="little"))


def _numbers(numbers: npt.NDArray[np.generic]) -> pa.Array[Any]:
    return pa.Array.from_buffers(pa.from_numpy_dtype(numbers.dtype), len(numbers), [None, pa.py_buffer(numbers)])


def _strings(values: Sequence[str | None]) -> pa.Array[Any]:
    # An id may contain a lone surrogate, which becomes an escape sequence, as in JSON.
    data = [(value or "").encode("utf-8", "backslashreplace") for value in values]
    ends = np.cumsum([0, *map(len, data)], dtype=np.int32)
    buffers = [_present(values), pa.py_buffer(ends), pa.py_buffer(b"".join(data))]
    return pa.Array.from_buffers(pa.string(), len(values), buffers)


def read_schema(path: Path, schema: pa.Schema) -> tuple[int, Provenance | None]:
    """Return the numbers per vector, and the provenance if there is one.

    Raises:
        ConfigurationError: if the schema is not that of a file of vectors.
    """
    if missing := [name for name in NEEDED if name not in schema.names]:
        raise ConfigurationError(f"{path} has no column {missing[0]!r}; its columns are {', '.join(schema.names)}")
    vector = schema.field("embedding").type
    if not pa.types.is_fixed_size_list(vector):
        raise ConfigurationError(f"{path} has embeddings of type {vector}, not lists of a fixed size")
    note = (schema.metadata or {}).get(METADATA_KEY)
    return vector.list_size, Provenance.from_json(note, str(path)) if note else None


def block_of(batch: pa.RecordBatch, width: int) -> Block:
    """Return the rows of a batch. The vectors are not copied, and labels are created on demand."""
    vectors = cast("pa.FixedSizeListArray[Any, Any]", batch.column("embedding"))

    names = [name for name in LABELS if name in batch.schema.names]
    others = [field for field in batch.schema if field.name not in {*LABELS, "embedding"}]

    def value(row: int, field: pa.Field[Any]) -> Any:
        found = batch.column(field.name)[row].as_py()
        return found if found is None or not _is_json(field) else orjson.loads(found)

    def label(row: int) -> Label:
        metadata = {field.name: value(row, field) for field in others}
        return Label(**{name: value(row, batch.schema.field(name)) for name in names}, metadata=metadata or None)

    return Block(vectors.flatten().to_numpy().reshape(-1, width), label)
