"""What lies between two values that were cut out of a response, recognised where it lies between the next two.

The items of a response repeat each other byte for byte, but for one number. To compare bytes is several times faster
than to look at each string of an item again.
"""

from __future__ import annotations

from itertools import takewhile
from typing import Final

MOST_DIGITS: Final = 20
"""Digits of the number that may differ."""

LONGEST: Final = 1_024
"""Bytes of the longest gap that is looked at."""

MOST_TRIES: Final = 8
"""Gaps that are compared before a response counts as one whose items are not alike."""

_DIGITS: Final = b"0123456789"


class Gap:
    """Learns from two gaps in a row, which must be equal but for one number in the same place.

    A gap that is recognised holds the same bytes as one that was looked at in full, and so no value that must be cut.
    """

    __slots__ = ("_head", "_last", "_tail", "_tries")

    def __init__(self) -> None:
        self._head = self._tail = self._last = b""
        self._tries = 0

    def end(self, data: bytes, start: int) -> int:
        """Where the gap at `start` ends, if it is like the ones before it; else 0."""
        if not self._head or not data.startswith(self._head, start):
            return 0
        middle = start + len(self._head)
        if not self._tail:
            return middle - 1
        end = data.find(self._tail, middle, middle + MOST_DIGITS + len(self._tail))
        return end + len(self._tail) - 1 if end > middle and data[middle:end].isdigit() else 0

    def learn(self, gap: bytes) -> None:
        """Look at a gap, together with the first byte of the value behind it."""
        if len(gap) > LONGEST:
            return
        last, self._last = self._last, gap
        self._tries += 1
        if not last or self._tries > MOST_TRIES:
            return
        if gap == last:
            self._head, self._tail = gap, b""
            return
        head = _common_start(last, gap).rstrip(_DIGITS)
        tail = _common_start(last[::-1], gap[::-1])[::-1].lstrip(_DIGITS)
        numbers = [text[len(head) : len(text) - len(tail)] for text in (last, gap)]
        if all(number.isdigit() for number in numbers):
            self._head, self._tail = head, tail


def _common_start(one: bytes, other: bytes) -> bytes:
    pairs = zip(one, other, strict=False)
    return one[: sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))]
