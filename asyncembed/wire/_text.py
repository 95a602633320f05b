"""JSON text of one value that was or will be cut out of a response: where it ends, and what a string says."""

from __future__ import annotations

import re
from typing import Final, TypeAlias

import orjson

JSONText: TypeAlias = memoryview | bytearray
"""An array from bracket to bracket, or a string from quote to quote, as it came."""

LONGEST_INLINE: Final = 62
"""Bytes between the quotes of the longest string that is left in the structure: names and short words."""

# Whatever any JSON parser may take for white space counts as such here: an array that looks empty to ijson and was not
# cut would be taken for one that was.
FIRST_ITEM: Final = re.compile(rb"[^!-~]*([!-~])")
OPEN: Final = 0
"""Where a value ends that does not end yet."""
NOT_CUT: Final = -1
"""Where an array ends that is none of numbers."""

_BEGINS_NUMBERS: Final = frozenset(b"-0123456789]NI")  # what some write for numbers is NaN and Infinity
_QUOTE: Final = ord('"')
_BACKSLASH: Final = ord("\\")


def end_of_numbers(data: bytes, first: int, *, is_decided: bool = False) -> int:
    """Where the array with the items from `first` on ends; `OPEN` if that is not in `data`.

    `NOT_CUT` if it is no array of numbers. Where `is_decided`, its first item is known to be a number.
    """
    if not is_decided:
        item = FIRST_ITEM.match(data, first)
        if item and item[1][0] not in _BEGINS_NUMBERS:
            return NOT_CUT
    # Each search ends where the one before did, so that many brackets in a row cost no more than as many bytes.
    opened = data.find(b"[", first)
    close = data.find(b"]", first, opened if opened >= 0 else len(data))
    if opened >= 0 > close or data.find(b'"', first, close if close >= 0 else len(data)) >= 0:
        return NOT_CUT
    return close + 1


def end_of_string(data: bytes, pos: int) -> int:
    """Where the string that goes on at `pos` ends; `OPEN` if that is not in `data`."""
    first = pos
    while (quote := data.find(b'"', pos)) >= 0:
        if data[quote - 1] != _BACKSLASH or not ends_escaped(data, first, quote):
            return quote + 1
        pos = quote + 1
    return OPEN


def ends_escaped(data: bytes, start: int, end: int | None = None) -> bool:
    """Whether an odd number of backslashes ends `data[start:end]`."""
    last = first = len(data) if end is None else end
    while first > start and data[first - 1] == _BACKSLASH:
        first -= 1
    return (last - first) % 2 == 1


def text_of(string: JSONText) -> str:
    """The text of a string that was cut out."""
    try:
        return str(orjson.loads(string))
    except ValueError:  # a control character, a lone surrogate
        return bytes(string[1:-1]).decode("utf-8", "replace")


class OpenValue:
    """A value that is open at the end of a chunk, from its bracket or quote on; maybe none."""

    __slots__ = ("_escaped", "_is_decided", "_text")

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._text = bytearray()
        self._escaped = False  # it is a string, and the first byte of the next chunk is escaped
        self._is_decided = False  # it is an array, and its first item a number

    def __len__(self) -> int:
        return len(self._text)

    @property
    def is_string(self) -> bool:
        """Whether it is a string and not an array."""
        return self._text.startswith(b'"')

    def begin(self, data: bytes, start: int) -> None:
        """Keep what begins at `start` and does not end in the chunk."""
        self._text += memoryview(data)[start:]
        self._note(data, start + 1)

    def extend(self, data: bytes) -> None:
        """Go on with a chunk in which it does not end, either."""
        if data:  # else the next chunk is still to begin with what is escaped
            self._note(data, int(self._escaped))
            self._text += data

    def end_in(self, data: bytes) -> int:
        """Where it ends in the next chunk: `OPEN` if nowhere, `NOT_CUT` if it is no array of numbers after all."""
        if self.is_string:
            return end_of_string(data, int(self._escaped))
        return end_of_numbers(data, 0, is_decided=self._is_decided)

    def take(self, data: bytes = b"", end: int = 0) -> bytearray:
        """Return it, with what belongs to it of the next chunk, and keep nothing."""
        text = self._text
        text += memoryview(data)[:end]
        self._reset()
        return text

    def _note(self, data: bytes, start: int) -> None:
        """Remember what has to be known of the part of it that begins at `start`."""
        self._escaped = self.is_string and ends_escaped(data, start)
        self._is_decided = self._is_decided or (not self.is_string and FIRST_ITEM.match(data, start) is not None)
