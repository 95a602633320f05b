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
from typing import TYPE_CHECKING, Final

from asyncembed._errors import ResponseError
from asyncembed.wire._gap import Gap
from asyncembed.wire._repeats import Repeats
from asyncembed.wire._text import LONGEST_INLINE, NOT_CUT, OPEN, OpenValue, end_of_numbers, end_of_string

if TYPE_CHECKING:
    from asyncembed.wire._text import JSONText

# Up to the next array that may be one of numbers, or the next string that is long, empty or holds an escape. The last
# alternative never matches: before Python 3.11.5, a possessive repeat ends where its last failed attempt got to, and
# this one gets nowhere.
_STRUCTURE = re.compile(rb'(?:[^"\[]++|"[^"\\]{1,%d}+"|\[(?=["\[{])|(?!))*+' % LONGEST_INLINE)
_QUOTE = ord('"')
_EMPTY: Final = b'""'


class ValueCutter:
    """Incremental, without I/O: `feed(chunk)` gives the structure and the values that closed in this chunk.

    Args:
        max_value_bytes: Most bytes one array or string may have that is open at the end of a chunk.
        gap: What lay between the values of an earlier response of the same kind.
    """

    __slots__ = ("_error", "_max_value_bytes", "_open", "_repeats", "_unbroken", "gap", "position")

    def __init__(self, max_value_bytes: int = sys.maxsize, gap: Gap | None = None) -> None:
        self._max_value_bytes = max_value_bytes
        self._open = OpenValue()
        self._unbroken = 0  # bytes of earlier chunks since the last string or array began or ended
        self.gap = gap.for_next_response() if gap else Gap()
        """What lies between two values that were cut."""
        self._repeats = Repeats(self.gap, self._open, max_value_bytes)
        self._error: ResponseError | None = None
        self.position = 0
        """How far the present chunk has been read."""

    @property
    def number(self) -> int | None:
        """The number between the last two values, if they could be the first of many by `repeat`."""
        return self.gap.number

    @property
    def next_number(self) -> int | None:
        """The number before the value that `repeat` left open."""
        return self._repeats.next_number

    @property
    def is_repeating(self) -> bool:
        """Whether the next chunk is for `repeat`, as it left a value open in this one."""
        return self._repeats.has_open

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

    def repeat(self, data: bytes) -> tuple[list[int | None], list[JSONText]]:
        """Take values, with the numbers before them, from the rest of the chunk while the bytes between them repeat."""
        numbers, values, self.position = self._repeats.take(data, self.position)
        return numbers, values

    def close(self) -> bytes:
        """Give back the beginning of a value that is still open, for the parser to report the response as cut off."""
        return self._repeats.give_back() + self._open.take()[:1]

    def _split(
        self, data: bytes, pos: int, structure: list[bytes | JSONText], values: list[JSONText], *, to_repeat: bool
    ) -> None:
        if len(self._open) and data:
            whole, pos = self._continue(data, structure, values)
            data, to_repeat = whole, to_repeat and whole is data  # else no position in it would be one in the chunk
        view, size, gap = memoryview(data), len(data), self.gap
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
            pos = end_of_string(data, start + 1) if is_string else end_of_numbers(data, start + 1)
            if not gap.in_a_row and pos != NOT_CUT:
                gap.learn(data[began : start + 1])
            if pos > start:
                self._place(view[start:pos], structure, values)
            elif pos == NOT_CUT:
                pos = start + 1
                structure.append(b"[")
                gap.interrupt()
            else:
                self._open.begin(data, start)
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
            self.gap.interrupt()
        else:
            structure.append(_EMPTY)
            values.append(value)
            self._repeats.note_size(len(value))

    def _continue(self, data: bytes, structure: list[bytes | JSONText], values: list[JSONText]) -> tuple[bytes, int]:
        """Go on with the open value; return the data to go on with and the position in it."""
        before = self._repeats.give_back()
        if len(self._open) > self._max_value_bytes:
            raise self._too_long()
        end = self._open.end_in(data)
        if before or end == NOT_CUT:  # look at it again as a whole: it is no array of numbers, after all
            self.gap.interrupt()
            return before + self._open.take() + data, 0
        if end == OPEN:
            self._open.extend(data)
            return data, len(data)
        self._place(self._open.take(data, end), structure, values)
        return data, end

    def _lengthen(self, structure: bytes) -> None:
        """Count what came at the end of a chunk without any string or array."""
        last = max(structure.rfind(b'"'), structure.rfind(b"["))
        self._unbroken = len(structure) - last - 1 + (self._unbroken if last < 0 else 0)
        if self._unbroken > self._max_value_bytes:
            raise self._too_long()

    def _too_long(self) -> ResponseError:
        return ResponseError(f"the response holds a value of more than {self._max_value_bytes} bytes")
