"""The fields of a `ClientSpec` as keyword arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncembed._exceptions import ConfigurationError
from asyncembed._spec import ClientSpec, SpecArguments

if TYPE_CHECKING:
    from asyncembed.providers import Provider


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
