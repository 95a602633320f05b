"""One small file a wire format, and the registry of their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncembed._decide.signs import Sign
from asyncembed._errors import ConfigurationError
from asyncembed._repr import shown
from asyncembed.providers._base import Limits, Provider
from asyncembed.providers.cohere import Cohere, CohereV1
from asyncembed.providers.local import Local
from asyncembed.providers.openai import OpenAI

if TYPE_CHECKING:
    from collections.abc import Mapping

PROVIDERS: Final[Mapping[str, type[Provider]]] = {kind.name: kind for kind in (Cohere, CohereV1, OpenAI, Local)}

_REQUIRED: Final = ("name", "base_url", "path", "default_model", "limits")

__all__ = ["PROVIDERS", "Cohere", "CohereV1", "Limits", "Local", "OpenAI", "Provider", "Sign", "get_provider"]


def get_provider(provider: str | Provider) -> Provider:
    """Return the provider of this name, or the provider itself.

    Raises:
        ConfigurationError: if no provider has this name.
    """
    if isinstance(provider, type) and issubclass(provider, Provider):
        raise ConfigurationError(f"provider= is a class; pass an object of it: {provider.__name__}()")
    if isinstance(provider, Provider):
        if missing := [name for name in _REQUIRED if not hasattr(provider, name)]:
            raise ConfigurationError(f"{type(provider).__name__} does not say its {', '.join(missing)}")
        return provider
    if not isinstance(provider, str) or provider not in PROVIDERS:
        raise ConfigurationError(f"provider={shown(provider)} is not known; use one of {', '.join(PROVIDERS)}")
    return PROVIDERS[provider]()
