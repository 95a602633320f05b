"""`embed_array`: embeds a column of texts, for Arrow tables and the engines that use them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, Unpack

import numpy as np

from asyncembed._config import check_choice
from asyncembed._exceptions import ConfigurationError
from asyncembed._missing import missing
from asyncembed._public import publish
from asyncembed.sinks import NUMPY_TYPES, PACKED

try:
    import pyarrow as pa
except ImportError:
    raise missing("asyncembed.arrow", "pyarrow", "arrow") from None

if TYPE_CHECKING:
    from asyncembed._client import EmbedClient
    from asyncembed._models import Matrix
    from asyncembed._options import EmbedOptionsArgs

BITS: Final = 8
_TEXT_TYPES: Final = frozenset({"string", "large_string", "string_view", "null"})
_TYPES: Final = {dtype: pa.from_numpy_dtype(kind) for dtype, kind in NUMPY_TYPES.items()}


async def embed_array(
    client: EmbedClient,
    array: pa.Array | pa.ChunkedArray,
    *,
    on_error: Literal["null", "raise"] = "null",
    dimension: int | None = None,
    **options: Unpack[EmbedOptionsArgs],
) -> pa.FixedSizeListArray:
    """Embed a column of texts, and return a column of vectors of the same length and order.

    Null and empty texts become null. They are not sent and cost nothing. pyarrow cannot read a null of this type back
    from Parquet: before you write it there, drop such rows or cast the column to `pa.list_(pa.float32())`.

    Args:
        client: Embeds the texts.
        array: A `pyarrow` array of any string type, chunked or not.
        on_error: "null" to return null for a text that the API refuses, "raise" to raise the error. A wrong key always
            raises.
        dimension: Length of the vectors, if you know it, so that a batch without any vector has the same type. Without
            it, such a batch of an unknown model has vectors of length 0.
        **options: See `EmbedOptionsArgs`.

    Raises:
        ConfigurationError: if the array does not contain strings.
        AsyncEmbedError: if the API refuses the texts.
    """
    check_choice("on_error", on_error, Literal["null", "raise"])
    dtype = options.get("dtype") or "float32"
    texts = _texts(array)
    positions = np.flatnonzero([bool(text) for text in texts])
    vectors, is_present = await _embed(client, [str(texts[position]) for position in positions], on_error, options)
    if vectors is None:
        length = dimension or client._call(options, "raise").known_dimension or 0  # noqa: SLF001  # private to users
        return pa.nulls(len(texts), pa.list_(_TYPES[dtype], length // BITS if dtype in PACKED else length))
    embedded = positions[is_present]
    if len(embedded) < len(texts):
        full = np.zeros((len(texts), vectors.shape[1]), vectors.dtype)
        full[embedded] = vectors[is_present]
        vectors = full
    mask = np.ones(len(texts), bool)
    mask[embedded] = False
    values = pa.array(vectors.reshape(-1), _TYPES[dtype])
    return pa.FixedSizeListArray.from_arrays(values, vectors.shape[1], mask=pa.array(mask) if mask.any() else None)


async def _embed(
    client: EmbedClient, texts: list[str], on_error: Literal["null", "raise"], options: EmbedOptionsArgs
) -> tuple[Matrix | None, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """Return a matrix of the vectors, or None without any vector, and a mask of the rows that have one."""
    vectors: Matrix | None = None
    is_present = np.zeros(len(texts), bool)
    stream_on_error: Literal["skip", "raise"] = "skip" if on_error == "null" else "raise"
    async with client.embed_binary_stream(texts, ordered=False, on_error=stream_on_error, **options) as blocks:
        async for first, block in blocks:
            if vectors is None:
                vectors = np.zeros((len(texts), block.shape[1]), block.dtype)
            vectors[first : first + len(block)] = block
            is_present[first : first + len(block)] = True
    return vectors, is_present


def _texts(array: object) -> list[str | None]:
    """Return the texts of an array of any string type, dictionaries included."""
    kind = getattr(array, "type", None)
    kind = getattr(kind, "value_type", kind) if str(kind).startswith("dictionary") else kind
    if not isinstance(array, pa.Array | pa.ChunkedArray) or str(kind) not in _TEXT_TYPES:
        found = f"contains {kind}" if isinstance(array, pa.Array | pa.ChunkedArray) else f"is a {type(array).__name__}"
        raise ConfigurationError(f"array must be a pyarrow array of strings, and {found}")
    texts: list[str | None] = array.to_pylist()
    return texts


publish("asyncembed", [embed_array])
