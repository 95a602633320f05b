"""The common base of the framework classes.

Frameworks never open or close an adapter. They call it from any thread and event loop, copy it and pickle it. So an
adapter holds only a spec; its sync and async methods use the client of that spec on the process's own event loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from asyncembed._background import await_with, run_with
from asyncembed._exceptions import ConfigurationError
from asyncembed._options import for_texts
from asyncembed._spec import spec_from

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncembed._client import EmbedClient
    from asyncembed._models import EmbedResponse, Scalar, Vector
    from asyncembed._options import EmbedOptionsArgs
    from asyncembed._spec import ClientSpec, SpecArguments
    from asyncembed.providers import Provider

Role: TypeAlias = Literal["document", "query"]


@dataclass(frozen=True, slots=True)
class Embedder:
    """Embeds texts as documents or queries, by plain and by async calls.

    Attributes:
        spec: The settings of the client.
        dimensions: Length of the vectors, if the model can shorten them.
    """

    spec: ClientSpec
    dimensions: int | None = None

    def embed(self, texts: Sequence[str], role: Role) -> EmbedResponse[Scalar]:
        """Embed texts by a plain call."""
        return run_with(self.spec, self.spec.open, lambda client: self._ask(client, texts, role))

    async def aembed(self, texts: Sequence[str], role: Role) -> EmbedResponse[Scalar]:
        """Embed texts without blocking the caller's event loop."""
        return await await_with(self.spec, self.spec.open, lambda client: self._ask(client, texts, role))

    def query(self, text: str) -> Vector:
        """Embed a query, and wait for it."""
        return run_with(self.spec, self.spec.open, lambda client: client.embed_query(text, **self._options))

    async def aquery(self, text: str) -> Vector:
        """Embed a query; the caller's event loop goes on meanwhile."""
        return await await_with(self.spec, self.spec.open, lambda client: client.embed_query(text, **self._options))

    @property
    def _options(self) -> EmbedOptionsArgs:
        return {} if self.dimensions is None else {"dimensions": self.dimensions}

    async def _ask(self, client: EmbedClient, texts: Sequence[str], role: Role) -> EmbedResponse[Scalar]:
        return await client.embed(texts, **for_texts(self._options, role))


def spec_of(
    provider: str | Provider | ClientSpec | None, spec: ClientSpec | None, settings: SpecArguments
) -> ClientSpec:
    """Return the spec that a framework's class was given, or a new one with these settings.

    Args:
        provider: A spec, or the provider that one takes.
        spec: A spec, in place of a provider.
        settings: The other fields of a new spec.

    Raises:
        ConfigurationError: if a setting is wrong or unknown, or not exactly one of a spec and a provider was given.
    """
    given = [each for each in (provider, spec) if each is not None]
    if len(given) != 1:
        raise ConfigurationError("pass either a provider or a ClientSpec as spec=")
    return spec_from(given[0], settings)


def repr_of(adapter: object, spec: ClientSpec, dimensions: int | None = None) -> str:
    """Return the `repr` of a framework's class."""
    more = "" if dimensions is None else f", dimensions={dimensions}"
    return f"{type(adapter).__name__}({spec!r}{more})"
