"""What is sent to another process in the place of a client: plain values, and no secret among them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import TYPE_CHECKING, Final, Unpack

from asyncembed._base_url import BaseUrl
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
    check_positive,
    check_queries,
)
from asyncembed._connection import reaches_official
from asyncembed._exceptions import ConfigurationError
from asyncembed._options import new_slots
from asyncembed._ratelimit import RateLimit, RateLimitOff
from asyncembed._redaction import hide, hide_address, holds_secret, is_sendable
from asyncembed._repr import ShortRepr
from asyncembed.providers import PROVIDERS, Provider, get_provider

if TYPE_CHECKING:
    from asyncembed._client import EmbedClient
    from asyncembed._options import EmbedOptionsArgs

_LIMITS: Final = ("requests_per_minute", "inputs_per_minute", "tokens_per_minute")
_LONGEST_PLAIN_NAME: Final = 20


@dataclass(frozen=True, slots=True, repr=False)
class ClientSpec(ShortRepr):
    """All that makes an `EmbedClient`, but its key: frozen, hashable, and safe to pickle, to log and to store.

    Where a field is not given, the worker that opens the client takes key and address from its own environment.

    Attributes:
        provider: Name of a provider; for one of your own its class, or an object of it that can be pickled.
        model: The provider's name of the model; each provider has a default.
        base_url: Address of the API, without a user, a password or a query.
        api_key_env: Name of the environment variable that holds the key where the client is opened. If not given, it
            is the provider's customary one.
        requests_per_minute: What the API allows in a minute: requests, retries included.
        inputs_per_minute: Texts in all requests together.
        tokens_per_minute: Tokens in all requests together.
        max_memory_mb: As for `EmbedClient`, and so are the others.
        max_concurrency: Maximum number of concurrent requests to one model.
        initial_concurrency: How many to start with.
        retry: When to try again.
        timeouts: Time limits, in seconds.
        encoding: "base64", "float" or "auto".
        headers: Further headers of every request, as pairs of name and value; none of them may hold a key.
        cache: Path of a cache file, which is opened where the client is.
        cache_mb: Size from which on the cache gives up old rows.
        query_concurrency: Most requests for queries at once.
        max_waiting_queries: Queries that may wait for a request.
        query_cache: Vectors of queries that the client remembers.
        rate_limit: "off" for no limit, neither one that the provider has published nor one that its headers state.

    Raises:
        ConfigurationError: if a value is wrong, or one of them holds a secret.
    """

    provider: str | type[Provider] | Provider
    _: KW_ONLY
    model: str | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    requests_per_minute: float | None = None
    inputs_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_memory_mb: float = 256
    max_concurrency: int = 32
    initial_concurrency: int | None = None
    retry: RetryPolicy | None = None
    timeouts: Timeouts | None = None
    encoding: Encoding = "auto"
    headers: tuple[tuple[str, str], ...] = ()
    rate_limit: RateLimitOff | None = None
    cache: str | None = None
    cache_mb: float = 1_000
    query_concurrency: int = QUERY_CONCURRENCY
    max_waiting_queries: int = MAX_WAITING_QUERIES
    query_cache: int = QUERY_CACHE

    def __post_init__(self) -> None:
        object.__setattr__(self, "provider", _portable(self.provider))
        pairs = self.headers.items() if isinstance(self.headers, Mapping) else self.headers
        object.__setattr__(self, "headers", tuple((str(name), str(value)) for name, value in pairs))
        if self.base_url is not None:
            _check_address(self.base_url, self.make_provider())
        if self.api_key_env is not None:
            _check_variable(self.api_key_env)
        for name in (*_LIMITS, "max_memory_mb", "cache_mb"):
            if (value := getattr(self, name)) is not None:
                check_positive(name, value)
        check(self.retry is None or isinstance(self.retry, RetryPolicy), "retry= must be a RetryPolicy")
        check(self.timeouts is None or isinstance(self.timeouts, Timeouts), "timeouts= must be a Timeouts")
        new_slots(self.max_concurrency, self.initial_concurrency)
        check_queries(self.query_concurrency, self.max_waiting_queries, self.query_cache)
        check_choice("encoding", self.encoding, Encoding)
        if self.rate_limit is not None:
            check_choice("rate_limit", self.rate_limit, RateLimitOff)
        check(
            not (self.rate_limit and any(getattr(self, name) for name in _LIMITS)),
            "rate_limit='off' contradicts the limits that are given besides; leave out one of them",
        )
        for header, value in self.headers:
            check(not holds_secret(header, value), f"header {header!r} may hold a key, and a ClientSpec must hold none")

    def open(self) -> EmbedClient:
        """Return a new client of these settings; its key is read from the environment now.

        Clients that are opened from one spec share no rate limit: see `share`.

        Raises:
            ConfigurationError: if the key is not there.
        """
        from asyncembed._client import EmbedClient  # noqa: PLC0415  # which imports this module

        limits = {name: getattr(self, name) for name in _LIMITS}
        client = EmbedClient(
            self.make_provider(),
            model=self.model,
            api_key=self._key(),
            base_url=self.base_url,
            max_memory_mb=self.max_memory_mb,
            max_concurrency=self.max_concurrency,
            initial_concurrency=self.initial_concurrency,
            rate_limit=RateLimit(**limits) if any(limits.values()) else self.rate_limit,
            cache=self.cache,
            cache_mb=self.cache_mb,
            query_concurrency=self.query_concurrency,
            max_waiting_queries=self.max_waiting_queries,
            query_cache=self.query_cache,
            retry=self.retry,
            timeouts=self.timeouts,
            encoding=self.encoding,
            headers=dict(self.headers),
        )
        client._describe = lambda: self  # noqa: SLF001  # else it would not know the name of the variable
        return client

    def share(self, workers: int) -> ClientSpec:
        """Return the spec for one of several workers which are to keep the limits of one account together.

        Each worker gets an equal part of what was declared or, at the provider's own address, of what the provider
        has published. Where neither is known there is nothing to divide, and each worker goes by what the API says.

        Args:
            workers: How many clients there will be at once.
        """
        check_count("workers", workers)
        limits = {name: getattr(self, name) for name in _LIMITS}
        provider = self.make_provider()
        if (
            not any(limits.values())
            and self.rate_limit is None
            and provider.rate_limit
            and reaches_official(provider, self.base_url, self.model or provider.default_model or "")
        ):
            limits = {name: getattr(provider.rate_limit, name) for name in _LIMITS}
        return replace(self, **{name: limit and limit / workers for name, limit in limits.items()})

    def dimension(self, **options: Unpack[EmbedOptionsArgs]) -> int:
        """Return the length of the vectors: as it is known, and otherwise by asking the API for one harmless text.

        It is a plain call for code without an event loop, such as the plan of an engine.

        Raises:
            AsyncEmbedError: if it is not known and the API does not take a harmless text.
        """
        from asyncembed._background import run_with  # noqa: PLC0415  # few programs need the thread

        return run_with(self, self.open, lambda client: client.dimension(**options))

    def make_provider(self) -> Provider:
        """Return the provider itself, which knows names, limits and options of the API."""
        return get_provider(self.provider() if isinstance(self.provider, type) else self.provider)

    def _key(self) -> str | None:
        if self.api_key_env is None:
            return None
        key = hide(os.environ.get(self.api_key_env, "").strip())
        check(bool(key), f"the environment variable {self.api_key_env} is to hold the key, and is not set here")
        check(is_sendable(key), f"{self.api_key_env} holds white space or characters that a header cannot carry")
        return key


def describe(
    provider: Provider,
    rate_limit: RateLimit | RateLimitOff | None,
    headers: Mapping[str, str],
    *,
    hindrances: Mapping[str, bool],
    model: str | None,
    base_url: str | None,
    max_memory_mb: float,
    max_concurrency: int,
    initial_concurrency: int | None,
    cache: str | os.PathLike[str] | None,
    cache_mb: float,
    query_concurrency: int,
    max_waiting_queries: int,
    query_cache: int,
    retry: RetryPolicy | None,
    timeouts: Timeouts | None,
    encoding: Encoding,
) -> ClientSpec:
    """Return the spec of a client that was made of these arguments.

    `hindrances` says what cannot travel, and whether the client has it.

    Raises:
        ConfigurationError: if something of it cannot travel.
    """
    if found := [what for what, is_there in hindrances.items() if is_there]:
        raise ConfigurationError(f"this client cannot be described by a ClientSpec: it has {' and '.join(found)}")
    return ClientSpec(
        provider,
        model=model,
        base_url=None if base_url is None else str(base_url),
        max_memory_mb=max_memory_mb,
        max_concurrency=max_concurrency,
        initial_concurrency=initial_concurrency,
        cache=None if cache is None else os.fspath(cache),
        cache_mb=cache_mb,
        query_concurrency=query_concurrency,
        max_waiting_queries=max_waiting_queries,
        query_cache=query_cache,
        retry=retry,
        timeouts=timeouts,
        encoding=encoding,
        headers=tuple((name, str(value)) for name, value in headers.items()),
        rate_limit="off" if rate_limit == "off" else None,
        **{name: getattr(rate_limit, name, None) for name in _LIMITS},
    )


def _portable(provider: object) -> str | type[Provider] | Provider:
    """Return a provider as what is equal in another process: its name, or its class if its objects hold nothing."""
    if isinstance(provider, type) and issubclass(provider, Provider):
        get_provider(provider())
        return provider
    found = get_provider(provider)  # type: ignore[arg-type]  # it checks what it is given
    kind = type(found)
    if PROVIDERS.get(found.name) is kind:
        return found.name
    return kind if _is_as_made(found, kind) else found


def _is_as_made(provider: Provider, kind: type[Provider]) -> bool:
    """Whether a provider holds nothing that its class would not give to a new one."""
    if any(getattr(each, "__slots__", ()) for each in kind.__mro__):
        return False
    try:
        return vars(provider) == vars(kind())
    except (TypeError, ConfigurationError):  # it needs arguments
        return False


def _check_address(base_url: object, provider: Provider) -> None:
    address = (
        BaseUrl.parse(hide_address(base_url), "base_url", provider.endpoint("")) if isinstance(base_url, str) else None
    )
    check(address is not None, f"base_url= must be a str, not {type(base_url).__name__}")
    assert address
    check(
        not address.login and not address.secrets,
        "base_url= holds a login or a query, and a ClientSpec must hold no secret; set the variable of the provider "
        "on the worker, or api_key_env=",
    )


def _check_variable(name: object) -> None:
    """Raise `ConfigurationError`, without the value, for what is no name of a variable, such as a key."""
    is_name = isinstance(name, str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is not None
    is_long = isinstance(name, str) and len(name) > _LONGEST_PLAIN_NAME
    is_key = is_long and all(re.search(kind, str(name)) for kind in ("[a-z]", "[0-9]"))
    check(
        is_name and not is_key,
        "api_key_env= must be the name of an environment variable, such as OPENAI_API_KEY; it looks like a key itself",
    )
