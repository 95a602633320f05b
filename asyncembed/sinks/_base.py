"""The small file beside a format that has no room for the provenance of its vectors: `vectors.npy.meta.json`.

What a file format is: a function that writes it, and a `VectorFile` that reads it, both in one module.

The file formats by suffix; a new one is a module and a line here.
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
    """Write the provenance of the file at `path` beside it."""
    with new_file(Path(f"{path}{META}")) as file:
        file.write(provenance.to_json(rows=rows))


def read_meta(path: Path) -> Provenance | None:
    """Read it again; None if there is none.

    Raises:
        ConfigurationError: if it is not what `write_meta` wrote.
    """
    meta = Path(f"{path}{META}")
    return Provenance.from_json(meta.read_bytes(), str(meta)) if meta.is_file() else None


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Consecutive rows of a file.

    Attributes:
        vectors: Array of shape (rows, width), in the type of the file.
        label: Gives index, id and text of a row of this block; valid until the next block is read.
        lines: The labels of all rows as JSON lines, if they lie there so.
    """

    vectors: Matrix
    label: Callable[[int], Label]
    lines: Sequence[bytes] = ()

    @property
    def labels(self) -> list[Label]:
        """Index, id and text of all rows."""
        return [self.label(row) for row in range(len(self.vectors))]


@dataclass(frozen=True, slots=True)
class Label:
    """What a vector stands for.

    Attributes:
        index: Position of the text in the input, from 0.
        id: The id it was given, if any.
        text: The text; empty where the file holds none.
        metadata: What else belongs to the text, if anything.
    """

    index: int
    id: str | int | None
    text: str = ""
    metadata: Metadata | None = None


class VectorFile(ABC):
    """A file of vectors, read in blocks.

    Attributes:
        provenance: What was written with the vectors; None if nothing was.
        rows: How many vectors there are.
        width: Numbers in each of them.

    Raises:
        ConfigurationError: if it is no such file.
    """

    provenance: Provenance | None
    rows: int
    width: int

    @abstractmethod
    def __init__(self, path: Path) -> None: ...

    @abstractmethod
    def blocks(self) -> Iterator[Block]:
        """Give all rows, some thousand at a time."""


class Format(NamedTuple):
    """How a file is written and read; each format's module calls its own `FORMAT`.

    Attributes:
        name: What it is called.
        write: Makes a file of this format out of the rows of another one, block by block, in memory that does not
            grow with them, and is told what its ids and metadata are. It is a generator that stops after each block,
            so that it can be left between two.
        file: Reads it.
        sidecars: Endings of further files that belong to the file and are named after it.
        is_journal: Whether the rows of a journal are such a file already, if they arrived in order.
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
"""The module of each suffix, loaded when it is first needed: what it imports may be slow, or not installed."""

ARROW_MISSING: Final = '.parquet and .arrow need pyarrow, which is not installed: pip install "asyncembed[arrow]"'


def find_format(path: Path, name: FormatName | None = None) -> Format:
    """Return the format of this name, or else the one that the suffix of `path` names.

    Raises:
        ConfigurationError: if there is no such format, or the package that it needs is not installed.
    """
    if name is not None:
        check_choice("format", name, FormatName)
    suffix = f".{name}" if name else path.suffix.lower()
    if suffix not in FORMATS:
        found = f"the suffix {suffix}" if suffix else "no suffix"
        raise ConfigurationError(f"{path} has {found}; vectors are kept in files that end in {', '.join(FORMATS)}")
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
        ConfigurationError: if there is no such file, or it is not what its suffix says.
    """
    kind = find_format(path)
    if not path.is_file():
        raise ConfigurationError(f"there is no file {path}")
    return kind.file(path)
