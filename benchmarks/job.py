"""What one process of a benchmark has to do, and the proof that it did: every vector is compared with what was sent."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.server import CANNED, vectors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MODEL = "bench"


@dataclass(frozen=True)
class Job:
    """`count` texts, `batch` in a request, `concurrency` requests at a time, from the server at `url`."""

    url: str
    count: int
    dimension: int = 1_536
    batch: int = 96
    concurrency: int = 8
    certificate: str | None = None
    read_bufsize: int | None = None

    def texts(self) -> list[str]:
        return [f"text number {number}" for number in range(self.count)]

    def batches(self) -> Iterator[tuple[int, list[str]]]:
        """The texts in batches, with the number of the first of each."""
        texts = self.texts()
        return ((start, texts[start : start + self.batch]) for start in range(0, self.count, self.batch))


class Check:
    """Compares vectors with those that the server sent, and knows what that cost."""

    def __init__(self, dimension: int) -> None:
        self._rows: dict[str, list[bytes]] = {
            kind: [row.tobytes() for row in vectors(dimension, kind)] for kind in ("float", "int8")
        }
        self.count = 0
        self.first: float | None = None  # when the first vector was there, by the performance counter
        self.latencies: list[float] = []  # seconds of single calls
        self._spent_on_lists = 0.0
        self._array: np.ndarray | None = None

    def __call__(self, index: int, vector: np.ndarray) -> None:
        rows = self._rows["int8" if vector.itemsize == 1 else "float"]
        if vector.tobytes() != rows[index % CANNED]:
            raise SystemExit(f"vector {index} is not the one that was sent")
        if not self.count:
            self.first = time.perf_counter()
        self.count += 1
        self._array = vector

    def rows(self, first: int, matrix: np.ndarray) -> None:
        for row, vector in enumerate(matrix, first):
            self(row, vector)

    def lists(self, first: int, lists: Sequence[Sequence[float]]) -> None:
        """Compare Python lists, as many SDKs give them; to make arrays of them is not counted against them."""
        started = time.process_time()
        for index, numbers in enumerate(lists, first):
            if np.asarray(numbers, np.float32).tobytes() != self._rows["float"][index % CANNED]:
                raise SystemExit(f"vector {index} is not the one that was sent")
            self.count += 1
        self._spent_on_lists += time.process_time() - started

    @property
    def spent(self) -> float:
        """Seconds of processor time that all comparisons took."""
        if self._array is None:
            return self._spent_on_lists
        counted, checks = self.count, 2_000
        index = self._rows["int8" if self._array.itemsize == 1 else "float"].index(self._array.tobytes())
        started = time.process_time()
        for _ in range(checks):
            self(index, self._array)
        each = (time.process_time() - started) / checks
        self.count = counted
        return self._spent_on_lists + each * counted
