"""What a file format is: a `Sink` that writes it and a `VectorFile` that reads it, both in one module."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from asyncembed._models import EmbedResult
    from asyncembed.sinks._provenance import Provenance

Matrix: TypeAlias = npt.NDArray[np.float32 | np.int8 | np.uint8]
"""Vectors as rows: float32, int8 or uint8."""


class Sink(ABC):
    """Makes one file out of results, block by block, in memory that does not grow with the file.

    Everything it knows of the run is the provenance. It is called from one thread at a time, and not from the event
    loop's. Where the file lies meanwhile, and when it gets its final name, is the business of `Output`.

    Args:
        path: The file to write; it may exist, and is replaced.
        provenance: To be kept with the vectors; its dimension is known.
    """

    sidecars: ClassVar[tuple[str, ...]] = ()
    """Endings of further files that belong to the file and are named after it."""

    @abstractmethod
    def __init__(self, path: Path, provenance: Provenance) -> None: ...

    @abstractmethod
    def write(self, results: Sequence[EmbedResult]) -> None:
        """Append results, in ascending order of their index; all vectors have the dimension of the provenance."""

    @abstractmethod
    def close(self) -> None:
        """Make the file valid as it is, and let go of it; called once, also after a `write` that failed."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Consecutive rows of a file.

    Attributes:
        vectors: Array of shape (rows, width), in the type of the file.
        label: Gives index, id and text of a row of this block; valid until the next block is read.
    """

    vectors: Matrix
    label: Callable[[int], Label]


@dataclass(frozen=True, slots=True)
class Label:
    """What a vector stands for.

    Attributes:
        index: Position of the text in the input, from 0.
        id: The id it was given, if any.
        text: The text; empty where the file holds none.
    """

    index: int
    id: str | int | None
    text: str


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
    """How a file is written and read; each format's module calls its own `FORMAT`."""

    sink: type[Sink]
    file: type[VectorFile]


def stack(results: Sequence[EmbedResult]) -> Matrix:
    """Return the vectors of results as the rows of one array."""
    matrix: Matrix = np.stack([result.embedding for result in results])
    return matrix


def json_id(value: str | int | None) -> str | int | None:
    """Return an id as JSON can carry it everywhere: whole numbers beyond 64 bits become strings."""
    return str(value) if isinstance(value, int) and value.bit_length() > 63 else value  # noqa: PLR2004
