"""`MemoryMonitor`: how much memory this process uses and has left."""

from __future__ import annotations

from typing import Final

from asyncembed._config import check, check_positive

MEGABYTE: Final = 1_000_000
MAX_MEGABYTES: Final = 1e12

THRESHOLD: Final = 0.9
"""Share of the limit at which nothing new should start; the rest is a reserve for what no estimate covers."""


class MemoryMonitor:
    """Watches the resident memory of this process, as the operating system counts it.

    Args:
        max_memory_mb: The limit to stay below, in millions of bytes.

    Raises:
        ConfigurationError: if the limit is not a number above 0.

    Example:
        ```python
        monitor = MemoryMonitor(2_000)
        if monitor.should_wait():
            print(f"{monitor.current_mb:.0f} MB are in use, {monitor.peak_mb:.0f} MB at the peak")
        ```
    """

    def __init__(self, max_memory_mb: float) -> None:
        self.threshold_bytes = int(bytes_of(max_memory_mb) * THRESHOLD)
        """Resident bytes at which nothing new should start."""
        import psutil  # noqa: PLC0415  # a tenth of the package's import time, and most runs have no monitor

        self._process = psutil.Process()
        self._peak = 0
        self._limit = max_memory_mb

    def __repr__(self) -> str:
        return f"MemoryMonitor(max_memory_mb={self._limit!r}, current_mb={self.current_mb:.0f})"

    def should_wait(self) -> bool:
        """Whether nothing new should start now, because the process uses nine tenths of the limit."""
        return self.available_bytes() <= 0

    def available_bytes(self) -> int:
        """Return the bytes left before new work should wait; negative if the process uses more."""
        return self.threshold_bytes - self._resident()

    @property
    def current_mb(self) -> float:
        """Current resident memory, in millions of bytes."""
        return self._resident() / MEGABYTE

    @property
    def peak_mb(self) -> float:
        """Highest resident memory that any call of this monitor has measured, in millions of bytes."""
        self._resident()
        return self._peak / MEGABYTE

    def _resident(self) -> int:
        resident: int = self._process.memory_info().rss
        self._peak = max(self._peak, resident)
        return resident


def bytes_of(megabytes: float, name: str = "max_memory_mb") -> int:
    """Return the limit that an option sets, in bytes.

    Raises:
        ConfigurationError: if it is not a number above 0, or more than any machine has.
    """
    check_positive(name, megabytes)
    check(megabytes <= MAX_MEGABYTES, f"{name}={megabytes!r} is more than any machine has")
    return int(megabytes * MEGABYTE)
