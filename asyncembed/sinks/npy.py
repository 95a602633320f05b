"""NumPy's `.npy`: the matrix alone, which `numpy.load(path, mmap_mode="r")` maps without reading it.

Beside it lie `vectors.npy.texts.jsonl` with index, id and text of each row, and `vectors.npy.meta.json` with the
provenance. Row i is the i-th result; it is the text with index i unless texts were skipped.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import orjson
from numpy.lib import format as npy_format

from asyncembed._errors import ConfigurationError
from asyncembed.sinks._base import Block, Format, Label, Sink, VectorFile, json_id, stack
from asyncembed.sinks._sidecar import META, read_meta, write_meta

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from asyncembed._models import EmbedResult
    from asyncembed.sinks._base import Matrix
    from asyncembed.sinks._provenance import Provenance

TEXTS: Final = ".texts.jsonl"
BLOCK_BYTES: Final = 16_000_000
"""Most bytes of vectors read at once, as nearly as one row allows."""


class NpySink(Sink):
    """Writes rows one after the other behind a header whose count of rows is put right at the end.

    NumPy leaves room in the header for any count, so its length does not change.
    """

    sidecars = (TEXTS, META)

    def __init__(self, path: Path, provenance: Provenance) -> None:
        self._path = path
        self._provenance = provenance
        self._rows = 0
        self._texts = Path(f"{path}{TEXTS}").open("wb")  # noqa: SIM115  # closed in close()
        self._file = path.open("wb")
        self._write_header()

    def write(self, results: Sequence[EmbedResult]) -> None:
        """Append rows and their labels."""
        self._file.write(stack(results).data)
        self._texts.writelines(_label_line(result) for result in results)
        self._rows += len(results)

    def close(self) -> None:
        """Put the count of rows into the header and write the provenance."""
        with self._texts, self._file:
            self._file.seek(0)
            self._write_header()
        write_meta(self._path, self._provenance, self._rows)

    def _write_header(self) -> None:
        number = np.dtype(self._provenance.number)
        shape = (self._rows, self._provenance.width)
        header = {"descr": npy_format.dtype_to_descr(number), "fortran_order": False, "shape": shape}
        npy_format.write_array_header_1_0(self._file, header)


class NpyFile(VectorFile):
    """Maps the matrix; works without the files beside it, but then without ids, texts and provenance."""

    def __init__(self, path: Path) -> None:
        try:
            matrix = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ConfigurationError(f"{path} is not a .npy file: {error}") from None
        if matrix.ndim != 2 or matrix.dtype not in (np.float32, np.int8, np.uint8):  # noqa: PLR2004
            raise ConfigurationError(
                f"{path} holds an array of shape {matrix.shape} and type {matrix.dtype}, not vectors as rows"
            )
        self._matrix: Matrix = matrix
        self._texts = Path(f"{path}{TEXTS}")
        self.rows, self.width = matrix.shape
        self.provenance = read_meta(path)

    def blocks(self) -> Iterator[Block]:
        """Give slices of the mapped matrix."""
        step = max(1, BLOCK_BYTES // (self._matrix.itemsize * max(self.width, 1)))
        if not self._texts.is_file():
            for start in range(0, self.rows, step):
                yield Block(self._matrix[start : start + step], _row_numbers(start))
            return
        with self._texts.open("rb") as lines:
            for start in range(0, self.rows, step):
                part = self._matrix[start : start + step]
                yield Block(part, _labels(list(islice(lines, len(part))), len(part), self._texts))


def _label_line(result: EmbedResult) -> bytes:
    label = {"index": result.index, "id": json_id(result.id), "text": result.text}
    return orjson.dumps(label, option=orjson.OPT_APPEND_NEWLINE)


def _row_numbers(start: int) -> Callable[[int], Label]:
    return lambda row: Label(start + row, None, "")


def _labels(lines: Sequence[bytes], rows: int, source: Path) -> Callable[[int], Label]:
    if len(lines) != rows:
        raise ConfigurationError(f"{source} does not have a line for each vector; it belongs to another file")
    return lambda row: Label(**orjson.loads(lines[row]))


FORMAT: Final = Format(NpySink, NpyFile)
