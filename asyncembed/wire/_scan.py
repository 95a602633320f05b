"""Takes arrays of numbers and long strings out of a JSON stream before ijson sees it.

They are 99 % of an embedding response, and a general JSON parser spends its time making a Python object of each number
and a copy of each string. `scan` finds them with a few searches for single bytes, hands each over as one slice for a
decoder that knows only numbers or only base64, and leaves an empty array or an empty string in its place. What is left,
a hundredth of the size, goes to ijson.

The contract between the two:

- An array is taken out when its first item is a number (or it is empty) and it holds no string and no array. It may
  still hold `null`, `NaN`, `{}` or garbage: then it is no vector, and the decoder that gets the slice says so.
- A string is taken out when it has more than `LONGEST_INLINE` bytes (or it is empty), whether it is a value or a key.
  Others stay. Brackets inside of a string are never looked at.
- Empty ones are taken out too. So every empty array and every empty string in the structure that comes out stands for
  exactly one slice, in order, and nothing a server sends can be mistaken for one.

Nothing is validated here: what is not JSON reaches ijson as it came.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

import orjson

JSONText: TypeAlias = memoryview | bytearray
"""An array from bracket to bracket, or a string from quote to quote, as it came."""

LONGEST_INLINE: Final = 62
"""Bytes between the quotes of the longest string that is left in the structure: names and short words."""

# Up to the next array that may be one of numbers, or the next string that is long, empty or holds an escape. The last
# alternative never matches: before Python 3.11.5, a possessive repeat ends where its last failed attempt got to, and
# this one gets nowhere.
_STRUCTURE: Final = re.compile(rb'(?:[^"\[]++|"[^"\\]{1,%d}+"|\[(?=["\[{])|(?!))*+' % LONGEST_INLINE)
# Whatever any JSON parser may take for white space counts as such here: an array that looks empty to ijson and was not
# taken out would be taken for one that was.
_FIRST_ITEM: Final = re.compile(rb"[^!-~]*([!-~])")
_BEGINS_NUMBERS: Final = frozenset(b"-0123456789]NI")  # some servers write NaN and Infinity for numbers
_MAX_INDENT: Final = 64  # bytes of white space in which the first item is looked for before the array has ended

_OPEN: Final = 0
_NOT_NUMBERS: Final = -1
_QUOTE: Final = ord('"')
_BACKSLASH: Final = ord("\\")


def scan(data: bytes | bytearray, searched: int = 0) -> tuple[bytes, list[memoryview], int]:
    """Split JSON text into its structure and the values that are taken out of it.

    Args:
        data: A piece of JSON text that begins where the last call has stopped.
        searched: How many of these bytes the last call has seen already. They are not searched again.

    Returns:
        The structure, with an empty value for each one taken out; those values, as views of `data`; and where to begin
        the next piece: at a value or word that does not end in `data`, or at its end.
    """
    structure: list[bytes | bytearray | memoryview] = []
    values: list[memoryview] = []
    view, size, pos = memoryview(data), len(data), 0
    while True:
        start = _STRUCTURE.match(data, pos).end()  # type: ignore[union-attr]  # it matches nothing, too
        if start > pos:
            structure.append(data[pos:start])
        if start == size:
            break
        first = max(start + 1, searched)
        is_string = data[start] == _QUOTE
        end = _end_of_string(data, start, first) if is_string else _end_of_numbers(data, start, first)
        if end == _OPEN:
            break
        if end == _NOT_NUMBERS:
            end = start + 1
            structure.append(b"[")
        elif is_string and 2 < end - start <= LONGEST_INLINE + 2:  # it holds an escape
            structure.append(view[start:end])
        else:
            structure.append(b'""' if is_string else b"[]")
            values.append(view[start:end])
        pos = end
    return b"".join(structure), values, start


def text_of(string: JSONText) -> str:
    """Return the text of a string that was taken out."""
    try:
        return str(orjson.loads(string))
    except ValueError:  # a control character, a lone surrogate
        return bytes(string[1:-1]).decode("utf-8", "replace")


def _end_of_numbers(data: bytes | bytearray, start: int, pos: int) -> int:
    """Where the array that begins at `start` ends, `_OPEN` or `_NOT_NUMBERS`; it does not end before `pos`."""
    item = _FIRST_ITEM.match(data, start + 1, start + 1 + _MAX_INDENT)
    if item and item[1][0] not in _BEGINS_NUMBERS:
        return _NOT_NUMBERS
    # Each search ends where the one before did, so that many brackets in a row cost no more than as many bytes.
    opened = data.find(b"[", pos)
    close = data.find(b"]", pos, opened if opened >= 0 else len(data))
    if opened >= 0 > close or data.find(b'"', pos, close if close >= 0 else len(data)) >= 0:
        return _NOT_NUMBERS
    if not item and close >= 0 and _FIRST_ITEM.match(data, start + 1)[1][0] not in _BEGINS_NUMBERS:  # type: ignore[index]
        return _NOT_NUMBERS
    return close + 1


def _end_of_string(data: bytes | bytearray, start: int, pos: int) -> int:
    """Where the string that begins at `start` ends, or `_OPEN`; it does not end before `pos`."""
    while (quote := data.find(b'"', pos)) >= 0:
        if data[quote - 1] != _BACKSLASH or not _is_escaped(data, start, quote):
            return quote + 1
        pos = quote + 1
    return _OPEN


def _is_escaped(data: bytes | bytearray, start: int, quote: int) -> bool:
    """Whether an odd number of backslashes stands before a quote."""
    before = quote
    while before > start + 1 and data[before - 1] == _BACKSLASH:
        before -= 1
    return (quote - before) % 2 == 1
