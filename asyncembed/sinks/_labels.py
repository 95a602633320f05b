"""Labels of rows (index, id, text and metadata) as JSON lines, for formats that store only numbers."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final
from uuid import UUID

import orjson

from asyncembed._exceptions import ConfigurationError
from asyncembed.sinks._base import Label
from asyncembed.sinks._columns import is_int64

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from asyncembed._models import EmbedInput, Metadata, TextId
    from asyncembed.sinks._columns import ColumnType

MAX_BYTES: Final = 8_000_000
"""Maximum bytes of lines to hold at once; the last line may exceed it."""


def label_line(index: int, item: EmbedInput, *, keep_text: bool) -> bytes:
    """Return the JSON line of one row."""
    id_ = b"null" if item.id is None else orjson.dumps(json_id(item.id))
    more = b',"metadata":%b' % metadata_json(item.metadata) if item.metadata else b""
    if not keep_text:
        return b'{"index":%d,"id":%b%b}\n' % (index, id_, more)
    return b'{"index":%d,"id":%b,"text":%b%b}\n' % (index, id_, orjson.dumps(item.text), more)


def metadata_json(metadata: Metadata) -> bytes:
    """Return metadata as JSON."""
    return orjson.dumps(dict(metadata), option=orjson.OPT_SERIALIZE_NUMPY)


def next_lines(lines: Iterable[bytes], max_lines: int) -> Iterator[bytes]:
    """Yield up to `max_lines` of the next lines, fewer if they exceed `MAX_BYTES`."""
    size = 0
    for line in islice(lines, max_lines):
        yield line
        size += len(line)
        if size >= MAX_BYTES:
            return


def label_reader(lines: Sequence[bytes], source: object) -> Callable[[int], Label]:
    """Return a function that parses the line of a row into its label."""

    def read(row: int) -> Label:
        try:
            return Label(**orjson.loads(lines[row]))
        except (ValueError, TypeError):
            raise ConfigurationError(f"{source} has a line that is not a label with index, id and text") from None

    return read


def row_numbers(start: int) -> Callable[[int], Label]:
    """Return a function that makes the label of a row from its number alone."""
    return lambda row: Label(start + row, None)


def json_id(value: TextId | None) -> str | int | None:
    """Return an id as a value that every JSON parser can read.

    UUIDs and integers of more than 64 bits become strings, in hexadecimal if Python refuses to print them in decimal.
    A lone surrogate becomes an escape sequence.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if value is None:
        return None
    if isinstance(value, UUID):
        return str(value)
    number = int(value)  # value may be a NumPy integer
    if is_int64(number):
        return number
    try:
        return str(number)
    except ValueError:
        return hex(number)


def id_text(value: TextId | None, kind: ColumnType) -> str | None:
    """Return an id as text, or as JSON if the column is JSON."""
    if value is None:
        return None
    return orjson.dumps(json_id(value)).decode() if kind == "json" else str(value)
