"""`EmbedClient`: its settings, its verbs, and the state that its streams share.

Each verb imports its own modules when it is called, because most programs call only one verb.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, Unpack, cast, overload

import anyio

from asyncembed._config import (
    MAX_WAITING_QUERIES,
    QUERY_CACHE,
    QUERY_CONCURRENCY,
    Encoding,
    RetryPolicy,
    Timeouts,
    check,
    check_choice,
    check_count,
    check_flag,
    check_not_negative,
    check_queries,
    check_text,
    is_number,
)
from asyncembed._connection import Connection
from asyncembed._core.circuit_breaker import CircuitBreaker
from asyncembed._core.endpoint import Endpoint, EndpointState
from asyncembed._core.observer import Hook
from asyncembed._core.query_lane import QueryLane
from asyncembed._core.run import Run
from asyncembed._core.scheduler import current_run
from asyncembed._core.stream import EmbedStream
from asyncembed._decide.texts import check_repeatable, check_texts
from asyncembed._exceptions import EmbedTimeoutError, StreamClosedError
from asyncembed._models import EmbedInput
from asyncembed._options import (
    EmbedOptionsArgs,
    RequestOptions,
    check_headers,
    check_session,
    find_limiter,
    for_texts,
    new_budget,
    new_cache,
    new_call,
    new_guarded_budget,
    new_slots,
)
from asyncembed._ratelimit import RateLimit
from asyncembed._redaction import hide_address, hide_headers, hide_key
from asyncembed._repr import shown
from asyncembed._spec import ClientSpec, describe
from asyncembed._target import identity_of
from asyncembed._util import AsyncClosing
from asyncembed.providers import find_model, get_provider
from asyncembed.providers.prompts import find_prompts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from typing import NoReturn

    import aiohttp
    import numpy as np
    import numpy.typing as npt

    from asyncembed._callback import Callback
    from asyncembed._check import CheckResult
    from asyncembed._config import Float32, Int8, OnError, RaiseOrSkip, UInt8
    from asyncembed._core.call import Call
    from asyncembed._core.query_lane import QueryRun
    from asyncembed._core.settling import Item
    from asyncembed._decide.texts import Texts
    from asyncembed._estimate import Estimate, Tokenizer
    from asyncembed._events import Event
    from asyncembed._models import (
        EmbedBlock,
        EmbedFailure,
        EmbedResponse,
        EmbedResult,
        Matrix,
        RunSummary,
        Scalar,
        Usage,
        Vector,
    )
    from asyncembed._overloads import (
        AnyBlockArgs,
        AnyCallbackArgs,
        AnyCollectArgs,
        AnyStreamArgs,
        ArgsWithoutDtype,
        BlockArgs,
        CallbackArgs,
        CollectArgs,
        StreamArgs,
    )
    from asyncembed._progress import OnProgress
    from asyncembed._ratelimit import RateLimitOff
    from asyncembed.providers import Provider
    from asyncembed.readers import ArrowStreamReader, NumpyStreamReader
    from asyncembed.sinks import FormatName
    from asyncembed.stores import Store


MAX_QUERY_TEXTS: Final = 256
"""Maximum number of texts that one call of `embed_query` sends ahead of bulk. It embeds a longer list as bulk."""


def check_raise_or_skip(on_error: str) -> None:
    check_choice("on_error", on_error, Literal["raise", "skip"])


class EmbedClient(AsyncClosing):
    """Embeds texts through one HTTP API.

    Use it as `async with EmbedClient("cohere") as client:`, or call `aclose()` at the end. One client serves any number
    of concurrent streams, which share its memory budget, request slots and connections. The client has no task group,
    so fixtures and application lifespans may open and close it in different tasks.

    Args:
        provider: Name of a provider, or a `Provider` of your own.
        model: The provider's name of the model. Each provider has a default.
        api_key: The API key. By default, the client reads the usual environment variable of the provider. For keys that
            expire, pass a plain or async function that returns a key. The client calls it before the first request, and
            again after the API has refused the key. The function runs on the event loop, so a plain one must be fast.
        base_url: Address of the API, for compatible servers and proxies. For "openai" it includes `/v1`.
        catalogue: The model's name in the provider's list of models. Pass it if `model` is a deployment, an inference
            profile or an alias in a proxy, so that the client knows the model's dimension and limits.
        prompts: Prefix of each text, as in `RequestOptions`, for calls without their own `prompts`.
        max_memory_mb: Memory budget of requests and of results that you have not consumed, in millions of bytes.
        max_concurrency: Maximum number of concurrent requests to one model.
        initial_concurrency: Initial number of concurrent requests. Default: at most 8. The number grows while more
            requests deliver more vectors per second, and shrinks when the API is overloaded.
        rate_limit: Limits per minute. Clients with the same object share the limits. By default, the client keeps the
            published limits at the provider's own address, and the limits in a server's response headers. "off" means
            no limit, whatever the headers say.
        cache: SQLite file of vectors, which the client creates if necessary. A text whose vector it holds costs no
            request and no tokens. Several processes may use the file at the same time. The key of a vector is its text
            with everything that shapes the vector: model, dimensions, dtype, input type, prompt, normalizing, and what
            may choose the model at the server: the address with its query, and `headers`. Keys are not part of it.
        cache_mb: Size of that file at which the client drops the least recently used vectors, in millions of bytes.
        query_concurrency: Maximum number of concurrent requests for queries, beside those of `max_concurrency`. Queries
            that come while as many run share the next request.
        max_waiting_queries: Number of queries that may wait for a request. Further ones fail at once.
        query_cache: Number of query vectors that the client remembers, the most recently used ones; 0 for none.
        retry: A `RetryPolicy`, or the maximum number of attempts. 1 means no retries. By default, `embed_query` uses
            `RetryPolicy.interactive()`.
        timeouts: `Timeouts`, or how long the server may be silent, in seconds.
        encoding: Format of the vectors in responses: "base64" or "float". "auto" requests base64 where it is known to
            work.
        headers: Further headers of every request.
        session: Your own aiohttp session, for your own proxies or TLS settings. It keeps its own rules: the client then
            reads no proxy and no authorities from the environment, and with `trust_env=True` aiohttp reads the proxies
            and `~/.netrc`. The client does not close it.
        on_event: A plain function that the client calls with each `Event`, such as the start and end of requests,
            retries, failures and the ends of runs. It runs on the event loop, so it must be fast: count, or put the
            event into a queue. The client logs the first exception in it; exceptions do not stop the run.

    Raises:
        ConfigurationError: if an argument is wrong, the provider is unknown, or its key is missing.

    Example:
        ```python
        async with EmbedClient("openai", model="text-embedding-3-small", max_memory_mb=100) as client:
            response = await client.embed(["one text", "another"])
        ```
    """

    def __init__(
        self,
        provider: str | Provider,
        *,
        model: str | None = None,
        api_key: str | Callable[[], str | Awaitable[str]] | None = None,
        base_url: str | None = None,
        catalogue: str | None = None,
        prompts: Mapping[str, str] | str | None = None,
        max_memory_mb: float = 256,
        max_concurrency: int = 32,
        initial_concurrency: int | None = None,
        rate_limit: RateLimit | RateLimitOff | None = None,
        cache: str | os.PathLike[str] | None = None,
        cache_mb: float = 1_000,
        query_concurrency: int = QUERY_CONCURRENCY,
        max_waiting_queries: int = MAX_WAITING_QUERIES,
        query_cache: int = QUERY_CACHE,
        retry: RetryPolicy | int | None = None,
        timeouts: Timeouts | float | None = None,
        encoding: Encoding = "auto",
        headers: Mapping[str, str] | None = None,
        session: aiohttp.ClientSession | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        # Tools that show the local variables of a traceback then show these objects instead of the secrets.
        key, api_key = hide_key(api_key), None
        base_url, hidden, headers = hide_address(base_url), hide_headers(headers), None
        self._provider = get_provider(provider)
        if catalogue is not None:
            check_text("catalogue", catalogue)
            self._provider = self._provider.with_model(find_model(catalogue, self._provider))
        if model is not None:
            check_text("model", model)
        self._model = model or self._provider.default_model
        check(bool(self._model), f"provider {self._provider.name!r} has no default model; pass model=")
        check_choice("encoding", encoding, Encoding)
        check_session(session)
        policy = RetryPolicy.of(retry)
        self._connection = Connection(
            self._provider,
            model=self._model,
            api_key=key,
            base_url=base_url,
            headers=check_headers(hidden),
            session=session,
            timeouts=Timeouts.of(timeouts),
        )
        initial = self._first_concurrency(max_concurrency) if initial_concurrency is None else initial_concurrency
        self._endpoint = Endpoint(
            provider=self._provider,
            encoding=encoding,
            retry=policy,
            slots=new_slots(max_concurrency, initial),
            budget=new_budget(max_memory_mb),
            limiter=find_limiter(rate_limit, self._provider, is_official=self._connection.is_official),
            connect=self._connection.open,
            learned=EndpointState(CircuitBreaker(policy)),
            address=self._connection.address,
            route_digest=self._connection.route_digest,
            is_official=self._connection.is_official,
            prompts=find_prompts(prompts),
            cache=new_cache(cache, cache_mb),
            hook=Hook.of(on_event),
        )
        check_queries(query_concurrency, max_waiting_queries, query_cache)
        self._max_query_texts = min(MAX_QUERY_TEXTS, max_waiting_queries)
        self._lane = QueryLane(
            self._endpoint,
            policy if retry is not None else RetryPolicy.interactive(),
            concurrency=query_concurrency,
            max_waiting=max_waiting_queries,
            known=query_cache,
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[None] | None = None
        obstacles = {
            "its own api_key= (set the key in an environment variable, and pass its name as api_key_env=)": key
            is not None,
            "its own session=": session is not None,
            "a function in on_event=": on_event is not None,
            "prompts=": prompts is not None,
            "catalogue=": catalogue is not None,
            "a RateLimit without a limit": rate_limit == RateLimit(),
        }
        self._describe: Callable[[], ClientSpec] = partial(
            describe,
            self._provider,
            rate_limit,
            dict(check_headers(hidden) or {}),
            obstacles=obstacles,
            model=model,
            base_url=base_url,
            max_memory_mb=max_memory_mb,
            max_concurrency=max_concurrency,
            initial_concurrency=initial_concurrency,
            cache=None if cache is None else os.fspath(cache),
            cache_mb=cache_mb,
            query_concurrency=query_concurrency,
            max_waiting_queries=max_waiting_queries,
            query_cache=query_cache,
            retry=policy if retry is not None else None,
            timeouts=Timeouts.of(timeouts) if timeouts is not None else None,
            encoding=encoding,
        )

    def __repr__(self) -> str:
        if "_connection" not in vars(self):
            return "EmbedClient(...)"  # in the traceback of an error in `__init__`
        where = f", base_url={shown(self._connection.address)}" if self._connection.address else ""
        return f"EmbedClient({shown(self._provider.name)}, model={shown(self._model)}{where})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an EmbedClient has a key and connections, and cannot be pickled; pickle its spec, and call spec.open()"
        )

    @property
    def model(self) -> str:
        """The provider's name of the model, for calls without their own `model`."""
        return self._model

    @property
    def provider(self) -> Provider:
        """The provider of this client."""
        return self._provider

    @overload
    def embed_stream(
        self, texts: Texts, *, dtype: Float32 = ..., on_error: RaiseOrSkip = ..., **options: Unpack[StreamArgs]
    ) -> EmbedStream[EmbedResult]: ...
    @overload
    def embed_stream(
        self, texts: Texts, *, dtype: Int8, on_error: RaiseOrSkip = ..., **options: Unpack[StreamArgs]
    ) -> EmbedStream[EmbedResult[np.int8]]: ...
    @overload
    def embed_stream(
        self, texts: Texts, *, dtype: UInt8, on_error: RaiseOrSkip = ..., **options: Unpack[StreamArgs]
    ) -> EmbedStream[EmbedResult[np.uint8]]: ...
    @overload
    def embed_stream(
        self, texts: Texts, *, on_error: RaiseOrSkip = ..., **options: Unpack[AnyStreamArgs]
    ) -> EmbedStream[EmbedResult[Scalar]]: ...
    @overload
    def embed_stream(
        self, texts: Texts, *, dtype: Float32 = ..., on_error: Literal["yield"], **options: Unpack[StreamArgs]
    ) -> EmbedStream[EmbedResult | EmbedFailure]: ...
    @overload
    def embed_stream(
        self, texts: Texts, *, dtype: Int8, on_error: Literal["yield"], **options: Unpack[StreamArgs]
    ) -> EmbedStream[EmbedResult[np.int8] | EmbedFailure]: ...
    @overload
    def embed_stream(
        self, texts: Texts, *, dtype: UInt8, on_error: Literal["yield"], **options: Unpack[StreamArgs]
    ) -> EmbedStream[EmbedResult[np.uint8] | EmbedFailure]: ...
    @overload
    def embed_stream(
        self, texts: Texts, *, on_error: Literal["yield"], **options: Unpack[AnyStreamArgs]
    ) -> EmbedStream[EmbedResult[Scalar] | EmbedFailure]: ...

    def embed_stream(
        self, texts: Texts, *, ordered: bool = True, on_error: OnError = "raise", **options: Unpack[EmbedOptionsArgs]
    ) -> EmbedStream[EmbedResult[Scalar]] | EmbedStream[EmbedResult[Scalar] | EmbedFailure]:
        """Return a stream of results. It sends the first request when you ask for the first result.

        Args:
            texts: Texts as `str`, `(id, str)` or `EmbedInput`, in a list, generator, Series, Arrow array, open text
                file or async iterable. Each non-blank line of a file is one text. The iterable may be endless; it is
                read only as fast as you consume results. A plain iterable is read on the event loop, so use an async
                one if reading is slow. If the run ends early, the client calls `aclose` or `close` of an iterator that
                has it, such as a generator or cursor. It does not close files.
            ordered: Whether results come in the order of the texts (True), or in the order of arrival.
            on_error: What happens if a text cannot be embedded, or an item is not a text: "raise" an error, "yield" an
                `EmbedFailure` in its place, or "skip" and count it. An error of the whole account, such as a wrong
                key, is always raised.
            **options: See `EmbedOptionsArgs`. A literal `dtype=` determines the type of the results.

        Returns:
            A stream of `EmbedResult`, whose `embedding` is an array of shape (dimension,) in the requested dtype
            (float32 by default), or of shape (dimension / 8,) for packed bits.

        Raises:
            ConfigurationError: if an option is wrong, or the provider does not support it.

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
        self, texts: Texts, *, format: Literal["numpy"] = ..., dtype: Float32 = ..., **options: Unpack[BlockArgs]
    ) -> NumpyStreamReader: ...
    @overload
    def embed_binary_stream(
        self, texts: Texts, *, format: Literal["numpy"] = ..., dtype: Int8, **options: Unpack[BlockArgs]
    ) -> NumpyStreamReader[np.int8]: ...
    @overload
    def embed_binary_stream(
        self, texts: Texts, *, format: Literal["numpy"] = ..., dtype: UInt8, **options: Unpack[BlockArgs]
    ) -> NumpyStreamReader[np.uint8]: ...
    @overload
    def embed_binary_stream(
        self, texts: Texts, *, format: Literal["numpy"] = ..., **options: Unpack[AnyBlockArgs]
    ) -> NumpyStreamReader[Scalar]: ...
    @overload
    def embed_binary_stream(
        self, texts: Texts, *, format: Literal["arrow"], **options: Unpack[AnyBlockArgs]
    ) -> ArrowStreamReader: ...

    def embed_binary_stream(
        self,
        texts: Texts,
        *,
        format: Literal["numpy", "arrow"] = "numpy",  # noqa: A002
        ordered: bool = True,
        on_error: Literal["raise", "skip"] = "raise",
        **options: Unpack[EmbedOptionsArgs],
    ) -> NumpyStreamReader[Scalar] | ArrowStreamReader:
        """Return a reader of matrices, one per request. It needs less time per vector than `embed_stream`.

        The client requests base64 if the provider supports it and the dimension is known. `dtype="int8"` and packed
        bits make the responses smaller still.

        Args:
            texts: The texts, as for `embed_stream`.
            format: "numpy" for pairs of the first index and an array of shape (rows, dimension), or (rows, dimension /
                8) for packed bits; "arrow" for `pyarrow.RecordBatch`.
            ordered: Whether blocks come in the order of the texts (True), or in the order of arrival.
            on_error: "raise", or "skip" and count texts that cannot be embedded. Skipped texts have no row.
            **options: See `EmbedOptionsArgs`. A literal `dtype=` determines the type of the arrays.

        Raises:
            ConfigurationError: if an option is wrong, or `format="arrow"` and pyarrow is not installed.

        Example:
            ```python
            async with client.embed_binary_stream(texts) as blocks:
                async for first_index, matrix in blocks:
                    print(first_index, matrix.shape)
            ```
        """
        from asyncembed.readers import ArrowStreamReader, NumpyStreamReader  # noqa: PLC0415  # most programs do without

        check_raise_or_skip(on_error)
        check_choice("format", format, Literal["numpy", "arrow"])
        check_flag("ordered", ordered)
        call = self._call(options, on_error)
        run = Run(call, texts, ordered=ordered, as_blocks=True, compact=True)
        reader = NumpyStreamReader if format == "numpy" else ArrowStreamReader
        return reader(EmbedStream(run, self._adopt), ordered=ordered, dtype=call.options.dtype)

    @overload
    def embed_large_dataset(
        self, texts: Texts, *, dtype: Float32 = ..., on_error: RaiseOrSkip = ..., **options: Unpack[StreamArgs]
    ) -> EmbedStream[EmbedResult]: ...
    @overload
    def embed_large_dataset(
        self, texts: Texts, *, dtype: Int8, on_error: RaiseOrSkip = ..., **options: Unpack[StreamArgs]
    ) -> EmbedStream[EmbedResult[np.int8]]: ...
    @overload
    def embed_large_dataset(
        self, texts: Texts, *, dtype: UInt8, on_error: RaiseOrSkip = ..., **options: Unpack[StreamArgs]
    ) -> EmbedStream[EmbedResult[np.uint8]]: ...
    @overload
    def embed_large_dataset(
        self, texts: Texts, *, on_error: RaiseOrSkip = ..., **options: Unpack[AnyStreamArgs]
    ) -> EmbedStream[EmbedResult[Scalar]]: ...
    @overload
    def embed_large_dataset(
        self, texts: Texts, *, dtype: Float32 = ..., on_error: Literal["yield"], **options: Unpack[StreamArgs]
    ) -> EmbedStream[EmbedResult | EmbedFailure]: ...
    @overload
    def embed_large_dataset(
        self, texts: Texts, *, dtype: Int8, on_error: Literal["yield"], **options: Unpack[StreamArgs]
    ) -> EmbedStream[EmbedResult[np.int8] | EmbedFailure]: ...
    @overload
    def embed_large_dataset(
        self, texts: Texts, *, dtype: UInt8, on_error: Literal["yield"], **options: Unpack[StreamArgs]
    ) -> EmbedStream[EmbedResult[np.uint8] | EmbedFailure]: ...
    @overload
    def embed_large_dataset(
        self, texts: Texts, *, on_error: Literal["yield"], **options: Unpack[AnyStreamArgs]
    ) -> EmbedStream[EmbedResult[Scalar] | EmbedFailure]: ...

    def embed_large_dataset(
        self,
        texts: Texts,
        *,
        max_memory_mb: float = 500,
        ordered: bool = True,
        on_error: OnError = "raise",
        **options: Unpack[RequestOptions],
    ) -> EmbedStream[EmbedResult[Scalar]] | EmbedStream[EmbedResult[Scalar] | EmbedFailure]:
        """Return a stream of results that keeps the memory of the whole process below a limit.

        The stream measures the resident memory of the process, so results that you keep count as well. Close to 90 % of
        the limit, it sends smaller and fewer requests, and in the end one small request at a time.

        Args:
            texts: The texts, as for `embed_stream`.
            max_memory_mb: Limit of the resident memory of the whole process, in millions of bytes.
            ordered: Whether results come in the order of the texts (True), or in the order of arrival.
            on_error: As for `embed_stream`.
            **options: See `RequestOptions`. A literal `dtype=` determines the type of the results.

        Returns:
            A stream of `EmbedResult`, as of `embed_stream`.

        Raises:
            ConfigurationError: if an option is wrong, or the process already uses 90 % of the limit.

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

    @overload
    async def embed(self, texts: Texts, *, dtype: Float32 = ..., **options: Unpack[CollectArgs]) -> EmbedResponse: ...
    @overload
    async def embed(self, texts: Texts, *, dtype: Int8, **options: Unpack[CollectArgs]) -> EmbedResponse[np.int8]: ...
    @overload
    async def embed(self, texts: Texts, *, dtype: UInt8, **options: Unpack[CollectArgs]) -> EmbedResponse[np.uint8]: ...
    @overload
    async def embed(self, texts: Texts, **options: Unpack[AnyCollectArgs]) -> EmbedResponse[Scalar]: ...

    async def embed(
        self,
        texts: Texts,
        *,
        on_error: Literal["raise", "skip"] = "raise",
        on_progress: OnProgress | None = None,
        **options: Unpack[EmbedOptionsArgs],
    ) -> EmbedResponse[Scalar]:
        """Embed all texts and return their vectors as one array, in the order of the texts.

        Args:
            texts: The texts, as for `embed_stream`.
            on_error: "raise", or "skip" texts that cannot be embedded. The rows of skipped texts hold NaN (float32) or
                zeros (other dtypes). `response.ok` is False for these rows, and `response.failures` has the errors.
            on_progress: A plain or async function that is called with a `RunSummary` a few times per second and at the
                end. An async function runs beside the work, one call at a time. The client logs the first exception in
                it; exceptions do not stop the run.
            **options: See `EmbedOptionsArgs`. A literal `dtype=` determines the type of the array.

        Returns:
            The response. Its `embeddings` is an array of shape (n, dimension) in the requested dtype (float32 by
            default), or of shape (n, dimension / 8) for packed bits.

        Raises:
            ConfigurationError: if an option is wrong, or the provider does not support it.
            AsyncEmbedError: if a text cannot be embedded; its `indices` are the positions of the texts. With "skip",
                only if the request or the account is wrong, or the API is down.
            BudgetExceededError: if the next request would exceed `max_tokens` or `max_cost`. Its `response` has what
                has arrived; the other texts are failures. With "skip", the call returns that response, unless the texts
                are a generator or async, because the client cannot list the rest of those.

        Example:
            ```python
            response = await client.embed(texts, on_error="skip")
            matrix = response.embeddings[response.ok]
            ```
        """
        from asyncembed._collect import collect  # noqa: PLC0415
        from asyncembed._progress import Progress  # noqa: PLC0415

        check_raise_or_skip(on_error)
        progress = Progress(on_progress)
        # With "skip", the stream yields the failures, which become part of the response.
        call = self._call(options, "raise" if on_error == "raise" else "yield")
        run = Run(call, texts, ordered=False, as_blocks=True, withholds=True)
        stream: EmbedStream[EmbedBlock[Scalar] | EmbedFailure] = EmbedStream(run, self._adopt)
        if not progress.is_wanted:
            return await collect(texts, stream, run)
        async with progress, progress.following(lambda: stream.summary):
            return await collect(texts, stream, run)

    @overload
    async def embed_query(
        self,
        texts: str | EmbedInput | Texts,
        *,
        deadline: float | None = ...,
        dtype: Float32 = ...,
        **options: Unpack[ArgsWithoutDtype],
    ) -> npt.NDArray[np.float32]: ...
    @overload
    async def embed_query(
        self,
        texts: str | EmbedInput | Texts,
        *,
        deadline: float | None = ...,
        dtype: Int8,
        **options: Unpack[ArgsWithoutDtype],
    ) -> npt.NDArray[np.int8]: ...
    @overload
    async def embed_query(
        self,
        texts: str | EmbedInput | Texts,
        *,
        deadline: float | None = ...,
        dtype: UInt8,
        **options: Unpack[ArgsWithoutDtype],
    ) -> npt.NDArray[np.uint8]: ...
    @overload
    async def embed_query(
        self, texts: str | EmbedInput | Texts, *, deadline: float | None = ..., **options: Unpack[EmbedOptionsArgs]
    ) -> Matrix: ...

    async def embed_query(
        self, texts: str | EmbedInput | Texts, *, deadline: float | None = None, **options: Unpack[EmbedOptionsArgs]
    ) -> Vector | Matrix:
        """Embed one or several search queries, with `input_type="query"` as the default.

        Queries go ahead of everything else that the client sends. Queries that come at the same time with the same
        options share a request, and the client remembers the vectors of the last ones.

        Args:
            texts: One text (`str` or `EmbedInput`), or several texts, as for `embed_stream`. More than 256 texts, more
                than `max_waiting_queries`, and texts of an iterator are embedded as by `embed`.
            deadline: Seconds for everything, including waits and retries.
            **options: See `EmbedOptionsArgs`. A literal `dtype=` determines the type of the array.

        Returns:
            An array of shape (dimension,) for one text, or of shape (n, dimension) for n texts, in the requested dtype
            (float32 by default). For packed bits, the last axis has dimension / 8 numbers.

        Raises:
            ConfigurationError: if an option is wrong, or the provider does not support it.
            EmbedTimeoutError: if the deadline passes.
            TransportError: if `max_waiting_queries` queries wait already.
            AsyncEmbedError: if a text cannot be embedded; its `indices` are the positions of the texts.

        Example:
            ```python
            vector = await client.embed_query("how do I get my money back?", deadline=2.0)
            ```
        """
        if deadline is not None:
            check(
                is_number(deadline) and deadline > 0, f"deadline={shown(deadline)} must be a number of seconds above 0"
            )
        for name in ("max_tokens", "max_cost"):
            check(
                options.get(name) is None,
                f"{name}= limits a run of many texts; leave it out of embed_query, or use embed",
            )
        if isinstance(texts, str | EmbedInput):
            return (await self._lane.ask(self._queries(options), [texts], deadline))[0]
        if isinstance(texts, list | tuple) and len(texts) <= self._max_query_texts:
            kind = self._queries(options)
            return kind.matrix(await self._lane.ask(kind, texts, deadline))
        embedded = self.embed(texts, **for_texts(options, "query"))
        if deadline is None:
            return (await embedded).embeddings
        try:
            async with asyncio.timeout(deadline):
                return (await embedded).embeddings
        except TimeoutError as error:
            if isinstance(error, EmbedTimeoutError):
                raise
        raise EmbedTimeoutError(f"no vectors within the deadline of {deadline:g} s")

    async def warm_up(self) -> None:
        """Connect to the API, so that the first query does not wait for a connection.

        The client sends a HEAD request without the key, which costs nothing.

        Raises:
            ConfigurationError: if the client cannot connect because of a setting.
            TransportError: if the API cannot be reached.

        Example:
            ```python
            await client.warm_up()
            ```
        """
        await self._lane.warm_up()

    async def estimate(
        self, texts: Texts, tokenizer: Tokenizer | None = None, **options: Unpack[EmbedOptionsArgs]
    ) -> Estimate:
        """Estimate the tokens, the requests, the time and the cost of embedding texts, without sending anything.

        Pass the options of the call that you plan, and `dedupe=True` for files and stores, which send equal texts once.
        It keeps about 70 bytes per text, to find equal ones.

        Args:
            texts: Texts that can be read more than once, such as a list, a Series or a reader of a file. It refuses
                generators.
            tokenizer: A function that returns the number of tokens of a text, or an object with `encode`, such as those
                of tiktoken and tokenizers. It is called for each text, on the event loop. Without a tokenizer, tokens
                are estimated: within 20 % of OpenAI's counts in English, German, Chinese and code.
            **options: See `EmbedOptionsArgs`.

        Returns:
            The counts, the time in seconds and the cost in US dollars, without retries.

        Raises:
            ConfigurationError: if the texts can be read only once, or an option is wrong.

        Example:
            ```python
            estimate = await client.estimate(texts, price=0.12)
            print(f"{estimate.tokens:,} tokens in {estimate.requests:,} requests: ${estimate.cost:.2f}")
            ```
        """
        from asyncembed._estimate import estimate  # noqa: PLC0415

        check_repeatable(texts)
        return await estimate(self._call(options, "skip"), texts, tokenizer)

    async def check(self, **options: Unpack[EmbedOptionsArgs]) -> CheckResult:
        """Embed one harmless text, to check the key, the model and the options before a large run.

        The API bills this text like any other.

        Args:
            **options: See `EmbedOptionsArgs`.

        Returns:
            The model, the dimension, the encoding, the billed tokens and the seconds of the request.

        Raises:
            AsyncEmbedError: if the API refuses the text. The class of the error tells a wrong key, an unknown model and
                a used-up quota apart.

        Example:
            ```python
            result = await client.check()
            print(result.model, result.dimension, result.tokens)
            ```
        """
        from asyncembed._check import check  # noqa: PLC0415

        return await check(self._call(options, "raise"), self._adopt)

    async def dimension(self, **options: Unpack[EmbedOptionsArgs]) -> int:
        """Return the dimension of the vectors. If it is unknown, the client embeds a harmless text, as `check` does.

        Args:
            **options: See `EmbedOptionsArgs`.

        Raises:
            AsyncEmbedError: if the dimension is unknown and the API refuses the text.

        Example:
            ```python
            width = await client.dimension()
            ```
        """
        known = self._call(options, "raise").known_dimension
        return known or (await self.check(**options)).dimension

    @overload
    async def embed_with_callback(
        self, texts: Texts, callback: Callback, *, dtype: Float32 = ..., **options: Unpack[CallbackArgs]
    ) -> RunSummary: ...
    @overload
    async def embed_with_callback(
        self, texts: Texts, callback: Callback[np.int8], *, dtype: Int8, **options: Unpack[CallbackArgs]
    ) -> RunSummary: ...
    @overload
    async def embed_with_callback(
        self, texts: Texts, callback: Callback[np.uint8], *, dtype: UInt8, **options: Unpack[CallbackArgs]
    ) -> RunSummary: ...
    @overload
    async def embed_with_callback(
        self, texts: Texts, callback: Callback[Scalar], **options: Unpack[AnyCallbackArgs]
    ) -> RunSummary: ...

    async def embed_with_callback(
        self,
        texts: Texts,
        callback: Callable[..., object],
        *,
        callback_concurrency: int = 1,
        ordered: bool = True,
        on_error: Literal["raise", "skip"] = "raise",
        **options: Unpack[EmbedOptionsArgs],
    ) -> RunSummary:
        """Call a function for every text: `callback(embedding, index)`, or `callback(result)` if it has one parameter.

        Args:
            texts: The texts, as for `embed_stream`.
            callback: A plain function, which runs on the event loop, or an async one. `embedding` is an array of shape
                (dimension,), or (dimension / 8,) for packed bits.
            callback_concurrency: Maximum number of concurrent calls of an async callback.
            ordered: Whether calls begin in the order of the texts (True), or in the order of arrival.
            on_error: "raise", or "skip" and count texts that cannot be embedded.
            **options: See `EmbedOptionsArgs`. A literal `dtype=` determines the type of the vectors.

        Returns:
            The outcome of the run.

        Raises:
            ConfigurationError: if an option is wrong, or the callback does not fit.
            Exception: the exception of the callback, unchanged. It stops the run.
            AsyncEmbedError: if a text cannot be embedded, after the calls for all earlier texts.

        Example:
            ```python
            async def insert(embedding, index):
                print(index, embedding.shape)

            summary = await client.embed_with_callback(texts, insert, callback_concurrency=4)
            ```
        """
        from asyncembed._callback import call_back  # noqa: PLC0415

        check_count("callback_concurrency", callback_concurrency)
        check_flag("ordered", ordered)
        check_raise_or_skip(on_error)
        run = Run(self._call(options, on_error), texts, ordered=ordered)
        return await call_back(EmbedStream(run, self._adopt), callback, callback_concurrency)

    async def embed_to_file(
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
        stop: asyncio.Event | None = None,
        stop_wait: float = 10.0,
        **options: Unpack[EmbedOptionsArgs],
    ) -> RunSummary:
        """Write the vectors of all texts into one file, in the order of the texts.

        The file appears when it is complete. Until then, the folder `OUTPUT_FILE.partial` holds the vectors in the
        order of arrival, safe from crashes and power cuts. Call the method with `resume=True` to continue a run that
        ended early: it requests only the missing vectors. The last step writes the file from the folder, and needs
        twice the size of the file on the disk. A `.npy` file whose vectors arrived in order is not written again.

        The file `OUTPUT_FILE.run.json` next to it records the requests, retries, tokens, seconds and failed texts of
        all runs. The summary covers all runs, too.

        Args:
            texts: The texts, as for `embed_stream`. To resume a run, pass the same texts again.
            output_file: The file: .npy, .npz, .arrow (Arrow IPC), .parquet or .jsonl.
            resume: Whether to continue an earlier run. Without an earlier run, a new one begins. If the file is
                complete and has these texts, the client sends nothing. A script may therefore always pass True.
            overwrite: Whether to replace an existing file, and the folder of an earlier run.
            keep_text: Whether the file contains the texts as well as ids and vectors.
            format: "npy", "npz", "arrow", "parquet" or "jsonl". Default: the suffix of the file.
            on_error: "raise", or "skip" and count texts that cannot be embedded. Skipped texts have no row.
            on_progress: As for `embed`.
            stop: An event that you set to end the run early. The client sends no further requests, saves the vectors of
                running requests, because they are paid for, and raises `StreamClosedError`. A cancelled task does not
                wait for running requests, but saves the vectors that have arrived.
            stop_wait: How long to wait for running requests after `stop` is set, in seconds.
            **options: See `EmbedOptionsArgs`.

        Returns:
            The outcome of all runs. `saved` is the number of rows in the file. If it is 0, there is no file.

        Raises:
            ConfigurationError: if the file exists or cannot be written, or an option is wrong. Nothing was sent.
            ResumeError: if the earlier run had other texts, another model or other options.
            OSError: if the disk is full, or the folder is missing. Vectors that were saved remain.
            AsyncEmbedError: if a text cannot be embedded, or the run was stopped. Vectors that arrived remain.

        Example:
            ```python
            summary = await client.embed_to_file(texts, "vectors.npy", resume=True)
            print(summary.done, summary.resumed, summary.usage.tokens)
            ```
        """
        from asyncembed._core.settling import MAX_READY  # noqa: PLC0415
        from asyncembed._progress import Progress  # noqa: PLC0415
        from asyncembed._stoppable import check_stop  # noqa: PLC0415
        from asyncembed._target import Target  # noqa: PLC0415
        from asyncembed._to_file import FileRun  # noqa: PLC0415

        check_raise_or_skip(on_error)
        check_texts(texts)
        for name, value in (("resume", resume), ("overwrite", overwrite), ("keep_text", keep_text)):
            check_flag(name, value)
        check_stop(stop, stop_wait)
        progress = Progress(on_progress)
        target = Target.of(output_file, format, resume=resume, overwrite=overwrite, keep_text=keep_text)
        target.validate_distinct(options.get("dead_letter"))
        call = self._call(options, on_error, dedupe=True)
        # `FileRun` writes dead letters when the failures are final, because a resumed run repeats some of them.
        stream_call = replace(call, dead_letters=None)

        def open_stream(
            rest: Texts,
            first: int,
            gaps: Sequence[tuple[int, EmbedInput]],
            earlier: Usage,
            shared: Mapping[bytes, Vector],
        ) -> EmbedStream[Item]:
            run = Run(
                stream_call,
                rest,
                ordered=False,
                first=first,
                gaps=gaps,
                as_blocks=True,
                max_ready=MAX_READY,
                withholds=True,
                settling=True,
                earlier=earlier,
                shared=shared,
            )
            return EmbedStream(run, self._adopt)

        run = FileRun(call, texts, target, open_stream, progress, stop=stop, stop_wait=stop_wait)
        return await run.complete()

    async def embed_to_store(
        self,
        rows: Texts,
        store: Store,
        *,
        keep_text: bool = True,
        on_error: Literal["raise", "skip"] = "raise",
        on_progress: OnProgress | None = None,
        patience: float = 60.0,
        stop: asyncio.Event | None = None,
        stop_wait: float = 10.0,
        **options: Unpack[EmbedOptionsArgs],
    ) -> RunSummary:
        """Put the vectors of rows into a store, such as a database table. See `asyncembed.stores`.

        The client asks the store which rows it has with the same text, and embeds only the others. Call the method
        again to continue a run that ended early, or to update rows whose texts have changed. After a crash, the API may
        bill the texts of running requests again, and up to 2,000 rows that were not yet stored.

        The client never deletes rows from the store, and does not update a row if only its metadata has changed. If two
        rows have the same id, the store keeps the one that arrives last. The client does not close the store.

        Args:
            rows: (id, text) pairs, or `EmbedInput` with id and metadata, in any order. Each id must be unique.
            store: `SqliteVectors`, `PgVector`, `LanceTable`, or a `Store` of your own.
            keep_text: Whether the store contains the texts as well.
            on_error: "raise", or "skip" and count rows that are wrong and texts that cannot be embedded.
            on_progress: As for `embed`.
            patience: How long to retry a failing store before its error ends the run, in seconds.
            stop: An event that you set to end the run early. The client sends no further requests, stores the vectors
                of running requests, because they are paid for, and raises `StreamClosedError`. A cancelled task does
                not wait for running requests, but stores the vectors that have arrived.
            stop_wait: How long to wait for running requests after `stop` is set, in seconds.
            **options: See `EmbedOptionsArgs`.

        Returns:
            The outcome of the run. `resumed` is the number of rows that the store already had; `saved` includes them.

        Raises:
            ResumeError: if the vectors in the store have another model or other options. Nothing was sent.
            ConfigurationError: if a row has no id, or an option is wrong.
            AsyncEmbedError: if a text cannot be embedded, or the run was stopped. Vectors that arrived are stored.
            Exception: the exception of the store, if it persists for `patience` seconds.

        Example:
            ```python
            from asyncembed.stores import SqliteVectors

            store = SqliteVectors("vectors.db", "documents")
            await client.embed_to_store(enumerate(texts), store)
            await store.aclose()
            ```
        """
        from asyncembed._progress import Progress  # noqa: PLC0415
        from asyncembed._stoppable import check_stop  # noqa: PLC0415
        from asyncembed._to_store import BATCH_ROWS, StoreRun, check_store  # noqa: PLC0415

        check_raise_or_skip(on_error)
        check_texts(rows)
        check_store(store)
        check_flag("keep_text", keep_text)
        check_stop(stop, stop_wait)
        check_not_negative("patience", patience)
        progress = Progress(on_progress)
        call = self._call(options, on_error, dedupe=True)

        def open_stream(missing: Texts) -> EmbedStream[Item]:
            run = Run(
                call,
                missing,
                ordered=False,
                as_blocks=True,
                withholds=True,
                settling=True,
                whole_only=True,
                max_unsettled=2 * BATCH_ROWS,
            )
            return EmbedStream(run, self._adopt)

        run = StoreRun(
            call,
            rows,
            store,
            open_stream,
            progress.report if progress.is_wanted else None,
            keep_text=keep_text,
            patience=patience,
            stop=stop,
            stop_wait=stop_wait,
        )
        async with progress:
            return await run.complete()

    @property
    def spec(self) -> ClientSpec:
        """The settings of this client as a `ClientSpec`, for another process. It has no values of the environment.

        Raises:
            ConfigurationError: if a setting cannot be part of a spec, such as a key, a session or a function.
        """
        return self._describe()

    async def aclose(self) -> None:
        """End every stream, close the HTTP session and stop the embedded server. A second call does nothing.

        If your task is cancelled meanwhile, or runs inside the texts of a stream, the closing continues in the
        background.
        """
        self._closing = self._closing or asyncio.create_task(self._close(), name="asyncembed-close")
        if current_run() is None:  # the texts of a stream must not wait for the end of their own stream
            with anyio.CancelScope(shield=True):
                await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._connection.closed = True
        await self._lane.aclose()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._endpoint.cache:
            await self._endpoint.cache.aclose()
        await self._connection.aclose()

    def _first_concurrency(self, maximum: int) -> int | None:
        check_count("max_concurrency", maximum)
        published = self._provider.max_concurrency if self._connection.is_official else None
        return min(published, maximum) if published else None

    def _call(self, options: EmbedOptionsArgs, on_error: OnError, *, dedupe: bool = False) -> Call:
        if self._connection.closed:
            raise StreamClosedError("the client was closed")
        return new_call(self._endpoint, self._model, options, on_error, dedupe=dedupe)

    def _queries(self, options: EmbedOptionsArgs) -> QueryRun:
        """Return the state shared by queries with these options. The options are checked on first use."""
        try:
            key: object = frozenset((name, type(value), value) for name, value in options.items())  # True is not 1
            kind = self._lane.find(key)
        except TypeError:  # a mapping among them
            key = repr(sorted(options.items()))
            kind = self._lane.find(key)
        if kind is None or self._connection.closed:
            call = self._call(for_texts(options, "query"), "raise")
            kind = self._lane.open(key, replace(call, dedupe_bytes=0, identity=identity_of(call), is_query=True))
        return kind

    def _adopt(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
