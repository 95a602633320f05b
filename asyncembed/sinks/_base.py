"""What a file format is: a function that writes it, and a `VectorFile` that reads it, both in one module."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from asyncembed._models import Matrix, Metadata
    from asyncembed.sinks._columns import Columns
    from asyncembed.sinks._provenance import Provenance


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
