"""Index, id and text of each row as JSON lines, for formats that hold nothing but numbers."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final
from uuid import UUID

import orjson

from asyncembed._exceptions import ConfigurationError
from asyncembed.sinks._base import Label
from asyncembed.sinks._columns import INT64_BITS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from asyncembed._models import EmbedInput, Metadata, TextId
    from asyncembed.sinks._columns import ColumnType

MAX_BYTES: Final = 8_000_000
"""Most bytes of lines that are held at once, as nearly as one line allows."""


def label_line(index: int, item: EmbedInput, *, keep_text: bool) -> bytes:
    """Return the line of one row."""
    id_ = b"null" if item.id is None else orjson.dumps(json_id(item.id))
    more = b',"metadata":%b' % metadata_json(item.metadata) if item.metadata else b""
    if not keep_text:
        return b'{"index":%d,"id":%b%b}\n' % (index, id_, more)
    return b'{"index":%d,"id":%b,"text":%b%b}\n' % (index, id_, orjson.dumps(item.text), more)


def metadata_json(metadata: Metadata) -> bytes:
    """Return metadata as JSON."""
    return orjson.dumps(dict(metadata), option=orjson.OPT_SERIALIZE_NUMPY)


def next_lines(lines: Iterable[bytes], most: int) -> Iterator[bytes]:
    """Give the next lines, `most` of them or fewer."""
    size = 0
    for line in islice(lines, most):
        yield line
        size += len(line)
        if size >= MAX_BYTES:
            return


def label_reader(lines: Sequence[bytes], source: object) -> Callable[[int], Label]:
    """Return what parses a line when its label is asked for."""

    def read(row: int) -> Label:
        try:
            return Label(**orjson.loads(lines[row]))
        except (ValueError, TypeError):
            raise ConfigurationError(f"{source} holds a line that is not index, id and text") from None

    return read


def row_numbers(start: int) -> Callable[[int], Label]:
    """Return labels that say nothing but where a row stands."""
    return lambda row: Label(start + row, None)


def json_id(value: TextId | None) -> str | int | None:
    """Return an id as JSON can carry it everywhere.

    UUIDs become strings, and so do whole numbers beyond 64 bits, enormous ones in hexadecimal; half a surrogate pair is
    written out.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if value is None:
        return None
    if isinstance(value, UUID):
        return str(value)
    number = int(value)  # it may be NumPy's
    if number.bit_length() <= INT64_BITS:
        return number
    try:
        return str(number)
    except ValueError:
        return hex(number)


def id_text(value: TextId | None, kind: ColumnType) -> str | None:
    """Return an id as text; as JSON, if the others are so."""
    if value is None:
        return None
    return orjson.dumps(json_id(value)).decode() if kind == "json" else str(value)
