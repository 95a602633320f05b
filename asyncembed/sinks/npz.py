"""NumPy's `.npz`: one uncompressed zip file with all data.

`numpy.load` returns `embeddings` of shape (rows, width), `index` (int64) and, if the rows have ids, `ids`: int64 if all
are integers, else strings, with "" for a missing id. If an id has more than 256 characters, there is no `ids` array.
Two members are not arrays: `texts.jsonl` with index, id, text and metadata of each row, and `meta.json` with the
provenance. There is no array of texts, because NumPy pads strings to the length of the longest one.
"""

from __future__ import annotations

import zipfile
from typing import IO, TYPE_CHECKING, Final, cast

import numpy as np
from numpy.lib import format as npy_format

from asyncembed._exceptions import ConfigurationError
from asyncembed.sinks._base import Block, Format, VectorFile
from asyncembed.sinks._labels import id_text, label_reader, next_lines, row_numbers
from asyncembed.sinks._provenance import Provenance
from asyncembed.sinks._safe_open import new_file
from asyncembed.sinks.npy import check_matrix, rows_in_block, write_header

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator
    from pathlib import Path

    from asyncembed._models import Matrix
    from asyncembed.sinks._columns import Columns, ColumnType

EMBEDDINGS: Final = "embeddings.npy"
TEXTS: Final = "texts.jsonl"
META: Final = "meta.json"
MAX_ID_CHARACTERS: Final = 256
"""Maximum length of an id for the `ids` array, because NumPy pads all strings to the longest one."""

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""Date of all members, so that the same vectors result in the same file."""


def write(path: Path, rows: VectorFile, provenance: Provenance, columns: Columns) -> Iterator[None]:
    """Write the file. The rows are read once per member, because a zip file is written member by member."""
    with new_file(path) as made, zipfile.ZipFile(made, "w") as archive:
        with _member(archive, EMBEDDINGS) as file:
            write_header(file, provenance.number, (rows.rows, rows.width))
            for block in rows.blocks():
                file.write(block.vectors.data)
                yield
        yield from _write_index(archive, rows, columns.id_type)
        with _member(archive, TEXTS) as file:
            for block in rows.blocks():
                file.write(b"".join(block.lines))
                yield
        with _member(archive, META) as file:
            file.write(provenance.to_json(rows=rows.rows))


class NpzFile(VectorFile):
    """Reads a `.npz` file sequentially."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
                with archive.open(EMBEDDINGS) as file:
                    shape, self._number = _read_header(path, file)
                note = archive.read(META) if META in names else None
        except (zipfile.BadZipFile, KeyError, ValueError) as error:
            raise ConfigurationError(f"{path} is not a .npz file with embeddings: {error}") from None
        self._has_texts = TEXTS in names
        self.rows, self.width = shape
        self.provenance = Provenance.from_json(note, str(path)) if note else None

    def blocks(self) -> Iterator[Block]:
        """Yield blocks of vectors with their labels."""
        row_bytes = self.width * self._number.itemsize
        with zipfile.ZipFile(self._path) as archive, archive.open(EMBEDDINGS) as file:
            _read_header(self._path, file)
            lines = archive.open(TEXTS) if self._has_texts else None
            start = 0
            while start < self.rows:
                max_rows = min(rows_in_block(row_bytes), self.rows - start)
                labels = list(next_lines(lines, max_rows)) if lines else []
                count = len(labels) or max_rows
                vectors = np.frombuffer(file.read(count * row_bytes), self._number)
                matrix = cast("Matrix", vectors.reshape(count, self.width))
                yield Block(matrix, label_reader(labels, f"{self._path}/{TEXTS}") if labels else row_numbers(start))
                start += count


def _member(archive: zipfile.ZipFile, name: str) -> io.RawIOBase:
    return cast("io.RawIOBase", archive.open(zipfile.ZipInfo(name, _EPOCH), "w", force_zip64=True))


def _write_index(archive: zipfile.ZipFile, rows: VectorFile, id_type: ColumnType) -> Iterator[None]:
    """Write `index`, and `ids` if at least one row has an id."""
    longest, all_integers, has_ids = 1, True, False
    with _member(archive, "index.npy") as file:
        write_header(file, np.int64, (rows.rows,))
        for block in rows.blocks():
            labels = block.labels
            file.write(np.array([label.index for label in labels], np.int64).data)
            ids = [label.id for label in labels]
            has_ids |= any(value is not None for value in ids)
            all_integers &= all(isinstance(value, int) for value in ids)
            longest = max(longest, *(len(id_text(value, id_type) or "") for value in ids))
            yield
    if has_ids and longest <= MAX_ID_CHARACTERS:
        kind: np.dtype[np.generic] = np.dtype(np.int64) if all_integers else np.dtype(f"<U{longest}")
        yield from _write_ids(archive, rows, kind, id_type)


def _write_ids(
    archive: zipfile.ZipFile, rows: VectorFile, kind: np.dtype[np.generic], id_type: ColumnType
) -> Iterator[None]:
    with _member(archive, "ids.npy") as file:
        write_header(file, kind, (rows.rows,))
        for block in rows.blocks():
            labels = block.labels
            ids = [label.id if kind == np.int64 else id_text(label.id, id_type) or "" for label in labels]
            file.write(np.array(ids, kind).tobytes())
            yield


def _read_header(path: Path, file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    version = npy_format.read_magic(file)
    read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    shape, fortran_order, number = read(file)
    check_matrix(path, shape, number)
    if fortran_order:
        raise ConfigurationError(f"{path} has its vectors in columns (Fortran order), not in rows")
    return shape, number


FORMAT: Final = Format("npz", write, NpzFile)
