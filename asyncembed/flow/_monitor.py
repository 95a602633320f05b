"""What the process really holds in memory, as the operating system counts it.

A budget knows only what it has reserved. The rest, such as results that the consumer keeps, shows here.
"""

from __future__ import annotations

from typing import Final

from asyncembed._settings import check, check_positive

MEGABYTE: Final = 1_000_000
MOST_MEGABYTES: Final = 1e12

BRINK: Final = 0.9
"""Share of the limit from which on nothing new should be begun; the rest is for what nobody reckoned with."""


class MemoryMonitor:
    """Watches the resident memory of this process, its own and that of all libraries in it.

    Args:
        max_memory_mb: The limit to stay below, in millions of bytes.

    Raises:
        ConfigurationError: if the limit is no number above 0.

    Example:
        ```python
        monitor = MemoryMonitor(2_000)
        if monitor.should_wait():
            print(f"{monitor.current_mb:.0f} MB are in use, {monitor.peak_mb:.0f} MB at the peak")
        ```
    """

    def __init__(self, max_memory_mb: float) -> None:
        self.brink = int(bytes_of(max_memory_mb) * BRINK)
        """Bytes from which on nothing new should be begun."""
        import psutil  # noqa: PLC0415  # most runs need no monitor, and it takes a tenth of the time to import us

        self._process = psutil.Process()
        self._peak = 0
        self._limit = max_memory_mb

    def __repr__(self) -> str:
        return f"MemoryMonitor(max_memory_mb={self._limit!r}, current_mb={self.current_mb:.0f})"

    def should_wait(self) -> bool:
        """Whether nothing new should be begun now, because the process holds nine tenths of the limit."""
        return self.room() <= 0

    def room(self) -> int:
        """Bytes that may still be taken before something should wait; negative beyond that."""
        return self.brink - self._resident()

    @property
    def current_mb(self) -> float:
        """Resident memory now, in millions of bytes."""
        return self._resident() / MEGABYTE

    @property
    def peak_mb(self) -> float:
        """The most that this monitor has seen, in millions of bytes; it sees something whenever it is asked."""
        self._resident()
        return self._peak / MEGABYTE

    def _resident(self) -> int:
        resident: int = self._process.memory_info().rss
        self._peak = max(self._peak, resident)
        return resident


def bytes_of(max_memory_mb: float) -> int:
    """Return a limit in bytes; raises `ConfigurationError` if it is no number above 0, or more than machines have."""
    check_positive("max_memory_mb", max_memory_mb)
    check(max_memory_mb <= MOST_MEGABYTES, f"max_memory_mb={max_memory_mb!r} is more than any machine has")
    return int(max_memory_mb * MEGABYTE)
