"""A column of texts into a column of vectors, for Arrow tables and the engines that are made of them."""

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

    Null and empty texts give null, and nothing is asked or paid for them.

    Args:
        client: What embeds them.
        array: A `pyarrow` array of strings of any kind, chunked or not.
        on_error: What a text gives that the API refuses: "null", or "raise" for the error. A wrong key always raises.
        dimension: Length of the vectors, if it is known, so that batches without any vector have the same type, too.
            Without it, such a batch of a model that is not known has vectors of length 0.
        **options: See `EmbedOptionsArgs`.

    Raises:
        ConfigurationError: if the array holds no strings.
        AsyncEmbedError: if the API does not take the texts.
    """
    check_choice("on_error", on_error, Literal["null", "raise"])
    dtype = options.get("dtype") or "float32"
    texts = _texts(array)
    places = np.flatnonzero([bool(text) for text in texts])
    vectors, is_there = await _embed(client, [str(texts[place]) for place in places], on_error, options)
    if vectors is None:
        length = dimension or client._call(options, "raise").known_dimension or 0  # noqa: SLF001  # private to users
        return pa.nulls(len(texts), pa.list_(_TYPES[dtype], length // BITS if dtype in PACKED else length))
    found = places[is_there]
    if len(found) < len(texts):
        full = np.zeros((len(texts), vectors.shape[1]), vectors.dtype)
        full[found] = vectors[is_there]
        vectors = full
    mask = np.ones(len(texts), bool)
    mask[found] = False
    values = pa.array(vectors.reshape(-1), _TYPES[dtype])
    return pa.FixedSizeListArray.from_arrays(values, vectors.shape[1], mask=pa.array(mask) if mask.any() else None)


async def _embed(
    client: EmbedClient, texts: list[str], on_error: Literal["null", "raise"], options: EmbedOptionsArgs
) -> tuple[Matrix | None, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """Return a matrix of the vectors, None if there is not one, and which rows of it are there."""
    vectors: Matrix | None = None
    is_there = np.zeros(len(texts), bool)
    how: Literal["skip", "raise"] = "skip" if on_error == "null" else "raise"
    async with client.embed_binary_stream(texts, ordered=False, on_error=how, **options) as blocks:
        async for first, block in blocks:
            if vectors is None:
                vectors = np.zeros((len(texts), block.shape[1]), block.dtype)
            vectors[first : first + len(block)] = block
            is_there[first : first + len(block)] = True
    return vectors, is_there


def _texts(array: object) -> list[str | None]:
    """Return the texts of an array, whichever way its type stores them."""
    kind = getattr(array, "type", None)
    kind = getattr(kind, "value_type", kind) if str(kind).startswith("dictionary") else kind
    if not isinstance(array, pa.Array | pa.ChunkedArray) or str(kind) not in _TEXT_TYPES:
        found = f"holds {kind}" if isinstance(array, pa.Array | pa.ChunkedArray) else f"is a {type(array).__name__}"
        raise ConfigurationError(f"array must be a pyarrow array of strings, and {found}")
    texts: list[str | None] = array.to_pylist()
    return texts


publish("asyncembed", [embed_array])
