"""Ends a run early when the caller sets an event."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio

from asyncembed._config import check, check_not_negative
from asyncembed._exceptions import StreamClosedError
from asyncembed._repr import shown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator


def check_stop(stop: object, stop_wait: object) -> None:
    """Raise `ConfigurationError` unless `stop` is an asyncio event or None, and `stop_wait` a number of seconds."""
    check(stop is None or isinstance(stop, asyncio.Event), f"stop={shown(stop)} must be an asyncio.Event")
    check_not_negative("stop_wait", stop_wait)


@contextmanager
def stoppable(stop: asyncio.Event | None, end_soon: Callable[[], Awaitable[None]]) -> Iterator[None]:
    """Cancel this block after the caller sets `stop`, but first await `end_soon`, so that it may end by itself.

    Raises:
        StreamClosedError: if the block was cancelled.
    """
    if stop is None:
        yield
        return
    with anyio.CancelScope() as scope:
        watching = asyncio.create_task(_watch(stop, end_soon, scope), name="asyncembed-stop")
        try:
            yield
        finally:
            watching.cancel()
    if scope.cancelled_caught:
        raise StreamClosedError("the run was stopped before its end")


async def _watch(stop: asyncio.Event, end_soon: Callable[[], Awaitable[None]], scope: anyio.CancelScope) -> None:
    await stop.wait()
    await end_soon()
    scope.cancel()
