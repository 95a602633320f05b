"""What a store of vectors must be able to do, and what a search in it gives."""

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
"""What all vectors of one store share: provider, model, dimensions, dtype, input type and so on, as JSON has them."""


class Store(Protocol):
    """Where `embed_to_store` puts vectors.

    Methods may raise what they like. What `present` and `put` raise is taken for a failure that passes, and they are
    called again for a while, except for errors of this package and errors of programming such as `TypeError`.
    """

    async def prepare(self, fingerprint: StoreFingerprint, dimension: int | None) -> int | None:
        """Get ready for vectors of this kind; called before anything is sent, and again when the dimension is known.

        Args:
            fingerprint: What they share. A store that is not empty keeps it, and compares it by `check_fingerprint`.
            dimension: Their length in dimensions, None if it is not known yet.

        Returns:
            The length of the vectors that are there or may come, None if nothing is there and it was not given.

        Raises:
            ResumeError: if what is there has another fingerprint or another length.
        """
        ...

    async def present(self, ids: Sequence[TextId], hashes: Sequence[bytes]) -> Sequence[bool]:
        """Say for each id whether it is there with this hash of its text; called while `put` is at work."""
        ...

    async def put(
        self,
        ids: Sequence[TextId],
        hashes: Sequence[bytes],
        vectors: Matrix,
        texts: Sequence[str] | None,
        metadata: Sequence[Metadata | None],
    ) -> None:
        """Store rows and return when they are safe, in the place of those with the same ids: all of them or none.

        Args:
            ids: Their ids, none of them twice.
            hashes: 16 bytes each.
            vectors: Array of shape (n, width), in the dtype of the fingerprint; packed bits have 8 dimensions a number.
            texts: The texts, None if they are not to be kept.
            metadata: What else belongs to each row; the names "id", "hash", "embedding" and "text" are not in it.
        """
        ...

    async def aclose(self) -> None:
        """Close what the store has opened; it may be used again after that."""
        ...


class SearchableStore(Protocol):
    """A store that can be searched."""

    async def fingerprint(self) -> StoreFingerprint | None:
        """Return what the vectors share, None if nothing was ever stored."""
        ...

    async def search(self, vector: Vector, k: int = 10) -> list[Found]:
        """Return the `k` rows whose vectors are nearest to `vector`, the nearest first."""
        ...


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Found(ShortRepr):
    """One row that a search found.

    Attributes:
        id: Its id.
        score: Cosine similarity of its vector and the query, from -1 to 1. Of packed bits, 1 - 2 * (the share of bits
            that differ).
        text: Its text, None if that is not in the store.
        metadata: What else the store keeps of it.
    """

    id: TextId | None
    score: float
    text: str | None
    metadata: Metadata


publish("asyncembed", [Found])
