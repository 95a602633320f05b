"""Values that are taken out of a response without a look at what lies between them, as that repeats byte for byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncembed.wire._text import LONGEST_INLINE, NOT_CUT, OPEN, end_of_numbers, end_of_string

if TYPE_CHECKING:
    from asyncembed.wire._gap import Gap
    from asyncembed.wire._text import JSONText, OpenValue

MOST_SIZES: Final = 8
"""Lengths of the strings of a response, after which they do not count as alike: a pattern is made for each of them."""


class Repeats:
    """Takes them from chunks that follow each other; the last value of a chunk may end in the next one.

    Args:
        gap: What lies between two values.
        value: The value that is open at the end of a chunk.
        max_value_bytes: Most bytes it may have.
    """

    __slots__ = ("_before", "_gap", "_max_value_bytes", "_open", "_size", "_sizes", "next_number")

    def __init__(self, gap: Gap, value: OpenValue, max_value_bytes: int) -> None:
        self._gap = gap
        self._open = value
        self._max_value_bytes = max_value_bytes
        self._before = b""  # the gap before the open value, if that was found here
        self.next_number: int | None = None
        """The number in that gap."""
        self._size = 0  # of the last string that was cut: those that follow are taken to be as long
        self._sizes = 0  # how often that was another one

    @property
    def has_open(self) -> bool:
        """Whether `take` can go on at the beginning of the next chunk."""
        return bool(self._before)

    def note_size(self, size: int) -> None:
        """Note how many bytes a string has that was cut."""
        if size != self._size:
            self._size = size
            self._sizes += 1

    def give_back(self) -> bytes:
        """Return the gap before the open value, which is in no structure, if somebody else is to go on with that."""
        before, self._before = self._before, b""
        return before

    def take(self, data: bytes, pos: int) -> tuple[list[int | None], list[JSONText], int]:
        """Take values from a chunk, from `pos` on, or from where the last one was left open.

        Returns:
            The number before each, None if gaps have none; the values; and how far the chunk has been read.
        """
        if not self._before:
            return self._take(data, pos)
        value, pos = self._resume(data)
        if value is None:
            return [], [], pos
        number = self._gap.number
        numbers, values, pos = self._take(data, pos)
        return [number, *numbers], [value, *values], pos

    def _take(self, data: bytes, pos: int) -> tuple[list[int | None], list[JSONText], int]:
        if self._gap.is_before_string:
            if self._size <= LONGEST_INLINE or self._sizes > MOST_SIZES:
                return [], [], pos
            numbers, places, pos = self._gap.repeat_strings(data, pos, self._size)
        else:
            numbers, places, pos = self._gap.repeat(data, pos, end_of_numbers)
        view = memoryview(data)
        return numbers, [view[start:end] for start, end in places], self._keep_open(data, pos)

    def _keep_open(self, data: bytes, pos: int) -> int:
        """Take the beginning of a value behind one more such gap if it does not end in this chunk."""
        last = self._gap.number
        start = self._gap.end(data, pos)
        end_of = end_of_string if self._gap.is_before_string else end_of_numbers
        if start > pos and end_of(data, start + 1) == OPEN:
            self._before, self.next_number = data[pos:start], self._gap.number
            self._open.begin(data, start)
            pos = len(data)
        self._gap.number = last
        return pos

    def _resume(self, data: bytes) -> tuple[JSONText | None, int]:
        """Return the open value if it ends here as expected, and how far the chunk has been read.

        That is not at all if it is something else, which is to be looked at as a whole.
        """
        value = self._open
        end = value.end_in(data)
        if end == NOT_CUT or len(value) > self._max_value_bytes:
            return None, 0
        if end == OPEN:
            value.extend(data)
            return None, len(data)
        if value.is_string and len(value) + end <= LONGEST_INLINE + len(b'""'):
            return None, 0
        self._before, self._gap.number = b"", self.next_number
        return value.take(data, end), end
