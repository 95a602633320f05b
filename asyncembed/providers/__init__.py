"""One small file a wire format, and the registry of their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncembed._errors import ConfigurationError
from asyncembed.providers._base import Limits, Provider
from asyncembed.providers.cohere import Cohere, CohereV1
from asyncembed.providers.local import Local
from asyncembed.providers.openai import OpenAI

if TYPE_CHECKING:
    from collections.abc import Mapping

PROVIDERS: Final[Mapping[str, type[Provider]]] = {kind.name: kind for kind in (Cohere, CohereV1, OpenAI, Local)}

__all__ = ["PROVIDERS", "Cohere", "CohereV1", "Limits", "Local", "OpenAI", "Provider", "get_provider"]


def get_provider(provider: str | Provider) -> Provider:
    """Return the provider of this name, or the provider itself.

    Raises:
        ConfigurationError: if no provider has this name.
    """
    if isinstance(provider, Provider):
        return provider
    if not isinstance(provider, str) or provider not in PROVIDERS:
        raise ConfigurationError(f"provider={provider!r} is not known; use one of {', '.join(PROVIDERS)}")
    return PROVIDERS[provider]()
