"""The steps from one vector of a response to the next: whether they are so alike that repeated bytes can be skipped.

The reader of a response is a machine without a will of its own. If the same bytes took it from a vector to the next one
in the same containers, they will do so again, and all that can differ is the number in them. Two steps show that:

- Each begins and ends at a vector that was cut out, in the same place at the same depth, and meets no other value that
  was; it leaves no container that the other does not leave.
- It completes one item, and meets one index, or none. Two indices that differ, where the bytes between the vectors
  differ in one number alone, can only come from that number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from asyncembed.wire._layout import Place

ENOUGH: Final = 2
"""Steps in a row that must have been alike."""


class Steps:
    """Compares the present step with the one before it."""

    __slots__ = ("_alike", "_index", "_indices", "_last_index", "_lowest", "_path", "_taken_and_count")

    def __init__(self) -> None:
        self._alike = 0
        self._lowest = 0  # depth that this step came down to
        self._indices = 0  # that it met
        self._index: object = None  # the last of them
        self._last_index: object = None  # that of the step before
        self._path: tuple[Place | None, int, int, bool] | None = None  # of the step before
        self._taken_and_count = (0, 0)

    def left(self, depth: int) -> None:
        """Note that a container was left, and how many are open now."""
        self._lowest = min(self._lowest, depth)

    def met(self, index: object) -> None:
        """Note an index."""
        self._indices += 1
        self._index = index

    def end(self, place: Place | None, depth: int, taken: int, count: int, *, is_indexed: bool) -> None:
        """End a step, because a vector was met that had been cut out, and begin the next.

        Args:
            place: Where the vector lies.
            depth: How many containers are open.
            taken: Values, cut out of the response, that have been met so far.
            count: Items that have been completed so far.
            is_indexed: Whether the index of this vector is known already.
        """
        path = place, depth, self._lowest, is_indexed
        last_taken, last_count = self._taken_and_count
        alike = path == self._path and (taken, count) == (last_taken + 1, last_count + 1) and self._counts_on()
        self._alike = self._alike + 1 if alike else 0
        self._path = path
        self._begin(depth, taken, count)

    def skip(self, depth: int, taken: int, count: int, index: int | None) -> None:
        """Note that steps like the last one were not looked at, and where they ended."""
        self._index = index
        self._begin(depth, taken, count)

    def are_alike(self, number: int | None) -> bool:
        """Whether the last steps were alike, where `number` stands in the bytes of the last one."""
        return self._alike >= ENOUGH and number == self._last_index and number != 0  # which could be -0

    def _begin(self, depth: int, taken: int, count: int) -> None:
        self._taken_and_count = taken, count
        self._lowest = depth
        self._last_index, self._index, self._indices = self._index, None, 0

    def _counts_on(self) -> bool:
        """Whether this step and the one before met no index, or one each, and these differ."""
        if self._indices != 1:
            return not self._indices and self._last_index is None
        return type(self._index) is int and self._index != self._last_index
