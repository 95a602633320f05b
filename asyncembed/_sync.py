"""The client for code without an event loop: scripts, notebooks, task queues, threads."""

from __future__ import annotations

import inspect
import weakref
from collections import deque
from typing import TYPE_CHECKING, Generic, Literal, Self, TypedDict, Unpack, cast, overload

from typing_extensions import TypeVar

from asyncembed._background import background, forget, is_current, run_with
from asyncembed._caller_thread import CallerThread, close_early, from_caller
from asyncembed._client import EmbedClient
from asyncembed._decide.texts import check_repeatable
from asyncembed._exceptions import ConfigurationError, StoredError, StreamClosedError
from asyncembed._models import EmbedFailure, EmbedInput, EmbedResult, Scalar
from asyncembed._options import check_headers
from asyncembed._progress import check_on_progress
from asyncembed._public import publish
from asyncembed._redaction import hide_address, hide_headers, hide_key
from asyncembed._spec import ClientSpec, check_only_spec

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Callable, Coroutine, Hashable, Mapping
    from types import TracebackType

    import numpy as np
    import numpy.typing as npt

    from asyncembed._config import Encoding, Float32, Int8, OnError, RaiseOrSkip, RetryPolicy, Timeouts, UInt8
    from asyncembed._core.stream import EmbedStream
    from asyncembed._decide.texts import Texts
    from asyncembed._estimate import Estimate, Tokenizer
    from asyncembed._events import Event
    from asyncembed._models import EmbedResponse, Matrix, RunSummary, Vector
    from asyncembed._options import EmbedOptionsArgs
    from asyncembed._overloads import AnyCollectArgs, AnyStreamArgs, ArgsWithoutDtype, CollectArgs, StreamArgs
    from asyncembed._progress import OnProgress
    from asyncembed._ratelimit import RateLimit, RateLimitOff
    from asyncembed.providers import Provider
    from asyncembed.sinks import FormatName
    from asyncembed.stores import Store

T = TypeVar("T")
ItemT_co = TypeVar("ItemT_co", bound=EmbedResult[Scalar] | EmbedFailure, covariant=True, default=EmbedResult)


class ClientArguments(TypedDict, total=False):
    """The arguments of an `EmbedClient` except `session`, which belongs to one event loop."""

    model: str | None
    api_key: str | Callable[[], str | Awaitable[str]] | None
    base_url: str | None
    catalogue: str | None
    prompts: Mapping[str, str] | str | None
    max_memory_mb: float
    max_concurrency: int
    initial_concurrency: int | None
    rate_limit: RateLimit | RateLimitOff | None
    cache: str | os.PathLike[str] | None
    cache_mb: float
    query_concurrency: int
    max_waiting_queries: int
    query_cache: int
    retry: RetryPolicy | int | None
    timeouts: Timeouts | float | None
    encoding: Encoding
    headers: Mapping[str, str] | None
    on_event: Callable[[Event], None] | None


class SyncEmbedder:
    """Embeds texts by plain calls from any thread, whether or not the process has an event loop.

    All embedders of a process share a daemon thread with an event loop. Embedders with equal settings share a client on
    it, with its connections and limits; it is closed when the process ends. An embedder with a key, a rate limit or a
    function has its own client, which is closed with the embedder. A forked process starts its own thread and clients
    when it first needs them.

    A call waits for its result; Ctrl-C cancels it. In a coroutine it would block the event loop, so use `EmbedClient`
    there. Generators, cursors and files of texts are read on the caller's thread;
    generators and cursors are closed there if a call ends before it has read all of them.

    Args:
        provider: A `ClientSpec`, or the provider that an `EmbedClient` takes.
        **arguments: Without a spec, the arguments of an `EmbedClient` except `session`. Functions for keys and events
            are called on the thread of the event loop.

    Raises:
        ConfigurationError: if an argument is wrong, the provider is unknown or its key is missing.
    """

    def __init__(self, provider: str | Provider | ClientSpec, **arguments: Unpack[ClientArguments]) -> None:
        self._closed = False
        self._key: Hashable
        self._open: Callable[[], EmbedClient]
        if isinstance(provider, ClientSpec):
            check_only_spec(arguments)
            self._key, self._open = provider, provider.open
            return
        if "session" in arguments:
            raise ConfigurationError(
                "session= cannot be used: it belongs to an event loop, and a SyncEmbedder has its own"
            )
        # Tools that print the local variables of a traceback print these instead.
        arguments = cast("ClientArguments", {**arguments, **_hidden(arguments)})
        client = EmbedClient(provider, **arguments)
        spec = _spec_of(client) if arguments.get("rate_limit") in {None, "off"} else None
        if spec is not None:
            self._key, self._open = spec, spec.open
            return
        self._key = object()
        self._open = lambda: EmbedClient(provider, **arguments)
        weakref.finalize(self, forget, self._key).atexit = False

    def __repr__(self) -> str:
        return f"SyncEmbedder({self._key!r})" if isinstance(self._key, ClientSpec) else "SyncEmbedder(...)"

    def __reduce__(self) -> tuple[type[SyncEmbedder], tuple[ClientSpec]]:
        """Pickle the spec.

        Raises:
            ConfigurationError: if a setting cannot be pickled.
        """
        return SyncEmbedder, (self.spec,)

    @property
    def spec(self) -> ClientSpec:
        """The settings as plain values, for another process.

        Raises:
            ConfigurationError: if a setting cannot be sent there, such as a key, a rate limit or a function.
        """
        if isinstance(self._key, ClientSpec):
            return self._key
        return self._open().spec

    @overload
    def embed(self, texts: Texts, *, dtype: Float32 = ..., **options: Unpack[CollectArgs]) -> EmbedResponse: ...
    @overload
    def embed(self, texts: Texts, *, dtype: Int8, **options: Unpack[CollectArgs]) -> EmbedResponse[np.int8]: ...
    @overload
    def embed(self, texts: Texts, *, dtype: UInt8, **options: Unpack[CollectArgs]) -> EmbedResponse[np.uint8]: ...
    @overload
    def embed(self, texts: Texts, **options: Unpack[AnyCollectArgs]) -> EmbedResponse[Scalar]: ...

    def embed(
        self,
        texts: Texts,
        *,
        on_error: Literal["raise", "skip"] = "raise",
        on_progress: OnProgress | None = None,
        **options: Unpack[EmbedOptionsArgs],
    ) -> EmbedResponse[Scalar]:
        """Embed all texts and return their vectors as one array of shape (n, dimension), in the order of the texts.

        It takes the texts and options of `EmbedClient.embed`. `on_progress` is called on the caller's thread.

        Raises:
            AsyncEmbedError: if a text cannot be embedded; `indices` of the error says which.
        """

        def call(
            client: EmbedClient, given: Texts, caller: CallerThread
        ) -> Coroutine[object, object, EmbedResponse[Scalar]]:
            tell = _on_thread_of(caller, on_progress)
            return client.embed(given, on_error=on_error, on_progress=tell, **options)

        return self._call(texts, call)

    def estimate(
        self, texts: Texts, tokenizer: Tokenizer | None = None, **options: Unpack[EmbedOptionsArgs]
    ) -> Estimate:
        """Estimate what embedding texts would take and cost, without sending anything; see `EmbedClient.estimate`.

        The tokenizer is called on the thread of the event loop.

        Raises:
            ConfigurationError: if the texts can be read only once, or an option is wrong.
        """
        check_repeatable(texts)
        return self._call(texts, lambda client, given, _: client.estimate(given, tokenizer, **options))

    @overload
    def embed_query(
        self,
        texts: str | EmbedInput | Texts,
        *,
        deadline: float | None = ...,
        dtype: Float32 = ...,
        **options: Unpack[ArgsWithoutDtype],
    ) -> npt.NDArray[np.float32]: ...
    @overload
    def embed_query(
        self,
        texts: str | EmbedInput | Texts,
        *,
        deadline: float | None = ...,
        dtype: Int8,
        **options: Unpack[ArgsWithoutDtype],
    ) -> npt.NDArray[np.int8]: ...
    @overload
    def embed_query(
        self,
        texts: str | EmbedInput | Texts,
        *,
        deadline: float | None = ...,
        dtype: UInt8,
        **options: Unpack[ArgsWithoutDtype],
    ) -> npt.NDArray[np.uint8]: ...
    @overload
    def embed_query(
        self, texts: str | EmbedInput | Texts, *, deadline: float | None = ..., **options: Unpack[EmbedOptionsArgs]
    ) -> Matrix: ...

    def embed_query(
        self, texts: str | EmbedInput | Texts, *, deadline: float | None = None, **options: Unpack[EmbedOptionsArgs]
    ) -> Vector | Matrix:
        """Embed a query: one text to a vector of shape (dimension,), several texts to an array (n, dimension).

        Arguments and options are those of `EmbedClient.embed_query`; queries of several threads share requests.

        Raises:
            EmbedTimeoutError: if the deadline has passed.
            AsyncEmbedError: if a text cannot be embedded.
        """
        if isinstance(texts, str | EmbedInput):
            found: Vector = run_with(
                self._usable(), self._open, lambda client: client.embed_query(texts, deadline=deadline, **options)
            )
            return found
        return self._call(texts, lambda client, given, _: client.embed_query(given, deadline=deadline, **options))

    @overload
    def stream(
        self, texts: Texts, *, dtype: Float32 = ..., on_error: RaiseOrSkip = ..., **options: Unpack[StreamArgs]
    ) -> SyncStream[EmbedResult]: ...
    @overload
    def stream(
        self, texts: Texts, *, dtype: Int8, on_error: RaiseOrSkip = ..., **options: Unpack[StreamArgs]
    ) -> SyncStream[EmbedResult[np.int8]]: ...
    @overload
    def stream(
        self, texts: Texts, *, dtype: UInt8, on_error: RaiseOrSkip = ..., **options: Unpack[StreamArgs]
    ) -> SyncStream[EmbedResult[np.uint8]]: ...
    @overload
    def stream(
        self, texts: Texts, *, on_error: RaiseOrSkip = ..., **options: Unpack[AnyStreamArgs]
    ) -> SyncStream[EmbedResult[Scalar]]: ...
    @overload
    def stream(
        self, texts: Texts, *, dtype: Float32 = ..., on_error: Literal["yield"], **options: Unpack[StreamArgs]
    ) -> SyncStream[EmbedResult | EmbedFailure]: ...
    @overload
    def stream(
        self, texts: Texts, *, dtype: Int8, on_error: Literal["yield"], **options: Unpack[StreamArgs]
    ) -> SyncStream[EmbedResult[np.int8] | EmbedFailure]: ...
    @overload
    def stream(
        self, texts: Texts, *, dtype: UInt8, on_error: Literal["yield"], **options: Unpack[StreamArgs]
    ) -> SyncStream[EmbedResult[np.uint8] | EmbedFailure]: ...
    @overload
    def stream(
        self, texts: Texts, *, on_error: Literal["yield"], **options: Unpack[AnyStreamArgs]
    ) -> SyncStream[EmbedResult[Scalar] | EmbedFailure]: ...

    def stream(
        self, texts: Texts, *, ordered: bool = True, on_error: OnError = "raise", **options: Unpack[EmbedOptionsArgs]
    ) -> SyncStream[EmbedResult[Scalar]] | SyncStream[EmbedResult[Scalar] | EmbedFailure]:
        """Return an iterator of results. It starts when you ask for the first one.

        While you do not take results, it requests no more than fits into the memory of the client. Use it in a `with`
        statement if you may leave it early. It takes the arguments and options of `EmbedClient.embed_stream`.

        Raises:
            ConfigurationError: if an option is wrong or not known to the provider.
        """
        caller = CallerThread()
        given = from_caller(texts, caller)

        async def open_stream(client: EmbedClient) -> EmbedStream[EmbedResult[Scalar] | EmbedFailure]:
            return client.embed_stream(given, ordered=ordered, on_error=on_error, **options)

        return SyncStream(run_with(self._usable(), self._open, open_stream), caller, given, self)

    def embed_to_file(
        self,
        texts: Texts,
        output_file: str | os.PathLike[str],
        *,
        resume: bool = False,
        overwrite: bool = False,
        keep_text: bool = True,
        format: FormatName | None = None,  # noqa: A002  # as numpy, pandas and pyarrow call it
        on_error: Literal["raise", "skip"] = "raise",
        on_progress: OnProgress | None = None,
        **options: Unpack[EmbedOptionsArgs],
    ) -> RunSummary:
        """Write the vectors of all texts into one file, as `EmbedClient.embed_to_file` does.

        Ctrl-C loses no vector that has arrived, and `resume=True` continues the run. `on_progress` is called on the
        caller's thread.

        Raises:
            AsyncEmbedError: if a text cannot be embedded, and what `EmbedClient.embed_to_file` raises besides.
        """

        def call(client: EmbedClient, given: Texts, caller: CallerThread) -> Coroutine[object, object, RunSummary]:
            return client.embed_to_file(
                given,
                output_file,
                resume=resume,
                overwrite=overwrite,
                keep_text=keep_text,
                format=format,
                on_error=on_error,
                on_progress=_on_thread_of(caller, on_progress),
                **options,
            )

        return self._call(texts, call)

    def embed_to_store(
        self,
        rows: Texts,
        store: Store,
        *,
        keep_text: bool = True,
        on_error: Literal["raise", "skip"] = "raise",
        on_progress: OnProgress | None = None,
        patience: float = 60.0,
        **options: Unpack[EmbedOptionsArgs],
    ) -> RunSummary:
        """Put the vectors of rows into a store, as `EmbedClient.embed_to_store` does.

        The store is used on the thread of the event loop and closed at the end of the call; a later call opens it
        again. Ctrl-C loses no vector that has arrived. `on_progress` is called on the caller's thread.

        Raises:
            ResumeError: if the store has vectors of another model or made with other options; nothing was sent.
            AsyncEmbedError: if a text cannot be embedded, and what `EmbedClient.embed_to_store` raises besides.
        """
        from asyncembed._to_store import check_store  # noqa: PLC0415

        async def call(client: EmbedClient, given: Texts, caller: CallerThread) -> RunSummary:
            try:
                return await client.embed_to_store(
                    given,
                    store,
                    keep_text=keep_text,
                    on_error=on_error,
                    on_progress=_on_thread_of(caller, on_progress),
                    patience=patience,
                    **options,
                )
            finally:
                await store.aclose()

        check_store(store)
        return self._call(rows, call)

    def close(self) -> None:
        """End the use of the embedder, and close its client if it has its own. A second call does nothing."""
        self._closed = True
        if not isinstance(self._key, ClientSpec):
            forget(self._key)

    def __enter__(self) -> Self:
        """Return the embedder itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _usable(self) -> Hashable:
        if self._closed:
            raise StreamClosedError("the embedder was closed")
        return self._key

    def _call(
        self, texts: Texts, call: Callable[[EmbedClient, Texts, CallerThread], Coroutine[object, object, T]]
    ) -> T:
        key, caller = self._usable(), CallerThread()
        given = from_caller(texts, caller)
        try:
            return run_with(key, self._open, lambda client: call(client, given, caller), caller)
        finally:
            close_early(given)


class SyncStream(Generic[ItemT_co]):
    """Results as they arrive, for a plain `for` loop. Only one thread may iterate.

    Args:
        stream: The stream on the background's loop.
        caller: Runs jobs on the thread that iterates.
        texts: The caller's texts on the caller's thread, which the stream closes if it ends early.
        embedder: Stays alive with the stream, because its client closes when it is collected.
    """

    def __init__(
        self, stream: EmbedStream[ItemT_co], caller: CallerThread, texts: Texts, embedder: SyncEmbedder
    ) -> None:
        self._stream = stream
        self._caller = caller
        self._texts = texts
        self._embedder = embedder
        self._home = background()
        self._home.own(stream)
        self._ready: deque[ItemT_co] = deque()
        self._ended: StoredError | None = None
        self._has_ended = False

    @property
    def summary(self) -> RunSummary:
        """The state of the run."""
        return self._stream.summary

    def __iter__(self) -> Self:
        """Return the stream itself."""
        return self

    def __next__(self) -> ItemT_co:
        """Return the next result.

        Raises:
            AsyncEmbedError: the error that ended the run, after all results before it.
            StreamClosedError: if the stream was closed, or belongs to the process that this one was forked from.
        """
        if not self._ready:
            self._refill()
        return self._ready.popleft()

    def close(self) -> None:
        """Stop the work and wait for its end. A second call does nothing."""
        if self._has_ended or not self._is_ours():
            return
        self._end(StreamClosedError("the stream was closed"))
        if self._home.is_here:  # the garbage collector may run on any thread
            self._home.start(self._stream.aclose(), _take_error)
        else:
            CallerThread().run(self._home, self._stream.aclose())
            close_early(self._texts)

    def __enter__(self) -> Self:
        """Return the stream itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def __del__(self) -> None:
        """Stop the work of an abandoned stream without waiting."""
        if not getattr(self, "_has_ended", True) and self._is_ours():
            self._home.start(self._stream.aclose(), _take_error)

    def _is_ours(self) -> bool:
        return is_current(self._home)

    def _refill(self) -> None:
        if self._ended:
            raise self._ended.ready()
        if self._has_ended:
            raise StopIteration
        if not self._is_ours():
            raise StreamClosedError(
                "the stream belongs to the process that this one was forked from, or the process is ending"
            )
        if self._home.is_here:
            raise ConfigurationError(
                "a plain stream was read on its own event loop and would wait for itself; await an EmbedClient there"
            )
        try:
            self._ready.extend(self._caller.run(self._home, self._stream.take_chunk()))
        except Exception as error:
            self._end(error)
            close_early(self._texts)
            raise
        except BaseException:
            self.close()
            raise
        if not self._ready:
            self._has_ended = True
            raise StopIteration

    def _end(self, error: Exception) -> None:
        self._ready.clear()
        self._has_ended = True
        self._ended = StoredError(error)


def _on_thread_of(caller: CallerThread, function: OnProgress | None) -> OnProgress | None:
    """Return an async function that calls another one on the caller's thread, and awaits what that returns."""
    check_on_progress(function)
    if function is None:
        return None

    async def tell(now: RunSummary) -> None:
        returned = await caller.call(lambda: function(now))
        if inspect.isawaitable(returned):
            await returned

    return tell


def _hidden(arguments: ClientArguments) -> dict[str, object]:
    key, address, headers = arguments.get("api_key"), arguments.get("base_url"), arguments.get("headers")
    return {
        "api_key": hide_key(key),
        "base_url": hide_address(address),
        "headers": check_headers(hide_headers(headers)),
    }


def _spec_of(client: EmbedClient) -> ClientSpec | None:
    try:
        return client.spec
    except ConfigurationError:
        return None


def _take_error(task: object) -> None:
    """Mark the error of an abandoned stream as retrieved."""


publish("asyncembed", [SyncEmbedder, SyncStream])
