"""What `async with` closes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NoReturn, Self

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

    if not TYPE_CHECKING:  # type checkers are to say the same

        def __enter__(self) -> NoReturn:
            name = type(self).__name__
            raise TypeError(
                f"{name} is closed by `async with`; code without an event loop uses asyncembed.SyncEmbedder"
            )

        def __exit__(self, *_: object) -> None: ...


class AsyncReading(AsyncClosing):
    """Base of what is read by `async for`."""

    if not TYPE_CHECKING:

        def __iter__(self) -> NoReturn:
            name = type(self).__name__
            raise TypeError(
                f"{name} is read by `async for`; code without an event loop uses the stream of asyncembed.SyncEmbedder"
            )
