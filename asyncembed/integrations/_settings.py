"""The fields of a `ClientSpec` as keyword arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from asyncembed._exceptions import ConfigurationError
from asyncembed._spec import ClientSpec

if TYPE_CHECKING:
    from asyncembed._config import Encoding, RetryPolicy, Timeouts
    from asyncembed.providers import Provider


class SpecArguments(TypedDict, total=False):
    """The fields of a `ClientSpec` but its provider."""

    model: str | None
    base_url: str | None
    api_key_env: str | None
    requests_per_minute: float | None
    inputs_per_minute: float | None
    tokens_per_minute: float | None
    max_memory_mb: float
    max_concurrency: int
    initial_concurrency: int | None
    retry: RetryPolicy | None
    timeouts: Timeouts | None
    encoding: Encoding
    headers: tuple[tuple[str, str], ...]
    query_concurrency: int
    max_waiting_queries: int
    query_cache: int


def spec_from(provider: str | Provider | ClientSpec, settings: SpecArguments) -> ClientSpec:
    """Return the spec that was given, or one of these settings.

    Raises:
        ConfigurationError: if a setting is wrong or unknown, or there are some beside a spec.
    """
    if isinstance(provider, ClientSpec):
        if settings:
            raise ConfigurationError(f"a ClientSpec was given, and {', '.join(sorted(settings))}= besides")
        return provider
    if unknown := sorted(set(settings) - SpecArguments.__optional_keys__):
        hint = "; give the name of a variable in api_key_env=" if "api_key" in unknown else ""
        raise ConfigurationError(f"a ClientSpec has no field {', '.join(map(repr, unknown))}{hint}")
    return ClientSpec(provider, **settings)
