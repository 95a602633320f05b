"""A column of texts in a process that an engine has started.

Engines copy and pickle what they run, call it from any thread and event loop, and give it no place to close anything.
So a `Column` holds plain values, and uses the client of its spec on the process's own event loop.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import pyarrow as pa

from asyncembed._background import await_with
from asyncembed._config import check, check_choice
from asyncembed._options import EmbedOptionsArgs, check_names
from asyncembed._spec import ClientSpec
from asyncembed.arrow import embed_array

if TYPE_CHECKING:
    from asyncembed._client import EmbedClient

NullOrRaise: TypeAlias = Literal["null", "raise"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """Embeds columns of texts.

    Attributes:
        spec: The settings of the client.
        on_error: As for `embed_array`.
        dimension: Length of the vectors; None to find it out where a column has no vector that shows it.
        options: See `EmbedOptionsArgs`.

    Raises:
        ConfigurationError: if a setting is wrong.
    """

    spec: ClientSpec
    on_error: NullOrRaise = "null"
    dimension: int | None = None
    options: EmbedOptionsArgs = field(default_factory=EmbedOptionsArgs)

    def __post_init__(self) -> None:
        check(isinstance(self.spec, ClientSpec), f"spec must be a ClientSpec, not a {type(self.spec).__name__}")
        check_choice("on_error", self.on_error, NullOrRaise)
        check_names(self.options)

    async def embed(self, texts: pa.Array | pa.ChunkedArray) -> pa.FixedSizeListArray:
        """Return the vectors of texts, and null for texts that are null or empty; see `embed_array`."""
        return await await_with(self.spec, self.spec.open, lambda client: self._ask(client, texts))

    async def _ask(self, client: EmbedClient, texts: pa.Array | pa.ChunkedArray) -> pa.FixedSizeListArray:
        how, dimension = self.on_error, self.dimension
        vectors = await embed_array(client, texts, on_error=how, dimension=dimension, **self.options)
        if vectors.type.list_size == 0:  # no vector shows it, and the columns of an engine must have one type
            dimension = await client.dimension(**self.options)
            none = await embed_array(client, texts.slice(0, 0), dimension=dimension, **self.options)
            return pa.nulls(len(texts), none.type)
        return vectors
