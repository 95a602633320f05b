"""What the classes of all frameworks stand on.

Frameworks give an adapter no place to open or close anything, call it from any thread and event loop, copy it and
pickle it. So it holds a spec and nothing else; its sync and its async methods use the client of that spec which lives
on the process's own event loop.
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
    """Embeds texts in a role, by plain calls and by awaited ones.

    Attributes:
        spec: The settings of the client.
        dimensions: Length of the vectors, where the model can shorten them.
    """

    spec: ClientSpec
    dimensions: int | None = None

    def embed(self, texts: Sequence[str], role: Role) -> EmbedResponse[Scalar]:
        """Embed texts, and wait for them."""
        return run_with(self.spec, self.spec.open, lambda client: self._ask(client, texts, role))

    async def aembed(self, texts: Sequence[str], role: Role) -> EmbedResponse[Scalar]:
        """Embed texts; the caller's event loop goes on meanwhile."""
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
