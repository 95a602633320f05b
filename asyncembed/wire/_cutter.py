"""The array cutter: takes the arrays of numbers out of a JSON stream before ijson sees it.

Numbers are 99 % of an embedding response, and a general JSON parser spends its time making a Python float of each.
The cutter finds the arrays with a few searches for single bytes, hands each over as one slice for a decoder that
knows only numbers, and leaves an empty array in its place. What is left, a hundredth of the size, goes to ijson.

The contract between the two:

- An array is cut when its first item is a number (or it is empty) and it holds no string, array or object. It may
  still hold `null`, `true` or garbage: then it is no vector, and whoever decodes the slice says so.
- Empty arrays are cut too. So every empty array in the structure that comes out stands for exactly one slice, in
  order, and nothing a server sends can be mistaken for one.
- Strings are passed through whole, so brackets inside an echoed text are never looked at.

Nothing is validated here: what is not JSON reaches ijson as it came. Two things are limited, so that no server can
fill the memory: nesting, because a parser that gives the path of every event needs memory in the square of the depth;
and the length of one array or string, because a parser must hold it until it ends.
"""

from __future__ import annotations

import re
import sys

from asyncembed._errors import ResponseError

MAX_DEPTH = 64
"""Deepest nesting passed on; responses of known APIs need 4 to 6."""

_STRUCTURE = re.compile(rb'["\[\]{}]')
_FIRST_ITEM = re.compile(rb"[ \t\r\n]*([^ \t\r\n])")
_QUOTE, _OPEN, _OPENERS = ord('"'), ord("["), b"[{"
_BACKSLASH = ord("\\")


class ArrayCutter:
    """Incremental, without I/O: `feed(chunk)` gives the structure and the arrays that closed in this chunk.

    Args:
        max_value_bytes: Most bytes one array or string may have if it does not lie within one chunk.
    """

    __slots__ = ("_array", "_depth", "_escaped", "_in_string", "_max_value_bytes", "_string_bytes")

    def __init__(self, max_value_bytes: int = sys.maxsize) -> None:
        self._max_value_bytes = max_value_bytes
        self._string_bytes = 0  # of the string the stream is in, in earlier chunks
        self._array = bytearray()  # an array that is open at the end of a chunk, from its bracket on
        self._in_string = False
        self._escaped = False  # the last byte of the chunk was a backslash that escapes the next one
        self._depth = 0

    def feed(self, data: bytes) -> tuple[bytes, list[bytes]]:
        """Take the next bytes of the response.

        Returns:
            The structure to parse, with an empty array for each array taken out, and those arrays as JSON text.

        Raises:
            ResponseError: if the response is nested deeper, or a value is longer, than in any embedding response.
        """
        structure: list[bytes] = []
        arrays: list[bytes] = []
        pos = 0
        if self._array:
            data, pos = self._continue_array(data, structure, arrays)
        while pos < len(data):
            if self._in_string:
                pos = self._pass_string(data, pos, structure)
            else:
                pos = self._pass_structure(data, pos, structure, arrays)
        return b"".join(structure), arrays

    def close(self) -> bytes:
        """Give back an array that was still open at the end, for the parser to report the response as cut off."""
        rest = bytes(self._array)
        self._array.clear()
        return rest

    def _pass_structure(self, data: bytes, start: int, structure: list[bytes], arrays: list[bytes]) -> int:
        """Copy up to the next string, or past the next array of numbers; return where to go on."""
        pos = start
        while match := _STRUCTURE.search(data, pos):
            pos = match.end()
            byte = data[pos - 1]
            if byte == _QUOTE:
                self._in_string = True
                structure.append(data[start:pos])
                return pos
            if byte == _OPEN and (end := _end_of_numbers(data, pos)):
                structure.append(data[start : pos - 1])
                if end > len(data):
                    self._array += data[pos - 1 :]
                else:
                    structure.append(b"[]")
                    arrays.append(data[pos - 1 : end])
                return end
            self._nest(byte)
        structure.append(data[start:])
        return len(data)

    def _nest(self, byte: int) -> None:
        self._depth += 1 if byte in _OPENERS else -1
        if self._depth > MAX_DEPTH:
            raise ResponseError(f"the response is nested more than {MAX_DEPTH} levels deep")

    def _limit(self, size: int) -> None:
        if size > self._max_value_bytes:
            raise ResponseError(f"the response holds a value of more than {self._max_value_bytes} bytes")

    def _pass_string(self, data: bytes, start: int, structure: list[bytes]) -> int:
        """Copy to the end of the string the stream is in, or of the data; return where to go on."""
        pos = start + self._escaped
        while True:
            quote = data.find(b'"', pos)
            end = quote if quote >= 0 else len(data)
            self._escaped = _ends_escaped(data, pos, end)
            if quote < 0:
                structure.append(data[start:])
                self._string_bytes += len(data) - start
                self._limit(self._string_bytes)
                return len(data)
            pos = quote + 1
            if not self._escaped:
                self._in_string = False
                self._string_bytes = 0
                structure.append(data[start:pos])
                return pos

    def _continue_array(self, data: bytes, structure: list[bytes], arrays: list[bytes]) -> tuple[bytes, int]:
        """Go on with the open array; return the data to go on with and the position in it."""
        close = data.find(b"]")
        end = close + 1 or len(data)
        if not _FIRST_ITEM.match(self._array, 1) or _holds_more_than_numbers(data, 0, end):
            # Not decided yet what it is, or decided that it is no array of numbers: look at it again as a whole.
            data = bytes(self._array) + data
            self._array.clear()
            return data, 0
        self._array += data[:end]
        self._limit(len(self._array))
        if close >= 0:
            structure.append(b"[]")
            arrays.append(bytes(self._array))
            self._array.clear()
        return data, end


def _end_of_numbers(data: bytes, first: int) -> int:
    """Where the array whose bracket lies before `first` ends: past `data` if it stays open, 0 if it is not cut."""
    item = _FIRST_ITEM.match(data, first)
    if item and item[1] not in b"-0123456789]":
        return 0
    close = data.find(b"]", first)
    end = close + 1 or len(data) + 1
    return 0 if _holds_more_than_numbers(data, first, end) else end


def _holds_more_than_numbers(data: bytes, start: int, end: int) -> bool:
    return any(data.find(byte, start, end) >= 0 for byte in (b'"', b"[", b"{"))


def _ends_escaped(data: bytes, start: int, end: int) -> bool:
    """Whether an odd number of backslashes ends `data[start:end]`."""
    first = end
    while first > start and data[first - 1] == _BACKSLASH:
        first -= 1
    return (end - first) % 2 == 1
