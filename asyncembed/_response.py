"""The response parser as a separate tool, for responses of other clients."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeAlias, cast, overload

from asyncembed._config import Dtype, EmbedOptions, check, check_choice, check_count
from asyncembed._exceptions import ConfigurationError, ResponseError
from asyncembed._models import ScalarT_co, Usage
from asyncembed._parser.parser import ResponseParser
from asyncembed._parser.vectors import VectorDecoder
from asyncembed._public import publish
from asyncembed.providers import get_provider

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from asyncembed._config import Float32, Int8, UInt8
    from asyncembed._models import Scalar, Vector
    from asyncembed._parser.layout import Layout
    from asyncembed.providers import Provider

READ_BYTES: Final = 65_536
"""Bytes that are read from a file at a time."""
MAX_VALUE_BYTES: Final = 16_000_000
"""Maximum length of one vector or string in a response, in bytes."""


class ByteFile(Protocol):
    """A file opened for bytes, or any object with its `read` method."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, or empty bytes at the end."""
        ...


Source: TypeAlias = AsyncIterable[bytes] | ByteFile


class StreamingEmbedResponse(Generic[ScalarT_co]):
    """Parses one response, and yields each vector as soon as its array is complete.

    Use `async for position, vector in StreamingEmbedResponse(chunks, "cohere")` with an async iterable of bytes, such
    as `response.content.iter_any()` of aiohttp or `response.aiter_bytes()` of httpx. Without asyncio, use
    `for position, vector in StreamingEmbedResponse(file, "cohere").iter_embeddings()` with a file opened for bytes.

    `position` is the position of the text in the request, from 0. `vector` is an array of shape (dimension,) in the
    requested dtype, or of shape (dimension / 8,) for packed bits. You must check that all vectors arrived: compare
    `count` with the number of texts in the request.

    `StreamingEmbedResponse` means `StreamingEmbedResponse[np.float32]`; a literal `dtype=` determines the type.

    Args:
        source: The body after decompression: an async iterable of bytes, or a file opened for bytes.
        provider: The provider that sent the response: a name, or a `Provider` of your own.
        dtype: The requested type: "float32", "int8", "uint8", "binary" or "ubinary".
        dimension: Dimension of the vectors, if known. Otherwise all vectors must have the dimension of the first one.

    Raises:
        ConfigurationError: if an argument is wrong, or you iterate over the source in the wrong way.
        ResponseError: during iteration, after the vectors that could be read, if the response is not JSON, breaks off,
            or contains an invalid vector.

    Example:
        ```python
        body = io.BytesIO(b'{"embeddings": {"float": [[1.5, 0.25]]}}')
        for position, vector in StreamingEmbedResponse(body, "cohere").iter_embeddings():
            print(position, vector)
        ```
    """

    @overload
    def __init__(
        self: StreamingEmbedResponse[np.float32],
        source: Source,
        provider: str | Provider,
        *,
        dtype: Float32 = ...,
        dimension: int | None = ...,
    ) -> None: ...
    @overload
    def __init__(
        self: StreamingEmbedResponse[np.int8],
        source: Source,
        provider: str | Provider,
        *,
        dtype: Int8,
        dimension: int | None = ...,
    ) -> None: ...
    @overload
    def __init__(
        self: StreamingEmbedResponse[np.uint8],
        source: Source,
        provider: str | Provider,
        *,
        dtype: UInt8,
        dimension: int | None = ...,
    ) -> None: ...
    @overload
    def __init__(
        self: StreamingEmbedResponse[Scalar],
        source: Source,
        provider: str | Provider,
        *,
        dtype: Dtype,
        dimension: int | None = ...,
    ) -> None: ...

    def __init__(
        self,
        source: Source,
        provider: str | Provider,
        *,
        dtype: Dtype = "float32",
        dimension: int | None = None,
    ) -> None:
        check(
            isinstance(source, AsyncIterable) or callable(getattr(source, "read", None)),
            f"source= is a {type(source).__name__}, but must be an async iterable of bytes or a file opened for bytes; "
            "for bytes, pass io.BytesIO(data)",
        )
        check_choice("dtype", dtype, Dtype)
        if dimension is not None:
            check_count("dimension", dimension)
        self._source = source
        checked = get_provider(provider)
        self._name, self._dtype = checked.name, dtype
        layout = _layout(checked, dtype)
        self._parser = ResponseParser(layout, VectorDecoder(dtype, dimension).decode, MAX_VALUE_BYTES)
        self._vectors: (
            AsyncIterator[tuple[int, npt.NDArray[ScalarT_co]]] | Iterator[tuple[int, npt.NDArray[ScalarT_co]]] | None
        ) = None

    def __repr__(self) -> str:
        return f"StreamingEmbedResponse({self._name!r}, dtype={self._dtype!r}, count={self.count})"

    @property
    def count(self) -> int:
        """Number of vectors so far."""
        return self._parser.count

    @property
    def usage(self) -> Usage:
        """Billed tokens, or 0 before the response has reported them."""
        return Usage(max(0, self._parser.tokens or 0))

    @property
    def message(self) -> str:
        """The error message in the response, or an empty string."""
        return self._parser.message

    def __aiter__(self) -> AsyncIterator[tuple[int, npt.NDArray[ScalarT_co]]]:
        """Return an async iterator of position and vector. A second loop continues where the first stopped."""
        if not isinstance(self._source, AsyncIterable):
            raise ConfigurationError("source= is not an async iterable of bytes; use iter_embeddings()")
        if not isinstance(self._vectors, AsyncIterator):
            self._vectors = self._stream(self._source)
        return self._vectors

    def iter_embeddings(self) -> Iterator[tuple[int, npt.NDArray[ScalarT_co]]]:
        """Return an iterator of position and vector over a file. A second loop continues where the first stopped."""
        if isinstance(self._source, AsyncIterable) or not hasattr(self._source, "read"):
            raise ConfigurationError("source= is not a file opened for bytes; use `async for`")
        if not isinstance(self._vectors, Iterator):
            self._vectors = self._read(self._source)
        return self._vectors

    async def _stream(self, source: AsyncIterable[bytes]) -> AsyncIterator[tuple[int, npt.NDArray[ScalarT_co]]]:
        try:
            async for chunk in source:
                for row in self._feed(chunk):
                    yield row
            for row in self._feed_end():
                yield row
            self._check()
        finally:
            self._parser.discard()

    def _read(self, source: ByteFile) -> Iterator[tuple[int, npt.NDArray[ScalarT_co]]]:
        try:
            while chunk := source.read(READ_BYTES):
                yield from self._feed(chunk)
            yield from self._feed_end()
            self._check()
        finally:
            self._parser.discard()

    def _feed(self, chunk: bytes) -> list[tuple[int, npt.NDArray[ScalarT_co]]]:
        if not isinstance(chunk, bytes | bytearray | memoryview):
            raise ConfigurationError(f"source= yields a {type(chunk).__name__}, but must yield bytes")
        return self._typed(self._parser.feed(bytes(chunk)))

    def _feed_end(self) -> list[tuple[int, npt.NDArray[ScalarT_co]]]:
        return self._typed(self._parser.close())

    def _typed(self, rows: list[tuple[int, Vector]]) -> list[tuple[int, npt.NDArray[ScalarT_co]]]:
        return cast("list[tuple[int, npt.NDArray[ScalarT_co]]]", rows)  # checked against `dtype` by the decoder

    def _check(self) -> None:
        if faults := self._parser.faults:
            raise ResponseError(f"the response contains vectors that could not be read: {'; '.join(faults)}")


def _layout(provider: Provider, dtype: Dtype) -> Layout:
    """Return a layout that finds vectors of either encoding."""
    options = EmbedOptions(model=provider.default_model, dtype=dtype)
    base64, floats = provider.layout(options, "base64"), provider.layout(options, "float")
    return replace(floats, vectors=base64.vectors | floats.vectors, one_list=True)


publish("asyncembed", [StreamingEmbedResponse])
