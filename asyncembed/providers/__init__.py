"""The providers: one small file per company or wire format, and the registry of their names."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from asyncembed._decide.signs import Sign
from asyncembed._exceptions import ConfigurationError
from asyncembed._models import Limits
from asyncembed._public import publish
from asyncembed._repr import shown
from asyncembed.providers._base import Model, Price, Provider, Setting
from asyncembed.providers._sigv4 import Credentials
from asyncembed.providers.azure_openai import AzureOpenAI
from asyncembed.providers.bedrock import BedrockCohere, BedrockNova, BedrockTitan
from asyncembed.providers.cohere import Cohere, CohereV1
from asyncembed.providers.compatible import Compatible, Custom
from asyncembed.providers.google import Gemini, Vertex
from asyncembed.providers.huggingface import TEI, HuggingFace
from asyncembed.providers.jina import Jina
from asyncembed.providers.local import Local
from asyncembed.providers.mistral import Mistral
from asyncembed.providers.ollama import Ollama
from asyncembed.providers.openai import OpenAI
from asyncembed.providers.presets import PRESETS
from asyncembed.providers.voyage import Voyage

if TYPE_CHECKING:
    from collections.abc import Mapping

_KINDS: Final[tuple[type[Provider], ...]] = (
    Cohere, CohereV1, OpenAI, AzureOpenAI, Gemini, Vertex, BedrockTitan, BedrockCohere, BedrockNova, Voyage, Mistral,
    Jina, Ollama, TEI, HuggingFace, *PRESETS, Local,
)  # fmt: skip
PROVIDERS: Final[Mapping[str, type[Provider]]] = {kind.name: kind for kind in _KINDS}

_REQUIRED: Final = ("name", "path", "default_model", "limits")

__all__ = [
    "PROVIDERS",
    "TEI",
    "AzureOpenAI",
    "BedrockCohere",
    "BedrockNova",
    "BedrockTitan",
    "Cohere",
    "CohereV1",
    "Compatible",
    "Credentials",
    "Custom",
    "Gemini",
    "HuggingFace",
    "Jina",
    "Limits",
    "Local",
    "Mistral",
    "Model",
    "Ollama",
    "OpenAI",
    "Price",
    "Provider",
    "Setting",
    "Sign",
    "Vertex",
    "Voyage",
    "find_model",
    "get_provider",
    "share_space",
]


def get_provider(provider: str | Provider) -> Provider:
    """Return the provider with this name, or the provider itself.

    Raises:
        ConfigurationError: no provider has this name, or the object lacks a fact that every provider needs.
    """
    if isinstance(provider, type) and issubclass(provider, Provider):
        raise ConfigurationError(f"provider= is a class; pass an object of it: {provider.__name__}()")
    if isinstance(provider, Provider):
        if missing := [name for name in _REQUIRED if not hasattr(provider, name)]:
            raise ConfigurationError(f"{type(provider).__name__} must declare its {', '.join(missing)}")
        return provider
    if not isinstance(provider, str) or provider not in PROVIDERS:
        raise ConfigurationError(f"provider={shown(provider, 0)} is not known; use one of {', '.join(PROVIDERS)}")
    return PROVIDERS[provider]()


def find_model(name: str, provider: Provider) -> Model:
    """Return the facts about a model from the provider's own table, or else from the table of any other provider.

    Raises:
        ConfigurationError: no table has this name.
    """
    tables = [provider.models, *(kind.models for kind in PROVIDERS.values())]
    found = next((table[name] for table in tables if name in table), None)
    if found is None:
        names = sorted({known for table in tables for known in table})
        near = get_close_matches(name, names, n=3)
        hint = f"similar names are {', '.join(near)}" if near else "`asyncembed providers NAME` lists the models"
        raise ConfigurationError(f"catalogue={shown(name)} is not a known model; {hint}")
    return found


def share_space(provider: str, one: str, other: str) -> bool:
    """Return whether the vectors of two models of a provider can be compared, so that one can search the other's."""
    table = PROVIDERS[provider].models if provider in PROVIDERS else {}
    spaces = [table[name].space for name in (one, other) if name in table]
    return one == other or (len(spaces) == 2 and spaces[0] is not None and spaces[0] == spaces[1])  # noqa: PLR2004


publish(__name__, [globals()[name] for name in __all__])
