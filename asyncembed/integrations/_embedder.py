"""The common base of the framework classes.

Frameworks never open or close an adapter. They call it from any thread and event loop, copy it and pickle it. So an
adapter holds only a spec; its sync and async methods use the client of that spec on the process's own event loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from asyncembed._background import await_with, run_with
from asyncembed._options import for_texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncembed._client import EmbedClient
    from asyncembed._models import EmbedResponse, Scalar, Vector
    from asyncembed._options import EmbedOptionsArgs
    from asyncembed._spec import ClientSpec

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
