"""The client: its settings, its verbs, and what its streams share.

A verb imports what only it needs when it is called, because most programs call only one.
"""

from __future__ import annotations

import asyncio
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
from asyncembed._core.query_lane import QueryLane, matrix_of
from asyncembed._core.run import Run
from asyncembed._core.scheduler import current_run
from asyncembed._core.stream import EmbedStream
from asyncembed._decide.texts import check_texts
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
from asyncembed._target import provenance_of
from asyncembed._util import AsyncClosing
from asyncembed.providers import find_model, get_provider
from asyncembed.providers.prompts import find_prompts

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from typing import NoReturn

    import aiohttp

    from asyncembed._callback import Callback
    from asyncembed._check import CheckResult
    from asyncembed._config import OnError
    from asyncembed._core.call import Call
    from asyncembed._core.query_lane import QueryRun
    from asyncembed._core.settling import Item
    from asyncembed._decide.texts import Texts
    from asyncembed._events import Event
    from asyncembed._models import EmbedBlock, EmbedFailure, EmbedResponse, EmbedResult, Matrix, RunSummary, Vector
    from asyncembed._progress import OnProgress
    from asyncembed._ratelimit import RateLimitOff
    from asyncembed.providers import Provider
    from asyncembed.readers import ArrowStreamReader, NumpyStreamReader
    from asyncembed.sinks import FormatName
    from asyncembed.stores import Store


MOST_QUERIES: Final = 256
"""Texts of one call that are queries; more are bulk."""


def check_raise_or_skip(on_error: str) -> None:
    check_choice("on_error", on_error, Literal["raise", "skip"])


class EmbedClient(AsyncClosing):
    """Embeds texts through one HTTP API.

    Use it as `async with EmbedClient("cohere") as client:`, or call `aclose()` when done. One client serves any number
    of streams at once; they share its memory budget, its request slots and its connections. It holds no task group,
    so it may be opened and closed in different tasks, as fixtures and application lifespans do.

    Args:
        provider: Name of a provider, or a `Provider` of your own.
        model: The provider's name of the model; each provider has a default.
        api_key: The key; taken from the provider's customary environment variable if not given. For keys that expire,
            pass a function, plain or async, that returns one: it is called when the first request needs a key, and
            once more when the API has refused that key. It is called on the event loop, so a plain one must be quick.
        base_url: Address of the API, for compatible servers and proxies; for "openai" it includes `/v1`.
        catalogue: Which model is meant, by the name in the provider's own list, where the name that the API knows it by
            says nothing: a deployment, an inference profile, an alias of a proxy. What is known of it holds then.
        prompts: What to put before each text, as in `RequestOptions`, for every call that says nothing else.
        max_memory_mb: Memory that requests and results which wait for their consumer may take, in millions of bytes.
        max_concurrency: Maximum number of concurrent requests to one model.
        initial_concurrency: How many to start with; at most 8 if not given. The number grows while more requests bring
            more vectors a second, and shrinks when the API is overloaded.
        rate_limit: What the API allows in a minute. Clients that are given the same object share it. If you give none,
            the client keeps the limits that the provider has published, at the provider's own address, and those that
            a server states in its headers. "off" means no limit, whatever the headers say.
        cache: SQLite file of vectors, which is made if it does not exist. A text whose vector it holds costs no request
            and no tokens; several processes may use it at once. Its key is the text with everything that shapes the
            vector: model, address, dimensions, dtype, input type, prompt, normalizing.
        cache_mb: Size of that file, in millions of bytes, from which on the rows that were not used for longest go.
        query_concurrency: Most requests for queries at once, besides those of `max_concurrency`. Queries that come
            while so many run are joined into the next request.
        max_waiting_queries: Queries that may wait for a request before more are refused at once.
        query_cache: Vectors of queries that the client remembers, those that were asked for last; 0 for none.
        retry: When to try again, as a `RetryPolicy` or a number of attempts; 1 tries everything once. If you give
            none, `embed_query` uses `RetryPolicy.interactive()`.
        timeouts: Time limits, as `Timeouts` or a number of seconds, for which the server may be silent at most.
        encoding: "base64" or "float" for how vectors travel; "auto" asks for base64 where it is known to work.
        headers: Further headers of every request.
        session: Your own aiohttp session, for proxies or TLS of your own; it is not closed here.
        on_event: Told of each `Event`: requests that start, end, are retried, split or held up, failures, ends of runs.
            It is called on the event loop between two steps of the work, so it must be quick, as to count, or to put
            into a queue. What it raises breaks no run: it is logged, once.

    Raises:
        ConfigurationError: if an argument is wrong, the provider is unknown or its key is missing.

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
        # Tools that show the local variables of a traceback get to see these instead.
        key, api_key = hide_key(api_key), None
        base_url, hidden, headers = hide_address(base_url), hide_headers(headers), None
        self._provider = get_provider(provider)
        if catalogue is not None:
            check_text("catalogue", catalogue)
            self._provider = self._provider.knowing(find_model(catalogue, self._provider))
        if model is not None:
            check_text("model", model)
        self._model = model or self._provider.default_model
        check(bool(self._model), f"provider {self._provider.name!r} has no model of its own: pass model=")
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
            is_official=self._connection.is_official,
            prompts=find_prompts(prompts),
            cache=new_cache(cache, cache_mb),
            hook=Hook.of(on_event),
        )
        check_queries(query_concurrency, max_waiting_queries, query_cache)
        self._lane = QueryLane(
            self._endpoint,
            policy if retry is not None else RetryPolicy.interactive(),
            concurrency=query_concurrency,
            max_waiting=max_waiting_queries,
            known=query_cache,
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[None] | None = None
        hindrances = {
            "a key of its own (set the key in an environment variable, and name it with api_key_env=)": key is not None,
            "a session of its own": session is not None,
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
            hindrances=hindrances,
            model=model,
            base_url=base_url,
            max_memory_mb=max_memory_mb,
            max_concurrency=max_concurrency,
            initial_concurrency=initial_concurrency,
            cache=cache,
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
            return "EmbedClient(...)"  # as a traceback shows it that has ended its making
        where = f", base_url={shown(self._connection.address)}" if self._connection.address else ""
        return f"EmbedClient({shown(self._provider.name)}, model={shown(self._model)}{where})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an EmbedClient holds a key and connections, and cannot be pickled; make one where it is used")

    @property
    def model(self) -> str:
        """The model that is asked for where a call names no other."""
        return self._model

    @property
    def provider(self) -> Provider:
        """The API behind this client."""
        return self._provider

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

    async def embed(
        self,
        texts: Texts,
        *,
        on_error: Literal["raise", "skip"] = "raise",
        on_progress: OnProgress | None = None,
        **options: Unpack[EmbedOptionsArgs],
    ) -> EmbedResponse:
        """Embed all texts and return their vectors as one array of shape (n, dimension), in the order of the texts.

        Args:
            texts: The texts, as for `embed_stream`.
            on_error: "raise", or "skip" texts that cannot be embedded: `response.ok` is False for their rows, which
                hold NaN (float32) or zeros (other dtypes), and `response.failures` says why.
            on_progress: A function, plain or async, that is called with a `RunSummary` a few times a second and at the
                end. An async one runs beside the work; while it does, it is not called again. Exceptions in it are
                logged once and do not end the run.
            **options: See `EmbedOptionsArgs`.

        Raises:
            AsyncEmbedError: if a text cannot be embedded; `indices` of the error says which. With "skip", only if the
                request or the account is wrong, or the API is down.

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
        # The failures come out of the stream, to be returned.
        call = self._call(options, "raise" if on_error == "raise" else "yield")
        run = Run(call, texts, ordered=False, as_blocks=True, withholds=True)
        stream: EmbedStream[EmbedBlock | EmbedFailure] = EmbedStream(run, self._adopt)
        if not progress.is_wanted:
            return await collect(texts, stream, run)
        async with progress, progress.following(lambda: stream.summary):
            return await collect(texts, stream, run)

    @overload
    async def embed_query(
        self, texts: str | EmbedInput, *, deadline: float | None = ..., **options: Unpack[EmbedOptionsArgs]
    ) -> Vector: ...

    @overload
    async def embed_query(
        self, texts: Texts, *, deadline: float | None = ..., **options: Unpack[EmbedOptionsArgs]
    ) -> Matrix: ...

    async def embed_query(
        self, texts: str | EmbedInput | Texts, *, deadline: float | None = None, **options: Unpack[EmbedOptionsArgs]
    ) -> Vector | Matrix:
        """Embed what somebody waits for: a text to a vector of shape (dimension,), texts to an array (n, dimension).

        Queries go ahead of everything else that the client does. Those that come at the same time with the same options
        share a request, and the vectors of the last ones are remembered. It asks for `input_type="query"` where the
        provider tells queries from documents.

        Args:
            texts: A text, or texts as for `embed_stream`; many of them, or a generator of them, are embedded as `embed`
                does it.
            deadline: Seconds for everything, waits and retries included.
            **options: See `EmbedOptionsArgs`.

        Raises:
            EmbedTimeoutError: if the deadline has passed.
            TransportError: if `max_waiting_queries` wait already.
            AsyncEmbedError: if a text cannot be embedded; `indices` of the error says which.

        Example:
            ```python
            vector = await client.embed_query("how do I get my money back?", deadline=2.0)
            ```
        """
        if deadline is not None:
            check(
                is_number(deadline) and deadline > 0, f"deadline={shown(deadline)} must be a number of seconds above 0"
            )
        if isinstance(texts, str | EmbedInput):
            return (await self._lane.ask(self._queries(options), [texts], deadline))[0]
        if isinstance(texts, list | tuple) and len(texts) <= MOST_QUERIES:
            kind = self._queries(options)
            return matrix_of(await self._lane.ask(kind, texts, deadline), kind.dimension)
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
        """Connect to the API, so that the first query need not wait for that; nothing is billed.

        Raises:
            ConfigurationError: if the client cannot connect because of a setting.

        Example:
            ```python
            await client.warm_up()
            ```
        """
        await self._lane.warm_up()

    async def check(self, **options: Unpack[EmbedOptionsArgs]) -> CheckResult:
        """Ask for one harmless text, to see whether key, model and options are right before anything larger is sent.

        It is billed as any other text. Options are those of `embed_stream`.

        Raises:
            AsyncEmbedError: if the API does not take it; the class says whether it is the key, the model or the quota.

        Example:
            ```python
            result = await client.check()
            print(result.model, result.dimension, result.tokens)
            ```
        """
        from asyncembed._check import check  # noqa: PLC0415

        return await check(self._call(options, "raise"), self._adopt)

    async def dimension(self, **options: Unpack[EmbedOptionsArgs]) -> int:
        """Return the length of the vectors: as it is known, and otherwise by `check`.

        Raises:
            AsyncEmbedError: if it is not known and the API does not take a harmless text.

        Example:
            ```python
            width = await client.dimension()
            ```
        """
        known = self._call(options, "raise").known_dimension
        return known or (await self.check(**options)).dimension

    async def embed_with_callback(
        self,
        texts: Texts,
        callback: Callback,
        *,
        callback_concurrency: int = 1,
        ordered: bool = True,
        on_error: Literal["raise", "skip"] = "raise",
        **options: Unpack[EmbedOptionsArgs],
    ) -> RunSummary:
        """Call `callback(embedding, index)`, or `callback(result)` if it takes one argument, for every text.

        Texts and options are those of `embed_stream`.

        Args:
            texts: The texts.
            callback: A plain function, which is called on the event loop, or an async one.
            callback_concurrency: Most calls of an async callback at once.
            ordered: Whether the calls begin in the order of the texts, or as results arrive.
            on_error: "raise", or "skip" texts that cannot be embedded and count them.
            **options: See `EmbedOptionsArgs`.

        Returns:
            How the run went.

        Raises:
            Exception: what the callback raised, as it is; it stops the run.
            AsyncEmbedError: if a text cannot be embedded, after the calls for the texts before it.

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
        """Write the vectors of all texts into one file, in their order; it gets its name when it is whole.

        Until then what has arrived lies in the folder `OUTPUT_FILE.partial`, in the order in which it came, safe from
        crashes and power cuts. A run that was ended by anything goes on with `resume=True`, and asks only for what
        did not arrive. While the file is made of the folder at the end, it takes twice its size on the disk; only a
        `.npy` whose vectors arrived in the order of the texts is not written again.

        Beside the file lies `OUTPUT_FILE.run.json`, which says what all runs took: requests, retries, tokens, seconds,
        and the texts that failed. The summary sums up all runs, too.

        Args:
            texts: The texts; to resume, the same ones again.
            output_file: The file: .npy, .npz, .arrow (Arrow IPC), .parquet or .jsonl.
            resume: Whether to go on with what an earlier run left. If there is nothing, the run begins, and if the
                file is whole already and of these texts, nothing is done; so a script may always pass it.
            overwrite: Whether to replace the file if it exists, and what an earlier run left of it.
            keep_text: Whether the file holds the texts beside ids and vectors.
            format: "npy", "npz", "arrow", "parquet" or "jsonl", where the suffix does not say it.
            on_error: "raise", or "skip" texts that cannot be embedded: they have no row, and are counted.
            on_progress: As for `embed`.
            stop: Set it to end the run early: it sends nothing more, takes what is in flight, as that is paid for, and
                raises `StreamClosedError`. A task that is cancelled waits for nothing, but keeps what has arrived.
            stop_wait: Most seconds to wait for what is in flight then.
            **options: See `EmbedOptionsArgs`.

        Returns:
            How the run went; `saved` is how many rows the file has. If that is none, no file was made.

        Raises:
            ConfigurationError: if the file exists or cannot be written, or an option is wrong; nothing was sent.
            ResumeError: if what an earlier run left is of other texts, another model or other options.
            OSError: if the disk is full, or the folder has gone; what was safe before stays so.
            AsyncEmbedError: if a text cannot be embedded, or the run was stopped; what has arrived stays safe.

        Example:
            ```python
            summary = await client.embed_to_file(texts, "vectors.npy", resume=True)
            print(summary.done, summary.resumed, summary.usage.tokens)
            ```
        """
        from asyncembed._core.settling import MAX_READY  # noqa: PLC0415
        from asyncembed._progress import Progress  # noqa: PLC0415
        from asyncembed._target import Target  # noqa: PLC0415
        from asyncembed._to_file import FileRun  # noqa: PLC0415  # noqa: PLC0415

        check_raise_or_skip(on_error)
        check_texts(texts)
        for name, value in (("resume", resume), ("overwrite", overwrite), ("keep_text", keep_text)):
            check_flag(name, value)
        check(stop is None or isinstance(stop, asyncio.Event), f"stop={shown(stop)} must be an asyncio.Event")
        check_not_negative("stop_wait", stop_wait)
        progress = Progress(on_progress)
        target = Target.of(output_file, format, resume=resume, overwrite=overwrite, keep_text=keep_text)
        target.validate_distinct(options.get("dead_letter"))
        call = self._call(options, on_error, dedupe=True)
        # They are written when they are settled, and not when they may be asked for again.
        of_stream = replace(call, dead_letters=None)

        def open_stream(rest: Texts, first: int, gaps: Sequence[tuple[int, EmbedInput]]) -> EmbedStream[Item]:
            run = Run(
                of_stream,
                rest,
                ordered=False,
                first=first,
                gaps=gaps,
                as_blocks=True,
                max_ready=MAX_READY,
                withholds=True,
                settling=True,
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
        """Put the vectors of rows into a store, such as a table of a database; see `asyncembed.stores`.

        The store is asked which rows it has with the very text, and only the others are embedded. So a run that was
        ended by anything goes on when it is called again, and a run over changed rows asks for those that changed. What
        may be paid for again after a crash is what was in flight and at most 2,000 rows that waited for the store.

        A row that has gone stays in the store, and changed metadata alone changes nothing. Of two rows with one id the
        last that arrives stays; the store is not closed at the end.

        Args:
            rows: (id, text) pairs, or `EmbedInput` with id and metadata, in any order; an id may be there once.
            store: Where vectors go: `SqliteVectors`, `PgVector`, `LanceTable`, or a `Store` of your own.
            keep_text: Whether the store gets the texts, too.
            on_error: "raise", or "skip" texts that cannot be embedded: they have no row, and are counted.
            on_progress: Called on the event loop a few times a second, and at the end, with how the run stands.
            patience: Seconds for which a store that fails is tried again, before its error ends the run.
            stop: Set it to end the run early: it sends nothing more, takes what is in flight, as that is paid for, and
                raises `StreamClosedError`. A task that is cancelled waits for nothing, but stores what has arrived.
            stop_wait: Most seconds to wait for what is in flight then.
            **options: See `EmbedOptionsArgs`.

        Returns:
            How the run went; `resumed` is how many rows the store had already, and `saved` counts them, too.

        Raises:
            ResumeError: if the store has vectors of another model or made with other options; nothing was sent.
            ConfigurationError: if a row has no id, or an option is wrong.
            AsyncEmbedError: if a text cannot be embedded, or the run was stopped; what has arrived is stored.
            Exception: what the store raised, when it did so for too long.

        Example:
            ```python
            from asyncembed.stores import SqliteVectors

            store = SqliteVectors("vectors.db", "documents")
            await client.embed_to_store(enumerate(texts), store)
            await store.aclose()
            ```
        """
        from asyncembed._progress import Progress  # noqa: PLC0415
        from asyncembed._to_store import BATCH_ROWS, StoreRun  # noqa: PLC0415

        check_raise_or_skip(on_error)
        check_texts(rows)
        check(patience >= 0, f"patience={patience!r} must be 0 or more")
        check(stop_wait >= 0, f"stop_wait={stop_wait!r} must be 0 or more")
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
                most_unsettled=2 * BATCH_ROWS,
            )
            return EmbedStream(run, self._adopt)

        run = StoreRun(
            call,
            rows,
            store,
            open_stream,
            progress.tell if progress.is_wanted else None,
            keep_text=keep_text,
            patience=patience,
            stop=stop,
            stop_wait=stop_wait,
        )
        async with progress:
            return await run.complete()

    @property
    def spec(self) -> ClientSpec:
        """The settings of this client as plain values, for another process; what the environment said is not in it.

        Raises:
            ConfigurationError: if something of it cannot travel, such as a key, a session or a function.
        """
        return self._describe()

    async def aclose(self) -> None:
        """End every stream, close the HTTP session and stop the embedded server; a second call does nothing.

        It goes on in the background if the caller is cancelled meanwhile, or is itself the source of a stream's texts.
        """
        self._closing = self._closing or asyncio.create_task(self._close(), name="asyncembed-close")
        if current_run() is None:  # else it is called by the texts of a stream, which it would wait for
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

    def _first_concurrency(self, most: int) -> int | None:
        check_count("max_concurrency", most)
        published = self._provider.max_concurrency if self._connection.is_official else None
        return min(published, most) if published else None

    def _call(self, given: EmbedOptionsArgs, on_error: OnError, *, dedupe: bool = False) -> Call:
        if self._connection.closed:
            raise StreamClosedError("the client was closed")
        return new_call(self._endpoint, self._model, given, on_error, dedupe=dedupe)

    def _queries(self, options: EmbedOptionsArgs) -> QueryRun:
        """Return the books of queries with these options; they are checked when they come for the first time."""
        try:
            key: object = frozenset(options.items())
            kind = self._lane.find(key)
        except TypeError:  # a mapping among them
            key = repr(sorted(options.items()))
            kind = self._lane.find(key)
        if kind is None or self._connection.closed:
            call = self._call(for_texts(options, "query"), "raise")
            identity = provenance_of(call, keep_text=False).digest
            kind = self._lane.open(key, replace(call, dedupe_bytes=0, identity=identity))
        return kind

    def _adopt(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
