"""The client: what its streams share, and who owns it. What it can do is in `_verbs`."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import anyio

from asyncembed._connection import Connection
from asyncembed._errors import StreamClosedError
from asyncembed._options import check_headers, check_session, find_limiter, new_budget, new_call, new_slots
from asyncembed._repr import shown
from asyncembed._secret import hide_address, hide_headers, hide_key
from asyncembed._settings import Encoding, RetryPolicy, Timeouts, check, check_choice, check_count, check_text
from asyncembed._spec import ClientSpec, describe
from asyncembed._verbs import Verbs
from asyncembed.flow._outage import Outage
from asyncembed.pipeline._endpoint import Endpoint, Learned
from asyncembed.pipeline._observer import Hook
from asyncembed.pipeline._supervisor import current_run
from asyncembed.providers import find_model, get_provider
from asyncembed.providers.prompts import find_prompts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import NoReturn

    import aiohttp

    from asyncembed._events import Event
    from asyncembed._options import EmbedOptionsArgs
    from asyncembed._settings import OnError
    from asyncembed.flow._rate import RateLimit
    from asyncembed.pipeline._call import Call
    from asyncembed.providers import Provider


class EmbedClient(Verbs):
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
        rate_limit: What the API allows in a minute. Clients that are given the same object share it. If not given, what
            the provider has published holds at its own address, and what the API says in its headers everywhere.
        retry: When to try again, as a `RetryPolicy` or a number of attempts; 1 tries everything once.
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
        rate_limit: RateLimit | None = None,
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
            learned=Learned(Outage(policy)),
            address=self._connection.address,
            is_official=self._connection.is_official,
            prompts=find_prompts(prompts),
            hook=Hook.of(on_event),
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[None] | None = None
        hindrances = {
            "a key of its own (set the key in an environment variable, and name it with api_key_env=)": key is not None,
            "a session of its own": session is not None,
            "a function in on_event=": on_event is not None,
            "prompts=": prompts is not None,
            "catalogue=": catalogue is not None,
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
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._connection.aclose()

    def _first_concurrency(self, most: int) -> int | None:
        check_count("max_concurrency", most)
        published = self._provider.max_concurrency if self._connection.is_official else None
        return min(published, most) if published else None

    def _call(self, given: EmbedOptionsArgs, on_error: OnError) -> Call:
        if self._connection.closed:
            raise StreamClosedError("the client was closed")
        return new_call(self._endpoint, self._model, given, on_error)

    def _adopt(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
