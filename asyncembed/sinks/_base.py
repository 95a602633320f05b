"""The interface of a file format, and the registry of all formats.

A format is a module with a function that writes it, a `VectorFile` that reads it, and a `FORMAT`. To add one, write the
module and add its suffix to `FORMATS`. Formats without a place for the provenance of the vectors store it in a small
file beside the vectors, `vectors.npy.meta.json`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from asyncembed._config import check_choice
from asyncembed._exceptions import ConfigurationError
from asyncembed.sinks._provenance import Provenance
from asyncembed.sinks._safe_open import new_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from asyncembed._models import Matrix, Metadata
    from asyncembed.sinks._columns import Columns


META: Final = ".meta.json"


def write_meta(path: Path, provenance: Provenance, rows: int) -> None:
    """Write the provenance of the vectors in `path` to the file beside it."""
    with new_file(Path(f"{path}{META}")) as file:
        file.write(provenance.to_json(rows=rows))


def read_meta(path: Path) -> Provenance | None:
    """Return the provenance that `write_meta` wrote beside `path`; None if there is none.

    Raises:
        ConfigurationError: if the file is damaged.
    """
    meta = Path(f"{path}{META}")
    return Provenance.from_json(meta.read_bytes(), str(meta)) if meta.is_file() else None


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Consecutive rows of a file.

    Attributes:
        vectors: Array of shape (rows, width), in the number type of the file.
        label: Returns the label of a row of this block, counted from 0; valid until the next block is read.
        lines: The labels of all rows as JSON lines, if the file stores them in this form; else empty.
    """

    vectors: Matrix
    label: Callable[[int], Label]
    lines: Sequence[bytes] = ()

    @property
    def labels(self) -> list[Label]:
        """The labels of all rows."""
        return [self.label(row) for row in range(len(self.vectors))]


@dataclass(frozen=True, slots=True)
class Label:
    """The text that a vector belongs to.

    Attributes:
        index: Position of the text in the input, from 0.
        id: Id of the text, if it has one.
        text: The text; "" if the file does not store texts.
        metadata: Metadata of the text, if it has any.
    """

    index: int
    id: str | int | None
    text: str = ""
    metadata: Metadata | None = None


class VectorFile(ABC):
    """A file of vectors, read in blocks.

    Attributes:
        provenance: Provenance of the vectors; None if the file does not have it.
        rows: Number of vectors.
        width: Numbers per vector.

    Raises:
        ConfigurationError: if the file does not have this format.
    """

    provenance: Provenance | None
    rows: int
    width: int

    @abstractmethod
    def __init__(self, path: Path) -> None: ...

    @abstractmethod
    def blocks(self) -> Iterator[Block]:
        """Yield all rows in blocks of up to a few thousand."""


class Format(NamedTuple):
    """How to write and read a file format. Each format's module has one, named `FORMAT`.

    Attributes:
        name: Name of the format.
        write: Writes the rows of a `VectorFile` to a new file, block by block, so that memory use does not grow with
            the number of rows. It is a generator that yields after each block, so that the caller can stop in between.
            The `Columns` tell the types of ids and metadata.
        file: The class that reads the format.
        sidecars: Suffixes of the files that belong to a file and are stored beside it.
        is_journal: Whether the files of a journal already have this format if the rows arrived in order.
    """

    name: str
    write: Callable[[Path, VectorFile, Provenance, Columns], Iterator[None]]
    file: type[VectorFile]
    sidecars: tuple[str, ...] = ()
    is_journal: bool = False


FormatName: TypeAlias = Literal["npy", "npz", "arrow", "parquet", "jsonl"]

FORMATS: Final[Mapping[str, str]] = {
    ".parquet": "asyncembed.sinks.parquet",
    ".npy": "asyncembed.sinks.npy",
    ".npz": "asyncembed.sinks.npz",
    ".arrow": "asyncembed.sinks.arrow",
    ".jsonl": "asyncembed.sinks.jsonl",
}
"""The module of each suffix, imported on first use, because its dependencies may be slow or not installed."""

ARROW_MISSING: Final = '.parquet and .arrow need pyarrow, which is not installed: pip install "asyncembed[arrow]"'


def find_format(path: Path, name: FormatName | None = None) -> Format:
    """Return the format with this name, or the format of the suffix of `path` if there is no name.

    Raises:
        ConfigurationError: if the format does not exist, or a package that it needs is not installed.
    """
    if name is not None:
        check_choice("format", name, FormatName)
    suffix = f".{name}" if name else path.suffix.lower()
    if suffix not in FORMATS:
        found = f"the suffix {suffix}" if suffix else "no suffix"
        raise ConfigurationError(f"{path} has {found}; the name of a file of vectors ends in {', '.join(FORMATS)}")
    try:
        kind: Format = import_module(FORMATS[suffix]).FORMAT
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "pyarrow":
            raise
        raise ConfigurationError(ARROW_MISSING) from None
    return kind


def open_vectors(path: Path) -> VectorFile:
    """Open a file of vectors for reading.

    Raises:
        ConfigurationError: if the file does not exist, or does not have the format of its suffix.
    """
    kind = find_format(path)
    if not path.is_file():
        raise ConfigurationError(f"there is no file {path}")
    return kind.file(path)
