"""Parsers that turn rows of plain text, JSON lines and CSV into inputs, without I/O.

`Fields` selects the fields of a row, and a `RowTemplate` builds a text from several of them. Every error names the file
and the line. An invalid row becomes a `RefusedInput`, which fails at its position and does not stop the others.
`InputError` is for what affects all rows or makes the rest of a file unreadable.
"""

from __future__ import annotations

import csv
import io
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Self
from uuid import UUID

import orjson

from asyncembed import ConfigurationError, EmbedInput
from asyncembed._decide.texts import OWN_COLUMNS, RefusedInput, id_of_bytes, is_id, not_utf8
from asyncembed.cli._files import MAX_LINE_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncembed._models import Metadata, TextId


_TOKEN: Final = re.compile(r"(\{\{|\}\}|\{[^{}]*\}|[{}]|\\[nrt\\])")
_ESCAPES: Final = {"{{": "{", "}}": "}", r"\n": "\n", r"\r": "\r", r"\t": "\t", r"\\": "\\"}
_FORMAT_SYNTAX: Final = re.compile(r"[.\[\]!:]")


@dataclass(frozen=True, slots=True)
class RowTemplate:
    """A text with placeholders for the fields of a row, such as `{title}: {body}`.

    Attributes:
        names: Names of the fields, in the order of the placeholders.
        between: The text before, between and after the placeholders; one more than there are names.
    """

    names: Sequence[str]
    between: Sequence[str]

    @classmethod
    def parse(cls, template: str) -> Self:
        """Parse a template from the command line.

        Raises:
            ConfigurationError: if it names no field, has a single brace, or uses an attribute, index or format.
        """
        names: list[str] = []
        between = [""]
        for token in _TOKEN.split(template):
            if token in _ESCAPES:
                between[-1] += _ESCAPES[token]
            elif token.startswith("{") and token.endswith("}") and len(token) > 1:
                name = token[1:-1]
                if not name or name != name.strip() or _FORMAT_SYNTAX.search(name):
                    raise ConfigurationError(
                        f"--template {template!r}: {token} is not a plain field name; write {{name}}, without "
                        "attribute, index or format"
                    )
                names.append(name)
                between.append("")
            elif token in {"{", "}"}:
                raise ConfigurationError(f"--template {template!r}: single brace; write it twice for a literal brace")
            else:
                between[-1] += token
        if not names:
            raise ConfigurationError(
                f"--template {template!r} names no field, so all texts would be the same; write {{name}}"
            )
        return cls(tuple(names), tuple(between))

    def fill(self, row: Mapping[str, object]) -> str:
        """Return the text of a row that has all fields of the template; "" if all values are empty."""
        values = [_text_of(row[name]) for name in self.names]
        if not any(values):
            return ""
        return self.between[0] + "".join(value + after for value, after in zip(values, self.between[1:], strict=True))


def _text_of(value: object) -> str:
    if isinstance(value, str):
        return value
    is_missing = value is None or value != value  # noqa: PLR0124  # NaN
    if is_missing:
        return ""
    if isinstance(value, dict | list | bool):
        return orjson.dumps(value, default=str).decode()
    return str(value)


_MAGIC: Final = {
    b"\x1f\x8b": "it is compressed: name it .gz, or send it through gunzip",
    b"\x28\xb5\x2f\xfd": "it is compressed: name it .zst, or send it through unzstd",
    b"PK\x03\x04": "it is a zip archive or a spreadsheet: unpack it, or export it as CSV",
    b"\xff\xfe": "it is UTF-16: convert it first, for example with iconv -f UTF-16 -t UTF-8",
    b"\xfe\xff": "it is UTF-16: convert it first, for example with iconv -f UTF-16 -t UTF-8",
}
"""First bytes of common files that are not UTF-8 text, and how to fix each."""

INT64: Final = 2**63


class InputError(Exception):
    """Raised when an input cannot be read or does not have the fields; the message names the file and the line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """The fields to read from each row.

    Attributes:
        text: Name of the field that holds the text.
        id: Name of the field that holds the id. None means "id", which may be missing.
        template: Builds the text from several fields, in place of `text`.
        keep: Names of the fields to copy to the output.
        delimiter: Character between the fields of CSV; None for the format's default.
        needed: Names of the required fields, each with the option that requires it.
        wanted: Names of all fields that are read, required or not.
        id_name: Name of the field that holds the id; required only if `id` is set.
    """

    text: str = "text"
    id: str | None = None
    template: RowTemplate | None = None
    keep: Sequence[str] = ()
    delimiter: str | None = None
    needed: Mapping[str, str] = field(init=False)
    wanted: Sequence[str] = field(init=False)
    id_name: str = field(init=False)

    def __post_init__(self) -> None:
        text_and_id = {self.id, None if self.template else self.text}
        if conflicts := [name for name in self.keep if name in OWN_COLUMNS or name in text_and_id]:
            is_reserved = conflicts[0] in OWN_COLUMNS
            reason = (
                "reserved for a column of the output" if is_reserved else "the text or the id, which is kept anyway"
            )
            raise ConfigurationError(f"--keep-column {conflicts[0]}: this name is {reason}")

        texts = dict.fromkeys(self.template.names, "--template") if self.template else {self.text: "--text-field"}
        ids = {} if self.id is None else {self.id: "--id-field"}
        # Computed once, because `pick` reads them for every row.
        object.__setattr__(self, "needed", {**dict.fromkeys(self.keep, "--keep-column"), **ids, **texts})
        object.__setattr__(self, "id_name", self.id or "id")
        object.__setattr__(self, "wanted", list(dict.fromkeys([*self.needed, self.id_name])))

    def pick(self, row: Mapping[str, object], where: str) -> EmbedInput:
        """Return the input in a row, or a `RefusedInput` if the row is invalid.

        Args:
            row: The fields of the row.
            where: File and line, for error messages.
        """
        if not self.needed.keys() <= row.keys():
            return RefusedInput("", reason=f"{where}: {self.missing(row)}")
        id_, problem = _as_id(row.get(self.id_name), self.id_name)
        if problem:
            return RefusedInput("", reason=f"{where}: {problem}")
        kept: dict[str, object] = {}
        for name in self.keep:
            try:
                kept[name] = plain(row[name])
            except ValueError as error:
                return RefusedInput("", id_, reason=f"{where}: field {name!r} {error}")
        return self._with_text(row, where, id_, kept or None)

    def _with_text(
        self, row: Mapping[str, object], where: str, id_: TextId | None, kept: Metadata | None
    ) -> EmbedInput:
        if self.template:
            if bad := [name for name in self.template.names if isinstance(row[name], bytes)]:
                return RefusedInput("", id_, kept, reason=f"{where}: field {bad[0]!r} is bytes, not UTF-8")
            text, what = self.template.fill(row), "the text from --template"
        else:
            found, what = row[self.text], f"field {self.text!r}"
            if isinstance(found, bytes):
                return not_utf8(found, where, id_)
            if not isinstance(found, str):
                return RefusedInput(
                    "",
                    id_,
                    kept,
                    reason=f"{where}: {what} is not a string but {_json_type(found)}; remove or fix the row",
                )
            text = found
        if not text:
            return RefusedInput(
                "", id_, kept, reason=f"{where}: {what} is empty; remove the row, or use --on-error skip"
            )
        if problem := _invalid_unicode(text):
            return RefusedInput(text, id_, kept, reason=f"{where}: {what} {problem}")
        return EmbedInput(text, id_, kept)

    def missing(self, names: Mapping[str, object] | Sequence[str]) -> str:
        """Describe the first required field that is missing, or a field that occurs twice; "" if there is none."""
        for name, option in self.needed.items():
            if name not in names:
                found = ", ".join(map(repr, names)) or "none"
                return f"there is no field {name!r}; the fields are {found}; choose with {option}"
        if not isinstance(names, Mapping):
            for name in self.wanted:
                if names.count(name) > 1:
                    return f"{names.count(name)} fields have the name {name!r}; rename all but one of them"
        return ""

    def check(self, names: Sequence[str], where: str) -> None:
        """Raise `InputError` if a required field is missing from `names`, or a field occurs twice."""
        if missing := self.missing(names):
            raise InputError(f"{where}: {missing}")


class LineParser(ABC):
    """Parses one file line by line and returns its inputs.

    Args:
        name: Name of the file, for error messages.
        fields: The fields to read from each row.
    """

    def __init__(self, name: str, fields: Fields) -> None:
        self._name = name
        self._fields = fields
        self._line = 0
        self._not_utf8 = ""  # error message if the current line is not UTF-8

    @property
    def where(self) -> str:
        """Name of the file and number of the current line."""
        return f"{self._name}:{self._line}"

    def feed(self, line: bytes) -> EmbedInput | None:
        """Parse one line, line ending included, and return the input that it completes, if any.

        Raises:
            InputError: if the line is too long, or the file does not have this format.
        """
        self._line += 1
        if len(line) > MAX_LINE_BYTES:
            raise InputError(f"{self.where}: the line is longer than {MAX_LINE_BYTES:,} bytes; is this a text file?")
        codec = "utf-8-sig" if self._line == 1 else "utf-8"
        self._not_utf8 = ""
        try:
            text = line.decode(codec)
        except UnicodeDecodeError as error:
            self._not_utf8 = f"{self.where}: byte {error.start + 1} of the line is not UTF-8; "
            if self._line == 1:
                for magic, fix in _MAGIC.items():
                    if line.startswith(magic):
                        raise InputError(self._not_utf8 + fix) from None
            self._not_utf8 += "convert it first, for example with iconv"
            text = line.decode(codec, "surrogateescape")
        found = self._parse(text)
        if self._not_utf8 and isinstance(found, RefusedInput):  # otherwise the invalid bytes are in an unused field
            return RefusedInput(found.text, found.id, found.metadata, reason=self._not_utf8)
        return found

    def close(self) -> None:  # noqa: B027  # most formats need no check at the end
        """Raise `InputError` if the file ended in the middle of a row."""

    @abstractmethod
    def _parse(self, line: str) -> EmbedInput | None: ...


class TxtParser(LineParser):
    """Parses plain text: one text per line. Blank lines are skipped."""

    def __init__(self, name: str, fields: Fields) -> None:
        super().__init__(name, fields)
        for field_name, option in fields.needed.items():
            if field_name != "text" or option == "--id-field":
                raise InputError(
                    f"{name}: plain text has lines and no field {field_name!r}; leave out {option}, or use CSV, JSONL "
                    "or Parquet"
                )

    def _parse(self, line: str) -> EmbedInput | None:
        if not line.strip():
            return None
        text = line.rstrip("\r\n")
        if self._not_utf8:
            return RefusedInput(text, reason=self._not_utf8)
        return EmbedInput(self._fields.template.fill({"text": text}) if self._fields.template else text)


class JsonlParser(LineParser):
    """Parses JSON lines: one object per line. Blank lines are skipped.

    The fields of `--template` and `--keep-column` are optional: an object without one of them has null there.

    Attributes:
        unseen: Optional fields that no object has had so far, each with the option that names it.
    """

    def __init__(self, name: str, fields: Fields) -> None:
        super().__init__(name, fields)
        mandatory = {"--text-field", "--id-field"}
        self._optional = [name for name, option in fields.needed.items() if option not in mandatory]
        self.unseen = {name: fields.needed[name] for name in self._optional}
        self._wanted = fields.wanted
        self._quoted = [json.dumps(name) for name in self._wanted]

    def _parse(self, line: str) -> EmbedInput | None:
        if not line.strip():
            return None
        try:
            row = self._read(line)
        except (ValueError, RecursionError) as error:
            at = f"{error.msg} at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else str(error)
            return RefusedInput("", reason=f"{self.where}: not JSON: {at}")
        if not isinstance(row, dict):
            return RefusedInput("", reason=f"{self.where}: not a JSON object but {_json_type(row)}")
        if isinstance(row, _DuplicateNames):
            duplicate = next((name for name in row.duplicates if name in self._wanted), None)
            if duplicate is not None:
                reason = f"{self.where}: two fields have the name {duplicate!r}; rename one of them"
                return RefusedInput("", reason=reason)
        for name in self._optional:
            if name in row:
                self.unseen.pop(name, None)
            else:
                row[name] = None
        return self._fields.pick(row, self.where)

    def _read(self, line: str) -> object:
        """Parse a line with orjson, or with the slower `json` where the two would differ.

        Only `json` reads NaN, lone surrogates and integers of any size, and finds duplicate names.
        """
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            return json.loads(line, object_pairs_hook=_make_object)
        is_exact = isinstance(row, dict) and not any(_may_be_rounded(row.get(name)) for name in self._wanted)
        if is_exact and not any(line.count(name) > 1 for name in self._quoted):
            return row
        return json.loads(line, object_pairs_hook=_make_object)


class _DuplicateNames(dict[str, object]):
    """A JSON object in which at least one name occurs twice."""

    duplicates: Sequence[str] = ()


def _make_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    row = dict(pairs)
    if len(row) == len(pairs):
        return row
    names = [name for name, _ in pairs]
    row_with_duplicates = _DuplicateNames(row)
    row_with_duplicates.duplicates = [name for name in row if names.count(name) > 1]
    return row_with_duplicates


def _may_be_rounded(value: object) -> bool:
    """Return whether a value holds a float that may be an integer of more than 64 bits, which orjson rounds."""
    if isinstance(value, float):
        return abs(value) >= INT64
    if isinstance(value, dict):
        return any(map(_may_be_rounded, value.values()))
    return isinstance(value, list) and any(map(_may_be_rounded, value))


class CsvParser(LineParser):
    """Parses CSV with a header line. A quoted field may contain line breaks.

    Counting quotes does not tell where a row ends, because quotes inside an unquoted field mean nothing. So the csv
    module parses each line. While a quoted field is open, the next line is parsed with a quote in front of it; when
    that closes the field, the lines of the row are joined and parsed again.
    """

    usual_delimiter = ","

    def __init__(self, name: str, fields: Fields) -> None:
        super().__init__(name, fields)
        csv.field_size_limit(MAX_LINE_BYTES)
        self._delimiter = fields.delimiter or self.usual_delimiter
        self._names: list[str] | None = None
        self._open: io.StringIO | None = None
        self._row_line = 0
        self._quote_line = 0
        self._row_not_utf8 = ""

    def close(self) -> None:
        """Raise `InputError` if a quote is still open."""
        if self._open:
            raise InputError(
                f"{self._name}:{self._quote_line}: a quoted field that begins in this line is never closed"
            )

    def _parse(self, line: str) -> EmbedInput | None:
        try:
            return self._parse_line(line)
        except csv.Error as error:
            self._open = None
            if self._names is None:
                raise InputError(f"{self.where}: not CSV: {error}") from None
            return RefusedInput("", reason=f"{self.where}: not CSV: {error}")

    def _parse_line(self, line: str) -> EmbedInput | None:
        if self._open:
            return self._continue_row(self._open, line)
        self._row_line = self._quote_line = self._line
        self._row_not_utf8 = self._not_utf8
        values, is_open = self._read(line)
        if is_open:
            self._open = io.StringIO()
            self._open.write(line)
            return None
        return self._row(values)

    def _continue_row(self, row: io.StringIO, line: str) -> EmbedInput | None:
        self._row_not_utf8 = self._row_not_utf8 or self._not_utf8
        if row.tell() + len(line) > MAX_LINE_BYTES:
            raise InputError(
                f"{self._name}:{self._quote_line}: a quoted field that begins in this line makes the row longer than "
                f"{MAX_LINE_BYTES:,} characters; is its closing quote missing?"
            )
        row.write(line)
        if '"' not in line:
            return None
        values, is_open = self._read('"' + line)
        if is_open:
            self._quote_line = self._line if len(values) > 1 else self._quote_line
            return None
        self._open = None
        values, _ = self._read(row.getvalue())
        return self._row(values)

    def _read(self, row: str) -> tuple[list[str], bool]:
        """Return the fields of a row, and whether the last one is still open.

        If it is, the csv module also reads the second line, a lone quote, to close it.
        """
        reader = csv.reader((row, '"'), delimiter=self._delimiter)
        return next(reader), reader.line_num > 1

    def _row(self, values: list[str]) -> EmbedInput | None:
        if not values:
            return None  # a blank line
        where = f"{self._name}:{self._row_line}"
        if self._names is None:
            self._names = values
            if missing := self._fields.missing(values):
                raise InputError(f"{where}: {missing}{self._other_delimiter(values)}")
            return None
        if len(values) != len(self._names):
            reason = f"{where}: the row has {len(values)} fields, but line 1 names {len(self._names)}"
            return RefusedInput("", reason=reason)
        found = self._fields.pick(dict(zip(self._names, values, strict=True)), where)
        if self._row_not_utf8 and isinstance(found, RefusedInput):
            return RefusedInput(found.text, found.id, found.metadata, reason=self._row_not_utf8)
        return found

    def _other_delimiter(self, values: list[str]) -> str:
        """Return a hint if the header line looks separated by another character, else ""."""
        names = {";": "';'", "\t": "'\\t'", "|": "'|'", ",": "','"}
        for delimiter, shown in names.items():
            if len(values) == 1 and self._fields.text in values[0].split(delimiter):
                return f"; they seem to be separated by {shown}: use --delimiter {shown}"
        return ""


class TsvParser(CsvParser):
    """Parses tab-separated values."""

    usual_delimiter = "\t"


def parse_delimiter(delimiter: str) -> str:
    r"""Return the delimiter that `--delimiter` names; "tab" and a backslash with t mean a tab.

    Raises:
        ConfigurationError: if it is not one character, or a quote or line break.
    """
    character = "\t" if delimiter in {r"\t", "tab"} else delimiter
    if len(character) != 1 or character in '"\r\n':
        raise ConfigurationError(f"--delimiter {delimiter!r} must be one character, such as ';' or '\\t'")
    return character


def plain(value: object) -> object:  # noqa: PLR0911  # one for each type
    """Return a value of a row as a JSON value.

    Raises:
        ValueError: if JSON or a column cannot hold the value. The message leaves out the field's name.
    """
    if isinstance(value, str):
        if problem := _invalid_unicode(value):
            raise ValueError(problem)
        return value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else None  # JSON has neither NaN nor infinity
    if isinstance(value, int):
        return value if -INT64 <= value < INT64 else str(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        raise ValueError("is bytes, which not every output format can hold")  # noqa: TRY004  # the data is invalid, not the call
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, list | tuple) else str(value)


def _as_id(value: object, name: str) -> tuple[TextId | None, str]:
    """Return the id, and an error message if the value is not a valid id."""
    if value is None or type(value) is int:
        return value, ""
    if isinstance(value, str) and (problem := _invalid_unicode(value)):
        return None, f"the id in {name!r} {problem}"
    if is_id(value):
        return value, ""
    if found := id_of_bytes(value):
        return found, ""
    what = f"{len(value)} bytes" if isinstance(value, bytes) else _json_type(value)
    return None, (
        f"the id in {name!r} is {what}, but must be text, an integer or a UUID; write it as text, or choose another "
        "field with --id-field"
    )


def _invalid_unicode(text: str) -> str:
    if text.isascii():
        return ""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"holds half a surrogate pair at character {error.start + 1}, which is not valid Unicode; fix the row"
    return ""


def _json_type(value: object) -> str:
    names: dict[type, str] = {
        dict: "an object",
        list: "a list",
        str: "a string",
        bytes: "bytes",
        bool: "true or false",
        type(None): "null",
        int: "a number",
        Decimal: "a decimal number",
        UUID: "a UUID",
    }
    if isinstance(value, float):
        return "NaN" if value != value else "a number with a fraction" if value % 1 else "a number"  # noqa: PLR0124
    return next((name for kind, name in names.items() if isinstance(value, kind)), f"a {type(value).__name__}")
