"""The client: what its streams share, and the verbs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal, Unpack, overload

import anyio

from asyncembed._closing import AsyncClosing
from asyncembed._collect import collect
from asyncembed._connection import Connection
from asyncembed._errors import StreamClosedError
from asyncembed._options import EmbedOptionsArgs, new_budget, new_concurrency, new_run
from asyncembed._settings import Encoding, OnError, RetryPolicy, Timeouts, check_choice
from asyncembed.pipeline._endpoint import Endpoint
from asyncembed.pipeline._stream import EmbedStream
from asyncembed.pipeline._supervisor import current_run
from asyncembed.providers import get_provider

if TYPE_CHECKING:
    from collections.abc import Mapping

    import aiohttp

    from asyncembed._models import EmbedFailure, EmbedResponse, EmbedResult
    from asyncembed.pipeline._source import Texts
    from asyncembed.providers import Provider


class EmbedClient(AsyncClosing):
    """Embeds texts through one HTTP API.

    Use it as `async with EmbedClient("cohere") as client:`, or call `aclose()` when done. One client serves any number
    of streams at once; they share its memory budget, its request slots and its connections. It holds no task group,
    so it may be opened and closed in different tasks, as fixtures and application lifespans do.

    Args:
        provider: Name of a provider, or a `Provider` of your own.
        model: The provider's name of the model; each provider has a default.
        api_key: The key; taken from the provider's customary environment variable if not given.
        base_url: Address of the API, for compatible servers and proxies; for "openai" it includes `/v1`.
        max_memory_mb: Memory that requests and results which wait for their consumer may take, in millions of bytes.
        max_concurrency: Most requests at once. It begins with at most 8, and grows while the API answers well.
        retry: When to try again.
        timeouts: Time limits, in seconds.
        encoding: "base64" or "float" for how vectors travel; "auto" asks for base64 where it is known to work.
        headers: Further headers of every request.
        session: Your own aiohttp session, for proxies or TLS of your own; it is not closed here.

    Raises:
        ConfigurationError: if an argument is wrong, the provider is unknown or its key is missing.
    """

    def __init__(
        self,
        provider: str | Provider,
        *,
        model: str | None = None,
        api_key: str | None = None,
        base_url: str | None = None,
        max_memory_mb: float = 256,
        max_concurrency: int = 32,
        retry: RetryPolicy | None = None,
        timeouts: Timeouts | None = None,
        encoding: Encoding = "auto",
        headers: Mapping[str, str] | None = None,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        self._provider = get_provider(provider)
        self._model = model or self._provider.default_model
        check_choice("encoding", encoding, Encoding)
        self._connection = Connection(
            self._provider,
            api_key=api_key,
            base_url=base_url,
            headers=headers,
            session=session,
            timeouts=timeouts or Timeouts(),
        )
        self._endpoint = Endpoint(
            provider=self._provider,
            encoding=encoding,
            retry=retry or RetryPolicy(),
            concurrency=new_concurrency(max_concurrency),
            budget=new_budget(max_memory_mb),
            connect=self._connection.open,
            is_official=self._connection.is_official,
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[None] | None = None

    @property
    def model(self) -> str:
        """The model that is asked for where a call names no other."""
        return self._model

    @property
    def provider(self) -> Provider:
        """The API behind this client."""
        return self._provider

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
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._connection.aclose()

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
        self,
        texts: Texts,
        *,
        ordered: bool = True,
        on_error: OnError = "raise",
        **options: Unpack[EmbedOptionsArgs],
    ) -> EmbedStream[EmbedResult] | EmbedStream[EmbedResult | EmbedFailure]:
        """Return a stream of results, which starts when its first result is asked for.

        Args:
            texts: Texts as `str`, `(id, str)` or `EmbedInput`: a list, generator, open text file (a text a line), or
                an async iterable. They are pulled only as fast as results are taken; blank lines of a file are left
                out. A plain iterable is pulled on the event loop, so if it is slow, make it an async one.
            ordered: Whether results come by index, or as they arrive.
            on_error: For texts that cannot be embedded: "raise", "yield" an `EmbedFailure` in their place, or "skip"
                and count them. A wrong key, or an item that is no text at all, always raises.
            **options: See `EmbedOptionsArgs`.

        Raises:
            ConfigurationError: if an option is wrong or not known to the provider.
        """
        return self._stream(texts, options, ordered=ordered, on_error=on_error)

    async def embed(self, texts: Texts, **options: Unpack[EmbedOptionsArgs]) -> EmbedResponse:
        """Embed all texts and return their vectors as one array of shape (n, dimension), in the order of the texts.

        Texts and options are those of `embed_stream`.

        Raises:
            AsyncEmbedError: if a text cannot be embedded; `indices` of the error says which.
        """
        return await collect(texts, self._stream(texts, options, ordered=False, on_error="raise"))

    def _stream(
        self, texts: Texts, given: EmbedOptionsArgs, *, ordered: bool, on_error: OnError
    ) -> EmbedStream[EmbedResult]:
        if self._connection.closed:
            raise StreamClosedError("the client was closed")
        run = new_run(self._endpoint, self._model, texts, ordered=ordered, on_error=on_error, given=given)
        return EmbedStream(run, self._adopt)

    def _adopt(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
