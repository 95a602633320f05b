"""Readers that yield vectors as matrices or Arrow batches; `embed_binary_stream` returns them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Self, cast

import numpy as np

from asyncembed._collect import GrowingMatrix
from asyncembed._config import check_count
from asyncembed._exceptions import AsyncEmbedError, ConfigurationError, StoredError
from asyncembed._models import Scalar, ScalarT_co
from asyncembed._public import publish
from asyncembed._util import AsyncReading
from asyncembed.sinks import ARROW_MISSING, NUMPY_TYPES, PACKED
from asyncembed.sinks._labels import json_id

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    from asyncembed._config import Dtype
    from asyncembed._core.stream import EmbedStream
    from asyncembed._models import EmbedBlock, RunSummary


class _BlockReader(AsyncReading, Generic[ScalarT_co]):
    """Base class of the readers; it owns the stream of blocks."""

    def __init__(
        self, stream: EmbedStream[EmbedBlock[ScalarT_co]], *, ordered: bool = True, dtype: Dtype = "float32"
    ) -> None:
        self._stream = stream
        self._ordered = ordered
        self._dtype: Dtype = dtype

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._stream!r})"

    @property
    def summary(self) -> RunSummary:
        """Current state of the run."""
        return self._stream.summary

    async def aclose(self) -> None:
        """Stop the work; a second call does nothing."""
        await self._stream.aclose()

    def __aiter__(self) -> Self:
        """Return the reader itself."""
        return self

    def _check_ordered(self, what: str) -> None:
        if not self._ordered:
            raise ConfigurationError(f"{what} needs blocks in order; leave out ordered=False")


class NumpyStreamReader(_BlockReader[ScalarT_co]):
    """Vectors as matrices: an async iterator of `(first_index, array)`, whose rows belong to consecutive inputs.

    The array has the shape (rows, dimension), or (rows, dimension / 8) for packed bits, and you may change it. It has
    as many rows as its request had texts, or fewer next to a skipped text. Use the reader inside `async with`, so that
    leaving early stops the work at once.

    Args:
        stream: The stream of blocks.
        ordered: Whether the blocks come by index.
        dtype: Type of the vectors.
    """

    async def __anext__(self) -> tuple[int, npt.NDArray[ScalarT_co]]:
        """Return the next block.

        Raises:
            AsyncEmbedError: the error that ended the run, after all earlier blocks.
        """
        block = await anext(self._stream)
        return block.index, block.embeddings

    async def read_all(self) -> npt.NDArray[ScalarT_co]:
        """Return the rows of all remaining blocks as one matrix, and close the reader.

        Row i belongs to the i-th text, if no text was skipped.
        """
        self._check_ordered("read_all")
        matrix, rows = GrowingMatrix(self._dtype), 0
        async with self:
            async for _, block in self:
                matrix.put(rows, block)
                rows += len(block)
        return cast("npt.NDArray[ScalarT_co]", matrix.done(self.summary.dimension))

    def rechunk(self, rows: int) -> RechunkedReader[ScalarT_co]:
        """Return a reader of the same rows in blocks of exactly `rows`, or fewer before a gap and at the end."""
        self._check_ordered("rechunk")
        check_count("rows", rows)
        return RechunkedReader(self, rows)


class RechunkedReader(AsyncReading, Generic[ScalarT_co]):
    """An async iterator of `(first_index, array)` in blocks of one size; see `NumpyStreamReader.rechunk`.

    Args:
        reader: The reader of the rows.
        rows: Number of rows per block.
    """

    def __init__(self, reader: NumpyStreamReader[ScalarT_co], rows: int) -> None:
        self._reader = reader
        self._size = rows
        self._first = 0
        self._parts: list[npt.NDArray[ScalarT_co]] = []
        self._rows = 0
        self._rest: tuple[int, npt.NDArray[ScalarT_co]] | None = None  # unused rows of the reader's last block
        self._error: StoredError | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._reader!r}, rows={self._size})"

    async def aclose(self) -> None:
        """Close the underlying reader; a second call does nothing."""
        self._parts, self._rows, self._rest = [], 0, None
        await self._reader.aclose()

    def __aiter__(self) -> Self:
        """Return the reader itself."""
        return self

    async def __anext__(self) -> tuple[int, npt.NDArray[ScalarT_co]]:
        """Return the next block; rows that come from one block of the reader are not copied.

        Raises:
            AsyncEmbedError: the error that ended the run, after all earlier rows.
        """
        while self._rows < self._size and (block := await self._next()):
            if self._parts and block[0] != self._first + self._rows:
                break
            self._take(*block)
        if not self._parts:
            raise self._error.ready() if self._error else StopAsyncIteration
        parts, self._parts, self._rows = self._parts, [], 0
        return self._first, parts[0] if len(parts) == 1 else np.concatenate(parts)

    async def _next(self) -> tuple[int, npt.NDArray[ScalarT_co]] | None:
        if self._rest is None and self._error is None:
            try:
                self._rest = await anext(self._reader, None)
            except Exception as error:  # noqa: BLE001  # `__anext__` raises it after the rows before it
                self._error = StoredError(error)
        return self._rest

    def _take(self, index: int, block: npt.NDArray[ScalarT_co]) -> None:
        if not self._parts:
            self._first = index
        room = self._size - self._rows
        self._parts.append(block[:room])
        self._rows += len(self._parts[-1])
        self._rest = (index + room, block[room:]) if len(block) > room else None


class ArrowStreamReader(_BlockReader[Scalar]):
    """Vectors as `pyarrow.RecordBatch`, with the columns `index` (int64), `id` (string) and `embedding`.

    `embedding` is a fixed-size list of float32, int8 or uint8, and is not copied. Use the reader inside `async with`,
    so that leaving early stops the work at once.

    Args:
        stream: The stream of blocks.
        ordered: Whether the blocks come by index.
        dtype: Type of the vectors.

    Raises:
        ConfigurationError: if pyarrow is not installed.
    """

    def __init__(
        self, stream: EmbedStream[EmbedBlock[Scalar]], *, ordered: bool = True, dtype: Dtype = "float32"
    ) -> None:
        super().__init__(stream, ordered=ordered, dtype=dtype)
        try:
            from asyncembed.sinks import _table  # noqa: PLC0415  # an optional extra
        except ModuleNotFoundError as error:
            raise ConfigurationError(ARROW_MISSING) from error
        self._table = _table
        self._schema: pa.Schema | None = None

    @property
    def schema(self) -> pa.Schema:
        """The schema of all batches.

        Raises:
            AsyncEmbedError: if the dimension is not known yet, because it was not requested and no vector has arrived.
        """
        if self._schema is None:
            dimension = self.summary.dimension
            if dimension is None:
                raise AsyncEmbedError("the schema is not known yet: read the first batch, or set dimensions=")
            width = dimension // 8 if self._dtype in PACKED else dimension
            self._schema = self._table.new_schema(NUMPY_TYPES[self._dtype], width, with_text=False)
        return self._schema

    async def __anext__(self) -> pa.RecordBatch:
        """Return the next batch.

        Raises:
            AsyncEmbedError: the error that ended the run, after all earlier batches.
        """
        block = await anext(self._stream)
        index = np.arange(block.index, block.index + block.span)
        return self._table.record_batch(
            self.schema, block.embeddings, index, [json_id(item.id) for item in block.inputs]
        )

    async def read_all(self) -> pa.Table:
        """Return all remaining batches as one table, and close the reader; vectors are not copied.

        Raises:
            AsyncEmbedError: the error that ended the run; also if there is no row and the dimension is not known.
        """
        async with self:
            batches = [batch async for batch in self]
        return self._table.table_of(batches, self.schema)


publish("asyncembed", [NumpyStreamReader, RechunkedReader, ArrowStreamReader])
