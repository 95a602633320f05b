"""Which text each item of a response belongs to: by its index, or by the order where no item has one.

Servers may leave out an index, but a mixture cannot be trusted: an item without one, where others have theirs, may
stand anywhere, and an index that contradicts the order says that those before it were taken for the wrong ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from asyncembed._errors import ResponseError

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_INDEX: Final = (1 << 63) - 1
"""Largest whole number that ijson's parser takes."""


class Positions:
    """Counts items and says where they belong."""

    __slots__ = ("_has_indices", "by_order", "count", "index")

    def __init__(self) -> None:
        self._has_indices = False
        self.index: object = None
        """The index of the item that is being read, None as long as none was met."""
        self.count = 0
        """Items that have ended."""
        self.by_order = False
        """Whether a position followed from the order alone, because no index was sent."""

    def close(self) -> object:
        """End an item and return its position: a whole number, or something else where nobody knows it.

        Raises:
            ResponseError: if its index contradicts the order of items before it.
        """
        position = self._position()
        self.index = None
        self.count += 1
        return position

    def close_all(self, indices: Sequence[object]) -> Sequence[int] | None:
        """End an item for each index, None where it has none, and return their positions.

        Returns:
            None if they are to be ended one by one, as they are not all of one kind.
        """
        kinds = set(map(type, indices))
        count = self.count + len(indices)
        if kinds == {int} and not self.by_order and max(whole := cast("Sequence[int]", indices)) <= MAX_INDEX:
            self._has_indices = True
            self.count = count
            return whole
        if kinds == {type(None)} and not self._has_indices:
            self.by_order = True
            first, self.count = self.count, count
            return range(first, count)
        return None

    def _position(self) -> object:
        if self.index is None:
            self.by_order = self.by_order or not self._has_indices
            return None if self._has_indices else self.count
        if self.by_order and type(self.index) is int and self.index != self.count:
            raise ResponseError("an index contradicts the order of items before it that had none", retryable=False)
        self._has_indices = True
        return self.index
