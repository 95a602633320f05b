"""Texts that are made of several fields of a row, such as `{title}: {body}`.

Lines to inputs, without I/O: plain text, JSON lines and CSV. Every complaint names the file and the line.

A row that is wrong becomes a `RefusedInput`, which fails in its place. What makes the rest of a file unreadable, or
concerns all of its rows, is an `InputError`.
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
_WRITTEN: Final = {"{{": "{", "}}": "}", r"\n": "\n", r"\r": "\r", r"\t": "\t", r"\\": "\\"}
_MORE_THAN_A_NAME: Final = re.compile(r"[.\[\]!:]")


@dataclass(frozen=True, slots=True)
class RowTemplate:
    """What is put around the fields of a row.

    Attributes:
        names: Names of the fields, in their order.
        between: What stands before, between and after them: one more than there are names.
    """

    names: Sequence[str]
    between: Sequence[str]

    @classmethod
    def parse(cls, given: str) -> Self:
        """Return what was given on the command line.

        Raises:
            ConfigurationError: if it names no field, or asks for more of one than its value.
        """
        names: list[str] = []
        between = [""]
        for token in _TOKEN.split(given):
            if token in _WRITTEN:
                between[-1] += _WRITTEN[token]
            elif token.startswith("{") and token.endswith("}") and len(token) > 1:
                name = token[1:-1]
                if not name or name != name.strip() or _MORE_THAN_A_NAME.search(name):
                    raise ConfigurationError(
                        f"--template {given!r}: {token} is no plain name of a field; write {{name}}, without "
                        "attribute, index or format"
                    )
                names.append(name)
                between.append("")
            elif token in {"{", "}"}:
                raise ConfigurationError(f"--template {given!r}: a brace stands alone; write it twice to have one")
            else:
                between[-1] += token
        if not names:
            raise ConfigurationError(
                f"--template {given!r} names no field, so all texts would be the same; write {{name}}"
            )
        return cls(tuple(names), tuple(between))

    def fill(self, row: Mapping[str, object]) -> str:
        """Return the text of a row, which has all the names; empty if all values are."""
        values = [_text_of(row[name]) for name in self.names]
        if not any(values):
            return ""
        return self.between[0] + "".join(value + behind for value, behind in zip(values, self.between[1:], strict=True))


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
"""How files begin that hold no lines of UTF-8."""

INT64: Final = 2**63


class InputError(Exception):
    """Raised when an input file holds something that cannot be embedded; the message names file and line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """What is taken of a row.

    Attributes:
        text: Name of the field with the text.
        id: Name of the field with the id; None for "id", if there is one.
        template: Makes the text of several fields instead.
        keep: Names of further fields that are kept beside the vector.
        delimiter: What stands between the fields of a CSV row; None for what is usual.
        needed: The fields that must be there, with the options that name them.
        wanted: The fields that are looked at, if they are there.
        id_name: Name of the field with the id, which need not be there if it was not chosen.
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
        kept_already = {self.id, None if self.template else self.text}
        if taken := [name for name in self.keep if name in OWN_COLUMNS or name in kept_already]:
            own = taken[0] in OWN_COLUMNS
            why = "stands for something else in the output" if own else "is the text or the id, and kept as such"
            raise ConfigurationError(f"--keep-column {taken[0]}: the name {why}")

        texts = dict.fromkeys(self.template.names, "--template") if self.template else {self.text: "--text-field"}
        ids = {} if self.id is None else {self.id: "--id-field"}
        # Once, as it is asked for every row.
        object.__setattr__(self, "needed", {**dict.fromkeys(self.keep, "--keep-column"), **ids, **texts})
        object.__setattr__(self, "id_name", self.id or "id")
        object.__setattr__(self, "wanted", list(dict.fromkeys([*self.needed, self.id_name])))

    def pick(self, row: Mapping[str, object], where: str) -> EmbedInput:
        """Return the input in a row, a `RefusedInput` if the row is wrong.

        Args:
            row: The fields.
            where: File and line, to be named.
        """
        if not self.needed.keys() <= row.keys():
            return RefusedInput("", reason=f"{where}: {self.missing(row)}")
        id_, wrong = _as_id(row.get(self.id_name), self.id_name)
        if wrong:
            return RefusedInput("", reason=f"{where}: {wrong}")
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
                return RefusedInput("", id_, kept, reason=f"{where}: field {bad[0]!r} is bytes that are no UTF-8")
            text, what = self.template.fill(row), "the text by --template"
        else:
            found, what = row[self.text], f"field {self.text!r}"
            if isinstance(found, bytes):
                return not_utf8(found, where, id_)
            if not isinstance(found, str):
                return RefusedInput(
                    "",
                    id_,
                    kept,
                    reason=f"{where}: {what} is not a string but {_json_type(found)}; remove or mend the row",
                )
            text = found
        if not text:
            return RefusedInput(
                "", id_, kept, reason=f"{where}: {what} is empty; remove the row, or use --on-error skip"
            )
        if wrong := _wrong_characters(text):
            return RefusedInput(text, id_, kept, reason=f"{where}: {what} {wrong}")
        return EmbedInput(text, id_, kept)

    def missing(self, names: Mapping[str, object] | Sequence[str]) -> str:
        """Say which field that is needed is not among `names`, or twice; empty if none is."""
        for name, option in self.needed.items():
            if name not in names:
                found = ", ".join(map(repr, names)) or "none"
                return f"there is no field {name!r}; the fields are {found}; choose with {option}"
        if not isinstance(names, Mapping):
            for name in self.wanted:
                if names.count(name) > 1:
                    return f"there are {names.count(name)} fields of the name {name!r}; rename all but one of them"
        return ""

    def check(self, names: Sequence[str], where: str) -> None:
        """Raise `InputError` if a field that is needed is not among `names`, or one is there twice."""
        if missing := self.missing(names):
            raise InputError(f"{where}: {missing}")


class LineParser(ABC):
    """Takes the lines of one file, one after the other, and gives the inputs in them.

    Args:
        name: Name of the file, for errors.
        fields: What is taken of a row.
    """

    def __init__(self, name: str, fields: Fields) -> None:
        self._name = name
        self._fields = fields
        self._line = 0
        self._not_utf8 = ""  # what is wrong with the current line, if it is not UTF-8

    @property
    def where(self) -> str:
        """File and number of the current line."""
        return f"{self._name}:{self._line}"

    def feed(self, line: bytes) -> EmbedInput | None:
        """Take one line, its end included, and return the input that it completes.

        Raises:
            InputError: if the line is too long, or the file is not of the format.
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
        if self._not_utf8 and isinstance(found, RefusedInput):  # else the bytes are in a field that is not taken
            return RefusedInput(found.text, found.id, found.metadata, reason=self._not_utf8)
        return found

    def close(self) -> None:  # noqa: B027  # most formats have nothing to say at the end
        """Raise `InputError` if the file ended in the middle of a row."""

    @abstractmethod
    def _parse(self, line: str) -> EmbedInput | None: ...


class TxtParser(LineParser):
    """A text in each line; blank lines are left out."""

    def __init__(self, name: str, fields: Fields) -> None:
        super().__init__(name, fields)
        if fields.template or fields.keep:
            fields.check(["text"], name)

    def _parse(self, line: str) -> EmbedInput | None:
        if not line.strip():
            return None
        text = line.rstrip("\r\n")
        if self._not_utf8:
            return RefusedInput(text, reason=self._not_utf8)
        return EmbedInput(self._fields.template.fill({"text": text}) if self._fields.template else text)


class JsonlParser(LineParser):
    """A JSON object in each line; blank lines are left out.

    Fields for a template or to be kept may be missing in an object, which is null then.

    Attributes:
        unseen: Such fields that no object had so far, with the options that name them.
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
        if isinstance(row, _Doubled):
            twice = next((name for name in row.twice if name in self._wanted), None)
            if twice is not None:
                reason = f"{self.where}: there are two fields of the name {twice!r}; rename one of them"
                return RefusedInput("", reason=reason)
        for name in self._optional:
            if name in row:
                self.unseen.pop(name, None)
            else:
                row[name] = None
        return self._fields.pick(row, self.where)

    def _read(self, line: str) -> object:
        """Parse a line, quickly if that gives the same as Python's own parser.

        That one takes NaN, half a surrogate pair and whole numbers of any size, and sees names that are there twice.
        """
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            return json.loads(line, object_pairs_hook=_object_of)
        is_exact = isinstance(row, dict) and not any(_may_be_cut(row.get(name)) for name in self._wanted)
        if is_exact and not any(line.count(name) > 1 for name in self._quoted):
            return row
        return json.loads(line, object_pairs_hook=_object_of)


class _Doubled(dict[str, object]):
    """A JSON object in which names are there twice."""

    twice: Sequence[str] = ()


def _object_of(pairs: list[tuple[str, object]]) -> dict[str, object]:
    row = dict(pairs)
    if len(row) == len(pairs):
        return row
    doubled = _Doubled(row)
    names = [name for name, _ in pairs]
    doubled.twice = [name for name in row if names.count(name) > 1]
    return doubled


def _may_be_cut(value: object) -> bool:
    """Whether a value may have been a whole number of over 64 bits, of which a float is left."""
    if isinstance(value, float):
        return abs(value) >= INT64
    if isinstance(value, dict):
        return any(map(_may_be_cut, value.values()))
    return isinstance(value, list) and any(map(_may_be_cut, value))


class CsvParser(LineParser):
    """Comma-separated rows below a line of names; a quoted field may hold line breaks.

    Counting quotes would not do: inside an unquoted field they mean nothing. So the csv module reads each line, those
    after a break in a quoted field as if they began with its quote; once they close it, the whole row is read again.
    """

    usual_delimiter = ","

    def __init__(self, name: str, fields: Fields) -> None:
        super().__init__(name, fields)
        csv.field_size_limit(MAX_LINE_BYTES)
        self._delimiter = fields.delimiter or self.usual_delimiter
        self._names: list[str] | None = None
        self._open: io.StringIO | None = None
        self._first = 0
        self._opened = 0
        self._row_not_utf8 = ""

    def close(self) -> None:
        """Raise `InputError` if a quote is still open."""
        if self._open:
            raise InputError(f"{self._name}:{self._opened}: a quoted field that begins in this line is never closed")

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
            return self._go_on(self._open, line)
        self._first = self._opened = self._line
        self._row_not_utf8 = self._not_utf8
        values, is_open = self._read(line)
        if is_open:
            self._open = io.StringIO()
            self._open.write(line)
            return None
        return self._row(values)

    def _go_on(self, row: io.StringIO, line: str) -> EmbedInput | None:
        self._row_not_utf8 = self._row_not_utf8 or self._not_utf8
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
        reader = csv.reader((row, '"'), delimiter=self._delimiter)
        return next(reader), reader.line_num > 1

    def _row(self, values: list[str]) -> EmbedInput | None:
        if not values:
            return None  # a blank line
        where = f"{self._name}:{self._first}"
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
        """Say that the names seem to be divided by something else, if they are."""
        names = {";": "';'", "\t": "'\\t'", "|": "'|'", ",": "','"}
        for delimiter, shown in names.items():
            if len(values) == 1 and self._fields.text in values[0].split(delimiter):
                return f"; they seem to be divided by {shown}: use --delimiter {shown}"
        return ""


class TsvParser(CsvParser):
    """The same with tabs."""

    usual_delimiter = "\t"


def plain(value: object) -> object:  # noqa: PLR0911  # one for each kind
    """Return a value of a row as JSON can carry it.

    Raises:
        ValueError: if it cannot; the message says why, without the name.
    """
    if isinstance(value, str):
        if wrong := _wrong_characters(value):
            raise ValueError(wrong)
        return value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else None  # as JSON has neither NaN nor infinity
    if isinstance(value, int):
        return value if -INT64 <= value < INT64 else str(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        raise ValueError("is bytes, which no column for all formats can hold")  # noqa: TRY004  # of the data
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, list | tuple) else str(value)


def _as_id(value: object, name: str) -> tuple[TextId | None, str]:
    """Return an id, and what is wrong with it if it cannot be one."""
    if value is None or type(value) is int:
        return value, ""
    if isinstance(value, str) and (wrong := _wrong_characters(value)):
        return None, f"the id in {name!r} {wrong}"
    if is_id(value):
        return value, ""
    if found := id_of_bytes(value):
        return found, ""
    what = f"{len(value)} bytes" if isinstance(value, bytes) else _json_type(value)
    return None, (
        f"the id in {name!r} is {what}, and not text, a whole number or a UUID; write it as text, or choose another "
        "field with --id-field"
    )


def _wrong_characters(text: str) -> str:
    if text.isascii():
        return ""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"holds half a surrogate pair at character {error.start + 1}, which is not valid Unicode; mend the row"
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
