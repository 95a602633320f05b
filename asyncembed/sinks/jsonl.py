"""JSON lines, for tools that cannot read the other formats, which are about 2.5 times smaller.

A line looks like this: `{"index": 0, "id": ..., "text": "...", "embedding": [...]}`. Metadata are additional fields
between text and embedding. The provenance is in `vectors.jsonl.meta.json` beside the file.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import orjson

from asyncembed._decide.texts import OWN_COLUMNS
from asyncembed._exceptions import ConfigurationError
from asyncembed.sinks._base import META, Block, Format, Label, VectorFile, read_meta, write_meta
from asyncembed.sinks._safe_open import new_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from asyncembed._models import Vector
    from asyncembed.sinks._columns import Columns
    from asyncembed.sinks._provenance import Provenance

BLOCK_ROWS: Final = 1_024
"""Maximum rows to read at once."""

_OPTIONS: Final = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE


def write(path: Path, rows: VectorFile, provenance: Provenance, _columns: Columns) -> Iterator[None]:
    """Write a line for each row, and the provenance beside the file."""
    with new_file(path) as file:
        for block in rows.blocks():
            pairs = zip(block.labels, block.vectors, strict=True)
            file.writelines(_line(label, vector, keep_text=provenance.keep_text) for label, vector in pairs)
            yield
    write_meta(path, provenance, rows.rows)


class JsonlFile(VectorFile):
    """Reads a file of JSON lines. It counts the lines when it is opened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.provenance = read_meta(path)
        self._number: npt.DTypeLike = self.provenance.number if self.provenance else np.float32
        with path.open("rb") as lines:
            self.width = len(self._parse(1, lines.readline()).vector)
            self.rows = 1 + sum(1 for _ in lines)

    def blocks(self) -> Iterator[Block]:
        """Yield blocks of up to `BLOCK_ROWS` rows."""
        with self._path.open("rb") as lines:
            numbered = enumerate(lines, 1)
            while rows := [self._parse(number, line) for number, line in islice(numbered, BLOCK_ROWS)]:
                yield Block(np.stack([row.vector for row in rows]), [row.label for row in rows].__getitem__)

    def _parse(self, number: int, line: bytes) -> _Row:
        try:
            row = orjson.loads(line)
            vector = np.array(row["embedding"], self._number)
            more = {name: value for name, value in row.items() if name not in OWN_COLUMNS}
            label = Label(row["index"], row.get("id"), row.get("text", ""), more or None)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            raise ConfigurationError(f"{self._path}:{number} is not a row with index and embedding") from None
        if vector.shape != (getattr(self, "width", vector.size),):
            raise ConfigurationError(f"{self._path}:{number} has an embedding of another length than the one in line 1")
        return _Row(vector, label)


class _Row(NamedTuple):
    vector: Vector
    label: Label


def _line(label: Label, vector: Vector, *, keep_text: bool) -> bytes:
    row: dict[str, object] = {"index": label.index, "id": label.id}
    if keep_text:
        row["text"] = label.text
    return orjson.dumps({**row, **(label.metadata or {}), "embedding": vector}, option=_OPTIONS)


FORMAT: Final = Format("jsonl", write, JsonlFile, (META,))
