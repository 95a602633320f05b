"""The response parser as a tool of its own, for those who hold a response already, such as from another client."""

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
MAX_VALUE_BYTES: Final = 16_000_000
"""Bytes of the longest text or vector that is waited for."""


class ByteFile(Protocol):
    """Anything with a `read` like that of a file opened for bytes."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, none at the end."""
        ...


Source: TypeAlias = AsyncIterable[bytes] | ByteFile


class StreamingEmbedResponse(Generic[ScalarT_co]):
    """The vectors of one response, each as soon as its array has closed.

    `async for position, vector in StreamingEmbedResponse(chunks, "cohere")` over an async iterable of bytes, such as
    `response.content.iter_any()` of aiohttp or `response.aiter_bytes()` of httpx; or, without asyncio,
    `for position, vector in StreamingEmbedResponse(file, "cohere").iter_embeddings()` over an open file of bytes.
    `position` is the text's place in the request, `vector` a 1-D array of the asked dtype. Whether all vectors that
    were asked for are there is for the caller to see: `count` says how many there were.

    Args:
        source: The body, decompressed: an async iterable of bytes, or a file opened for bytes.
        provider: Whose response it is: a name, or a `Provider` of your own.
        dtype: What was asked for: "float32", "int8", "uint8", "binary" or "ubinary".
        dimension: Dimension of the vectors, if it is known, to check them by; else the first vector sets it.

    Raises:
        ConfigurationError: if an argument is wrong, or the source is read in the way it is not made for.
        ResponseError: while it is read, if the response is not JSON, is cut off, or holds something that is no vector;
            what came before was given.

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
            "io.BytesIO(data) makes one of bytes",
        )
        check_choice("dtype", dtype, Dtype)
        if dimension is not None:
            check_count("dimension", dimension)
        self._source = source
        known = get_provider(provider)
        self._name, self._dtype = known.name, dtype
        layout = _layout(known, dtype)
        self._parser = ResponseParser(layout, VectorDecoder(dtype, dimension).decode, MAX_VALUE_BYTES)
        self._vectors: (
            AsyncIterator[tuple[int, npt.NDArray[ScalarT_co]]] | Iterator[tuple[int, npt.NDArray[ScalarT_co]]] | None
        ) = None

    def __repr__(self) -> str:
        return f"StreamingEmbedResponse({self._name!r}, dtype={self._dtype!r}, count={self.count})"

    @property
    def count(self) -> int:
        """Vectors that the response has held so far."""
        return self._parser.count

    @property
    def usage(self) -> Usage:
        """What the response says was billed, if it has said so yet."""
        return Usage(max(0, self._parser.tokens or 0))

    @property
    def message(self) -> str:
        """An error message inside the response; empty if there is none."""
        return self._parser.message

    def __aiter__(self) -> AsyncIterator[tuple[int, npt.NDArray[ScalarT_co]]]:
        """Return an iterator of position and vector; a second loop goes on where the first was left."""
        if not isinstance(self._source, AsyncIterable):
            raise ConfigurationError("the source is no async iterable of bytes; use iter_embeddings()")
        if not isinstance(self._vectors, AsyncIterator):
            self._vectors = self._stream(self._source)
        return self._vectors

    def iter_embeddings(self) -> Iterator[tuple[int, npt.NDArray[ScalarT_co]]]:
        """Read a file, and give position and vector as soon as each is there; a second loop goes on."""
        if isinstance(self._source, AsyncIterable) or not hasattr(self._source, "read"):
            raise ConfigurationError("the source is no file opened for bytes; use `async for`")
        if not isinstance(self._vectors, Iterator):
            self._vectors = self._read(self._source)
        return self._vectors

    async def _stream(self, source: AsyncIterable[bytes]) -> AsyncIterator[tuple[int, npt.NDArray[ScalarT_co]]]:
        try:
            async for chunk in source:
                for found in self._feed(chunk):
                    yield found
            for found in self._feed_end():
                yield found
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
            raise ConfigurationError(f"the source gives a {type(chunk).__name__} instead of bytes")
        return self._typed(self._parser.feed(bytes(chunk)))

    def _feed_end(self) -> list[tuple[int, npt.NDArray[ScalarT_co]]]:
        return self._typed(self._parser.close())

    def _typed(self, rows: list[tuple[int, Vector]]) -> list[tuple[int, npt.NDArray[ScalarT_co]]]:
        return cast("list[tuple[int, npt.NDArray[ScalarT_co]]]", rows)  # the overloads of `__init__` tie it to `dtype`

    def _check(self) -> None:
        if faults := self._parser.faults:
            raise ResponseError(f"some vectors of the response could not be read: {'; '.join(faults)}")


def _layout(provider: Provider, dtype: Dtype) -> Layout:
    """Where vectors lie, whichever encoding was asked for."""
    options = EmbedOptions(model=provider.default_model, dtype=dtype)
    base64, floats = provider.layout(options, "base64"), provider.layout(options, "float")
    return replace(floats, vectors=base64.vectors | floats.vectors, one_list=True)


publish("asyncembed", [StreamingEmbedResponse])
