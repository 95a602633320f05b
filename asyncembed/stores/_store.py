"""The protocol of a store of vectors, and the result of a search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from asyncembed._models import Metadata, TextId  # noqa: TC001  # for `typing.get_type_hints`
from asyncembed._public import publish
from asyncembed._repr import ShortRepr

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncembed._models import Matrix, Vector

StoreFingerprint: TypeAlias = Mapping[str, object]
"""Properties that all vectors of one store share, as JSON values: provider, model, dimensions, dtype, and so on."""


class Store(Protocol):
    """A place for vectors, which `embed_to_store` fills.

    `embed_to_store` repeats `present` and `put` for a while after an exception, except after errors of this package and
    programming errors such as `TypeError`. Ids are strings of valid Unicode without NUL, integers of 64 bits, or UUIDs.

    A store may also have a method `check_name(name: str) -> None` that raises `ConfigurationError` for a name of
    metadata that it cannot keep: then a row with such a name is refused before it is paid for.
    """

    async def prepare(self, fingerprint: StoreFingerprint, dimension: int | None) -> int | None:
        """Prepare for vectors of this kind. Called before any request, and again when the dimension becomes known.

        Args:
            fingerprint: The properties that all vectors share. The store keeps it and, if it is not empty, compares it
                by `check_fingerprint`.
            dimension: The dimension of the vectors, None if it is not known yet.

        Returns:
            The dimension of the vectors in the store, else `dimension`.

        Raises:
            ResumeError: if the store has another fingerprint or another dimension.
        """
        ...

    async def present(self, ids: Sequence[TextId], hashes: Sequence[bytes]) -> Sequence[bool]:
        """Return for each id whether the store has it with this hash of its text. Called while `put` runs."""
        ...

    async def put(
        self,
        ids: Sequence[TextId],
        hashes: Sequence[bytes],
        vectors: Matrix,
        texts: Sequence[str] | None,
        metadata: Sequence[Metadata | None],
    ) -> None:
        """Store all rows or none, replace those with the same ids, and return when they are safe.

        Args:
            ids: The ids; each occurs once.
            hashes: The hash of each text, 16 bytes.
            vectors: Array of shape (n, width) in the dtype of the fingerprint. Packed bits have 8 dimensions a number.
            texts: The texts, None if the store should not keep them.
            metadata: The metadata of each row, which never has the names "id", "hash", "embedding" and "text".
        """
        ...

    async def aclose(self) -> None:
        """Close connections and files. A later call opens them again."""
        ...


class SearchableStore(Protocol):
    """A store that can be searched."""

    async def fingerprint(self) -> StoreFingerprint | None:
        """Return the properties that all vectors share, None if the store has none."""
        ...

    async def search(self, vector: Vector, k: int = 10) -> list[Found]:
        """Return the `k` rows whose vectors are nearest to `vector`, the nearest first."""
        ...


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Found(ShortRepr):
    """A row that a search found.

    Attributes:
        id: The id.
        score: Cosine similarity to the query, from -1 to 1; for packed bits, 1 - 2 * (share of differing bits).
        text: The text, None if the store does not keep it.
        metadata: The other columns.
    """

    id: TextId | None
    score: float
    text: str | None
    metadata: Metadata


publish("asyncembed", [Found])
