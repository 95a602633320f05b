"""Which texts of a run need not be asked for: equal texts, and texts whose vectors are known already.

Pure: no I/O and no clock. The first of several equal texts is asked for and leads; the others follow it and get its
vector when the response that brought it has ended well. Vectors stay known as long as they fit into the memory given.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Generic, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Collection

    from asyncembed._exceptions import AsyncEmbedError
    from asyncembed._models import EmbedInput, Vector

ENTRY_BYTES: Final = 300
"""Bytes that a known vector takes besides its numbers: key, array object and its place in the dictionary."""

HolderT = TypeVar("HolderT")
Follower: TypeAlias = tuple[int, "EmbedInput"]
"""Index and text."""


@dataclass(slots=True, eq=False)
class Lead(Generic[HolderT]):
    """A text that is asked for, and the equal texts that wait for its vector.

    Attributes:
        key: Digest of the text and of everything that shapes its vector.
        vector: The vector, once it has arrived.
        error: Why there is none.
        is_settled: Whether nothing about it can change any more.
        expected: Number of followers whose memory has not been reserved yet.
        waiting: Followers, each with the reservation that its result is taken off.
    """

    key: bytes
    vector: Vector | None = None
    error: AsyncEmbedError | None = None
    is_settled: bool = False
    expected: int = 0
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
        """Remember a vector that nobody else changes; forget the ones that were not used for longest."""
        size = vector.nbytes + ENTRY_BYTES
        if size > self._max_bytes or key in self._vectors:
            return
        self._vectors[key] = vector
        self._size += size
        while self._size > self._max_bytes:
            _, old = self._vectors.popitem(last=False)
            self._size -= old.nbytes + ENTRY_BYTES


class Duplicates(Generic[HolderT]):
    """Decides for each text of a run whether to ask for it, and keeps the texts that wait for an equal one.

    Args:
        known: Vectors that need not be asked for.
        joins: Whether a text follows an equal one that is being asked for.
    """

    def __init__(self, known: KnownVectors, *, joins: bool) -> None:
        self.known = known
        self._joins = joins
        self._by_key: dict[bytes, Lead[HolderT]] = {}
        self._by_index: dict[int, Lead[HolderT]] = {}

    def is_decided(self, key: bytes) -> bool:
        """Whether the vector of a text is known, or an equal text leads, so that no cache need be asked."""
        return self.known.get(key) is not None or (self._joins and key in self._by_key)

    def sort(self, index: int, key: bytes) -> Vector | Lead[HolderT] | None:
        """Return the vector of a text, the equal text to follow, or None: then this text leads from now on."""
        vector = self.known.get(key)
        if vector is not None:
            return vector
        lead = self._by_key.get(key)
        if lead and self._joins and not lead.error:
            lead.expected += 1
            return lead
        lead = self._by_index[index] = Lead(key)
        if self._joins:
            self._by_key[key] = lead
        return None

    def arrived(self, index: int, vector: Vector) -> None:
        """Note the vector of a text; a text that does not lead is ignored."""
        if lead := self._by_index.get(index):
            lead.vector = vector

    def withdrawn(self, indices: Collection[int]) -> None:
        """Forget vectors whose response turned out to be wrong; their texts are asked for again."""
        for index in indices:
            if lead := self._by_index.get(index):
                lead.vector = None

    def settle(self, indices: Collection[int]) -> list[Lead[HolderT]]:
        """Return the texts of an ended request whose vectors are final from now on."""
        leads = [lead for index in indices if (lead := self._by_index.get(index)) and lead.vector is not None]
        for lead in leads:
            assert lead.vector is not None
            self.known.add(lead.key, lead.vector)
        self._close(leads, indices)
        return leads

    def lost(self, index: int, error: AsyncEmbedError) -> Lead[HolderT] | None:
        """Note that a text gets no vector, and return it if it leads."""
        lead = self._by_index.get(index)
        if lead is None:
            return None
        lead.error = error
        self._close([lead], [index])
        return lead

    def follow(self, lead: Lead[HolderT], follower: Follower, holder: HolderT) -> bool:
        """Let a text wait for its lead; return False if the lead is settled, and so what the text gets is known."""
        lead.expected -= 1
        if lead.is_settled:
            return False
        lead.waiting.append((follower, holder))
        return True

    def _close(self, leads: list[Lead[HolderT]], indices: Collection[int]) -> None:
        for lead in leads:
            lead.is_settled = True
            if self._by_key.get(lead.key) is lead:
                del self._by_key[lead.key]
        for index in indices:
            lead_at = self._by_index.get(index)
            if lead_at and lead_at.is_settled:
                del self._by_index[index]
