"""The verbs that give results while they arrive: one after the other, as matrices, or below a limit of memory."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Unpack, cast, overload

from asyncembed._closing import AsyncClosing
from asyncembed._options import EmbedOptionsArgs, RequestOptions, new_guarded_budget
from asyncembed._settings import check_choice, check_flag
from asyncembed.pipeline._run import Run
from asyncembed.pipeline._stream import EmbedStream

if TYPE_CHECKING:
    import asyncio

    from asyncembed._models import EmbedFailure, EmbedResult
    from asyncembed._settings import OnError
    from asyncembed.pipeline._call import Call
    from asyncembed.pipeline._texts import Texts
    from asyncembed.providers import Provider
    from asyncembed.readers import ArrowStreamReader, NumpyStreamReader


class Streams(AsyncClosing):
    """Verbs that return streams, which start when something is first asked of them."""

    @property
    @abstractmethod
    def provider(self) -> Provider:
        """The API behind it."""

    @abstractmethod
    def _call(self, given: EmbedOptionsArgs, on_error: OnError) -> Call:
        """Check what was given."""

    @abstractmethod
    def _adopt(self, task: asyncio.Task[None]) -> None:
        """Take over the task of a stream."""

    @overload
    def embed_stream(
        self,
        texts: Texts,
        *,
        ordered: bool = ...,
        on_error: Literal["raise", "skip"] = ...,
        **options: Unpack[EmbedOptionsArgs],
    ) -> EmbedStream[EmbedResult]: ...

    @overload
    def embed_stream(
        self, texts: Texts, *, ordered: bool = ..., on_error: Literal["yield"], **options: Unpack[EmbedOptionsArgs]
    ) -> EmbedStream[EmbedResult | EmbedFailure]: ...

    def embed_stream(
        self, texts: Texts, *, ordered: bool = True, on_error: OnError = "raise", **options: Unpack[EmbedOptionsArgs]
    ) -> EmbedStream[EmbedResult] | EmbedStream[EmbedResult | EmbedFailure]:
        """Return a stream of results, which starts when its first result is asked for.

        Args:
            texts: Texts as `str`, `(id, str)` or `EmbedInput`: a list, generator, Series, Arrow array, open text file
                (a text a line), or an async iterable. They are pulled only as fast as results are taken; blank lines of
                a file are left out. A plain iterable is pulled on the event loop, so if it is slow, make it an async
                one. An iterator that is left before its end is closed if it has `aclose` or `close`, as generators and
                cursors do; an open file stays open.
            ordered: Whether results come by index, or as they arrive.
            on_error: For texts that cannot be embedded: "raise", "yield" an `EmbedFailure` in their place, or "skip"
                and count them, as items that are no text at all. A wrong key always raises.
            **options: See `EmbedOptionsArgs`.

        Raises:
            ConfigurationError: if an option is wrong or not known to the provider.

        Example:
            ```python
            async with client.embed_stream(texts) as stream:
                async for result in stream:
                    print(result.index, result.embedding.shape)
            print(stream.summary.requests)
            ```
        """
        check_flag("ordered", ordered)
        return EmbedStream(Run(self._call(options, on_error), texts, ordered=ordered), self._adopt)

    @overload
    def embed_binary_stream(
        self,
        texts: Texts,
        *,
        format: Literal["numpy"] = ...,
        ordered: bool = ...,
        on_error: Literal["raise", "skip"] = ...,
        **options: Unpack[EmbedOptionsArgs],
    ) -> NumpyStreamReader: ...

    @overload
    def embed_binary_stream(
        self,
        texts: Texts,
        *,
        format: Literal["arrow"],
        ordered: bool = ...,
        on_error: Literal["raise", "skip"] = ...,
        **options: Unpack[EmbedOptionsArgs],
    ) -> ArrowStreamReader: ...

    def embed_binary_stream(
        self,
        texts: Texts,
        *,
        format: Literal["numpy", "arrow"] = "numpy",  # noqa: A002
        ordered: bool = True,
        on_error: Literal["raise", "skip"] = "raise",
        **options: Unpack[EmbedOptionsArgs],
    ) -> NumpyStreamReader | ArrowStreamReader:
        """Return a reader of matrices, a request's rows at a time, for less work a row than `embed_stream`.

        Vectors travel as base64 wherever the provider has it and the dimension is known to check them by; with
        `dtype="int8"` or packed bits they are smaller still. Texts and options are those of `embed_stream`.

        Args:
            texts: The texts.
            format: "numpy" for blocks of (first index, array), "arrow" for `pyarrow.RecordBatch`.
            ordered: Whether blocks come by index, or as they are complete.
            on_error: "raise", or "skip" texts that cannot be embedded: they have no row, and are counted.
            **options: See `EmbedOptionsArgs`.

        Raises:
            ConfigurationError: if an option is wrong, or pyarrow is needed and not installed.

        Example:
            ```python
            async with client.embed_binary_stream(texts) as blocks:
                async for first_index, matrix in blocks:
                    print(first_index, matrix.shape)
            ```
        """
        from asyncembed.readers import ArrowStreamReader, NumpyStreamReader  # noqa: PLC0415  # few programs need it

        check_raise_or_skip(on_error)
        check_choice("format", format, Literal["numpy", "arrow"])
        check_flag("ordered", ordered)
        call = self._call(options, on_error)
        run = Run(call, texts, ordered=ordered, as_blocks=True, compact=True)
        reader = NumpyStreamReader if format == "numpy" else ArrowStreamReader
        return reader(EmbedStream(run, self._adopt), ordered=ordered, dtype=call.options.dtype)

    @overload
    def embed_large_dataset(
        self,
        texts: Texts,
        *,
        max_memory_mb: float = ...,
        ordered: bool = ...,
        on_error: Literal["raise", "skip"] = ...,
        **options: Unpack[RequestOptions],
    ) -> EmbedStream[EmbedResult]: ...

    @overload
    def embed_large_dataset(
        self,
        texts: Texts,
        *,
        max_memory_mb: float = ...,
        ordered: bool = ...,
        on_error: Literal["yield"],
        **options: Unpack[RequestOptions],
    ) -> EmbedStream[EmbedResult | EmbedFailure]: ...

    def embed_large_dataset(
        self,
        texts: Texts,
        *,
        max_memory_mb: float = 500,
        ordered: bool = True,
        on_error: OnError = "raise",
        **options: Unpack[RequestOptions],
    ) -> EmbedStream[EmbedResult] | EmbedStream[EmbedResult | EmbedFailure]:
        """Return a stream of results that keeps the whole process below a limit of memory.

        It looks at the memory that the process really holds, so results that you keep count too: as that comes near
        nine tenths of the limit, requests become smaller and fewer, and then one small request runs at a time.

        Args:
            texts: The texts, as for `embed_stream`.
            max_memory_mb: Resident memory of the whole process to stay below, in millions of bytes.
            ordered: Whether results come by index, or as they arrive.
            on_error: As for `embed_stream`.
            **options: See `RequestOptions`.

        Raises:
            ConfigurationError: if an option is wrong, or the process holds nine tenths of the limit already.

        Example:
            ```python
            async with client.embed_large_dataset(texts, max_memory_mb=8_000) as stream:
                async for result in stream:
                    print(result.index)
            ```
        """
        check_flag("ordered", ordered)
        call = self._call(cast("EmbedOptionsArgs", options), on_error)
        guarded = replace(call.endpoint, budget=new_guarded_budget(max_memory_mb))
        return EmbedStream(Run(replace(call, endpoint=guarded), texts, ordered=ordered), self._adopt)


def check_raise_or_skip(on_error: str) -> None:
    check_choice("on_error", on_error, Literal["raise", "skip"])
