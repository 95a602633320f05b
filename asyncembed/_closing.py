"""What `async with` closes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class AsyncClosing(ABC):
    """Base of what is closed by `aclose`, and so by `async with` and `contextlib.aclosing`."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close it, and return when nothing of it is left; a second call does nothing."""

    async def __aenter__(self) -> Self:
        """Return the object itself; nothing is opened before it is needed."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        await self.aclose()
