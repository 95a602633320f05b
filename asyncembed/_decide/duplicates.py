"""Which texts of a run need not be asked for: equal texts, and texts whose vectors are known already.

Pure: no I/O and no clock. The first of several equal texts is requested; the others receive its vector when that
response has ended without error. Vectors stay known as long as they fit into the memory given.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Generic, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asyncembed._exceptions import AsyncEmbedError
    from asyncembed._models import EmbedInput, Vector

ENTRY_BYTES: Final = 300
"""Bytes that a known vector takes besides its numbers: key, array object and its place in the dictionary."""

HolderT = TypeVar("HolderT")
Follower: TypeAlias = tuple[int, "EmbedInput"]
"""Index and text."""


@dataclass(slots=True, eq=False)
class Lead(Generic[HolderT]):
    """A text that is requested, and the equal texts that wait for its vector.

    Attributes:
        vector: The vector, once it is final.
        error: Why there is none.
        waiting: Followers, each with the reservation that holds the memory of its result.
    """

    vector: Vector | None = None
    error: AsyncEmbedError | None = None
    waiting: list[tuple[Follower, HolderT]] = field(default_factory=list)


class KnownVectors:
    """Vectors by key, the most recently used ones that fit into a number of bytes."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._size = 0
        self._vectors: OrderedDict[bytes, Vector] = OrderedDict()

    def get(self, key: bytes) -> Vector | None:
        """Return the vector of a key, None if it is not known."""
        vector = self._vectors.get(key)
        if vector is not None:
            self._vectors.move_to_end(key)
        return vector

    def add(self, key: bytes, vector: Vector) -> None:
        """Remember a vector, which must not change, and forget the least recently used ones."""
        size = vector.nbytes + ENTRY_BYTES
        if size > self._max_bytes or key in self._vectors:
            return
        self._vectors[key] = vector if vector.base is None else vector.copy()  # a view keeps its whole matrix
        self._size += size
        while self._size > self._max_bytes:
            _, old = self._vectors.popitem(last=False)
            self._size -= old.nbytes + ENTRY_BYTES


class Duplicates(Generic[HolderT]):
    """Decides for each text of a run whether to request it, and keeps the texts that wait for an equal one.

    Args:
        known: Vectors that need no request.
        joins: Whether a text follows an equal one that is being requested.
    """

    def __init__(self, known: KnownVectors, *, joins: bool) -> None:
        self.known = known
        self._joins = joins
        self._keys: dict[int, bytes] = {}  # of the texts that are being requested, by index
        self._requested: set[bytes] = set()
        self._arrived: dict[int, Vector] = {}
        self._leads: dict[bytes, Lead[HolderT]] = {}  # of the texts that others follow

    def is_decided(self, key: bytes) -> bool:
        """Whether the vector of a text is known, or an equal text is being requested, so that no cache is needed."""
        return self.known.get(key) is not None or key in self._requested

    def classify(self, index: int, key: bytes) -> Vector | Lead[HolderT] | None:
        """Return the vector of a text, the equal text to follow, or None: then the text has to be requested."""
        vector = self.known.get(key)
        if vector is not None:
            return vector
        if key in self._requested:
            return self._leads.setdefault(key, Lead())
        self._keys[index] = key
        if self._joins:
            self._requested.add(key)
        return None

    def arrived(self, first: int, vectors: Iterable[Vector]) -> None:
        """Note the vectors of consecutive texts that were requested."""
        self._arrived.update(enumerate(vectors, first))

    def withdrawn(self, indices: Iterable[int]) -> None:
        """Forget vectors whose response turned out to be wrong; their texts are requested again."""
        for index in indices:
            self._arrived.pop(index, None)

    def settle(self, indices: Iterable[int]) -> tuple[dict[int, tuple[bytes, Vector]], list[Lead[HolderT]]]:
        """End a request: its vectors are final.

        Returns:
            The keys and vectors by index, and the texts among them that others follow.
        """
        final: dict[int, tuple[bytes, Vector]] = {}
        leads: list[Lead[HolderT]] = []
        for index in indices:
            vector = self._arrived.pop(index, None)
            if vector is None:
                continue
            key = self._keys.pop(index)
            final[index] = key, vector
            self.known.add(key, vector)
            self._requested.discard(key)
            if lead := self._leads.pop(key, None):
                lead.vector = vector
                leads.append(lead)
        return final, leads

    def lost(self, index: int, error: AsyncEmbedError) -> Lead[HolderT] | None:
        """Note that a text gets no vector, and return it if others follow it."""
        key = self._keys.pop(index, None)
        if key is None:
            return None
        self._requested.discard(key)
        lead = self._leads.pop(key, None)
        if lead:
            lead.error = error
        return lead
