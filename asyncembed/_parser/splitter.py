"""Takes arrays of numbers and long strings out of a JSON stream before ijson sees it.

They are 99 % of an embedding response, and a general JSON parser spends its time making a Python object of each number
and a copy of each string. `scan` finds them with a few searches for single bytes, hands each over as one slice for a
decoder that knows only numbers or only base64, and leaves an empty string in its place. What is left, a hundredth of
the size, goes to ijson.

The contract between the two:

- An array is taken out when its first item is a number (or it is empty) and it holds no string and no array. It may
  still hold `null`, `NaN`, `{}` or garbage: then it is no vector, and the decoder that gets the slice says so.
- A string is taken out when it has more than `LONGEST_INLINE` bytes (or it is empty), whether it is a value or a key.
  Others stay. Brackets inside of a string are never looked at.
- Empty ones are taken out too. So every empty string in the structure that comes out stands for exactly one slice, in
  order, and nothing a server sends can be mistaken for one.

Nothing is validated here: what is not JSON reaches ijson as it came.
"""

from __future__ import annotations

import re
from operator import itemgetter
from typing import TYPE_CHECKING, Final, TypeAlias

import orjson

if TYPE_CHECKING:
    from collections.abc import Sequence


JSONText: TypeAlias = memoryview | bytearray
"""An array from bracket to bracket, or a string from quote to quote, as it came."""

LONGEST_INLINE: Final = 62
"""Bytes between the quotes of the longest string that is left in the structure: names and short words."""

TAKEN: Final = b'""'
"""What stands in the structure for a value that was taken out."""

# Up to the next array of numbers, or the next string that is long, empty or holds an escape. The first item of an array
# is looked for within 64 bytes of white space, which is whatever a JSON parser might take for that; some servers write
# NaN and Infinity for numbers. The last alternative never matches: before Python 3.11.5, a possessive repeat ends where
# its last failed attempt got to, and this one gets nowhere.
_STRUCTURE: Final = re.compile(
    rb'(?:[^"\[]++|"[^"\\]{1,%d}+"|\[(?=[^!-~]{0,64}[!-,./:-HJ-MO-\\^-~])|(?!))*+' % LONGEST_INLINE
)

_OPEN: Final = 0
_NOT_NUMBERS: Final = -1
_EMPTY: Final = len(TAKEN)
_INLINE: Final = LONGEST_INLINE + 2
_QUOTE: Final = ord('"')
_BACKSLASH: Final = ord("\\")
_first_byte = itemgetter(0)


def scan(data: bytes | bytearray, searched: int = 0) -> tuple[bytes, list[memoryview], int]:
    """Split JSON text into its structure and the values that are taken out of it.

    Args:
        data: A piece of JSON text that begins where the last call has stopped.
        searched: How many of these bytes the last call has seen already. They are not searched again.

    Returns:
        The structure, with `TAKEN` for each value taken out; those values, as views of `data`; and where to begin the
        next piece: at a value or word that does not end in `data`, or at its end.
    """
    parts: list[bytes | bytearray] = []
    values: list[memoryview] = []
    view, size, begin, pos = memoryview(data), len(data), 0, 0
    while (start := _STRUCTURE.match(data, pos).end()) < size:  # type: ignore[union-attr]  # it matches nothing, too
        first = start + 1 if start >= searched else searched
        if data[start] == _QUOTE:
            pos = data.find(b'"', first) + 1
            if pos and data[pos - 2] == _BACKSLASH:
                pos = _end_of_escaped(data, start, pos)
            is_taken = not _EMPTY < pos - start <= _INLINE
        else:
            pos = _end_of_numbers(data, first)
            is_taken = pos != _NOT_NUMBERS
            pos = pos if is_taken else start + 1
        if not pos:  # it is open
            break
        if is_taken:
            parts.append(data[begin:start])
            values.append(view[start:pos])
            begin = pos
    parts.append(data[begin:start])
    return TAKEN.join(parts), values, start


def are_strings(values: Sequence[JSONText]) -> bool:
    """Whether all values, one at least, are strings, and none is an array."""
    return set(map(_first_byte, values)) == {_QUOTE}


def text_of(value: JSONText) -> str:
    """Return the text of a string that was taken out; of an array, how it is written."""
    try:
        return str(orjson.loads(value))
    except ValueError:  # a control character, a lone surrogate
        return bytes(value[1:-1]).decode("utf-8", "replace")


def _end_of_numbers(data: bytes | bytearray, pos: int) -> int:
    """Where the array ends that goes on at `pos`, `_OPEN`, or `_NOT_NUMBERS` if it holds a string or an array."""
    # Each search ends where the one before did, so that many brackets in a row cost no more than as many bytes.
    opened = data.find(b"[", pos)
    close = data.find(b"]", pos, opened) if opened >= 0 else data.find(b"]", pos)
    if opened >= 0 > close or data.find(b'"', pos, close if close >= 0 else len(data)) >= 0:
        return _NOT_NUMBERS
    return close + 1


def _end_of_escaped(data: bytes | bytearray, start: int, end: int) -> int:
    """Where the string that begins at `start` ends, or `_OPEN`; a quote behind a backslash ends at `end`."""
    while end and _is_escaped(data, start, end - 1):
        end = data.find(b'"', end) + 1
    return end


def _is_escaped(data: bytes | bytearray, start: int, quote: int) -> bool:
    """Whether an odd number of backslashes stands before a quote."""
    before = quote
    while before > start + 1 and data[before - 1] == _BACKSLASH:
        before -= 1
    return (quote - before) % 2 == 1
