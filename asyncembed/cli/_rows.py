"""Lines to inputs, without I/O: plain text, JSON lines and CSV. Every complaint names the file and the line."""

from __future__ import annotations

import csv
import io
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson

from asyncembed import EmbedInput

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_LINE_BYTES: Final = 64_000_000
"""Longest line that is read; a file with a longer one is no text file."""

_GZIP_MAGIC: Final = b"\x1f\x8b"


class InputError(Exception):
    """Raised when an input file holds something that cannot be embedded; the message names file and line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Where the text and its id lie in a row.

    Attributes:
        text: Name of the field with the text.
        id: Name of the field with the id; None for "id", if there is one.
        allow_empty: Whether empty texts are let through, to be counted as failures.
    """

    text: str = "text"
    id: str | None = None
    allow_empty: bool = False

    def pick(self, row: Mapping[str, object], where: str) -> EmbedInput:
        """Return the input in a row.

        Args:
            row: The fields.
            where: File and line, for the error.

        Raises:
            InputError: if the field with the text is missing or no text, or a field named for the id is missing.
        """
        self.check(row, where)
        text = row[self.text]
        if not isinstance(text, str):
            raise InputError(f"{where}: field {self.text!r} is not a string but {_json_type(text)}")
        if not text and not self.allow_empty:
            raise InputError(f"{where}: field {self.text!r} is empty; remove the row, or use --on-error skip")
        return EmbedInput(text, _as_id(row.get(self.id or "id")))

    def check(self, names: Mapping[str, object] | list[str], where: str) -> None:
        """Raise `InputError` if a field that is needed is not among `names`."""
        for name, option in ((self.text, "--text-field"), (self.id, "--id-field")):
            if name is not None and name not in names:
                found = ", ".join(map(repr, names)) or "none"
                raise InputError(f"{where}: there is no field {name!r}; the fields are {found}; choose with {option}")


class LineParser(ABC):
    """Takes the lines of one file, one after the other, and gives the inputs in them.

    Args:
        name: Name of the file, for errors.
        fields: Where text and id lie in a row.
    """

    def __init__(self, name: str, fields: Fields) -> None:
        self._name = name
        self._fields = fields
        self._line = 0

    @property
    def where(self) -> str:
        """File and number of the current line."""
        return f"{self._name}:{self._line}"

    def feed(self, line: bytes) -> EmbedInput | None:
        """Take one line, its end included, and return the input that it completes.

        Raises:
            InputError: if the line is too long, not UTF-8, or not of the format.
        """
        self._line += 1
        if len(line) > MAX_LINE_BYTES:
            raise InputError(f"{self.where}: the line is longer than {MAX_LINE_BYTES:,} bytes; is this a text file?")
        try:
            return self._parse(line.decode("utf-8-sig" if self._line == 1 else "utf-8"))
        except UnicodeDecodeError as error:
            fix = "convert it first, for example with iconv"
            if self._line == 1 and line.startswith(_GZIP_MAGIC):
                fix = "it is compressed: name it .gz, or send it through gunzip"
            raise InputError(f"{self.where}: byte {error.start + 1} of the line is not UTF-8; {fix}") from None

    def close(self) -> None:  # noqa: B027  # most formats have nothing to say at the end
        """Raise `InputError` if the file ended in the middle of a row."""

    @abstractmethod
    def _parse(self, line: str) -> EmbedInput | None: ...


class TxtParser(LineParser):
    """A text in each line; blank lines are left out."""

    def _parse(self, line: str) -> EmbedInput | None:
        return EmbedInput(line.rstrip("\r\n")) if line.strip() else None


class JsonlParser(LineParser):
    """A JSON object in each line; blank lines are left out."""

    def _parse(self, line: str) -> EmbedInput | None:
        if not line.strip():
            return None
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise InputError(f"{self.where}: not JSON: {error.msg} at character {error.pos + 1}") from None
        if not isinstance(row, dict):
            raise InputError(f"{self.where}: not a JSON object but {_json_type(row)}")
        return self._fields.pick(row, self.where)


class CsvParser(LineParser):
    """Comma-separated rows below a line of names; a quoted field may hold line breaks.

    Counting quotes would not do: inside an unquoted field they mean nothing. So the csv module reads each line, those
    after a break in a quoted field as if they began with its quote; once they close it, the whole row is read again.
    """

    def __init__(self, name: str, fields: Fields) -> None:
        super().__init__(name, fields)
        csv.field_size_limit(MAX_LINE_BYTES)
        self._names: list[str] | None = None
        self._open: io.StringIO | None = None
        self._first = 0
        self._opened = 0

    def close(self) -> None:
        """Raise `InputError` if a quote is still open."""
        if self._open:
            raise InputError(f"{self._name}:{self._opened}: a quoted field that begins in this line is never closed")

    def _parse(self, line: str) -> EmbedInput | None:
        if self._open:
            return self._go_on(self._open, line)
        self._first = self._opened = self._line
        values, is_open = self._read(line)
        if is_open:
            self._open = io.StringIO()
            self._open.write(line)
            return None
        return self._row(values)

    def _go_on(self, row: io.StringIO, line: str) -> EmbedInput | None:
        if row.tell() + len(line) > MAX_LINE_BYTES:
            raise InputError(
                f"{self._name}:{self._opened}: a quoted field that begins in this line makes the row longer than "
                f"{MAX_LINE_BYTES:,} characters; is its closing quote missing?"
            )
        row.write(line)
        if '"' not in line:
            return None
        values, is_open = self._read('"' + line)
        if is_open:
            self._opened = self._line if len(values) > 1 else self._opened
            return None
        self._open = None
        values, _ = self._read(row.getvalue())
        return self._row(values)

    def _read(self, row: str) -> tuple[list[str], bool]:
        """Return the fields of a row, and whether the last one is open: then the csv module takes the line after it."""
        reader = csv.reader((row, '"'))
        try:
            return next(reader), reader.line_num > 1
        except csv.Error as error:
            raise InputError(f"{self.where}: not CSV: {error}") from None

    def _row(self, values: list[str]) -> EmbedInput | None:
        if not values:
            return None  # a blank line
        where = f"{self._name}:{self._first}"
        if self._names is None:
            self._names = values
            self._fields.check(values, where)
            return None
        if len(values) != len(self._names):
            raise InputError(f"{where}: the row has {len(values)} fields, but line 1 names {len(self._names)}")
        return self._fields.pick(dict(zip(self._names, values, strict=True)), where)


def _as_id(value: object) -> str | int | None:
    return value if value is None or (isinstance(value, (str, int)) and not isinstance(value, bool)) else str(value)


def _json_type(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
