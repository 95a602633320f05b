"""What a journal keeps of each text, in records of one length, and how rows are found by the index of their text.

Records are appended in the order in which results arrive. The latest record of a text counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator

    import numpy.typing as npt

RECORD: Final = np.dtype([
    ("index", "<i8"),
    ("row", "<i8"),  # in the file of vectors, from 0; or one of the two below
    ("label", "<u8"),  # where its line begins in the file of labels
    ("label_bytes", "<u4"),
    ("reserved", "<u4"),
    ("digest", "<u8", 2),
])
FAILED: Final = -1
"""In place of a row: the text was given up."""
DROPPED: Final = -2
"""In place of a row: what came for the text cannot be trusted, and it is to be asked for again."""

STEP: Final = 8_192
"""Records that are looked at in one step."""


def read_records(file: io.FileIO, start: int, count: int) -> npt.NDArray[np.void]:
    """Return consecutive records."""
    return gather(file, np.arange(start, start + count), RECORD.itemsize).view(RECORD).reshape(count)


def find_latest(file: io.FileIO, records: int, texts: int) -> npt.NDArray[np.uint32 | np.uint64]:
    """Return for each index below `texts` the number of its latest record, counted from 1; 0 where there is none.

    It takes 4 bytes a text, 8 where there are over four billion records.
    """
    number = np.uint32 if records < np.iinfo(np.uint32).max else np.uint64
    latest: npt.NDArray[np.uint32 | np.uint64] = np.zeros(texts, number)
    for start in range(0, records, STEP):
        part = read_records(file, start, min(STEP, records - start))
        latest[part["index"]] = np.arange(start + 1, start + 1 + len(part), dtype=number)  # of equal ones the last
    return latest


def gather(file: io.FileIO, numbers: npt.NDArray[np.integer], size: int, start: int = 0) -> npt.NDArray[np.uint8]:
    """Return items of `size` bytes by their numbers, as the rows of a matrix; the first item lies at `start`.

    Items that follow one another in the file, and are asked for so, are read together.
    """
    found = np.empty((len(numbers), size), np.uint8)
    for first, last in stretches(numbers):
        read_into(file, found[first:last].data, start + int(numbers[first]) * size)
    return found


def stretches(numbers: npt.NDArray[np.integer]) -> Iterator[tuple[int, int]]:
    """Give begin and end of each stretch in which numbers follow one another."""
    if not len(numbers):
        return
    cuts = np.flatnonzero(np.diff(numbers.astype(np.int64)) != 1) + 1
    yield from zip([0, *cuts.tolist()], [*cuts.tolist(), len(numbers)], strict=True)


def read_into(file: io.FileIO, room: memoryview, position: int) -> None:
    """Fill `room` with what lies at a position.

    Raises:
        ValueError: if the file ends before.
    """
    file.seek(position)
    rest = room.cast("B")
    while rest:
        read = file.readinto(rest)
        if not read:
            raise ValueError(f"{file.name!r} is shorter than what was committed")
        rest = rest[read:]
