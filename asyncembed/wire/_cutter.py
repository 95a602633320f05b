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

Nothing is validated here: what is not JSON reaches ijson as it came. Only the length of one array, string or stretch
without either is limited, because a parser must hold it until it ends, and no server may fill the memory.
"""

from __future__ import annotations

import re
import sys

from asyncembed._errors import ResponseError

_STRING_OR_ARRAY = re.compile(rb'["\[]')
# Whatever any JSON parser may take for white space counts as such here: an array that looks empty to ijson and was not
# cut would be taken for one that was.
_FIRST_ITEM = re.compile(rb"[^!-~]*([!-~])")
_QUOTE, _BACKSLASH = ord('"'), ord("\\")


class ArrayCutter:
    """Incremental, without I/O: `feed(chunk)` gives the structure and the arrays that closed in this chunk.

    Args:
        max_value_bytes: Most bytes one array or string may have that is open at the end of a chunk.
    """

    __slots__ = ("_array", "_error", "_escaped", "_in_string", "_max_value_bytes", "_unbroken")

    def __init__(self, max_value_bytes: int = sys.maxsize) -> None:
        self._max_value_bytes = max_value_bytes
        self._array = bytearray()  # an array that is open at the end of a chunk, from its bracket on
        self._in_string = False
        self._escaped = False  # the last byte of the chunk was a backslash that escapes the next one
        self._unbroken = 0  # bytes of earlier chunks since the last string or array began or ended
        self._error: ResponseError | None = None

    def feed(self, data: bytes) -> tuple[bytes, list[bytes]]:
        """Take the next bytes of the response.

        Returns:
            The structure to parse, with an empty array for each array taken out, and those arrays as JSON text.

        Raises:
            ResponseError: if a value is longer than in any embedding response; by the call after the one that met it,
                so that what came before it is not lost.
        """
        if self._error:
            raise self._error
        structure: list[bytes] = []
        arrays: list[bytes] = []
        try:
            self._split(data, structure, arrays)
        except ResponseError as error:
            self._error = error
        return b"".join(structure), arrays

    def close(self) -> bytes:
        """Give back an array that was still open at the end, for the parser to report the response as cut off."""
        rest = bytes(self._array)
        self._array.clear()
        return rest

    def _split(self, data: bytes, structure: list[bytes], arrays: list[bytes]) -> None:
        pos = 0
        if self._array:
            data, pos = self._continue_array(data, structure, arrays)
        while pos < len(data):
            if self._in_string:
                pos = self._pass_string(data, pos, structure)
            else:
                pos = self._pass_structure(data, pos, structure, arrays)

    def _pass_structure(self, data: bytes, start: int, structure: list[bytes], arrays: list[bytes]) -> int:
        """Copy up to the next string, or past the next array of numbers; return where to go on."""
        pos = start
        while match := _STRING_OR_ARRAY.search(data, pos):
            pos = match.end()
            self._unbroken = 0
            if data[pos - 1] == _QUOTE:
                self._in_string = True
                structure.append(data[start:pos])
                return pos
            if end := _end_of_numbers(data, pos):
                structure.append(data[start : pos - 1])
                if end > len(data):
                    self._array += data[pos - 1 :]
                else:
                    structure.append(b"[]")
                    arrays.append(data[pos - 1 : end])
                return end
        structure.append(data[start:])
        self._lengthen(len(data) - pos)
        return len(data)

    def _pass_string(self, data: bytes, start: int, structure: list[bytes]) -> int:
        """Copy to the end of the string the stream is in, or of the data; return where to go on."""
        pos = start + self._escaped
        while True:
            quote = data.find(b'"', pos)
            end = quote if quote >= 0 else len(data)
            self._escaped = _ends_escaped(data, pos, end)
            if quote < 0:
                structure.append(data[start:])
                self._lengthen(len(data) - start)
                return len(data)
            pos = quote + 1
            if not self._escaped:
                self._in_string = False
                self._unbroken = 0
                structure.append(data[start:pos])
                return pos

    def _lengthen(self, size: int) -> None:
        self._unbroken += size
        self._limit(self._unbroken)

    def _limit(self, size: int) -> None:
        if size > self._max_value_bytes:
            raise ResponseError(f"the response holds a value of more than {self._max_value_bytes} bytes")

    def _continue_array(self, data: bytes, structure: list[bytes], arrays: list[bytes]) -> tuple[bytes, int]:
        """Go on with the open array; return the data to go on with and the position in it."""
        self._limit(len(self._array))
        close = data.find(b"]")
        end = close + 1 or len(data)
        if not _FIRST_ITEM.match(self._array, 1) or _holds_more_than_numbers(data, 0, end):
            # Not decided yet what it is, or decided that it is no array of numbers: look at it again as a whole.
            data = bytes(self._array) + data
            self._array.clear()
            return data, 0
        self._array += data[:end]
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
