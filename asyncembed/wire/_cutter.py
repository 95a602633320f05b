"""The cutter: takes arrays of numbers and long strings out of a JSON stream before ijson sees it.

They are 99 % of an embedding response, and a general JSON parser spends its time making a Python object of each number
and a copy of each string. The cutter finds them with a few searches for single bytes, hands each over as one slice for
a decoder that knows only numbers or only base64, and leaves an empty array or an empty string in its place. What is
left, a hundredth of the size, goes to ijson.

The contract between the two:

- An array is cut when its first item is a number (or it is empty) and it holds no string and no array. It may still
  hold `null`, `NaN`, `{}` or garbage: then it is no vector, and whoever decodes the slice says so.
- A string is cut when it has more than `LONGEST_INLINE` bytes (or it is empty), whether it is a value or a key. Others
  pass through. Brackets inside of a string are never looked at.
- Empty ones are cut too. So every empty array and every empty string in the structure that comes out stands for
  exactly one slice, in order, and nothing a server sends can be mistaken for one.

Nothing is validated here: what is not JSON reaches ijson as it came. Only the length of one array, string or stretch
without either is limited, because somebody must hold it until it ends, and no server may fill the memory.

Slices are views of the chunk they arrived in; only a value that lies in several chunks is copied together. Where the
bytes between values repeat, whoever knows what that means can have them by `repeat`, without any structure.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Final, TypeAlias

import orjson

from asyncembed._errors import ResponseError
from asyncembed.wire._gap import Gap

if TYPE_CHECKING:
    from collections.abc import Sequence

JSONText: TypeAlias = memoryview | bytearray
"""An array from bracket to bracket, or a string from quote to quote, as it came."""

LONGEST_INLINE: Final = 62
"""Bytes between the quotes of the longest string that is left in the structure: names and short words."""

# Up to the next array that may be one of numbers, or the next string that is long, empty or holds an escape. The last
# alternative never matches: before Python 3.11.5, a possessive repeat ends where its last failed attempt got to, and
# this one gets nowhere.
_STRUCTURE = re.compile(rb'(?:[^"\[]++|"[^"\\]{1,%d}+"|\[(?=["\[{])|(?!))*+' % LONGEST_INLINE)
# Whatever any JSON parser may take for white space counts as such here: an array that looks empty to ijson and was not
# cut would be taken for one that was.
_FIRST_ITEM = re.compile(rb"[^!-~]*([!-~])")
_BEGINS_NUMBERS: Final = frozenset(b"-0123456789]NI")  # what some write for numbers is NaN and Infinity
_QUOTE, _BACKSLASH = ord('"'), ord("\\")
_EMPTY: Final = b'""'
_OPEN: Final = 0
_NOT_CUT: Final = -1


class ValueCutter:
    """Incremental, without I/O: `feed(chunk)` gives the structure and the values that closed in this chunk.

    Args:
        max_value_bytes: Most bytes one array or string may have that is open at the end of a chunk.
    """

    __slots__ = (
        "_error", "_escaped", "_gap", "_is_decided", "_max_value_bytes", "_open", "_size", "_unbroken", "position",
    )  # fmt: skip

    def __init__(self, max_value_bytes: int = sys.maxsize) -> None:
        self._max_value_bytes = max_value_bytes
        self._open = bytearray()  # a value that is open at the end of a chunk, from its bracket or quote on
        self._escaped = False  # it is a string, and the first byte of the next chunk is escaped
        self._is_decided = False  # it is an array, and its first item a number
        self._unbroken = 0  # bytes of earlier chunks since the last string or array began or ended
        self._gap = Gap()  # between two values that were cut
        self._size = 0  # bytes of the last string that was, without its quotes
        self._error: ResponseError | None = None
        self.position = 0
        """How far the present chunk has been read."""

    @property
    def number(self) -> int | None:
        """The number between the last two values, if they could be the first of many by `repeat`."""
        return self._gap.number

    def feed(self, data: bytes, start: int = 0, *, to_repeat: bool = False) -> tuple[bytes, list[JSONText]]:
        """Take the next bytes of the response.

        Args:
            data: A chunk.
            start: Where to go on in it, after an earlier call or `repeat` that did not read it to its end.
            to_repeat: Whether to stop as soon as `repeat` could go on; `position` says where.

        Returns:
            The structure to parse, with an empty value for each one taken out, and those values as JSON text.

        Raises:
            ResponseError: if a value is longer than in any embedding response; by the call after the one that met it,
                so that what came before it is not lost.
        """
        if self._error:
            raise self._error
        structure: list[bytes | JSONText] = []
        values: list[JSONText] = []
        self.position = len(data)
        try:
            self._split(data, start, structure, values, to_repeat=to_repeat)
        except ResponseError as error:
            self._error = error
        return b"".join(structure), values

    def repeat(self, data: bytes) -> tuple[list[int | None], Sequence[JSONText | bytes]]:
        """Take values, with the numbers before them, from the rest of the chunk while the bytes between them repeat.

        Of strings, which are as long as the last one, it gives what is between the quotes.
        """
        if self._gap.is_before_string:
            numbers, contents, self.position = self._gap.repeat_strings(data, self.position, self._size)
            return numbers, contents
        numbers, places, self.position = self._gap.repeat(data, self.position, _end_of_numbers)
        view = memoryview(data)
        return numbers, [view[start:end] for start, end in places]

    def close(self) -> bytes:
        """Give back the beginning of a value that is still open, for the parser to report the response as cut off."""
        rest = bytes(self._open[:1])
        self._open.clear()
        return rest

    def _split(
        self, data: bytes, pos: int, structure: list[bytes | JSONText], values: list[JSONText], *, to_repeat: bool
    ) -> None:
        if self._open and data:
            whole, pos = self._continue(data, structure, values)
            data, to_repeat = whole, to_repeat and whole is data  # else no position in it would be one in the chunk
        view, size, gap = memoryview(data), len(data), self._gap
        while pos < size and not (to_repeat and values and gap.may_begin(data, pos)):
            began, start = pos, gap.end(data, pos)
            gap.in_a_row = gap.in_a_row + 1 if start else 0
            start = start or _STRUCTURE.match(data, pos).end()  # type: ignore[union-attr]  # it matches nothing, too
            structure.append(data[pos:start])
            if start == size:
                self._lengthen(data[pos:])
                gap.interrupt()
                break
            self._unbroken = 0
            is_string = data[start] == _QUOTE
            pos = _end_of_string(data, start + 1) if is_string else _end_of_numbers(data, start + 1)
            if pos > start:
                if not gap.in_a_row:
                    gap.learn(data[began : start + 1])
                self._place(view[start:pos], structure, values)
            elif pos == _NOT_CUT:
                pos = start + 1
                structure.append(b"[")
                gap.interrupt()
            else:
                self._open += view[start:]
                self._note_end(data, start + 1, is_string=is_string)
                break
        else:
            self.position = pos if to_repeat else self.position

    def _place(self, value: JSONText, structure: list[bytes | JSONText], values: list[JSONText]) -> None:
        """Put a value that has ended where it belongs."""
        if value[0] != _QUOTE:
            structure.append(b"[]")
            values.append(value)
        elif len(_EMPTY) < len(value) <= LONGEST_INLINE + len(_EMPTY):
            structure.append(value)
            self._gap.interrupt()
        else:
            structure.append(_EMPTY)
            values.append(value)
            self._size = len(value) - len(_EMPTY)

    def _continue(self, data: bytes, structure: list[bytes | JSONText], values: list[JSONText]) -> tuple[bytes, int]:
        """Go on with the open value; return the data to go on with and the position in it."""
        value = self._open
        if len(value) > self._max_value_bytes:
            raise self._too_long()
        is_string = value[0] == _QUOTE
        if is_string:
            end = _end_of_string(data, int(self._escaped))
        else:
            end = _end_of_numbers(data, 0, is_decided=self._is_decided)
        if end == _NOT_CUT:  # look at it again as a whole: it is no array of numbers, after all
            self._open, self._is_decided = bytearray(), False
            self._gap.interrupt()
            return bytes(value) + data, 0
        if end == _OPEN:
            self._note_end(data, int(self._escaped), is_string=is_string)
            value += data
            return data, len(data)
        self._open, self._escaped, self._is_decided = bytearray(), False, False
        value += memoryview(data)[:end]
        self._place(value, structure, values)
        return data, end

    def _note_end(self, data: bytes, start: int, *, is_string: bool) -> None:
        """Remember what has to be known of the open value, whose part in this chunk begins at `start`."""
        self._escaped = is_string and _ends_escaped(data, start)
        self._is_decided = self._is_decided or (not is_string and _FIRST_ITEM.match(data, start) is not None)

    def _lengthen(self, structure: bytes) -> None:
        """Count what came at the end of a chunk without any string or array."""
        last = max(structure.rfind(b'"'), structure.rfind(b"["))
        self._unbroken = len(structure) - last - 1 + (self._unbroken if last < 0 else 0)
        if self._unbroken > self._max_value_bytes:
            raise self._too_long()

    def _too_long(self) -> ResponseError:
        return ResponseError(f"the response holds a value of more than {self._max_value_bytes} bytes")


def _end_of_numbers(data: bytes, first: int, *, is_decided: bool = False) -> int:
    """Where the array with the items from `first` on ends; `_OPEN` if that is not in `data`.

    `_NOT_CUT` if it is no array of numbers. Where `is_decided`, its first item is known to be a number.
    """
    if not is_decided:
        item = _FIRST_ITEM.match(data, first)
        if item and item[1][0] not in _BEGINS_NUMBERS:
            return _NOT_CUT
    # Each search ends where the one before did, so that many brackets in a row cost no more than as many bytes.
    opened = data.find(b"[", first)
    close = data.find(b"]", first, opened if opened >= 0 else len(data))
    if opened >= 0 > close or data.find(b'"', first, close if close >= 0 else len(data)) >= 0:
        return _NOT_CUT
    return close + 1


def _end_of_string(data: bytes, pos: int) -> int:
    """Where the string that goes on at `pos` ends; `_OPEN` if that is not in `data`."""
    first = pos
    while (quote := data.find(b'"', pos)) >= 0:
        if data[quote - 1] != _BACKSLASH or not _ends_escaped(data, first, quote):
            return quote + 1
        pos = quote + 1
    return _OPEN


def _ends_escaped(data: bytes, start: int, end: int | None = None) -> bool:
    """Whether an odd number of backslashes ends `data[start:end]`."""
    last = first = len(data) if end is None else end
    while first > start and data[first - 1] == _BACKSLASH:
        first -= 1
    return (last - first) % 2 == 1


def text_of(string: JSONText | bytes) -> str:
    """The text of a string that was cut out."""
    try:
        return str(orjson.loads(string))
    except ValueError:  # a control character, a lone surrogate
        return bytes(string[1:-1]).decode("utf-8", "replace")
