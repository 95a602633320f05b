"""Takes arrays of numbers and long strings out of a JSON stream before ijson parses it.

They make up 99 % of an embedding response, and a general JSON parser spends its time making a Python object of each
number and a copy of each string. `scan` finds them with a few searches for single bytes. It returns each as one slice,
for a specialised decoder of numbers or base64, and leaves an empty string in its place. The remaining structure, about
a hundredth of the size, goes to ijson.

The contract between `scan` and the parser of the structure:

- An array is taken out if its first item is a number (or it is empty) and it contains no string and no array. It may
  still contain `null`, `NaN`, `{}` or garbage; the decoder of the slice rejects it then.
- A string is taken out if it has more than `MAX_INLINE` bytes (or it is empty), as a value or as a key. Other strings
  stay. Brackets inside strings have no effect.
- Because empty arrays and strings are taken out too, every empty string in the structure stands for exactly one slice,
  in order. Nothing that a server sends can be mistaken for one.

`scan` validates nothing: invalid JSON reaches ijson unchanged.
"""

from __future__ import annotations

import re
from operator import itemgetter
from typing import TYPE_CHECKING, Final, TypeAlias

import orjson

if TYPE_CHECKING:
    from collections.abc import Sequence


JSONText: TypeAlias = memoryview | bytearray
"""JSON text of an array with its brackets, or of a string with its quotes."""

MAX_INLINE: Final = 62
"""Maximum length in bytes of a string that stays in the structure: keys and short words."""

TAKEN: Final = b'""'
"""Placeholder in the structure for a value that was taken out."""

# Matches up to the next array of numbers, or the next string that is long, empty or contains an escape. The first item
# of an array may follow up to 64 bytes of white space, or of control characters that a parser may accept as such. Some
# servers write NaN and Infinity as numbers. The last alternative never matches: before Python 3.11.5, a possessive
# repeat ends where its last failed attempt ended, and this one consumes nothing.
_STRUCTURE: Final = re.compile(
    rb'(?:[^"\[]++|"[^"\\]{1,%d}+"|\[(?=[^!-~]{0,64}[!-,./:-HJ-MO-\\^-~])|(?!))*+' % MAX_INLINE
)

_OPEN: Final = 0
_NOT_NUMBERS: Final = -1
_EMPTY: Final = len(TAKEN)
_MAX_INLINE_QUOTED: Final = MAX_INLINE + 2
_QUOTE: Final = ord('"')
_BACKSLASH: Final = ord("\\")
_first_byte = itemgetter(0)


def scan(data: bytes | bytearray, searched: int = 0) -> tuple[bytes, list[memoryview], int]:
    """Split JSON text into its structure and the values taken out of it.

    Args:
        data: A piece of JSON text that begins where the last call stopped.
        searched: Number of leading bytes that the last call has already searched.

    Returns:
        The structure, with `TAKEN` in place of each value; the values, as views of `data`; and the offset at which the
        next piece must begin: an incomplete value, or the end of `data`.
    """
    parts: list[bytes | bytearray] = []
    values: list[memoryview] = []
    view, size, begin, pos = memoryview(data), len(data), 0, 0
    while (start := _STRUCTURE.match(data, pos).end()) < size:  # type: ignore[union-attr]  # it always matches
        first = start + 1 if start >= searched else searched
        if data[start] == _QUOTE:
            pos = data.find(b'"', first) + 1
            if pos and data[pos - 2] == _BACKSLASH:
                pos = _end_of_escaped(data, start, pos)
            is_taken = not _EMPTY < pos - start <= _MAX_INLINE_QUOTED
        else:
            pos = _end_of_numbers(data, first)
            is_taken = pos != _NOT_NUMBERS
            pos = pos if is_taken else start + 1
        if not pos:  # incomplete
            break
        if is_taken:
            parts.append(data[begin:start])
            values.append(view[start:pos])
            begin = pos
    parts.append(data[begin:start])
    return TAKEN.join(parts), values, start


def are_strings(values: Sequence[JSONText]) -> bool:
    """Whether all values are strings, not arrays. False without values."""
    return set(map(_first_byte, values)) == {_QUOTE}


def text_of(value: JSONText) -> str:
    """Return the text of a string that was taken out; for an array, the repr of the list."""
    try:
        return str(orjson.loads(value))
    except ValueError:  # a control character or lone surrogate
        return bytes(value[1:-1]).decode("utf-8", "replace")


def _end_of_numbers(data: bytes | bytearray, pos: int) -> int:
    """Return the end of an array, searching from `pos`.

    Returns `_OPEN` if it is incomplete, and `_NOT_NUMBERS` if it contains a string or an array.
    """
    # Each search ends where the one before did, so that nested brackets cannot make it quadratic.
    opened = data.find(b"[", pos)
    close = data.find(b"]", pos, opened) if opened >= 0 else data.find(b"]", pos)
    if opened >= 0 > close or data.find(b'"', pos, close if close >= 0 else len(data)) >= 0:
        return _NOT_NUMBERS
    return close + 1


def _end_of_escaped(data: bytes | bytearray, start: int, end: int) -> int:
    """Return the end of the string at `start`, or `_OPEN`. `end` is the end of a quote after a backslash."""
    while end and _is_escaped(data, start, end - 1):
        end = data.find(b'"', end) + 1
    return end


def _is_escaped(data: bytes | bytearray, start: int, quote: int) -> bool:
    """Whether an odd number of backslashes precedes a quote."""
    before = quote
    while before > start + 1 and data[before - 1] == _BACKSLASH:
        before -= 1
    return (quote - before) % 2 == 1
