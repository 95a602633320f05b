"""`on_progress`: a function of the caller's, plain or async, that is told now and then how a run stands.

A plain function is called on the event loop, an async one in a task of its own. While that is busy the run goes on, and
then the function is told of the latest state only. So a slow one, such as a write to a database, holds up nothing.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Self, TypeAlias

from asyncembed._config import check
from asyncembed._events import LOGGER
from asyncembed._models import RunSummary
from asyncembed._repr import shown
from asyncembed._util import end_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

OnProgress: TypeAlias = Callable[[RunSummary], object]
"""Gets a summary of the run; what it returns is awaited if it can be."""

REPORT_SECONDS: Final = 0.2
"""Seconds between two reports of how a run stands."""


class Progress:
    """Tells one function of one run. What the function raises is logged, once, and does not end the run.

    Use it as an async context manager: it waits at the end until the function has been told everything. If the run is
    cancelled, so is what the function does then.

    Args:
        function: The caller's function; None if nothing is to be told.

    Raises:
        ConfigurationError: if it cannot be called.
    """

    def __init__(self, function: OnProgress | None) -> None:
        is_function = function is None or (callable(function) and not isinstance(function, type))
        check(is_function, f"on_progress={shown(function)} must be a function of one RunSummary")
        self._function = function
        self._has_failed = False
        self._latest: RunSummary | None = None  # what came while the function was busy
        self._task: asyncio.Task[None] | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether there is a function to be told."""
        return self._function is not None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            while self._task and (kind is None or issubclass(kind, Exception)):
                await asyncio.wait([self._task])
        finally:
            self._latest = None
            if self._task:
                self._task.cancel()
                await end_of(self._task)

    def tell(self, now: RunSummary) -> None:
        """Tell how the run stands."""
        if self._task:
            self._latest = now
        elif self._function:
            try:
                returned = self._function(now)
            except Exception:  # noqa: BLE001  # the caller's own, whatever it is
                self._log()
            else:
                if inspect.isawaitable(returned):
                    self._task = asyncio.create_task(self._finish(returned), name="asyncembed-progress")

    @asynccontextmanager
    async def following(self, summary: Callable[[], RunSummary]) -> AsyncIterator[None]:
        """Tell what `summary` returns a few times a second while this context is open, and at its end."""
        ticking = asyncio.create_task(self._tick(summary), name="asyncembed-progress")
        try:
            yield
        finally:
            ticking.cancel()
            await end_of(ticking)
            self.tell(summary())

    async def _tick(self, summary: Callable[[], RunSummary]) -> None:
        while True:
            self.tell(summary())
            await asyncio.sleep(REPORT_SECONDS)

    async def _finish(self, returned: Awaitable[object]) -> None:
        try:
            await returned
        except Exception:  # noqa: BLE001  # the caller's own
            self._log()
        finally:
            self._task = None
        latest, self._latest = self._latest, None
        if latest:
            self.tell(latest)

    def _log(self) -> None:
        if not self._has_failed:
            LOGGER.warning(
                "on_progress_failed: on_progress= raised an error; it will be logged only once", exc_info=True
            )
        self._has_failed = True
