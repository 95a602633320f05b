"""The job of one benchmark process, and the check that every vector is the one that the server sent."""

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
    """Embed `count` texts with the server at `url`: `batch` texts per request, `concurrency` requests at once."""

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
        """Yield the texts in batches, each with the number of its first text."""
        texts = self.texts()
        return ((start, texts[start : start + self.batch]) for start in range(0, self.count, self.batch))


class Check:
    """Compares vectors with those that the server sent, and measures the processor time of comparing."""

    def __init__(self, dimension: int) -> None:
        self._rows: dict[str, list[bytes]] = {
            kind: [row.tobytes() for row in vectors(dimension, kind)] for kind in ("float", "int8")
        }
        self.count = 0
        self.first: float | None = None  # when the first vector arrived, in seconds of `time.perf_counter()`
        self.latencies: list[float] = []  # seconds of each single call
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
        """Compare Python lists, which many SDKs return; the time to convert them to arrays is subtracted."""
        started = time.process_time()
        for index, numbers in enumerate(lists, first):
            if np.asarray(numbers, np.float32).tobytes() != self._rows["float"][index % CANNED]:
                raise SystemExit(f"vector {index} is not the one that was sent")
            self.count += 1
        self._spent_on_lists += time.process_time() - started

    @property
    def spent(self) -> float:
        """Processor time of all comparisons, in seconds."""
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
