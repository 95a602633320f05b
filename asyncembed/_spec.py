"""`ClientSpec`: describes a client in plain values without secrets, to open it in another process."""

from __future__ import annotations

import os
import re
from dataclasses import KW_ONLY, dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, TypedDict, Unpack, cast

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
    check_text,
)
from asyncembed._connection import check_header_values, reaches_official
from asyncembed._exceptions import ConfigurationError
from asyncembed._options import new_slots
from asyncembed._ratelimit import RateLimit, RateLimitOff
from asyncembed._redaction import hide, hide_address, holds_secret, is_sendable
from asyncembed._repr import ShortRepr
from asyncembed.providers import PROVIDERS, Provider, get_provider

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncembed._client import EmbedClient
    from asyncembed._options import EmbedOptionsArgs

_LIMITS: Final[tuple[Literal["requests_per_minute", "inputs_per_minute", "tokens_per_minute"], ...]] = (
    "requests_per_minute",
    "inputs_per_minute",
    "tokens_per_minute",
)
_LONGEST_PLAIN_NAME: Final = 20


class SpecArguments(TypedDict, total=False):
    """The fields of a `ClientSpec` except its provider."""

    model: str | None
    base_url: str | None
    api_key_env: str | None
    requests_per_minute: float | None
    inputs_per_minute: float | None
    tokens_per_minute: float | None
    max_memory_mb: float
    max_concurrency: int
    initial_concurrency: int | None
    cache: str | None
    cache_mb: float
    query_concurrency: int
    max_waiting_queries: int
    query_cache: int
    retry: RetryPolicy | int | None
    timeouts: Timeouts | float | None
    encoding: Encoding
    headers: tuple[tuple[str, str], ...]
    rate_limit: RateLimitOff | None


@dataclass(frozen=True, slots=True, repr=False)
class ClientSpec(ShortRepr):
    """The settings of an `EmbedClient` without its key: frozen, hashable, and safe to pickle, to log and to store.

    If you leave out the key variable or the address, `open` reads them from the environment of its own process.

    Attributes:
        provider: Name of a provider; for one of your own its class, or an instance that can be pickled.
        model: The provider's name of the model; None for the provider's default.
        base_url: Address of the API, without a user, a password or a query.
        api_key_env: Name of the environment variable with the key, in the process that opens the client; None for the
            provider's usual one.
        requests_per_minute: Maximum number of requests per minute, including retries.
        inputs_per_minute: Maximum number of texts per minute.
        tokens_per_minute: Maximum number of tokens per minute.
        max_memory_mb: As for `EmbedClient`, like all following fields.
        max_concurrency: Maximum number of concurrent requests to one model.
        initial_concurrency: Number of concurrent requests at the start.
        retry: When to retry; a number of attempts becomes a `RetryPolicy`.
        timeouts: Time limits; a number of seconds becomes a `Timeouts`.
        encoding: "base64", "float" or "auto".
        headers: Further headers of every request, as pairs of name and value; none may contain a key.
        cache: Path of a cache file, in the process that opens the client.
        cache_mb: Size at which the cache drops old rows.
        query_concurrency: Maximum number of concurrent requests for queries.
        max_waiting_queries: Number of queries that may wait for a request.
        query_cache: Number of query vectors that the client remembers.
        rate_limit: "off" for no limit: neither the published one nor the one in the API's headers.

    Raises:
        ConfigurationError: if a value is wrong or contains a secret.
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
    retry: RetryPolicy | int | None = None
    timeouts: Timeouts | float | None = None
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
        object.__setattr__(self, "headers", _pairs(self.headers))
        if self.retry is not None:
            object.__setattr__(self, "retry", RetryPolicy.of(self.retry))
        if self.timeouts is not None:
            object.__setattr__(self, "timeouts", Timeouts.of(self.timeouts))
        if self.model is not None:
            check_text("model", self.model)
        if self.base_url is not None:
            _check_address(self.base_url, self.make_provider())
        if self.api_key_env is not None:
            _check_variable(self.api_key_env)
        for name in (*_LIMITS, "max_memory_mb", "cache_mb"):
            if (value := getattr(self, name)) is not None:
                check_positive(name, value)
        new_slots(self.max_concurrency, self.initial_concurrency)
        check_queries(self.query_concurrency, self.max_waiting_queries, self.query_cache)
        check_choice("encoding", self.encoding, Encoding)
        if self.rate_limit is not None:
            check_choice("rate_limit", self.rate_limit, RateLimitOff)
        check(
            not (self.rate_limit and any(getattr(self, name) for name in _LIMITS)),
            "rate_limit='off' contradicts the given limits per minute; leave out one of them",
        )
        for header, value in self.headers:
            check(
                not holds_secret(header, value),
                f"header {header!r} may contain a key, but a ClientSpec must not contain any",
            )

    def open(self) -> EmbedClient:
        """Return a new client with these settings; its key is read from the environment now.

        Clients that are opened from the same spec do not share a rate limit; see `share`.

        Raises:
            ConfigurationError: if the key is missing.
        """
        from asyncembed._client import EmbedClient  # noqa: PLC0415  # `_client` imports this module

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
        client._describe = lambda: self  # noqa: SLF001  # the client itself does not know the name of the key variable
        return client

    def share(self, workers: int) -> ClientSpec:
        """Return the spec for one of several workers that share the rate limit of one account.

        Each worker gets an equal share of the limits of this spec or, at the provider's own address, of the limits that
        the provider has published. If neither is known, each worker follows the rate-limit headers of the API.

        Args:
            workers: Number of clients that run at the same time.
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
        """Return the length of the vectors; if it is not known, embed one harmless text to find it out.

        This call blocks. It is meant for code without an event loop, such as the planner of a data engine.

        Raises:
            AsyncEmbedError: if the length is not known and the API refuses the harmless text.
        """
        from asyncembed._background import run_with  # noqa: PLC0415  # few programs need the thread

        return run_with(self, self.open, lambda client: client.dimension(**options))

    def make_provider(self) -> Provider:
        """Return the provider object, which knows names, limits and options of the API."""
        return get_provider(self.provider() if isinstance(self.provider, type) else self.provider)

    def _key(self) -> str | None:
        if self.api_key_env is None:
            return None
        key = hide(os.environ.get(self.api_key_env, "").strip())
        check(bool(key), f"the environment variable {self.api_key_env} must contain the key, and is not set here")
        check(is_sendable(key), f"{self.api_key_env} contains white space or characters that a header cannot carry")
        return key


def describe(
    provider: Provider,
    limit: RateLimit | RateLimitOff | None,
    given_headers: Mapping[str, str],
    *,
    obstacles: Mapping[str, bool],
    **fields: Unpack[SpecArguments],
) -> ClientSpec:
    """Return the spec of a client that was built with these arguments.

    `obstacles` says for each setting that a spec cannot contain whether the client has it.

    Raises:
        ConfigurationError: if the client has such a setting.
    """
    if found := [what for what, is_there in obstacles.items() if is_there]:
        raise ConfigurationError(f"this client cannot be described by a ClientSpec: it has {' and '.join(found)}")
    if (base_url := fields.get("base_url")) is not None:
        fields["base_url"] = str(base_url)  # without what hides it in tracebacks
    for name in _LIMITS:
        fields[name] = getattr(limit, name, None)
    fields["rate_limit"] = "off" if limit == "off" else None
    fields["headers"] = tuple((name, str(value)) for name, value in given_headers.items())
    return ClientSpec(provider, **fields)


def spec_from(provider: str | Provider | ClientSpec, settings: SpecArguments) -> ClientSpec:
    """Return the given spec, or a new one with these settings.

    Raises:
        ConfigurationError: if a setting is wrong or unknown, or both a spec and settings were given.
    """
    if isinstance(provider, ClientSpec):
        check_only_spec(settings)
        return provider
    if unknown := sorted(set(settings) - SpecArguments.__optional_keys__):
        hint = "; pass the name of a variable as api_key_env=" if "api_key" in unknown else ""
        raise ConfigurationError(f"a ClientSpec has no field {', '.join(map(repr, unknown))}{hint}")
    return ClientSpec(provider, **settings)


def check_only_spec(settings: Mapping[str, object]) -> None:
    """Raise `ConfigurationError` if settings were given besides a spec."""
    if settings:
        raise ConfigurationError(f"pass either a ClientSpec or {', '.join(sorted(settings))}=, not both")


def _portable(provider: object) -> str | type[Provider] | Provider:
    """Return the name of a built-in provider, the class of a stateless one, or else the object itself."""
    if isinstance(provider, type) and issubclass(provider, Provider):
        get_provider(provider())
        return provider
    found = get_provider(provider)  # type: ignore[arg-type]  # it checks the type of its argument
    kind = type(found)
    if PROVIDERS.get(found.name) is kind:
        return found.name
    return kind if _is_stateless(found, kind) else found


def _is_stateless(provider: Provider, kind: type[Provider]) -> bool:
    """Return whether a provider equals a new instance of its class."""
    if any(getattr(each, "__slots__", ()) for each in kind.__mro__):
        return False
    try:
        return vars(provider) == vars(kind())
    except (TypeError, ConfigurationError):  # the class needs arguments
        return False


def _pairs(headers: object) -> tuple[tuple[str, str], ...]:
    """Return headers as pairs of name and value; do not show what is none, as it may be a key."""
    try:
        found = dict(cast("Mapping[str, str]", headers))
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"headers= is a {type(headers).__name__}, but must be pairs of name and value: (('X-Name', 'value'),)"
        ) from None
    return tuple((str(name), str(value)) for name, value in check_header_values(found).items())


def _check_address(base_url: object, provider: Provider) -> None:
    address = (
        BaseUrl.parse(hide_address(base_url), "base_url", provider.endpoint("")) if isinstance(base_url, str) else None
    )
    check(address is not None, f"base_url= must be a str, not {type(base_url).__name__}")
    assert address
    check(
        not address.login and not address.secrets,
        "base_url= has a user, a password or a query, but a ClientSpec must not contain secrets; set the provider's "
        "variable on the worker, or api_key_env=",
    )


def _check_variable(name: object) -> None:
    """Raise `ConfigurationError` unless `name` is a variable's name; do not show it, as it may be a key."""
    is_name = isinstance(name, str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is not None
    is_long = isinstance(name, str) and len(name) > _LONGEST_PLAIN_NAME
    is_key = is_long and all(re.search(kind, str(name)) for kind in ("[a-z]", "[0-9]"))
    check(
        is_name and not is_key,
        "api_key_env= must be the name of an environment variable, such as OPENAI_API_KEY; it looks like a key itself",
    )
