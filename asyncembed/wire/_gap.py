"""What lies between two values that were cut out of a response, recognised where it lies between the next two.

The items of a response repeat each other byte for byte, but for one number. To compare bytes is many times faster than
to look at each string of an item again, let alone to parse it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import accumulate, repeat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_DIGITS: Final = 18
"""Digits of the number that may differ; one of more may be too large for the parser."""

LONGEST: Final = 1_024
"""Bytes of the longest gap that is looked at."""

ENOUGH: Final = 3
"""Gaps in a row that must have been recognised before more of them are expected: as many as `Steps` has to see."""

MOST_TRIES: Final = 8
"""Gaps that are compared before a response counts as one whose items are not alike."""

_DIGITS: Final = b"0123456789"
_ZERO: Final = ord("0")


class Gap:
    """Learns from two gaps in a row, which must be equal but for one number in the same place.

    A gap that is recognised holds the same bytes as one that was looked at in full, and so no value that must be cut.
    """

    __slots__ = ("_head", "_last", "_reach", "_tail", "_tries", "in_a_row", "number")

    def __init__(self) -> None:
        self._head = self._tail = self._last = b""
        self._tries = self._reach = 0
        self.in_a_row = 0
        """How many of the last gaps were recognised without a break; counted by whoever asks for them."""
        self.number: int | None = None
        """The number in the gap that was recognised last; None if gaps are equal altogether."""

    @property
    def is_before_string(self) -> bool:
        """Whether a string begins where a gap ends, and not an array."""
        return (self._tail or self._head).endswith(b'"')

    def for_next_response(self) -> Gap:
        """Return another one that begins with what this one has learned."""
        other = Gap()
        other._head, other._tail, other._reach = self._head, self._tail, self._reach
        return other

    def interrupt(self) -> None:
        """Note that the next gap does not begin at the end of a value that was cut, so it cannot count as one."""
        self.in_a_row = -1

    def may_begin(self, data: bytes, start: int) -> bool:
        """Whether a gap like the ones before it seems to be at `start`, after some that were."""
        return self.in_a_row >= ENOUGH and data.startswith(self._head, start)

    def end(self, data: bytes, start: int) -> int:
        """Where the gap at `start` ends and a value begins, if it is like the ones before it; else 0."""
        if not self._head or not data.startswith(self._head, start):
            return 0
        middle = start + len(self._head)
        if not self._tail:
            return middle - 1
        end = data.find(self._tail, middle, middle + self._reach)
        digits = data[middle : max(end, 0)]  # none, where there is no end
        if not digits.isdigit() or (digits[0] == _ZERO and len(digits) > 1):  # JSON has no 007
            return 0
        self.number = int(digits)
        return end + len(self._tail) - 1

    def repeat(
        self, data: bytes, pos: int, end_of: Callable[[bytes, int], int]
    ) -> tuple[list[int | None], list[tuple[int, int]], int]:
        """Find gaps like the ones before, and the values between them, from `pos` on.

        Args:
            data: A chunk.
            pos: Where the first gap begins.
            end_of: Where the value ends whose second byte is at a place; not behind that if it must be looked at.

        Returns:
            The number in each gap, None if they have none; where the value behind it begins and ends; and where that of
            the last one does.
        """
        numbers: list[int | None] = []
        places: list[tuple[int, int]] = []
        find_start = self.end
        while (start := find_start(data, pos)) and (end := end_of(data, start + 1)) > start:
            numbers.append(self.number)
            places.append((start, end))
            pos = end
        return numbers, places, pos

    def repeat_strings(self, data: bytes, pos: int, size: int) -> tuple[list[int | None], list[tuple[int, int]], int]:
        """Do the same for strings of `size` bytes, from quote to quote, at once: faster than one after the other."""
        found = _before_string(self._head, self._tail, size).findall(data, pos)
        if found and not found[-1][1]:  # the rest of the chunk
            found.pop()
        digits = [number for number, _ in found]
        stride = len(self._head) + len(self._tail) - 1 + size
        ends = list(accumulate(map(stride.__add__, map(len, digits)), initial=pos))[1:]
        starts = list(map((-size).__add__, ends))
        if list(map(data.find, repeat(b'"'), map((1).__add__, starts))) != list(map((-1).__add__, ends)):
            # They hold quotes, as no base64 does: to try that again for each would take the square of the time.
            self._head, self._tries = b"", MOST_TRIES
            return [], [], pos
        numbers = list(map(int, digits)) if self._tail else [None] * len(digits)
        self.number = numbers[-1] if numbers else self.number
        return list(numbers), list(zip(starts, ends, strict=True)), ends[-1] if ends else pos

    def learn(self, gap: bytes) -> None:
        """Look at a gap, together with the first byte of the value behind it."""
        if len(gap) > LONGEST:
            return
        last, self._last = self._last, gap
        self._tries += 1
        if not last or self._tries > MOST_TRIES:
            return
        self.number = None
        if gap == last:
            self._head, self._tail = gap, b""
            return
        head = _common_start(last, gap).rstrip(_DIGITS)
        tail = _common_start(last[::-1], gap[::-1])[::-1].lstrip(_DIGITS)
        numbers = [text[len(head) : len(text) - len(tail)] for text in (last, gap)]
        if all(number.isdigit() for number in numbers):
            self._head, self._tail, self._reach = head, tail, MOST_DIGITS + len(tail)


@lru_cache(maxsize=32)
def _before_string(head: bytes, tail: bytes, size: int) -> re.Pattern[bytes]:
    """What finds a gap and a string of `size` bytes that does not end with an escaped quote, or else all the rest.

    It does not look at these bytes, and so takes no longer than a few comparisons.
    """
    number = rb"(0|[1-9][0-9]{0,%d})" % (MOST_DIGITS - 1) if tail else b"()"
    same = re.escape(head) + number + re.escape(tail) + rb'.{%d}[^\\](")' % (size - 3)
    return re.compile(same + b"|.+", re.DOTALL)


def _common_start(one: bytes, other: bytes) -> bytes:
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle - 1)
    return one[:low]
