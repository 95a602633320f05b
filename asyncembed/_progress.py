"""`on_progress`: the caller's function, plain or async, that receives the state of a run from time to time.

A plain function runs on the event loop, an async one in a task of its own. The run continues while that task is busy,
and afterwards the function receives only the latest state. So a slow async function, such as a write to a database,
does not delay the run.
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
"""Function of a summary of the run; an awaitable that it returns is awaited."""

REPORT_SECONDS: Final = 0.2
"""Seconds between two reports."""


def check_on_progress(function: object) -> None:
    """Raise `ConfigurationError` unless it is None or a function; a class is none."""
    is_function = function is None or (callable(function) and not isinstance(function, type))
    check(is_function, f"on_progress={shown(function)} must be a function of one RunSummary")


class Progress:
    """Reports one run to one function. Exceptions in the function do not end the run; the first one is logged.

    Use it as an async context manager: leaving it waits until the function has received the last state. If the run is
    cancelled, so is a running async function.

    Args:
        function: The caller's function; None to report nothing.

    Raises:
        ConfigurationError: if it is not a function.
    """

    def __init__(self, function: OnProgress | None) -> None:
        check_on_progress(function)
        self._function = function
        self._has_failed = False
        self._latest: RunSummary | None = None  # last state that was reported while the function was busy
        self._task: asyncio.Task[None] | None = None
        self._returned: object = None  # by the last call of the function

    @property
    def is_wanted(self) -> bool:
        """Whether there is a function."""
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
            if inspect.iscoroutine(self._returned):  # a task that is cancelled before its first step awaits nothing
                self._returned.close()

    def report(self, now: RunSummary) -> None:
        """Report the state of the run."""
        if self._task:
            self._latest = now
        elif self._function:
            try:
                returned = self._returned = self._function(now)
            except Exception:  # noqa: BLE001  # the caller's function may raise anything
                self._log()
            else:
                if inspect.isawaitable(returned):
                    self._task = asyncio.create_task(self._finish(returned), name="asyncembed-progress")

    @asynccontextmanager
    async def following(self, summary: Callable[[], RunSummary]) -> AsyncIterator[None]:
        """Report the value of `summary` a few times per second while this context is open, and at its end."""
        ticking = asyncio.create_task(self._tick(summary), name="asyncembed-progress")
        try:
            yield
        finally:
            ticking.cancel()
            await end_of(ticking)
            self.report(summary())

    async def _tick(self, summary: Callable[[], RunSummary]) -> None:
        while True:
            self.report(summary())
            await asyncio.sleep(REPORT_SECONDS)

    async def _finish(self, returned: Awaitable[object]) -> None:
        try:
            await returned
        except Exception:  # noqa: BLE001  # the caller's function may raise anything
            self._log()
        finally:
            self._task = None
        latest, self._latest = self._latest, None
        if latest:
            self.report(latest)

    def _log(self) -> None:
        if not self._has_failed:
            LOGGER.warning(
                "on_progress_failed: on_progress= raised an error; it will be logged only once", exc_info=True
            )
        self._has_failed = True
