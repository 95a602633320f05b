"""Requests that wait for the same thing at the same time are one wait to whoever wonders why nothing happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

LONG: Final = 1.0
"""Seconds after which somebody may wonder."""


class Hold:
    """Entered by each request of a run that has to wait; a long wait is told, once until nobody waits any more.

    Args:
        tell: Told for how many seconds, as far as is known; None if it is not.
    """

    def __init__(self, tell: Callable[[float | None], None]) -> None:
        self._tell = tell
        self._waiting = 0
        self._is_told = False

    def __enter__(self) -> Self:
        self._waiting += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._waiting -= 1
        self._is_told = self._is_told and self._waiting > 0

    def begins(self, seconds: float | None) -> None:
        """Note how long the wait will be that begins now."""
        if not self._is_told and (seconds is None or seconds > LONG):
            self._is_told = True
            self._tell(seconds)
