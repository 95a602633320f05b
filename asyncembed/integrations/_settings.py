"""The fields of a `ClientSpec` as keyword arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from asyncembed._exceptions import ConfigurationError
from asyncembed._spec import ClientSpec

if TYPE_CHECKING:
    from asyncembed._config import Encoding, RetryPolicy, Timeouts
    from asyncembed.providers import Provider


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
    retry: RetryPolicy | None
    timeouts: Timeouts | None
    encoding: Encoding
    headers: tuple[tuple[str, str], ...]


def spec_from(provider: str | Provider | ClientSpec, settings: SpecArguments) -> ClientSpec:
    """Return the given spec, or a new one with these settings.

    Raises:
        ConfigurationError: if a setting is wrong or unknown, or both a spec and settings were given.
    """
    if isinstance(provider, ClientSpec):
        if settings:
            raise ConfigurationError(f"pass either a ClientSpec or {', '.join(sorted(settings))}=, not both")
        return provider
    if unknown := sorted(set(settings) - SpecArguments.__optional_keys__):
        hint = "; pass the name of a variable as api_key_env=" if "api_key" in unknown else ""
        raise ConfigurationError(f"a ClientSpec has no field {', '.join(map(repr, unknown))}{hint}")
    return ClientSpec(provider, **settings)
