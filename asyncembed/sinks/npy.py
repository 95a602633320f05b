"""NumPy's `.npy`: a matrix that `numpy.load(path, mmap_mode="r")` can map into memory.

`vectors.npy.texts.jsonl` beside it has index, id, text and metadata of each row, and `vectors.npy.meta.json` has the
provenance. Row i belongs to the text with index i, unless texts were skipped.

A journal has its rows in the same two files, in the order of arrival. If that is the order of the texts, the files of
the journal are only renamed at the end.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import numpy as np
from numpy.lib import format as npy_format

from asyncembed._exceptions import ConfigurationError
from asyncembed.sinks._base import META, Block, Format, VectorFile, read_meta, write_meta
from asyncembed.sinks._labels import label_reader, next_lines, row_numbers
from asyncembed.sinks._safe_open import new_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from asyncembed._models import Matrix
    from asyncembed.sinks._columns import Columns
    from asyncembed.sinks._provenance import Provenance

TEXTS: Final = ".texts.jsonl"
BLOCK_BYTES: Final = 8_000_000
"""Maximum bytes of vectors to read at once; a block has at least one row."""
BLOCK_ROWS: Final = 8_192
"""Maximum rows to read at once."""
HEADER_BYTES: Final = 128
"""Length of the header, which does not depend on the size of the matrix."""


def write(path: Path, rows: VectorFile, provenance: Provenance, _columns: Columns) -> Iterator[None]:
    """Write the matrix and the two files beside it."""
    with new_file(path) as matrix, new_file(Path(f"{path}{TEXTS}")) as texts:
        write_header(matrix, provenance.number, (rows.rows, rows.width))
        for block in rows.blocks():
            matrix.write(block.vectors.data)
            texts.writelines(block.lines)
            del block  # otherwise two blocks would be in memory at once
            yield
    write_meta(path, provenance, rows.rows)


class NpyFile(VectorFile):
    """Reads a matrix and the files beside it. Without these files, there are no ids, texts and provenance."""

    def __init__(self, path: Path) -> None:
        try:
            matrix = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ConfigurationError(f"{path} is not a .npy file: {error}") from None
        check_matrix(path, matrix.shape, matrix.dtype)
        self._matrix = matrix
        self._path = path
        self._texts = Path(f"{path}{TEXTS}")
        self.rows, self.width = matrix.shape
        self.provenance = read_meta(path)

    def blocks(self) -> Iterator[Block]:
        """Yield the rows in blocks, which are smaller if the texts are long."""
        step = rows_in_block(self.width * self._matrix.itemsize)
        if not self._texts.is_file():
            for start in range(0, self.rows, step):
                yield Block(self._read(start, step), row_numbers(start))
            return
        with self._texts.open("rb") as lines:
            start = 0
            while start < self.rows:
                labels = list(next_lines(lines, min(step, self.rows - start)))
                if not labels:
                    raise ConfigurationError(
                        f"{self._texts} does not have a line for each vector; it may belong to another file"
                    )
                yield Block(self._read(start, len(labels)), label_reader(labels, self._texts), labels)
                start += len(labels)

    def _read(self, start: int, rows: int) -> Matrix:
        matrix = self._matrix
        rows = min(rows, self.rows - start)
        if not matrix.flags.c_contiguous:
            part: Matrix = matrix[start : start + rows]
            return part
        # Not a slice of the map, because pages of a mapped file count as memory of this process.
        offset = matrix.offset + start * self.width * matrix.itemsize
        return np.fromfile(self._path, matrix.dtype, rows * self.width, offset=offset).reshape(rows, self.width)


def header_of(number: npt.DTypeLike, shape: tuple[int, ...]) -> bytes:
    """Return the header that `write_header` writes."""
    file = io.BytesIO()
    write_header(file, number, shape)
    return file.getvalue()


def write_header(file: IO[bytes] | io.RawIOBase, number: npt.DTypeLike, shape: tuple[int, ...]) -> None:
    """Write the header of an array in C order. NumPy pads it, so that any number of rows fits in later."""
    descr = npy_format.dtype_to_descr(np.dtype(number))
    npy_format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})


def check_matrix(path: Path, shape: tuple[int, ...], number: np.dtype[np.generic]) -> None:
    """Raise `ConfigurationError` unless the rows of an array can be vectors."""
    if len(shape) != 2 or number not in (np.float32, np.int8, np.uint8):  # noqa: PLR2004
        raise ConfigurationError(
            f"{path} has an array of shape {shape} and type {number}, not rows of float32, int8 or uint8 vectors"
        )


def rows_in_block(row_bytes: int, block_bytes: int = BLOCK_BYTES) -> int:
    """Return how many rows of this size to read at once."""
    return min(BLOCK_ROWS, max(1, block_bytes // max(row_bytes, 1)))


FORMAT: Final = Format("npy", write, NpyFile, (TEXTS, META), is_journal=True)
