"""What a run looked like over time: samples in a fixed amount of memory, however long it takes.

When there are too many, every second one is dropped and the time between two of them doubles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asyncembed import MemoryMonitor, RunSummary

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_SAMPLES: Final = 1_000
SHORTEST: Final = 0.2
"""Seconds between two samples at first."""


@dataclass(frozen=True, slots=True)
class Sample:
    """How a run stood, and how much memory the process had then, in millions of bytes."""

    run: RunSummary
    resident_mb: float


class Recorder:
    """Keeps samples of one run."""

    def __init__(self) -> None:
        self._monitor = MemoryMonitor(1)  # for its readings; there is no limit
        self._samples: list[Sample] = []
        self._latest: Sample | None = None
        self._between = SHORTEST

    @property
    def samples(self) -> Sequence[Sample]:
        """The samples, and the latest state as the last of them."""
        if self._latest is None or self._latest in self._samples[-1:]:
            return self._samples
        return [*self._samples, self._latest]

    @property
    def peak_mb(self) -> float:
        """The most memory that any reading found, in millions of bytes."""
        return self._monitor.peak_mb

    def add(self, now: RunSummary) -> None:
        """Note how the run stands."""
        self._latest = Sample(now, self._monitor.current_mb)
        if self._samples and now.elapsed < self._samples[-1].run.elapsed + self._between:
            return
        self._samples.append(self._latest)
        if len(self._samples) > MOST_SAMPLES:
            del self._samples[1::2]
            self._between *= 2
